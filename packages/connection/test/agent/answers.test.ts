/** What came of a call, as data, and what of it a model gets to see. */
import { layer as nodeServices } from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Faults, SimulatedServer } from "@mcp-tether/testing"
import { dynamicTool, generateText, isStepCount, jsonSchema } from "ai"
import { MockLanguageModelV4 } from "ai/test"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as Chat from "effect/ai/Chat"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import { fileURLToPath } from "node:url"
import * as ConnectionError from "../../src/ConnectionError.ts"
import * as McpAgent from "../../src/McpAgent.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import * as RequestError from "../../src/RequestError.ts"
import { connect, everySecond } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

/** A shop that shows pictures. */
const shop = () =>
  SimulatedServer.make({
    tools: {
      look: {
        handler: () =>
          Effect.succeed({
            content: [
              { type: "text", text: "A hat:" },
              { type: "image", mimeType: "image/png", data: "AAAA" },
              { type: "audio", mimeType: "audio/wav", data: "BBBB" },
              { type: "resource", resource: { uri: "file:///hat.pdf", mimeType: "application/pdf", blob: "CCCC" } },
              { type: "resource", resource: { uri: "file:///hat.zip", mimeType: "application/zip", blob: "DDDD" } }
            ],
            structuredContent: { price: 5 }
          })
      },
      photo: {
        handler: () =>
          Effect.succeed({
            content: [{ type: "image", mimeType: "image/png", data: "AAAA" }],
            structuredContent: { price: 5 }
          })
      },
      price: { handler: () => Effect.succeed("5") },
      broken: {
        handler: () => Effect.succeed({ isError: true, content: [{ type: "text", text: "sold out" }] })
      },
      buy: {}
    },
    faults: Faults.script(Faults.on({ tool: "buy" }, Faults.crash({ when: "afterEffect" })))
  })

const words = "A hat:\n[image, image/png]\n[audio, audio/wav]\n[file:///hat.pdf]\n[file:///hat.zip]"

const seen = [
  ["text", "A hat:"],
  ["image/png", "AAAA"],
  ["text", "[audio, audio/wav]"],
  ["application/pdf", "CCCC"],
  ["text", "[file:///hat.zip]"]
]

/** A model that calls these tools, one a turn, and then says that it is done. Keeps what it was shown. */
const modelThatCalls = (...tools: ReadonlyArray<string>) => {
  const prompts: Array<Prompt.Prompt> = []
  return {
    prompts,
    make: LanguageModel.make({
      generateText: ({ prompt }) =>
        Effect.sync(() => {
          const name = tools[prompts.push(prompt) - 1]
          return name === undefined
            ? [{ type: "text" as const, text: "done" }]
            : [{ type: "tool-call" as const, id: `${prompts.length}`, name, params: {}, providerExecuted: false }]
        }),
      streamText: () => Stream.empty
    })
  }
}

/** What the model was shown of each call, in its last turn. */
const shownTo = ({ prompts }: ReturnType<typeof modelThatCalls>) =>
  (prompts.at(-1)?.content ?? []).flatMap((message) =>
    message.role === "tool"
      ? message.content.flatMap((part) =>
          part.type === "tool-result" ? [{ result: part.result, parts: part.modelOutput?.map(shown) }] : []
        )
      : []
  )

const shown = (part: Prompt.ToolModelOutputPart) =>
  part.type === "text" ? ["text", part.text] : [part.mediaType, part.data]

