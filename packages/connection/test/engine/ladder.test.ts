import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited, failure } from "@mcp-tether/testing/SimulatedServer"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Reasons from "../../src/ConnectionError.ts"
import * as ConnectionState from "../../src/ConnectionState.ts"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import { connect, everySecond } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

/** Attempts after the first `n` fail with `error`; the first `n` succeed. */
const failingAfter = (n: number, error: Reasons.ConnectionError) => (attempt: number) =>
  attempt <= n ? Effect.void : Effect.fail(error)

describe("the ladder", () => {
  const rungs = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]

  /** When the attempts begin after a loss at `from`: at once, then by the seeded draws. */
  const expected = (seed: string, from: number) =>
    Effect.forEach(rungs, (rung) => Effect.map(Random.next, (draw) => Math.round(rung * draw))).pipe(
      Random.withSeed(seed),
      Effect.map((delays) =>
        delays.reduce<ReadonlyArray<number>>((times, delay) => [...times, (times.at(-1) ?? 0) + delay], [from])
      )
    )

  it.effect("default: the attempts come exactly at the seeded draws", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: failingAfter(1, exited) })
      yield* connect(simulation, { policy: ReconnectPolicy.default }).pipe(Random.withSeed("exact"))
      yield* advance("20 seconds")
      yield* simulation.current.lose()
      yield* advance("3 minutes")
      const times = yield* expected("exact", 20_000)
      assert.deepStrictEqual(simulation.attempts.slice(1, times.length + 1), times)
    })
  )

  it.effect("a Schedule of the user's is followed as it is, without jitter", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      yield* connect(simulation, { policy: Schedule.exponential("100 millis", 2) })
      yield* advance("7 seconds")
      assert.deepStrictEqual(simulation.attempts, [0, 100, 300, 700, 1500, 3100, 6300])
    })
  )

  it.effect("a Schedule that reads the error decides by it", () =>
    Effect.gen(function* () {
      const policy: ReconnectPolicy.ReconnectPolicy = Schedule.spaced("1 second").pipe(
        Schedule.setInputType<Reasons.ConnectionError>(),
        Schedule.while(({ input }) => input.exitCode !== 78)
      )
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) => Effect.fail(failure(new Reasons.ProcessExited({ exitCode: attempt === 3 ? 78 : 1 })))
      })
      const connection = yield* connect(simulation, { policy })
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.attempts, [0, 1000, 2000])
      assert.strictEqual((yield* connection.state)._tag, "Failed")
    })
  )

  it.effect("the connection is Failed, with the last error, when the policy ends", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: failingAfter(1, exited) })
      const connection = yield* connect(simulation, { policy: Schedule.upTo(everySecond, { times: 3 }) })
      yield* advance("10 seconds")
      yield* simulation.current.lose(failure(new Reasons.TransportClosed({ description: "EPIPE" })))
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.attempts, [0, 11_000, 12_000, 13_000])
      assert.deepStrictEqual(yield* connection.state, { _tag: "Failed", error: exited, lostAt: 10_000 })
    })
  )

  it.effect("a policy bounded in time ends after that time", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const connection = yield* connect(simulation, { policy: Schedule.upTo(everySecond, { duration: "5 seconds" }) })
      yield* advance("1 hour")
      assert.strictEqual((yield* connection.state)._tag, "Failed")
      assert.isAtLeast(simulation.attempts.length, 5)
      assert.isAtMost(simulation.attempts.at(-1) ?? 0, 6000)
    })
  )

  it.effect("bounded(3): three attempts after a loss, then Failed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: failingAfter(1, exited) })
      const connection = yield* connect(simulation, { policy: ReconnectPolicy.bounded(3) })
      yield* advance("10 seconds")
      yield* simulation.current.lose()
      yield* advance("1 hour")
      assert.strictEqual((yield* connection.state)._tag, "Failed")
      assert.lengthOf(simulation.attempts, 1 + 3)
    })
  )

  it.effect("bounded(3): three retries at the start, then Failed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const connection = yield* connect(simulation, { policy: ReconnectPolicy.bounded(3) })
      yield* advance("1 hour")
      assert.strictEqual((yield* connection.state)._tag, "Failed")
      assert.lengthOf(simulation.attempts, 1 + 3)
    })
  )

  it.effect("never: the first loss is the end", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { policy: ReconnectPolicy.never })
      yield* advance("1 minute")
      yield* simulation.current.lose()
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.attempts, [0])
      assert.strictEqual((yield* connection.state)._tag, "Failed")
    })
  )

  it.effect("a session that lived stableAfter resets it; one that did not leaves it where it was", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const policy = Schedule.exponential("1 second", 2)
      const connection = yield* connect(simulation, { policy, stableAfter: "10 seconds" })

      /** The delay before the next attempt, when the session is lost after `life`. */
      const delayAfter = Effect.fnUntraced(function* (life: Duration.Input) {
        yield* advance(life)
        yield* simulation.current.lose()
        yield* settle
        const due = ConnectionState.retryAtOf(yield* connection.state) ?? Number.NaN
        const delay = due - (yield* Clock.currentTimeMillis)
        yield* advance(delay)
        return delay
      })

      assert.strictEqual(yield* delayAfter(0), 1000)
      assert.strictEqual(yield* delayAfter("1 second"), 2000)
      assert.strictEqual(yield* delayAfter("9999 millis"), 4000)
      assert.strictEqual(yield* delayAfter("10 seconds"), 1000)
      assert.strictEqual(yield* delayAfter(0), 2000)
    })
  )

  it.effect("a server that shakes hands and dies climbs it, although every attempt succeeds", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      simulation.behavior.lost = (session) =>
        Effect.andThen(Effect.sleep("1 second"), Effect.succeed(exited)).pipe(Effect.tap(() => session.lose()))
      yield* connect(simulation, { policy: Schedule.exponential("1 second", 2) })
      yield* advance("40 seconds")
      assert.deepStrictEqual(simulation.attempts, [0, 2000, 5000, 10_000, 19_000, 36_000])
    })
  )

  it.effect("a slow attempt does not shorten the delay after it", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: () => Effect.andThen(Effect.sleep("700 millis"), Effect.fail(exited))
      })
      yield* connect(simulation)
      yield* advance("5 seconds")
      assert.deepStrictEqual(simulation.attempts, [0, 1700, 3400])
    })
  )

  it.effect("a session is counted from its handshake, not from the beginning of its attempt", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("9 seconds") })
      const connection = yield* connect(simulation, { policy: Schedule.exponential("1 second", 2) })
      for (const _ of [1, 2]) {
        yield* advance("9 seconds")
        yield* advance("2 seconds")
        yield* simulation.current.lose()
        yield* advance("1 second")
      }
      assert.deepInclude(yield* connection.state, { _tag: "Reconnecting", nextAttemptAt: 25_000 })
    })
  )
})
