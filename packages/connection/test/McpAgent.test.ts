/** An agent on bad days: servers that never were there, answers that are none, and the Vercel AI SDK. */
import { assert, describe, it } from "@effect/vitest"
import { Faults, SimulatedServer } from "@mcp-tether/testing"
import { dynamicTool, generateText, isStepCount, jsonSchema } from "ai"
import { MockLanguageModelV4 } from "ai/test"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as AiClient from "effect/ai/McpClient"
import * as LanguageModel from "effect/ai/LanguageModel"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Words from "../src/internal/agent/words.ts"
import * as ConnectionError from "../src/ConnectionError.ts"
import * as McpAgent from "../src/McpAgent.ts"
import * as McpConnection from "../src/McpConnection.ts"
import * as McpFleet from "../src/McpFleet.ts"
import * as RequestError from "../src/RequestError.ts"
import { fast, scenario, transportOf } from "./driver/rig.ts"
import type { Order } from "./fixtures/ledgerServer.ts"
import { connect } from "./support/connect.ts"
import { advance } from "./support/time.ts"

const bank = (options: Parameters<typeof SimulatedServer.make>[0] = {}) =>
  SimulatedServer.make({ tools: { pay: {}, find: { annotations: { readOnlyHint: true } } }, ...options })

/** The names of the tools in one turn, and how long it took to have them. */
const turn = Effect.fnUntraced(function* (agent: McpAgent.Agent) {
  const before = yield* Clock.currentTimeMillis
  const running = yield* Effect.forkChild(
    Effect.flatMap(agent.offers, (offers) =>
      Effect.map(Clock.currentTimeMillis, (now) => ({ names: offers.map(({ name }) => name), took: now - before }))
    )
  )
  yield* advance("10 seconds")
  return yield* Fiber.join(running)
})

describe("a server that has no tools yet", () => {
  it.effect("is waited for in one turn, and not in each", () =>
    Effect.gen(function* () {
      const [files, broken] = [yield* bank(), yield* bank({ open: () => Effect.never })]
      const agent = McpAgent.make({ files: yield* connect(files), broken: yield* connect(broken) })
      const here = ["files__pay", "files__find"]
      assert.deepStrictEqual(yield* turn(agent), { names: here, took: 5_000 })
      assert.deepStrictEqual(yield* turn(agent), { names: here, took: 0 })
      assert.deepStrictEqual(yield* turn(agent), { names: here, took: 0 })
    })
  )

  it.effect("is there in the turn after it came up", () =>
    Effect.gen(function* () {
      const late = yield* bank({ open: () => Effect.fail(SimulatedServer.exited) })
      const agent = McpAgent.make(new Map([["late", yield* connect(late)]]))
      assert.deepStrictEqual(yield* turn(agent), { names: [], took: 5_000 })
      late.behavior.open = () => Effect.void
      yield* advance("2 seconds")
      assert.deepStrictEqual(yield* turn(agent), { names: ["late__pay", "late__find"], took: 0 })
    })
  )

  it.effect("that lists them slowly has them in a later turn", () =>
    Effect.gen(function* () {
      const slow = yield* bank({
        faults: Faults.script(
          Faults.on({ method: "tools/list" }, Faults.slowLink({ latency: "7 seconds", for: "1 minute" }))
        )
      })
      const agent = McpAgent.make({ slow: yield* connect(slow) })
      assert.deepStrictEqual(yield* turn(agent), { names: [], took: 5_000 })
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* turn(agent), { names: ["slow__pay", "slow__find"], took: 0 })
      // The turn that gave up waiting did not take its question back.
      assert.lengthOf(slow.generationsOf("tools/list"), 1)
      assert.deepStrictEqual(slow.cancelled, [])
    })
  )
})

const gone = new ConnectionError.ConnectionError({
  server: "bank",
  reason: new ConnectionError.ProcessExited({ exitCode: 1 })
})

const call = { server: "bank", method: "tools/call", tool: "pay" } as const

