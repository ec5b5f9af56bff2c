import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as ReplayBudget from "../../src/internal/engine/replayBudget.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

describe("the replay budget", () => {
  it("gives a burst, then so many a second, and never more than a burst", () => {
    const budget = ReplayBudget.make({ burst: 2, perSecond: 1 })
    assert.deepStrictEqual(
      [0, 0, 0, 500, 1000, 1000, 60_000, 60_000, 60_000].map((now) => budget.spend(now)),
      [true, true, false, false, true, false, true, true, false]
    )
  })

  it.effect("bounds what a reconnect sends again: beyond it a request fails, and says that it was sent", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.never : call.run)
      })
      const connection = yield* connect(simulation, { replayBudget: { burst: 2, perSecond: 1 } })
      const calls = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(Effect.result(connection.ping())))
      yield* settle
      yield* simulation.current.lose()
      yield* advance("2 seconds")
      const results = yield* Effect.forEach(calls, Fiber.join)
      assert.deepStrictEqual(
        results.map((result) => (result._tag === "Success" ? "answered" : result.failure._tag)),
        ["answered", "answered", "ConnectionUnavailable"]
      )
      const last = results[2]
      assert(last?._tag === "Failure" && last.failure._tag === "ConnectionUnavailable")
      assert.deepInclude(last.failure, { because: "NotReplayed", delivery: "Unknown" })
      assert.deepStrictEqual(simulation.generationsOf("ping"), [1, 1, 1, 2, 2])
    })
  )
})