describe("an answer", () => {
  it.effect("is the text of a conversation, the pictures that a model looks at, and data for the program", () =>
    Effect.gen(function* () {
      const agent = McpAgent.make({ shop: yield* connect(yield* shop()) })
      const model = modelThatCalls("shop__look", "shop__price")
      const results = yield* Effect.gen(function* () {
        const chat = yield* Chat.empty
        const first = yield* chat.generateText({ prompt: "Shop.", toolkit: yield* agent.toolkit })
        yield* chat.generateText({ prompt: [], toolkit: yield* agent.toolkit })
        yield* chat.generateText({ prompt: [], toolkit: yield* agent.toolkit })
        // What was said can be kept, and gone on with.
        const kept = yield* Chat.fromJson(yield* chat.exportJson)
        yield* kept.generateText({ prompt: [], toolkit: yield* agent.toolkit })
        return first.toolResults
      }).pipe(Effect.provideServiceEffect(LanguageModel.LanguageModel, model.make))

      assert.deepStrictEqual(shownTo(model), [
        { result: words, parts: seen },
        { result: "5", parts: [["text", "5"]] }
      ])
      const answer = results[0]?.result
      assert(answer !== undefined && "fate" in answer)
      assert.deepStrictEqual([answer.fate, answer.isFailure], ["Answered", false])
      assert.deepStrictEqual(answer.structuredContent, { price: 5 })
      assert.deepStrictEqual(
        answer.content.map(({ type }) => type),
        ["text", "image", "audio", "resource", "resource"]
      )
    })
  )

  it.effect("has what is structured where no text says it, also beside a picture", () =>
    Effect.gen(function* () {
      const agent = McpAgent.make({ shop: yield* connect(yield* shop()) })
      const { parts, text } = yield* agent.ask("shop__photo", {})
      assert.strictEqual(text, `[image, image/png]\n{"price":5}`)
      assert.deepStrictEqual(parts, [
        { type: "file", mediaType: "image/png", data: "AAAA" },
        { type: "text", text: `{"price":5}` }
      ])
    })
  )

  it.effect("says what is known of a call: it was answered, it did not run, or it may have run", () =>
    Effect.gen(function* () {
      const server = yield* shop()
      const connection = yield* connect(server, { wait: "2 seconds" })
      const agent = McpAgent.make({ shop: connection })
      const ask = Effect.fnUntraced(function* (tool: string) {
        const running = yield* Effect.forkChild(agent.ask(tool, {}))
        yield* advance("3 seconds")
        const { fate, isFailure, text } = yield* Fiber.join(running)
        return [fate, isFailure, text] as const
      })
      assert.deepStrictEqual(yield* ask("shop__price"), ["Answered", false, "5"])
      assert.deepStrictEqual(yield* ask("shop__broken"), ["Answered", true, "sold out"])
      assert.deepStrictEqual((yield* ask("shop__buy")).slice(0, 2), ["MayHaveRun", true])
      assert.deepStrictEqual(yield* ask("shop__sell"), ["DidNotRun", true, "There is no tool shop__sell."])
      server.behavior.open = () => Effect.never
      yield* server.current.lose()
      assert.deepStrictEqual((yield* ask("shop__price")).slice(0, 2), ["DidNotRun", true])
      assert.deepStrictEqual(
        server.ledger.map(({ tool }) => tool),
        ["price", "broken", "buy"]
      )
    })
  )

  it.effect("says the same in its text as in its fate, whatever the error", () =>
    Effect.gen(function* () {
      const connection = yield* connect(yield* shop())
      for (const error of errors) {
        const agent = McpAgent.make({ shop: { ...connection, callTool: () => Effect.fail(error) } })
        const { fate, isFailure, text } = yield* agent.ask("shop__buy", {})
        assert.isTrue(isFailure)
        const mayHave = text.toLowerCase().includes("may have run")
        assert.strictEqual(fate, mayHave ? "MayHaveRun" : "DidNotRun", text)
        assert.strictEqual(text.includes("did not run"), !mayHave, text)
      }
    })
  )
})

const call = { server: "shop", method: "tools/call", tool: "buy" } as const

const exited = new ConnectionError.ConnectionError({
  server: "shop",
  reason: new ConnectionError.ProcessExited({ exitCode: 1 })
})