/** One of each error of a call of which nobody can say that it did not run. */
const uncertain: ReadonlyArray<RequestError.RequestError> = [
  new RequestError.OutcomeUnknown({
    ...call,
    generation: 1,
    era: "legacy",
    elapsed: Duration.seconds(1),
    cause: gone
  }),
  new RequestError.RequestTimeout({ ...call, after: Duration.seconds(5), delivery: "Unknown" }),
  new RequestError.ConnectionClosed({ server: "bank", delivery: "Unknown" }),
  new RequestError.ConnectionUnavailable({
    server: "bank",
    because: "NotReplayed",
    state: "Reconnecting",
    delivery: "Unknown",
    cause: gone
  }),
  new RequestError.InvalidResult({ ...call, description: "no content" }),
  new RequestError.ServerRejected({ ...call, code: -32_603, description: "internal error" })
]

/** And of those of which it is certain. */
const certain: ReadonlyArray<RequestError.RequestError> = [
  new RequestError.RequestTimeout({ ...call, after: Duration.seconds(5), delivery: "NotSent" }),
  new RequestError.ConnectionClosed({ server: "bank", delivery: "NotSent" }),
  new RequestError.ConnectionUnavailable({
    server: "bank",
    because: "WaitElapsed",
    state: "Reconnecting",
    delivery: "Refused"
  }),
  new RequestError.InvalidRequest({ ...call, description: "circular arguments" }),
  new RequestError.ServerRejected({ ...call, code: -32_602, description: "no such tool" })
]

describe("what a model is told", () => {
  it("of a call that may have run: that, and to look first", () => {
    for (const error of uncertain) {
      const words = Words.ofError("pay", error)
      assert.include(words, "may have run", error._tag)
      assert.include(words, "Find out", error._tag)
      assert.notInclude(words, "did not run", error._tag)
    }
  })

  it("of a call that did not: that it did not", () => {
    for (const error of certain) {
      const words = Words.ofError("pay", error)
      assert.include(words, "did not run", error._tag)
      assert.notInclude(words, "may have run", error._tag)
    }
  })

  it("of a server that is given up: that it does not come back by itself", () => {
    const words = Words.ofError(
      "pay",
      new RequestError.ConnectionUnavailable({
        server: "bank",
        because: "Failed",
        state: "Failed",
        delivery: "NotSent"
      })
    )
    assert.strictEqual(
      words,
      "pay did not run: its server cannot be reached, and nobody tries any more. Do without it, or say that it has to be repaired."
    )
  })

  it("of results: never nothing, and what is structured where no text says it", () => {
    assert.strictEqual(Words.ofResult("pay", { content: [] }), "pay ran, and answered nothing.")
    assert.strictEqual(
      Words.ofResult("pay", { content: [{ type: "text", text: "" }], isError: true }),
      "pay failed, and did not say why."
    )
    assert.strictEqual(
      Words.ofResult("pay", {
        content: [{ type: "image", mimeType: "image/png", data: "AAAA" }],
        structuredContent: { n: 1 }
      }),
      `[image, image/png]\n{"n":1}`
    )
    assert.strictEqual(
      Words.ofResult("pay", { content: [{ type: "text", text: "one" }], structuredContent: { n: 1 } }),
      "one"
    )
  })
})

/** A connection that fails with this, whatever it is asked for. */
const failing = (connection: McpConnection.Shape, error: RequestError.RequestError): AiClient.McpClient =>
  McpAgent.client({ ...connection, callTool: () => Effect.fail(error) })

describe("the errors of an McpClient", () => {
  const tool = { name: "pay", inputSchema: { type: "object" } } as never

  it.effect("say of each call that may have run that it may have", () =>
    Effect.gen(function* () {
      const connection = yield* connect(yield* bank())
      for (const error of uncertain) {
        const { message } = yield* Effect.flip(failing(connection, error).callTool({ tool }))
        assert.include(message, "may have run", error._tag)
      }
      for (const error of certain) {
        const { message } = yield* Effect.flip(failing(connection, error).callTool({ tool }))
        assert.notInclude(message, "may have run", error._tag)
      }
    })
  )

  it.effect("have the status of HTTP, and when to try again", () =>
    Effect.gen(function* () {
      const connection = yield* connect(yield* bank())
      const cause = new ConnectionError.ConnectionError({
        server: "bank",
        reason: new ConnectionError.ServerUnavailable({ status: 503, retryAfter: Duration.millis(1_500) })
      })
      const { reason } = yield* Effect.flip(
        failing(
          connection,
          new RequestError.ConnectionUnavailable({
            server: "bank",
            because: "WaitElapsed",
            state: "Reconnecting",
            delivery: "Refused",
            cause
          })
        ).callTool({ tool })
      )
      assert(reason._tag === "HttpError")
      assert.deepStrictEqual([reason.status, reason.retryAfter], [503, "2"])
    })
  )

  it.effect("are errors also where a server's code is no integer", () =>
    Effect.gen(function* () {
      const connection = yield* connect(yield* bank())
      const error = new RequestError.ServerRejected({ ...call, code: 0.5, description: "odd" })
      const { reason } = yield* Effect.flip(failing(connection, error).callTool({ tool }))
      assert.strictEqual(reason._tag, "ProtocolError")
      assert.include(reason.message, "odd")
    })
  )

  it.effect("come from the client of a layer as well", () =>
    Effect.gen(function* () {
      const server = yield* bank()
      const connection = yield* connect(server)
      const toolkit = yield* Effect.flatMap(AiClient.McpClient, (client) => AiClient.toolkit(client)).pipe(
        Effect.provide(McpAgent.layerClient.pipe(Layer.provide(Layer.succeed(McpConnection.McpConnection, connection))))
      )
      assert.deepStrictEqual(Object.keys(toolkit.tools), ["pay", "find"])
    })
  )
})

