import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type ConnectionError, ServerUnavailable } from "../src/ConnectionError.ts"
import * as ReconnectPolicy from "../src/ReconnectPolicy.ts"
import { exited, failure } from "./support/simulation.ts"

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
})
