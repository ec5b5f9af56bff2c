import { assert, describe, it } from "@effect/vitest"
import { exited, failure } from "@mcp-tether/testing/SimulatedServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type ConnectionError, ServerUnavailable } from "../src/ConnectionError.ts"
import * as ReconnectPolicy from "../src/ReconnectPolicy.ts"

/** The delays that a policy answers to these errors with, up to its end. */
const delaysOf = Effect.fnUntraced(function* (
  policy: ReconnectPolicy.ReconnectPolicy,
  errors: ReadonlyArray<ConnectionError>
) {
  const step = yield* Schedule.toStep(policy)
  const delays: Array<number> = []
  let now = 0
  for (const error of errors) {
    const delay = yield* step(now, error).pipe(
      Effect.map(([, delay]) => Option.some(Duration.toMillis(delay))),
      Pull.catchDone(() => Effect.succeedNone)
    )
    if (Option.isNone(delay)) break
    delays.push(delay.value)
    now += delay.value
  }
  return delays
})

const times = (n: number, error: ConnectionError = exited) => Array.from({ length: n }, () => error)

/** What the ladder is drawn from (DESIGN §4): at once, then 250 ms × 2ⁿ, at most 30 s. */
const rungs = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]

const busy = (retryAfter: Duration.Duration) => failure(new ServerUnavailable({ status: 503, retryAfter }))

