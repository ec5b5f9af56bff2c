/** Tools that are not offered: in no list, and not called. */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { tool } from "@mcp-tether/testing/SimulatedServer"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as McpAgent from "../src/McpAgent.ts"
import * as McpConnection from "../src/McpConnection.ts"
import type { RequestError } from "../src/RequestError.ts"
import { connect } from "./support/connect.ts"
import { advance, settle } from "./support/time.ts"

const bank = () => SimulatedServer.makeUnsafe({ tools: { find: {}, pay: {}, refund: {} } })
const filter = { only: ["find", "pay"], except: ["pay"] }
const turnedOff = "it is turned off (tools.except; disabled_tools or excludeTools in a file)"

/** What is logged with at least this level while `effect` runs. */
const logged = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    if (logLevel === "Warn") lines.push(JSON.stringify(message))
  })
  yield* Effect.provide(effect, Logger.layer([logger]))
  return lines
})

describe("a connection that offers some of its server's tools", () => {
  it.effect("has only those in its lists, however they are asked for", () =>
    Effect.gen(function* () {
      const connection = yield* connect(bank(), { tools: filter })
      assert.deepStrictEqual(
        (yield* connection.listTools()).map(({ name }) => name),
        ["find"]
      )
      const { tools } = yield* connection.request("tools/list")
      assert.deepStrictEqual(
        tools.map(({ name }) => name),
        ["find"]
      )
      const { tools: known } = yield* connection.catalog
      assert.deepStrictEqual(
        known?.items.map(({ name }) => name),
        ["find"]
      )
      // Whoever makes something of a list need not make it again.
      assert.strictEqual((yield* connection.catalog).tools?.items, known?.items)
    })
  )

  it.effect("calls none of the others in any way, and says why", () =>
    Effect.gen(function* () {
      const simulation = bank()
      const connection = yield* connect(simulation, { tools: filter })
      const calls: ReadonlyArray<Effect.Effect<unknown, RequestError>> = [
        connection.callTool({ name: "pay" }),
        connection.request("tools/call", { name: "pay" }),
        Stream.runDrain(connection.callToolStream({ name: "pay" }))
      ]
      for (const call of calls) {
        const error = yield* Effect.flip(Effect.asVoid(call))
        assert.strictEqual(error._tag, "InvalidRequest")
        assert.include(error.message, turnedOff)
      }
      const error = yield* Effect.flip(connection.callTool({ name: "refund" }))
      assert.include(error.message, "it is not one of those that are turned on")
      yield* connection.callTool({ name: "find" })
      assert.deepStrictEqual(simulation.ran, ["find"])
    })
  )

  it.effect("tells of no change of the others", () =>
    Effect.gen(function* () {
      const simulation = bank()
      let tools = ["find", "pay"].map((name) => tool(name))
      simulation.behavior.handle = (call) =>
        call.ticket.method === "tools/list" ? Effect.sync(() => ({ tools })) : call.run
      const connection = yield* connect(simulation, { tools: filter })
      yield* connection.listTools()
      const seen: Array<ReadonlyArray<string>> = []
      yield* connection.events.pipe(
        Stream.runForEach((event) =>
          Effect.sync(() => {
            if (event._tag === "CatalogChanged") seen.push(event.changes.tools?.removed ?? [])
          })
        ),
        Effect.forkScoped({ startImmediately: true })
      )
      const changed = Effect.andThen(
        simulation.notify({ method: "notifications/tools/list_changed", params: undefined }),
        advance("3 seconds")
      )
      tools = [tool("find")]
      yield* changed
      assert.deepStrictEqual(seen, [])
      tools = []
      yield* changed
      assert.deepStrictEqual(seen, [["find"]])
    })
  )

  it.effect("says in the log, once, which names are no tools of the server", () =>
    Effect.gen(function* () {
      const connection = yield* connect(bank(), { name: "bank", tools: { except: ["pya", "refund"] } })
      const lines = yield* logged(Effect.andThen(connection.listTools(), connection.listTools()))
      assert.deepStrictEqual(lines, [
        `["mcp tools are turned on or off that the server does not have",{"server":"bank","tools":["pya"]}]`
      ])
    })
  )
})

describe("an agent over such a connection", () => {
  it.effect("is offered the rest, and is told why the others do not run", () =>
    Effect.gen(function* () {
      const simulation = bank()
      const connection = yield* McpConnection.make({ transport: simulation.transport, tools: filter })
      yield* settle
      const agent = McpAgent.make({ bank: connection })
      assert.deepStrictEqual(
        (yield* agent.offers).map(({ name }) => name),
        ["bank__find"]
      )
      const paid = yield* agent.ask("bank__pay", {})
      assert.deepInclude(paid, {
        fate: "DidNotRun",
        text: `bank__pay did not run: ${turnedOff}. Do without it.`
      })
      assert.include((yield* agent.ask("bank__refund", {})).text, "it is not one of those that are turned on")
      assert.strictEqual((yield* agent.ask("bunk__find", {})).text, "There is no tool bunk__find.")
      assert.deepStrictEqual(simulation.ran, [])
    })
  )
})
