/** Connections for agents: what a model is offered, what it is told, and what heals without its noticing. */
import { layer as nodeServices } from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Faults, SimulatedServer } from "@mcp-tether/testing"
import { dynamicTool, jsonSchema } from "ai"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as AiClient from "effect/ai/McpClient"
import * as LanguageModel from "effect/ai/LanguageModel"
import { fileURLToPath } from "node:url"
import * as Names from "../../src/internal/agent/names.ts"
import * as McpAgent from "../../src/McpAgent.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpFleet from "../../src/McpFleet.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import { connect, everySecond } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

/** A model that calls one tool with these arguments, and says nothing. */
const modelThatCalls = (tool: string, params: unknown) =>
  Layer.effect(
    LanguageModel.LanguageModel,
    LanguageModel.make({
      generateText: () => Effect.succeed([{ type: "tool-call", id: "1", name: tool, params } as never]),
      streamText: () => Stream.empty
    })
  )

/** What the model is told of its call. */
const told = Effect.fnUntraced(function* (
  toolkit: Parameters<typeof LanguageModel.generateText>[0]["toolkit"],
  tool: string,
  params: unknown = {}
) {
  const { toolResults } = yield* LanguageModel.generateText({ prompt: "go", toolkit } as never).pipe(
    Effect.provide(modelThatCalls(tool, params))
  )
  const [first] = toolResults as ReadonlyArray<{ readonly isFailure: boolean; readonly encodedResult: unknown }>
  return first === undefined ? undefined : [first.isFailure ? "failure" : "result", first.encodedResult]
})

const bank = (options: Parameters<typeof SimulatedServer.make>[0] = {}) =>
  SimulatedServer.make({
    tools: { pay: { description: "Pays." }, find: { annotations: { readOnlyHint: true } } },
    ...options
  })

describe("the names of tools", () => {
  it("are their server's and their own, in letters that every model takes", () => {
    assert.deepStrictEqual(
      Names.qualified([
        { server: "files", tool: "read" },
        { server: "my.files", tool: "read/write" }
      ]),
      ["files__read", "my_files__read_write"]
    )
  })

  it.prop(
    "are unique, within 64 characters, and do not depend on the order of servers",
    {
      tools: Schema.Array(Schema.Struct({ server: Schema.Literals(["a", "a.b", "a_b"]), tool: Schema.String })).check(
        Schema.isMaxLength(30)
      )
    },
    ({ tools }) => {
      const distinct = [...new Map(tools.map((tool) => [JSON.stringify(tool), tool])).values()]
      const names = Names.qualified(distinct)
      assert.lengthOf([...new Set(names)], names.length)
      for (const name of names) assert.match(name, /^[A-Za-z0-9_-]{1,64}$/)
      const reversed = Names.qualified(distinct.toReversed()).toReversed()
      assert.deepStrictEqual(reversed, names)
    }
  )

  it("that are too long keep their beginning, and are told apart", () => {
    const [one, two] = Names.qualified([
      { server: "s", tool: "x".repeat(100) },
      { server: "s", tool: `${"x".repeat(99)}y` }
    ])
    assert.notStrictEqual(one, two)
    assert.match(one ?? "", /^s__x{53}_[0-9a-z]{7}$/)
  })
})

