import { assert, describe, it } from "@effect/vitest"
import { JumpingClock, VirtualClock } from "@mcp-tether/testing"
import { Clock, Duration, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"

const hour = 3_600_000

/** A test on a machine that can sleep. */
const sleepy = (
  name: string,
  body: Effect.Effect<void, never, JumpingClock.JumpingClock | VirtualClock.VirtualClock>
): void => it.live(name, () => Effect.provide(body, Layer.provideMerge(JumpingClock.layer, VirtualClock.layer())))

describe("JumpingClock", () => {
  sleepy(
    "is the clock that it is built on, until it jumps",
    Effect.gen(function* () {
      yield* VirtualClock.runFor("5 seconds")
      assert.strictEqual(yield* Clock.currentTimeMillis, 5_000)
      yield* JumpingClock.jump("8 hours")
      assert.strictEqual(yield* Clock.currentTimeMillis, 8 * hour + 5_000)
      yield* VirtualClock.runFor("1 second")
      assert.strictEqual(yield* Clock.currentTimeMillis, 8 * hour + 6_000)
    })
  )

  sleepy(
    "jumps in all that tells the time, and not in what only counts it",
    Effect.gen(function* () {
      yield* JumpingClock.jump("1 hour")
      const clock = yield* Clock.Clock
      assert.strictEqual(clock.currentTimeMillisUnsafe(), hour)
      assert.strictEqual(yield* clock.currentTimeNanos, BigInt(hour) * 1_000_000n)
      assert.strictEqual(clock.currentTimeNanosUnsafe(), BigInt(hour) * 1_000_000n)
      assert.strictEqual(yield* clock.monotonicTimeNanos, 0n)
    })
  )

  sleepy(
    "jumps by less than a millisecond in nanoseconds, too",
    Effect.gen(function* () {
      yield* JumpingClock.jump("1500 micros")
      const clock = yield* Clock.Clock
      assert.strictEqual(clock.currentTimeMillisUnsafe(), 1.5)
      assert.strictEqual(clock.currentTimeNanosUnsafe(), 1_500_000n)
    })
  )

  sleepy(
    "ends no sleep sooner, and none later",
    Effect.gen(function* () {
      const nap = yield* Effect.forkChild(Effect.andThen(Effect.sleep("10 seconds"), Clock.currentTimeMillis))
      yield* VirtualClock.runFor("4 seconds")
      yield* JumpingClock.jump("1 hour")
      yield* VirtualClock.runFor("5999 millis")
      assert.isUndefined(nap.pollUnsafe())
      yield* VirtualClock.runFor(1)
      assert.strictEqual(yield* Fiber.join(nap), hour + 10_000)
    })
  )

  sleepy(
    "jumps back, and several jumps add up",
    Effect.gen(function* () {
      yield* VirtualClock.runFor("1 minute")
      yield* JumpingClock.jump("2 hours")
      yield* JumpingClock.jump("1 hour", "back")
      assert.strictEqual(yield* Clock.currentTimeMillis, hour + 60_000)
      yield* JumpingClock.jump(Duration.hours(1), "back")
      yield* JumpingClock.jump("30 seconds", "back")
      assert.strictEqual(yield* Clock.currentTimeMillis, 30_000)
    })
  )

  sleepy(
    "leaves timeouts and measured times to the timers",
    Effect.gen(function* () {
      const waiting = yield* Effect.forkChild(Effect.timeoutOption(Effect.never, "10 seconds"))
      yield* VirtualClock.runFor(0)
      yield* JumpingClock.jump("1 day")
      yield* VirtualClock.runFor("9 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      yield* VirtualClock.runFor("1 second")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "None")
    })
  )

  it.effect("works on TestClock, whose adjust goes on working under it", () =>
    Effect.gen(function* () {
      const nap = yield* Effect.forkChild(Effect.andThen(Effect.sleep("10 seconds"), Clock.currentTimeMillis))
      yield* TestClock.adjust("4 seconds")
      yield* JumpingClock.jump("1 hour")
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual(yield* Fiber.join(nap), hour + 10_000)
      assert.strictEqual(yield* Clock.currentTimeMillis, hour + 10_000)
    }).pipe(Effect.provide(JumpingClock.layer))
  )

  it.effect("made by hand jumps only where it is provided", () =>
    Effect.gen(function* () {
      const { clock, jump } = yield* JumpingClock.make
      yield* jump("1 hour")
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      assert.strictEqual(yield* Effect.provideService(Clock.currentTimeMillis, Clock.Clock, clock), hour)
      const other = yield* JumpingClock.make
      assert.strictEqual(other.clock.currentTimeMillisUnsafe(), 0)
    })
  )
})
