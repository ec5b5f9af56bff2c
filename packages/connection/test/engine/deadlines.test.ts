import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Deadlines from "../../src/internal/engine/deadlines.ts"

/** Notes who was due, and for how long more each is waited for. */
const book = (deadlines: Deadlines.Deadlines) => {
  const due: Array<string> = []
  return {
    due,
    add: (name: string, millis: number, ...more: ReadonlyArray<number>) => {
      const left = [...more]
      return deadlines.add(millis, () => {
        due.push(name)
        return left.shift() ?? 0
      })
    }
  }
}

/** One on which no time passes. */
const clockThatStands: Clock.Clock = {
  currentTimeMillisUnsafe: () => 0,
  currentTimeMillis: Effect.succeed(0),
  currentTimeNanosUnsafe: () => 0n,
  currentTimeNanos: Effect.succeed(0n),
  monotonicTimeNanosUnsafe: () => 0n,
  monotonicTimeNanos: Effect.succeed(0n),
  sleep: () => Effect.never
}

describe("deadlines", () => {
  it.effect("are due in the order of their times, none before its own", () =>
    Effect.gen(function* () {
      const { add, due } = book(yield* Deadlines.make)
      add("long", 60_000)
      add("short", 1_000)
      add("longer", 90_000)
      yield* TestClock.adjust(500)
      add("shorter", 400)
      add("short again", 1_000)
      yield* TestClock.adjust(399)
      assert.deepStrictEqual(due, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(due, ["shorter"])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(due, ["shorter", "short"])
      yield* TestClock.adjust(499)
      assert.deepStrictEqual(due, ["shorter", "short"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(due, ["shorter", "short", "short again"])
      yield* TestClock.adjust(58_500)
      assert.deepStrictEqual(due.slice(3), ["long"])
      yield* TestClock.adjust(30_000)
      assert.deepStrictEqual(due.slice(4), ["longer"])
    })
  )

  it.effect("that are removed are never due, and hold up no other", () =>
    Effect.gen(function* () {
      const deadlines = yield* Deadlines.make
      const { add, due } = book(deadlines)
      const first = add("first", 1_000)
      add("second", 1_000)
      add("third", 2_000)
      deadlines.remove(first)
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(due, ["second"])
      deadlines.remove(first)
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(due, ["second", "third"])
      add("fourth", 500)
      yield* TestClock.adjust(500)
      assert.deepStrictEqual(due.slice(2), ["fourth"])
    })
  )

  it.effect("that are waited for longer are due again then, beside others", () =>
    Effect.gen(function* () {
      const { add, due } = book(yield* Deadlines.make)
      add("renewed", 1_000, 700, 1_000)
      add("other", 1_000)
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(due, ["renewed", "other"])
      yield* TestClock.adjust(699)
      assert.strictEqual(due.length, 2)
      yield* TestClock.adjust(1)
      assert.strictEqual(due.length, 3)
      yield* TestClock.adjust(1_000)
      assert.strictEqual(due.length, 4)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(due.length, 4)
    })
  )

  it.effect("that are waited for longer can be removed as before", () =>
    Effect.gen(function* () {
      const deadlines = yield* Deadlines.make
      const { add, due } = book(deadlines)
      const renewed = add("renewed", 1_000, 700)
      yield* TestClock.adjust(1_000)
      deadlines.remove(renewed)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(due, ["renewed"])
    })
  )

  it.effect("may be further away than a timer reaches", () =>
    Effect.gen(function* () {
      const { add, due } = book(yield* Deadlines.make)
      add("in a year", 365 * 86_400_000)
      yield* TestClock.adjust("364 days")
      assert.deepStrictEqual(due, [])
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(due, ["in a year"])
    })
  )

  it.effect("do not outlive their scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { add, due } = book(yield* Scope.provide(Deadlines.make, scope))
      add("late", 1_000)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(due, [])
    })
  )

  it.effect("of all connections on one clock share a sleeper, until the last of them is closed", () =>
    Effect.gen(function* () {
      const [first, second] = [yield* Scope.make(), yield* Scope.make()]
      const one = book(yield* Scope.provide(Deadlines.make, first))
      const other = book(yield* Scope.provide(Deadlines.make, second))
      one.add("one", 1_000)
      other.add("other", 2_000)
      yield* Scope.close(first, Exit.void)
      yield* TestClock.adjust(2_000)
      assert.deepStrictEqual(other.due, ["other"])
      other.add("never", 1_000)
      yield* Scope.close(second, Exit.void)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(other.due, ["other"])
      // Whoever comes after the last one begins anew.
      const again = book(yield* Deadlines.make)
      again.add("again", 1_000)
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(again.due, ["again"])
    })
  )

  it.effect("on other clocks are due on those", () =>
    Effect.gen(function* () {
      const here = book(yield* Deadlines.make)
      const real = book(yield* Effect.provideService(Deadlines.make, Clock.Clock, clockThatStands))
      here.add("here", 1_000)
      real.add("there", 1_000)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual([here.due, real.due], [["here"], []])
    })
  )

  it("come although another one throws", async () => {
    const clock = Clock.Clock.defaultValue()
    const thrown: Array<unknown> = []
    const others = process.rawListeners("uncaughtException")
    process.removeAllListeners("uncaughtException").on("uncaughtException", (error) => thrown.push(error))
    const due = await Effect.gen(function* () {
      const deadlines = yield* Effect.provideService(Deadlines.make, Clock.Clock, clock)
      const { add, due } = book(deadlines)
      const failure = new Error("not ours")
      deadlines.add(5, () => {
        throw failure
      })
      add("next", 5)
      add("later", 20)
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 60)))
      assert.deepStrictEqual(thrown, [failure])
      return due
    })
      .pipe(Effect.scoped, Effect.runPromise)
      .finally(() => {
        process.removeAllListeners("uncaughtException")
        for (const other of others) process.on("uncaughtException", other as (error: Error) => void)
      })
    assert.deepStrictEqual(due, ["next", "later"])
  })
})