describe("an agent's tools", () => {
  it.effect("are those of all servers; one that is down neither hides what it had nor delays the others", () =>
    Effect.gen(function* () {
      const [files, broken, gone] = [yield* bank(), yield* bank({ open: () => Effect.never }), yield* bank()]
      const fleet = yield* McpFleet.make(
        Object.fromEntries(
          Object.entries({ files, broken, gone }).map(([name, { transport }]) => [
            name,
            { transport, policy: everySecond }
          ])
        )
      )
      const agent = McpAgent.make(fleet)
      const first = yield* Effect.forkChild(agent.offers)
      yield* advance("5 seconds")
      const names = (yield* Fiber.join(first)).map(({ name }) => name)
      assert.deepStrictEqual(names, ["files__pay", "files__find", "gone__pay", "gone__find"])
      gone.behavior.open = () => Effect.never
      yield* gone.current.lose()
      yield* settle
      const second = yield* Effect.forkChild(agent.offers)
      yield* advance("5 seconds")
      assert.deepStrictEqual(
        (yield* Fiber.join(second)).map(({ name }) => name),
        names
      )
    })
  )

  it.effect("are the same toolkit until a list has changed, and then another one", () =>
    Effect.gen(function* () {
      const server = yield* bank({ releases: { next: { tools: { refund: {} } } } })
      const connection = yield* connect(server)
      const agent = McpAgent.make(new Map([["bank", connection]]))
      const toolkit = yield* agent.toolkit
      assert.deepStrictEqual(Object.keys(toolkit.tools), ["bank__pay", "bank__find"])
      assert.strictEqual(yield* agent.toolkit, toolkit)
      yield* server.inject(Faults.deploy("next", "live"))
      yield* advance("3 seconds")
      const next = yield* agent.toolkit
      assert.deepStrictEqual(Object.keys(next.tools), ["bank__refund"])
      // Known lists are not asked for again.
      assert.lengthOf(server.generationsOf("tools/list"), 2)
    })
  )

  it.effect("answer the model in text, and are called with its arguments", () =>
    Effect.gen(function* () {
      const server = yield* bank({
        tools: { pay: { handler: ({ to }) => Effect.succeed(`paid ${String(to)}`) } }
      })
      const agent = McpAgent.make(new Map([["bank", yield* connect(server)]]))
      assert.deepStrictEqual(yield* told(yield* agent.toolkit, "bank__pay", { to: "Ada" }), ["result", "paid Ada"])
      assert.deepStrictEqual(server.ledger[0]?.arguments, { to: "Ada" })
    })
  )

  it.effect("that may have run say so, and do not end the run", () =>
    Effect.gen(function* () {
      const server = yield* bank({
        faults: Faults.script(Faults.on({ tool: "pay" }, Faults.crash({ when: "afterEffect" })))
      })
      const agent = McpAgent.make(new Map([["bank", yield* connect(server)]]))
      const toolkit = yield* agent.toolkit
      const turn = yield* Effect.forkChild(told(toolkit, "bank__pay"))
      yield* advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(turn), [
        "failure",
        "The connection was lost while pay was called. The tool may have run; its outcome is unknown. Find out whether it had its effect before you call it again."
      ])
      assert.deepStrictEqual(server.ran, ["pay"])
    })
  )

  it.effect("that did not run say that they may be called again", () =>
    Effect.gen(function* () {
      const server = yield* bank()
      const connection = yield* connect(server, { wait: "2 seconds" })
      const agent = McpAgent.make(new Map([["bank", connection]]))
      const toolkit = yield* agent.toolkit
      server.behavior.open = () => Effect.never
      yield* server.current.lose()
      const turn = yield* Effect.forkChild(told(toolkit, "bank__pay"))
      yield* advance("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(turn), [
        "failure",
        "pay did not run: its server cannot be reached now (the server process exited with code 1). It may be called again later."
      ])
      assert.deepStrictEqual(server.ran, [])
    })
  )

  it.effect("that fail by themselves, or are refused, say why", () =>
    Effect.gen(function* () {
      const server = yield* bank({
        tools: {
          broken: {
            handler: () => Effect.succeed({ isError: true, content: [{ type: "text", text: "no money" }] })
          },
          picture: {
            handler: () =>
              Effect.succeed({
                content: [{ type: "image", mimeType: "image/png", data: "AAAA" }],
                structuredContent: { n: 1 }
              })
          },
          data: { handler: () => Effect.succeed({ content: [], structuredContent: { n: 1 } }) }
        }
      })
      const agent = McpAgent.make(new Map([["bank", yield* connect(server)]]))
      const toolkit = yield* agent.toolkit
      assert.deepStrictEqual(yield* told(toolkit, "bank__broken"), ["failure", "no money"])
      assert.deepStrictEqual(yield* told(toolkit, "bank__picture"), ["result", `[image, image/png]\n{"n":1}`])
      assert.deepStrictEqual(yield* told(toolkit, "bank__data"), ["result", `{"n":1}`])
      assert.deepStrictEqual(yield* told(toolkit, "bank__data", "text"), [
        "failure",
        "data did not run: its arguments have to be a JSON object."
      ])
      assert.strictEqual(yield* Effect.flip(agent.call("bank__nothing", {})), "There is no tool bank__nothing.")
    })
  )
})

