import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { connect } from "../support/connect.ts"
import { advance } from "../support/time.ts"

/** A start that writes every five seconds, and shakes hands after `seconds`, if ever. */
const installing = (seconds: number) =>
  SimulatedServer.makeUnsafe({
    open: (_attempt, context) =>
      Effect.sync(context.onActivity).pipe(
        Effect.repeat(Schedule.spaced("5 seconds")),
        Effect.timeoutOption(`${seconds} seconds`),
        Effect.asVoid
      )
  })

describe("a start that takes longer than startupTimeout", () => {
  it.effect("is not cut off while the server is still writing, as when npx installs it", () =>
    Effect.gen(function* () {
      const simulation = installing(200)
      const connection = yield* connect(simulation, { startupTimeout: "60 seconds" })
      yield* advance("201 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      assert.deepStrictEqual(simulation.attempts, [0])
    })
  )

  it.effect("is cut off after five times startupTimeout, even if it is writing", () =>
    Effect.gen(function* () {
      const simulation = installing(10_000)
      const connection = yield* connect(simulation, { startupTimeout: "60 seconds" })
      yield* advance("299 seconds")
      assert.strictEqual(simulation.attempts.length, 1)
      yield* advance("2 seconds")
      const state = yield* connection.state
      assert(state._tag === "Connecting" && state.cause?.reason._tag === "StartupTimeout")
    })
  )

  it.effect("is cut off at startupTimeout when the server is silent", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
      const connection = yield* connect(simulation, { startupTimeout: "60 seconds" })
      yield* advance("59 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Connecting", cause: undefined })
      yield* advance("1 second")
      const state = yield* connection.state
      assert(state._tag === "Connecting" && state.cause?.reason._tag === "StartupTimeout")
    })
  )

  it.effect("is cut off once the server has been quiet for a quarter of startupTimeout", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: (_attempt, context) =>
          Effect.andThen(Effect.delay(Effect.sync(context.onActivity), "58 seconds"), Effect.never)
      })
      const connection = yield* connect(simulation, { startupTimeout: "60 seconds" })
      yield* advance("72 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Connecting", cause: undefined })
      yield* advance("1 second")
      const state = yield* connection.state
      assert(state._tag === "Connecting" && state.cause?.reason._tag === "StartupTimeout")
    })
  )
})