/** All that a call can fail with. */
const errors: ReadonlyArray<RequestError.RequestError> = [
  new RequestError.OutcomeUnknown({
    ...call,
    generation: 1,
    era: "legacy",
    elapsed: Duration.seconds(1),
    cause: exited
  }),
  new RequestError.InvalidResult({ ...call, description: "no content" }),
  new RequestError.InvalidRequest({ ...call, description: "circular" }),
  ...[-32_700, -32_600, -32_601, -32_602, -32_603, -32_000, 1].map(
    (code) => new RequestError.ServerRejected({ ...call, code, description: "no" })
  ),
  ...(["NotSent", "Refused", "Unknown"] as const).flatMap((delivery) => [
    new RequestError.RequestTimeout({ ...call, after: Duration.seconds(5), delivery }),
    new RequestError.ConnectionClosed({ server: "shop", delivery }),
    ...(["Failed", "WaitElapsed", "NotReplayed"] as const).map(
      (because) =>
        new RequestError.ConnectionUnavailable({
          server: "shop",
          because,
          state: "Reconnecting",
          delivery,
          cause: exited
        })
    )
  ])
]

describe("a tool that runs only as a task", () => {
  it.effect("is not offered: a plain call of it is refused, always", () =>
    Effect.gen(function* () {
      const server = yield* shop()
      server.behavior.listed = () => [
        { name: "now", inputSchema: { type: "object" }, execution: { taskSupport: "optional" } },
        { name: "later", inputSchema: { type: "object" }, execution: { taskSupport: "required" } }
      ]
      const connection = yield* connect(server)
      const agent = McpAgent.make({ shop: connection })
      assert.deepStrictEqual(
        (yield* agent.offers).map(({ name }) => name),
        ["shop__now"]
      )
      assert.deepStrictEqual(Object.keys((yield* agent.toolkit).tools), ["shop__now"])
      assert.deepStrictEqual(
        (yield* McpAgent.client(connection).listTools()).map(({ name }) => name),
        ["now"]
      )
      // It is the agent that cannot call it; the connection knows it all the same.
      assert.lengthOf(yield* connection.listTools(), 2)
    })
  )
})

describe("a server that does not list its tools", () => {
  it.effect("is told of in the log, and the others have theirs", () =>
    Effect.gen(function* () {
      const [silent, talkative] = [yield* shop(), yield* shop()]
      silent.behavior.handle = () =>
        Effect.fail(
          new RequestError.ServerRejected({ server: "silent", method: "tools/list", code: -32_603, description: "no" })
        )
      const logged: Array<unknown> = []
      const agent = McpAgent.make({ silent: yield* connect(silent), shop: yield* connect(talkative) })
      const offers = yield* agent.offers.pipe(
        Effect.provide(Logger.layer([Logger.make(({ message }) => void logged.push(message))]))
      )
      assert.deepStrictEqual([...new Set(offers.map(({ server }) => server))], ["shop"])
      assert.deepStrictEqual(logged, [
        [
          "mcp tools could not be listed for an agent",
          { server: "silent", error: "silent: tools/list was rejected: no (-32603)" }
        ]
      ])
    })
  )
})

describe("who the server is", () => {
  it.effect("is known to an McpClient while the server is away, also when nobody had asked before", () =>
    Effect.gen(function* () {
      const server = yield* shop()
      const client = McpAgent.client(yield* connect(server))
      server.behavior.open = () => Effect.never
      yield* server.current.lose()
      yield* settle
      assert.deepStrictEqual(client.serverInfo, { name: "simulated", version: "1.0.0" })
    })
  )

  it.effect("is known as soon as a server that is started by the first request has answered", () =>
    Effect.gen(function* () {
      const server = yield* shop()
      server.behavior.era = "modern"
      const client = McpAgent.client(yield* connect(server, { start: "lazy" }))
      assert.isUndefined(client.serverInfo)
      yield* client.listTools()
      server.behavior.open = () => Effect.never
      yield* server.current.lose()
      yield* settle
      assert.deepStrictEqual(
        [client.serverInfo, client.protocolVersion],
        [{ name: "simulated", version: "1.0.0" }, "2026-07-28"]
      )
    })
  )
})

/** As in the docs of `McpAgent`. */
const toolOf = ({ ask, description, inputSchema }: McpAgent.AgentFunction) =>
  dynamicTool({
    description,
    inputSchema: jsonSchema(inputSchema),
    execute: (args, { abortSignal }) => ask(args as Record<string, unknown>, { signal: abortSignal }),
    toModelOutput: ({ output }) => shownByVercel(output as McpAgent.Answer)
  })