describe("tools as plain functions", () => {
  const simulated = Effect.map(bank({ tools: { pay: {}, hang: { handler: () => Effect.never } } }), (server) => server)

  it.live(
    "answer in text, also where they fail, and for the Vercel AI SDK are its tools",
    () =>
      Effect.gen(function* () {
        const server = yield* simulated
        const connection = yield* McpConnection.make({ transport: server.transport, wait: "500 millis" })
        const [pay] = yield* McpAgent.make(new Map([["bank", connection]])).functions
        assert(pay !== undefined)
        assert.strictEqual(pay.name, "bank__pay")
        assert.strictEqual(yield* Effect.promise(() => pay.execute({ key: "a" })), "a on 1")
        const tool = dynamicTool({
          description: pay.description,
          inputSchema: jsonSchema(pay.inputSchema),
          execute: (args, { abortSignal }) => pay.execute(args as Record<string, unknown>, { signal: abortSignal })
        })
        const answer: unknown = yield* Effect.promise(async () =>
          tool.execute?.({ key: "b" }, { toolCallId: "1", messages: [], context: {} } as never)
        )
        assert.strictEqual(answer, "b on 1")
        assert.deepStrictEqual(server.ran, ["a", "b"])
        yield* server.inject(Faults.crash())
        server.behavior.open = () => Effect.fail(SimulatedServer.exited)
        const late = yield* McpAgent.make(new Map([["bank", connection]])).functions
        assert.include(yield* Effect.promise(() => late[0]?.execute({}) ?? Promise.resolve("")), "pay did not run")
      }).pipe(Effect.provideService(References.MinimumLogLevel, "None")),
    60_000
  )

  it.live("are cancelled by their signal, and no other way", () =>
    Effect.gen(function* () {
      const server = yield* simulated
      const connection = yield* McpConnection.make({ transport: server.transport })
      const functions = yield* McpAgent.make(new Map([["bank", connection]])).functions
      const hang = functions.find(({ name }) => name === "bank__hang")
      assert(hang !== undefined)
      const abort = new AbortController()
      const running = hang.execute({}, { signal: abort.signal })
      yield* Effect.sync(() => abort.abort())
      yield* Effect.promise(() => running.then(assert.fail, () => {}))
      assert.deepStrictEqual(server.cancelled, ["1 tools/call"])
    })
  )
})