/** As in the docs of `McpAgent`. */
const toolsOf = (functions: ReadonlyArray<McpAgent.AgentFunction>) =>
  Object.fromEntries(
    functions.map(({ description, execute, inputSchema, name }) => [
      name,
      dynamicTool({
        description,
        inputSchema: jsonSchema(inputSchema),
        execute: (args, { abortSignal }) => execute(args as Record<string, unknown>, { signal: abortSignal })
      })
    ])
  )

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 }
}

describe("an agent on the Vercel AI SDK", () => {
  it.live("calls the tools, and is told in words of what may have run", () =>
    Effect.gen(function* () {
      const server = yield* bank({
        faults: Faults.script(Faults.on({ tool: "pay", nth: 2 }, Faults.crash({ when: "afterEffect" })))
      })
      const connection = yield* McpConnection.make({ transport: server.transport })
      const tools = toolsOf(yield* McpAgent.make({ bank: connection }).functions)
      const calls = ["a", "b", "c"].map((key) => ({
        content: [
          { type: "tool-call" as const, toolCallId: key, toolName: "bank__pay", input: JSON.stringify({ key }) }
        ],
        finishReason: { unified: "tool-calls" as const, raw: undefined },
        usage,
        warnings: []
      }))
      const model = new MockLanguageModelV4({
        doGenerate: [
          ...calls,
          {
            content: [{ type: "text", text: "done" }],
            finishReason: { unified: "stop", raw: undefined },
            usage,
            warnings: []
          }
        ]
      })
      const { steps, text } = yield* Effect.promise(() =>
        generateText({ model, tools, prompt: "Pay.", stopWhen: isStepCount(5) })
      )
      const answers = steps.flatMap(({ toolResults }) => toolResults.map(({ output }) => String(output)))
      assert.deepStrictEqual([answers[0], answers[2], text], ["a on 1", "c on 2", "done"])
      assert.include(answers[1], "The tool may have run; its outcome is unknown.")
      assert.deepStrictEqual(server.ran, ["a", "b", "c"])
      assert.deepStrictEqual(
        model.doGenerateCalls[0]?.tools?.map(({ name }) => name),
        ["bank__pay", "bank__find"]
      )
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
  )
})

describe("plain functions", () => {
  it.live("reject with the reason of their signal, which is what agents look for", () =>
    Effect.gen(function* () {
      const server = yield* bank({ tools: { hang: { handler: () => Effect.never } } })
      const connection = yield* McpConnection.make({ transport: server.transport })
      const [hang] = yield* McpAgent.make({ bank: connection }).functions
      assert(hang !== undefined)
      const abort = new AbortController()
      const running = hang.execute({}, { signal: abort.signal })
      abort.abort()
      const reason: unknown = yield* Effect.promise(() => running.then(assert.fail, (reason: unknown) => reason))
      assert.strictEqual(reason, abort.signal.reason)
      const late: unknown = yield* Effect.promise(() =>
        hang.execute({}, { signal: abort.signal }).then(assert.fail, (reason: unknown) => reason)
      )
      assert.strictEqual(late, abort.signal.reason)
      assert.lengthOf(server.generationsOf("tools/call"), 1)
    })
  )

  it.live("do not run with arguments that are no object", () =>
    Effect.gen(function* () {
      const server = yield* bank()
      const connection = yield* McpConnection.make({ transport: server.transport })
      const [pay] = yield* McpAgent.make({ bank: connection }).functions
      for (const args of ["text", [1], null, undefined]) {
        const words = yield* Effect.promise(() => pay?.execute(args as never) ?? Promise.resolve(""))
        assert.strictEqual(words, "pay did not run: its arguments have to be a JSON object.")
      }
      assert.deepStrictEqual(server.ran, [])
    })
  )
})

describe("an agent's source", () => {
  it.live("may be a record, also of a server that is called like a part of a fleet", () =>
    Effect.gen(function* () {
      const server = yield* bank()
      const connection = yield* McpConnection.make({ transport: server.transport })
      const offers = yield* McpAgent.make({ connections: connection, events: connection }).offers
      assert.deepStrictEqual(
        offers.map(({ name }) => name),
        ["connections__pay", "connections__find", "events__pay", "events__find"]
      )
    })
  )
})

describe("a fleet that is given other servers", () => {
  it.effect("has other tools in the next turn; a call of a tool that went is an AiError of its turn", () =>
    Effect.gen(function* () {
      const [files, mail] = [yield* bank(), yield* bank()]
      const fleet = yield* McpFleet.make({ files: { transport: files.transport }, mail: { transport: mail.transport } })
      const agent = McpAgent.make(fleet)
      const before = yield* agent.toolkit
      assert.hasAllKeys(before.tools, ["files__pay", "files__find", "mail__pay", "mail__find"])
      yield* fleet.reload({ mail: { transport: mail.transport } })
      const after = yield* agent.toolkit
      assert.hasAllKeys(after.tools, ["mail__pay", "mail__find"])
      // The toolkit of a turn that runs still has it, and its call is answered.
      const results = yield* Effect.flatMap(before.handle("files__pay", {}), Stream.runCollect)
      assert.deepStrictEqual(
        results.map(({ isFailure }) => isFailure),
        [true]
      )
      assert.include(JSON.stringify(results[0]?.result), "pay did not run")
      const error = yield* Effect.flip(
        LanguageModel.generateText({ prompt: "go", toolkit: after }).pipe(
          Effect.provideServiceEffect(
            LanguageModel.LanguageModel,
            LanguageModel.make({
              generateText: () =>
                Effect.succeed([
                  { type: "tool-call", id: "1", name: "files__pay", params: {}, providerExecuted: false }
                ]),
              streamText: () => Stream.empty
            })
          )
        )
      )
      assert.strictEqual(error._tag, "AiError")
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
  )
})

describe("the toolkit of a real server that dies in its calls", () => {
  const server = fileURLToPath(new URL("fixtures/ledgerServer.ts", import.meta.url))

  scenario("says each time what is known, and the ledger on disk agrees", (rig) =>
    Effect.gen(function* () {
      const connection = yield* McpConnection.make({
        transport: transportOf(rig, { command: process.execPath, args: [server, rig.dir] }),
        policy: fast
      })
      const { toolkit } = McpAgent.make({ books: connection })
      const call = Effect.fnUntraced(function* (name: string, order: Order) {
        const { handle } = yield* toolkit
        const last = yield* Stream.runLast(Stream.unwrap(handle(name, order)))
        assert(last._tag === "Some")
        return [last.value.isFailure, String(last.value.encodedResult)] as const
      })
      const dying = ["before", "recorded", "halfway"] as const
      for (const dies of dying) {
        const [isFailure, words] = yield* call("books__write", { id: dies, dies })
        assert.isTrue(isFailure)
        assert.include(words, "The tool may have run; its outcome is unknown.")
        assert.deepStrictEqual(yield* call("books__write", { id: `after ${dies}` }), [false, `after ${dies}`])
      }
      // What does no harm twice is done twice, and nobody is told of it.
      assert.deepStrictEqual(yield* call("books__again", { id: "again", dies: "recorded" }), [false, "again"])
      assert.deepStrictEqual(readFileSync(`${rig.dir}/ledger`, "utf8").trimEnd().split("\n"), [
        "after before",
        "recorded",
        "after recorded",
        "halfway",
        "after halfway",
        "again",
        "again"
      ])
    })
  )
})
