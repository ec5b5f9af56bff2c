import { VirtualClock } from "@mcp-tether/testing"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Random, Ref, Schedule } from "effect"

/** A test in virtual time. */
const virtual = (
  name: string,
  body: Effect.Effect<void, Cause.TimeoutError | string, VirtualClock.VirtualClock>
): void => it.live(name, () => Effect.provide(body, VirtualClock.layer()))

/** Sleeps, then writes its name and the time. */
const note = (log: Array<string>, name: string, after: Duration.Input): Effect.Effect<void> =>
  Effect.andThen(
    Effect.sleep(after),
    Effect.map(Clock.currentTimeMillis, (now) => void log.push(`${name} ${now}`))
  )

const sleeping = VirtualClock.VirtualClock.use((clock) => clock.sleeping)

describe("VirtualClock", () => {
  virtual(
    "lets no time pass by itself",
    Effect.gen(function* () {
      const log: Array<string> = []
      yield* Effect.forkChild(note(log, "a", 1))
      yield* VirtualClock.runFor(0)
      assert.deepStrictEqual(log, [])
      assert.strictEqual(yield* sleeping, 1)
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    })
  )

  virtual(
    "wakes whoever is due, in the order of time, and up to the very end",
    Effect.gen(function* () {
      const log: Array<string> = []
      for (const after of [30, 10, 40, 20, 41]) yield* Effect.forkChild(note(log, "sleeper", after))
      yield* VirtualClock.runFor(40)
      assert.deepStrictEqual(log, ["sleeper 10", "sleeper 20", "sleeper 30", "sleeper 40"])
      assert.strictEqual(yield* Clock.currentTimeMillis, 40)
    })
  )

  virtual(
    "wakes at one time in the order of the sleeps, and ends what one sets off before it wakes the next",
    Effect.gen(function* () {
      const log: Array<string> = []
      const chain = (name: string) =>
        Effect.andThen(Effect.sleep(10), Effect.yieldNow).pipe(
          Effect.andThen(Effect.forkChild(Effect.sync(() => log.push(`${name} child`)))),
          Effect.flatMap(Fiber.join),
          Effect.andThen(Effect.sync(() => log.push(name)))
        )
      for (const name of ["a", "b", "c"]) yield* Effect.forkChild(chain(name))
      yield* VirtualClock.runFor(10)
      assert.deepStrictEqual(log, ["a child", "a", "b child", "b", "c child", "c"])
    })
  )

  virtual(
    "wakes at one time also those who went to sleep later, for a shorter time, and the driver last",
    Effect.gen(function* () {
      const log: Array<string> = []
      yield* Effect.forkChild(Effect.andThen(note(log, "first", 5), note(log, "then", 5)))
      yield* Effect.forkChild(note(log, "other", 10))
      yield* VirtualClock.runFor(10)
      assert.deepStrictEqual(log, ["first 5", "other 10", "then 10"])
    })
  )

  virtual(
    "forgets sleeps that are interrupted",
    Effect.gen(function* () {
      const log: Array<string> = []
      const fibers = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, index) => index),
        (index) => Effect.forkChild(note(log, `${index}`, 1 + ((index * 37) % 100)))
      )
      yield* VirtualClock.runFor(0)
      yield* Fiber.interruptAll(fibers.filter((_, index) => index % 3 !== 0))
      assert.strictEqual(yield* sleeping, 34)
      yield* VirtualClock.runUntilIdle
      const times = log.map((line) => Number(line.split(" ")[1]))
      assert.deepStrictEqual(
        times,
        times.toSorted((a, b) => a - b)
      )
      assert.strictEqual(log.length, 34)
      assert.strictEqual(yield* sleeping, 0)
    })
  )

  virtual(
    "keeps its order while sleeps come and go at random",
    Effect.gen(function* () {
      const log: Array<string> = []
      const expected: Array<readonly [number, string]> = []
      for (let index = 0; index < 500; index += 1) {
        const after = yield* Random.nextIntBetween(1, 50)
        const cancelAfter = yield* Random.nextIntBetween(1, 100)
        const fiber = yield* Effect.forkChild(note(log, `${index}`, after))
        yield* Effect.forkChild(Effect.andThen(Effect.sleep(cancelAfter + 0.5), Fiber.interrupt(fiber)))
        if (after < cancelAfter + 0.5) expected.push([after, `${index} ${after}`])
      }
      yield* VirtualClock.runUntilIdle
      assert.deepStrictEqual(
        log,
        // Stable: equal times in the order of their sleeps.
        expected.toSorted(([a], [b]) => a - b).map(([, line]) => line)
      )
    }).pipe(Random.withSeed("come and go"))
  )

  virtual(
    "times out, and interrupts what took too long",
    Effect.gen(function* () {
      const interrupted = yield* Ref.make(false)
      const fiber = yield* Effect.sleep("10 seconds").pipe(
        Effect.onInterrupt(() => Ref.set(interrupted, true)),
        Effect.timeout("1 second"),
        Effect.exit,
        Effect.forkChild
      )
      const fast = yield* Effect.forkChild(Effect.timeoutOption(Effect.sleep("1 second"), "2 seconds"))
      yield* VirtualClock.runFor("1 second")
      const exit = yield* Fiber.join(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Cause.TimeoutError)
      assert.isTrue(yield* Ref.get(interrupted))
      assert.strictEqual((yield* Fiber.join(fast))._tag, "Some")
      assert.strictEqual(yield* sleeping, 0)
    })
  )

  virtual(
    "drives schedules: repeat, retry, fixed",
    Effect.gen(function* () {
      const log: Array<string> = []
      const tick = (name: string) => Effect.map(Clock.currentTimeMillis, (now) => void log.push(`${name} ${now}`))
      yield* Effect.forkChild(Effect.repeat(tick("spaced"), Schedule.spaced("300 millis")))
      yield* Effect.forkChild(
        Effect.retry(
          Effect.andThen(tick("retry"), Effect.fail("no")),
          Schedule.upTo(Schedule.exponential("100 millis"), { times: 3 })
        ).pipe(Effect.ignore)
      )
      yield* Effect.forkChild(
        Effect.repeat(Effect.andThen(tick("fixed"), Effect.sleep(50)), Schedule.fixed("400 millis"))
      )
      yield* VirtualClock.runFor("1 second")
      assert.deepStrictEqual(log.toSorted(), [
        "fixed 0",
        "fixed 450",
        "fixed 850",
        "retry 0",
        "retry 100",
        "retry 300",
        "retry 700",
        "spaced 0",
        "spaced 300",
        "spaced 600",
        "spaced 900"
      ])
    })
  )

  virtual(
    "runs an effect for as long as it takes, and gives its end",
    Effect.gen(function* () {
      const nested = Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(Effect.delay(Effect.fail("late"), "1 day"))
        yield* VirtualClock.runFor("1 hour")
        assert.strictEqual(yield* Clock.currentTimeMillis, Duration.toMillis("1 hour"))
        return yield* Fiber.join(fiber)
      })
      assert.strictEqual(yield* Effect.flip(VirtualClock.run(nested)), "late")
      assert.strictEqual(yield* Clock.currentTimeMillis, Duration.toMillis("1 day"))
    })
  )

  virtual(
    "lets two drivers end each at its own time",
    Effect.gen(function* () {
      const first = yield* Effect.forkChild(
        Effect.andThen(
          VirtualClock.runFor("1 minute"),
          Effect.clockWith((clock) => clock.currentTimeMillis)
        )
      )
      yield* VirtualClock.runFor("2 minutes")
      assert.strictEqual(yield* Fiber.join(first), 60_000)
      assert.strictEqual(yield* Clock.currentTimeMillis, 120_000)
    })
  )

  virtual(
    "stops when its driver is interrupted",
    Effect.gen(function* () {
      const log: Array<string> = []
      yield* Effect.forkChild(note(log, "later", "1 hour"))
      const driver = yield* Effect.forkChild(VirtualClock.runFor("2 hours"))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(driver)
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      assert.deepStrictEqual(log, [])
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      assert.strictEqual(yield* sleeping, 1)
    })
  )

  virtual(
    "waits for promises that settle by themselves before it jumps",
    Effect.gen(function* () {
      const log: Array<string> = []
      const promised = Effect.promise(async () => {
        for (let hop = 0; hop < 50; hop += 1) await Promise.resolve()
      })
      yield* Effect.forkChild(Effect.andThen(promised, note(log, "after the promise", 1)))
      yield* Effect.forkChild(note(log, "beside", 2))
      yield* VirtualClock.runFor(3)
      assert.deepStrictEqual(log, ["after the promise 1", "beside 2"])
    })
  )

  virtual(
    "does not count as idle while a fiber can run, and does while one waits for another",
    Effect.gen(function* () {
      const never = yield* Deferred.make<void>()
      yield* Effect.forkChild(Deferred.await(never))
      let turns = 0
      yield* Effect.forkChild(
        Effect.repeat(
          Effect.andThen(
            Effect.yieldNow,
            Effect.sync(() => (turns += 1))
          ),
          { times: 99 }
        )
      )
      yield* VirtualClock.runUntilIdle
      assert.strictEqual(turns, 100)
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    })
  )

  virtual(
    "yields on a sleep of nothing, and sleeps for ever on an infinite one",
    Effect.gen(function* () {
      yield* Effect.sleep(0)
      yield* Effect.forkChild(Effect.sleep(Duration.infinity))
      yield* VirtualClock.runUntilIdle
      assert.strictEqual(yield* sleeping, 0)
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
    })
  )

  it.live("counts nanoseconds exactly, also in these days", () =>
    Effect.gen(function* () {
      yield* VirtualClock.runFor("1500 micros")
      assert.strictEqual(yield* Clock.currentTimeNanos, 1_800_000_000_001_500_000n)
      assert.strictEqual(yield* Clock.monotonicTimeNanos, 1_500_000n)
    }).pipe(Effect.provide(VirtualClock.layer({ now: 1_800_000_000_000 })))
  )

  virtual(
    "scales: 100,000 fibers sleep three times each",
    Effect.gen(function* () {
      let woken = 0
      let last = 0
      yield* Effect.forEach(
        Array.from({ length: 100_000 }, (_, index) => index),
        (index) =>
          Effect.forkChild(
            Effect.gen(function* () {
              for (let sleep = 0; sleep < 3; sleep += 1) {
                yield* Effect.sleep(1 + ((index * 7_919 + sleep * 104_729) % 60_000))
                const now = yield* Clock.currentTimeMillis
                assert.isAtLeast(now, last)
                last = now
                woken += 1
              }
            })
          ),
        { discard: true }
      )
      yield* VirtualClock.runUntilIdle
      assert.strictEqual(woken, 300_000)
      assert.isAtMost(yield* Clock.currentTimeMillis, 180_000)
    })
  )
})