describe("a connection as an McpClient", () => {
  it.effect("has what an McpClient has", () =>
    Effect.gen(function* () {
      const server = yield* bank({ resources: [{ uri: "file:///a", name: "a" }], prompts: [{ name: "hello" }] })
      const client = McpAgent.client(yield* connect(server))
      assert.isTrue(AiClient.isMcpClient(client))
      assert.strictEqual(client.protocolVersion, "2025-11-25")
      assert.deepStrictEqual(client.serverInfo, { name: "simulated", version: "1.0.0" })
      const [pay] = yield* client.listTools()
      assert(pay !== undefined)
      assert.strictEqual(pay.description, "Pays.")
      const { content } = yield* client.callTool({ tool: pay, arguments: { key: "a" } })
      assert.deepInclude(content[0], { type: "text", text: "a on 1" })
      assert.deepStrictEqual(
        (yield* client.listResources()).map(({ uri }) => uri),
        ["file:///a"]
      )
      assert.deepStrictEqual(
        (yield* client.listPrompts()).map(({ name }) => name),
        ["hello"]
      )
      assert.lengthOf((yield* client.readResource({ uri: "file:///a" })).contents, 1)
    })
  )

  it.effect("decodes with a schema, and fails with what the tool failed with", () =>
    Effect.gen(function* () {
      const server = yield* bank({
        tools: {
          sum: { handler: ({ a }) => Effect.succeed({ content: [], structuredContent: { sum: Number(a) + 1 } }) },
          broken: { handler: () => Effect.succeed({ isError: true, content: [] }) }
        }
      })
      const client = McpAgent.client(yield* connect(server))
      const [sum, broken] = yield* client.listTools()
      assert(sum !== undefined && broken !== undefined)
      const schema = Schema.Struct({ sum: Schema.Finite })
      assert.deepStrictEqual(yield* client.callTool({ tool: sum, schema, arguments: { a: 1 } }), { sum: 2 })
      const wrong = yield* Effect.flip(client.callTool({ tool: sum, schema, arguments: { a: "x" } }))
      assert.strictEqual(wrong.reason._tag, "ValidationError")
      const failed = yield* Effect.flip(client.callTool({ tool: broken, schema }))
      assert.strictEqual(failed.reason._tag, "ToolError")
    })
  )

  it.effect("makes a toolkit that heals without a changed line", () =>
    Effect.gen(function* () {
      const server = yield* bank({
        faults: Faults.script(
          Faults.on({ tool: "find", nth: 1 }, Faults.crash({ when: "afterEffect" })),
          Faults.on({ tool: "find", nth: 3 }, Faults.crash({ downFor: "10 seconds" }))
        )
      })
      const toolkit = yield* AiClient.toolkit(McpAgent.client(yield* connect(server)), "bank__")
      for (let turn = 0; turn < 3; turn += 1) {
        const running = yield* Effect.forkChild(told(toolkit, "bank__find"))
        yield* advance("11 seconds")
        assert.strictEqual((yield* Fiber.join(running))?.[0], "result")
      }
      assert.lengthOf(server.sessions, 3)
    })
  )

  it.effect("says with each error whether it may have run", () =>
    Effect.gen(function* () {
      const server = yield* bank({
        over: "http",
        faults: Faults.script(
          Faults.on({ tool: "pay", nth: 1 }, Faults.crash({ when: "afterEffect" })),
          Faults.on({ tool: "pay", nth: 2 }, Faults.drop("reply")),
          Faults.on({ tool: "pay", nth: 3 }, Faults.unauthorized())
        )
      })
      const client = McpAgent.client(yield* connect(server))
      const [pay] = yield* client.listTools()
      assert(pay !== undefined)
      const reasons = Effect.fnUntraced(function* () {
        const running = yield* Effect.forkChild(Effect.flip(client.callTool({ tool: pay }, { timeout: "5 seconds" })))
        yield* advance("10 seconds")
        return yield* Fiber.join(running)
      })
      const lost = yield* reasons()
      assert(lost.reason._tag === "TransportError")
      assert.include(lost.reason.description, "may have run")
      const late = yield* reasons()
      assert(late.reason._tag === "TimeoutError")
      assert.include(late.reason.operation, "may have run")
      const refused = yield* reasons()
      assert(refused.reason._tag === "HttpError")
      assert.strictEqual(refused.reason.status, 401)
    })
  )

  it.live(
    "survives three kills of a real server",
    () =>
      Effect.gen(function* () {
        const everything = fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js"))
        const connection = yield* McpConnection.make({
          transport: McpTransport.stdio({
            command: process.execPath,
            args: [
              "--import",
              "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()",
              everything,
              "stdio"
            ]
          }),
          policy: everySecond
        })
        const toolkit = yield* AiClient.toolkit(McpAgent.client(connection))
        for (const message of ["one", "two", "three"]) {
          const { server } = yield* connection.awaitReady
          assert(server.pid !== undefined)
          process.kill(-server.pid, "SIGKILL")
          assert.deepStrictEqual(yield* told(toolkit, "echo", { message }), ["result", `Echo: ${message}`])
        }
        assert.strictEqual((yield* connection.awaitReady).generation, 4)
      }).pipe(Effect.provide(nodeServices), Effect.provideService(References.MinimumLogLevel, "None")),
    60_000
  )
})