describe("ReconnectPolicy", () => {
  it.effect("default: at once, then exactly the seeded draw from 0 … 250 ms × 2ⁿ, capped at 30 s", () =>
    Effect.gen(function* () {
      const draws = yield* Effect.forEach(rungs, () => Random.next).pipe(Random.withSeed("ladder"))
      const delays = yield* delaysOf(ReconnectPolicy.default, times(rungs.length + 1)).pipe(Random.withSeed("ladder"))
      assert.deepStrictEqual(delays, [0, ...rungs.map((rung, i) => Math.round(rung * (draws[i] ?? Number.NaN)))])
      assert.isAbove(new Set(delays).size, 8)
    })
  )

  it.effect.prop(
    "default: no delay is above 30 s or below nothing, whatever the draw, and the ladder has no end",
    { seed: Schema.Int },
    ({ seed }) =>
      Effect.gen(function* () {
        const delays = yield* delaysOf(ReconnectPolicy.default, times(40)).pipe(Random.withSeed(seed))
        assert.lengthOf(delays, 40)
        delays.forEach((delay, i) => {
          assert.isAtLeast(delay, 0)
          assert.isAtMost(delay, i === 0 ? 0 : (rungs[i - 1] ?? 30_000))
        })
      }),
    { arbitrary: { runs: 100, seed: 2 } }
  )

  it.effect("default: full jitter spreads the delays over the whole span, not over ±20 %", () =>
    Effect.gen(function* () {
      const tenth = (yield* delaysOf(ReconnectPolicy.default, times(400)).pipe(Random.withSeed(1))).slice(10)
      const count = (from: number, to: number) => tenth.filter((delay) => delay >= from && delay < to).length
      for (const from of [0, 7500, 15_000, 22_500]) assert.isAtLeast(count(from, from + 7500), 60)
    })
  )

  it.effect("default: waits at least what the server asked for, past the cap, and the first time too", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* delaysOf(ReconnectPolicy.default, [busy(Duration.minutes(2))]), [120_000])
      const late = yield* delaysOf(ReconnectPolicy.default, [...times(12), busy(Duration.minutes(2))])
      assert.strictEqual(late.at(-1), 120_000)
    })
  )

  it.effect("default: a Retry-After that is shorter than the rung does not shorten it", () =>
    Effect.gen(function* () {
      const errors = [...times(9), busy(Duration.millis(1))]
      const plain = yield* delaysOf(ReconnectPolicy.default, times(10)).pipe(Random.withSeed("x"))
      const asked = yield* delaysOf(ReconnectPolicy.default, errors).pipe(Random.withSeed("x"))
      assert.deepStrictEqual(asked, plain)
      assert.isAbove(asked.at(-1) ?? 0, 1)
    })
  )

  it.effect("capped: no delay is above the cap; shorter ones are as they were", () =>
    Effect.gen(function* () {
      const policy = ReconnectPolicy.capped(Schedule.exponential("100 millis", 2), "1 second")
      assert.deepStrictEqual(yield* delaysOf(policy, times(6)), [100, 200, 400, 800, 1000, 1000])
    })
  )

  it.effect("atOnceFirst: the first delay is nothing, then the schedule begins with its own first", () =>
    Effect.gen(function* () {
      const policy = ReconnectPolicy.atOnceFirst(Schedule.exponential("100 millis", 2))
      assert.deepStrictEqual(yield* delaysOf(policy, times(4)), [0, 100, 200, 400])
    })
  )

  it.effect("bounded: answers as often as it says, and then ends", () =>
    Effect.gen(function* () {
      assert.lengthOf(yield* delaysOf(ReconnectPolicy.bounded(4), times(20)), 4)
      assert.lengthOf(yield* delaysOf(ReconnectPolicy.bounded(0), times(20)), 0)
    })
  )

  it.effect("never: ends at the first loss", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* delaysOf(ReconnectPolicy.never, times(3)), [])
    })
  )

  for (const [name, policy, first, cap] of [
    ["aggressive", ReconnectPolicy.aggressive, 50, 2000],
    ["patient", ReconnectPolicy.patient, 1000, 300_000]
  ] as const) {
    it.effect(`${name}: at once, then exactly the seeded draw from 0 … ${first} ms × 2ⁿ, capped at ${cap} ms`, () =>
      Effect.gen(function* () {
        const tops = Array.from({ length: 20 }, (_, i) => Math.min(cap, first * 2 ** i))
        const draws = yield* Effect.forEach(tops, () => Random.next).pipe(Random.withSeed(name))
        const delays = yield* delaysOf(policy, times(21)).pipe(Random.withSeed(name))
        assert.deepStrictEqual(delays, [0, ...tops.map((top, i) => Math.round(top * (draws[i] ?? Number.NaN)))])
      })
    )

    it.effect(`${name}: waits at least what the server asked for, past the cap; without end`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* delaysOf(policy, [busy(Duration.minutes(10))]), [600_000])
        assert.lengthOf(yield* delaysOf(policy, times(500)), 500)
      })
    )
  }

  /** The delays, where the session lives as long as told after each of them. */
  const delaysWith = Effect.fnUntraced(function* (
    policy: ReconnectPolicy.ReconnectPolicy,
    lives: ReadonlyArray<number>
  ) {
    const step = yield* Schedule.toStep(policy)
    const delays: Array<number> = []
    let now = 0
    for (const life of lives) {
      now += life
      const delay = yield* step(now, exited).pipe(
        Effect.map(([, delay]) => Duration.toMillis(delay)),
        Pull.catchDone(() => Effect.succeed(-1))
      )
      delays.push(delay)
      if (delay > 0) now += delay
    }
    return delays
  })

  it.effect(
    "provenReset: begins anew after a delay that ended long enough before the next failure, and only then",
    () =>
      Effect.gen(function* () {
        const policy = ReconnectPolicy.provenReset(Schedule.exponential("100 millis", 2), "10 seconds")
        assert.deepStrictEqual(
          yield* delaysWith(policy, [0, 0, 9999, 10_000, 0, 60_000, 5000]),
          [100, 200, 400, 100, 200, 100, 200]
        )
      })
  )

  it.effect("provenReset: what comes before the first failure is no proof of anything", () =>
    Effect.gen(function* () {
      const policy = ReconnectPolicy.provenReset(Schedule.exponential("100 millis", 2), "10 seconds")
      assert.deepStrictEqual(yield* delaysWith(policy, [60_000, 0, 0]), [100, 200, 400])
    })
  )

  it.effect("provenReset: a delay that is itself longer than stableFor proves nothing", () =>
    Effect.gen(function* () {
      const policy = ReconnectPolicy.provenReset(Schedule.exponential("20 seconds", 2), "10 seconds")
      assert.deepStrictEqual(yield* delaysWith(policy, [0, 0, 0]), [20_000, 40_000, 80_000])
    })
  )

  it.effect("provenReset: starts a bounded schedule anew, and ends with it otherwise", () =>
    Effect.gen(function* () {
      const policy = ReconnectPolicy.provenReset(Schedule.upTo(Schedule.spaced("1 second"), { times: 2 }), "10 seconds")
      assert.deepStrictEqual(yield* delaysWith(policy, [0, 0, 10_000, 0, 0]), [1000, 1000, 1000, 1000, -1])
    })
  )

  it.effect("provenReset: two connections with the same policy do not share their ladders", () =>
    Effect.gen(function* () {
      const policy = ReconnectPolicy.provenReset(Schedule.exponential("100 millis", 2), "10 seconds")
      assert.deepStrictEqual(yield* delaysWith(policy, [0, 0, 0]), [100, 200, 400])
      assert.deepStrictEqual(yield* delaysWith(policy, [0, 0, 0]), [100, 200, 400])
    })
  )
})
