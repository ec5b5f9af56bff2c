import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { call, type Connection, eventsOf, failureOf, isAlive, kill, pidOf, scenario, timed, until } from "./rig.ts"

describe("a frozen server", () => {
  scenario("makes a call time out, with the delivery Unknown", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      kill(pid, "SIGSTOP")
      const [error, took] = yield* timed(failureOf(call(connection, "write", {}, { timeout: "300 millis" })))
      assert(error._tag === "RequestTimeout", error.message)
      assert.strictEqual(error.delivery, "Unknown")
      assert.isDefined(error.requestId)
      assert.strictEqual(error.message, "fixture: tools/call write got no answer within 300ms (delivery: Unknown)")
      assert.isBelow(took, 1500)
      kill(pid, "SIGCONT")
      assert.strictEqual(yield* call(connection, "read"), "ok")
      // A timeout alone is no reason to reconnect.
      assert.strictEqual(yield* pidOf(connection), pid)
    })
  )

  scenario("never sees a request that timed out behind a full pipe: NotSent, while one handed over is Unknown", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      kill(pid, "SIGSTOP")
      const payload = "x".repeat(4_000_000)
      const large = yield* Effect.forkChild(
        failureOf(call(connection, "write", { effect: "large", payload }, { timeout: "1500 millis" }))
      )
      yield* Effect.yieldNow
      const queued = yield* failureOf(
        call(connection, "write", { effect: "queued", payload: "" }, { timeout: "500 millis" })
      )
      const handedOver = yield* Fiber.join(large)
      assert(queued._tag === "RequestTimeout", queued.message)
      assert(handedOver._tag === "RequestTimeout", handedOver.message)
      assert.deepStrictEqual([queued.delivery, handedOver.delivery], ["NotSent", "Unknown"])
      kill(pid, "SIGCONT")
      assert.strictEqual(yield* call(connection, "read", { effect: "after" }), "ok")
      // What was handed over arrives, and its cancellation; what was not, and its cancellation, never do.
      assert.deepStrictEqual(rig.ledger(), ["large", "after"])
      assert.deepStrictEqual(
        rig
          .journal()
          .slice(2)
          .map(({ cancels, id, method, tool }) => [method, tool ?? cancels, id === handedOver.requestId]),
        [
          ["tools/call", "write", true],
          ["notifications/cancelled", handedOver.requestId, false],
          ["tools/call", "read", false]
        ]
      )
    })
  )

  scenario("never sees a request that was interrupted behind a full pipe", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      kill(pid, "SIGSTOP")
      const large = yield* Effect.forkChild(call(connection, "write", { payload: "x".repeat(4_000_000) }))
      yield* Effect.yieldNow
      const queued = yield* Effect.forkChild(call(connection, "write", { effect: "queued" }), {
        startImmediately: true
      })
      yield* Fiber.interrupt(queued)
      kill(pid, "SIGCONT")
      assert.strictEqual(yield* Fiber.join(large), "ok")
      assert.strictEqual(yield* call(connection, "read", { effect: "after" }), "ok")
      assert.deepStrictEqual(rig.ledger(), ["after"])
    })
  )

  scenario("is found out by heartbeats, killed, and replaced", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({
        heartbeat: { interval: "250 millis", timeout: "400 millis", misses: 3 },
        stdio: { closeGrace: "100 millis" }
      })
      const events = yield* eventsOf(connection)
      const pid = yield* pidOf(connection)
      kill(pid, "SIGSTOP")
      const [lost, took] = yield* timed(until("the loss", () => events.find((event) => event._tag === "SessionLost")))
      assert(lost._tag === "SessionLost" && lost.error.reason._tag === "LivenessLost")
      assert.strictEqual(lost.error.reason.missed, 3)
      assert.strictEqual(yield* call(connection, "read"), "ok")
      assert.notStrictEqual(yield* pidOf(connection), pid)
      yield* until("the end of the stopped process", () => !isAlive(pid))
      rig.measured("SIGSTOP to LivenessLost (250 ms, 3 × 400 ms), ms", took)
    })
  )

  const dies = Effect.fnUntraced(function* (connection: Connection) {
    const events = yield* eventsOf(connection)
    const pid = yield* pidOf(connection)
    kill(pid, "SIGSTOP")
    const [lost, took] = yield* timed(until("the loss", () => events.find((event) => event._tag === "SessionLost")))
    assert(lost._tag === "SessionLost" && lost.error.reason._tag === "LivenessLost")
    assert.strictEqual(yield* connection.ping(), undefined)
    assert.notStrictEqual(yield* pidOf(connection), pid)
    return took
  })

  scenario("is found out also when it has no tools, so that the client answers a probe by itself", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({
        heartbeat: { interval: "100 millis", timeout: "300 millis", misses: 3 },
        stdio: { closeGrace: "100 millis" },
        server: { withoutTools: true }
      })
      rig.measured("SIGSTOP to LivenessLost without tools (100 ms, 3 × 300 ms), ms", yield* dies(connection))
    })
  )

  scenario("does not count as busy after a list of many pages", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({
        heartbeat: { interval: "100 millis", timeout: "300 millis", misses: 2, busyGrace: "1 minute" },
        stdio: { closeGrace: "100 millis" },
        server: { pages: 5, extraTools: 1 }
      })
      assert.lengthOf(yield* connection.listTools(), 9)
      rig.measured("SIGSTOP after 5 pages to LivenessLost (100 ms, 2 × 300 ms), ms", yield* dies(connection))
    })
  )

  scenario("that only does not read its stdin is found out as well, and its pending calls settle", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({
        heartbeat: { interval: "250 millis", timeout: "400 millis", misses: 2, busyGrace: "250 millis" },
        stdio: { closeGrace: "100 millis" },
        server: { readPauseMillis: 30_000 }
      })
      // The first chunk, initialize, is read; nothing after it.
      const error = yield* failureOf(call(connection, "write", { effect: "ran" }, { replay: "never" }))
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.reason._tag, "LivenessLost")
      assert.deepStrictEqual(rig.ledger(), [])
    })
  )
})