const shownByVercel = ({ isFailure, parts, text }: McpAgent.Answer) =>
  isFailure
    ? { type: "error-text" as const, value: text }
    : { type: "content" as const, value: parts.map((part) => (part.type === "text" ? part : asData(part))) }

const asData = ({ data, mediaType }: { readonly data: string; readonly mediaType: string }) =>
  ({ type: "file", mediaType, data: { type: "data", data } }) as const

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 }
}

describe("an answer in the Vercel AI SDK", () => {
  it.live("is shown with its pictures, and as an error where it is one", () =>
    Effect.gen(function* () {
      const connection = yield* McpConnection.make({ transport: (yield* shop()).transport })
      const functions = yield* McpAgent.make({ shop: connection }).functions
      const tools = Object.fromEntries(functions.map((tool) => [tool.name, toolOf(tool)]))
      const model = new MockLanguageModelV4({
        doGenerate: [
          ...["shop__look", "shop__broken", "shop__buy"].map((toolName) => ({
            content: [{ type: "tool-call" as const, toolCallId: toolName, toolName, input: "{}" }],
            finishReason: { unified: "tool-calls" as const, raw: undefined },
            usage,
            warnings: []
          })),
          {
            content: [{ type: "text", text: "done" }],
            finishReason: { unified: "stop", raw: undefined },
            usage,
            warnings: []
          }
        ]
      })
      yield* Effect.promise(() => generateText({ model, tools, prompt: "Shop.", stopWhen: isStepCount(5) }))
      const outputs = (model.doGenerateCalls.at(-1)?.prompt ?? []).flatMap((message) =>
        message.role === "tool"
          ? message.content.flatMap((part) => (part.type === "tool-result" ? [part.output] : []))
          : []
      )
      assert(outputs[0]?.type === "content")
      assert.deepStrictEqual(
        outputs[0].value.map((part) =>
          part.type === "text"
            ? ["text", part.text]
            : part.type === "file" && part.data.type === "data"
              ? [part.mediaType, part.data.data]
              : [part.type]
        ),
        seen
      )
      assert.deepInclude(outputs[1], { type: "error-text", value: "sold out" })
      assert(outputs[2]?.type === "error-text")
      assert.include(outputs[2].value, "The tool may have run; its outcome is unknown.")
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
  )
})

describe("a real server", () => {
  it.live(
    "has its picture shown, and only such tools offered as can be called",
    () =>
      Effect.gen(function* () {
        const everything = fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js"))
        const bounded = "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()"
        const connection = yield* McpConnection.make({
          transport: McpTransport.stdio({
            command: process.execPath,
            args: ["--import", bounded, everything, "stdio"]
          }),
          policy: everySecond
        })
        const agent = McpAgent.make({ everything: connection })
        const model = modelThatCalls("everything__get-tiny-image", "everything__get-structured-content")
        yield* Effect.gen(function* () {
          const chat = yield* Chat.empty
          for (let turn = 0; turn < 3; turn += 1) {
            yield* chat.generateText({ prompt: turn === 0 ? "Show me." : [], toolkit: yield* agent.toolkit })
          }
        }).pipe(Effect.provideServiceEffect(LanguageModel.LanguageModel, model.make))
        const [image, structured] = shownTo(model)
        assert.deepStrictEqual(
          image?.parts?.map(([type]) => type),
          ["text", "image/png", "text"]
        )
        // Of the other one it forgot an argument: a failure is told in text.
        assert.include(String(structured?.result), "Invalid arguments")
        assert.isUndefined(structured?.parts)
        const names = (yield* agent.offers).map(({ tool }) => tool.name)
        const listed = (yield* connection.listTools()).map(({ name }) => name)
        assert.deepStrictEqual(
          listed.filter((name) => !names.includes(name)),
          ["simulate-research-query"]
        )
      }).pipe(Effect.provide(nodeServices)),
    60_000
  )
})
