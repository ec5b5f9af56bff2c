/** What happens is told in one go, in the order in which it happened, and a person on call reads of it. */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited, tool } from "@mcp-tether/testing/SimulatedServer"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

describe("what is told", () => {
  it.effect("comes in the order in which it happened, also when who hears of it causes the next thing", () =>
    Effect.gen(function* () {
      let lists = 0
      const simulation = SimulatedServer.makeUnsafe({ listed: () => [tool(`of list ${(lists += 1)}`)] })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const told: Array<string> = []
      // Goes on within the telling of the state, before the event is told.
      yield* connection.changes.pipe(
        Stream.filter((state) => state._tag === "Ready" && state.generation === 2),
        Stream.mapEffect(() => connection.listTools()),
        Stream.runDrain,
        Effect.forkScoped({ startImmediately: true })
      )
      yield* connection.events.pipe(
        Stream.runForEach(({ _tag }) => Effect.sync(() => told.push(_tag))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* settle
      yield* simulation.current.lose(exited)
      yield* advance("2 seconds")
      assert.deepStrictEqual(told, [
        "SessionLost",
        "AttemptScheduled",
        "AttemptStarted",
        "SessionReady",
        // What the new session was asked first, and what the reader asked it.
        "CatalogChanged",
        "CatalogChanged"
      ])
    })
  )
})

describe("that a request is sent again", () => {
  it.effect("is told before its caller is answered", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("read", { readOnlyHint: true })],
        handle: (call) => (call.generation === 1 && call.tool !== undefined ? Effect.never : call.run)
      })
      const connection = yield* connect(simulation)
      const told: Array<string> = []
      yield* connection.events.pipe(
        Stream.runForEach(({ _tag }) => Effect.sync(() => told.push(_tag))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* connection.callTool({ name: "read" }).pipe(
        Effect.tap(() => Effect.sync(() => told.push("answered"))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* settle
      yield* simulation.current.lose(exited)
      yield* advance("2 seconds")
      assert.deepStrictEqual(told.slice(-3), ["SessionReady", "RequestReplayed", "answered"])
    })
  )
})

describe("what is logged of an outage", () => {
  it.effect("is one line when the session is lost, and one when there is another", () => {
    const lines: Array<readonly [string, unknown, unknown]> = []
    const logger = Logger.make(({ fiber, logLevel, message }) => {
      lines.push([logLevel, message, fiber.getRef(References.CurrentLogAnnotations)])
    })
    return Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      yield* connect(simulation, { name: "files" })
      yield* settle
      assert.deepStrictEqual(lines.splice(0), [])
      yield* simulation.current.lose(exited)
      yield* advance("2 seconds")
      assert.deepStrictEqual(
        lines.map(([level, message, annotations]) => [
          level,
          Array.isArray(message) ? message[0] : message,
          annotations
        ]),
        [
          ["Warn", "mcp session lost", { server: "files" }],
          ["Info", "mcp session is back", { server: "files" }]
        ]
      )
      const words = lines[1]?.[1]
      assert.deepInclude(Array.isArray(words) ? words[1] : undefined, { generation: 2 })
    }).pipe(Effect.provide(Logger.layer([logger])))
  })
})
