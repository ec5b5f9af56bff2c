/** Those who wait: when they are looked after, in which order, and what is left of those who have gone. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as Deadlines from "../../src/internal/engine/deadlines.ts"
import { Waiters } from "../../src/internal/engine/waiters.ts"

const make = Effect.map(Deadlines.make, (deadlines) => new Waiters(deadlines))

/** Something that is there or not, and how often somebody has looked. */
const thing = () => {
  const box: { there: boolean; looks: number } = { there: false, looks: 0 }
  const look = (): Effect.Effect<string> | undefined => {
    box.looks += 1
    return box.there ? Effect.succeed("there") : undefined
  }
  return { box, look }
}

const after = (millis: number) => ({ duration: Duration.millis(millis), orElse: () => Effect.succeed("late") })

describe("Waiters", () => {
  it.effect("what is there is not waited for", () =>
    Effect.gen(function* () {
      const waiters = yield* make
      const { box, look } = thing()
      box.there = true
      assert.strictEqual(yield* waiters.until(look, after(10)), "there")
      waiters.look()
      assert.strictEqual(box.looks, 1)
    })
  )

  it.effect("they go on in the order in which they came, before `look` returns, and are not looked after again", () =>
    Effect.gen(function* () {
      const waiters = yield* make
      const { box, look } = thing()
      const order: Array<number> = []
      const fibers = yield* Effect.forEach([1, 2, 3], (number) =>
        waiters.until(look).pipe(
          Effect.map(() => order.push(number)),
          Effect.forkChild({ startImmediately: true })
        )
      )
      waiters.look()
      assert.deepStrictEqual(order, [])
      box.there = true
      waiters.look()
      assert.deepStrictEqual(order, [1, 2, 3])
      yield* Effect.forEach(fibers, Fiber.join)
      const { looks } = box
      waiters.look()
      assert.strictEqual(box.looks, looks)
    })
  )

  it.effect("who waits no longer than so long gets the other thing then, and is not looked after again", () =>
    Effect.gen(function* () {
      const waiters = yield* make
      const { box, look } = thing()
      const fiber = yield* Effect.forkChild(waiters.until(look, after(1_000)), { startImmediately: true })
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(fiber), "late")
      const { looks } = box
      waiters.look()
      assert.strictEqual(box.looks, looks)
    })
  )

  it.effect("who has gone on or is interrupted is neither looked after nor late", () =>
    Effect.gen(function* () {
      const waiters = yield* make
      const { box, look } = thing()
      let late = 0
      const counted = {
        duration: Duration.seconds(1),
        orElse: () => {
          late += 1
          return Effect.succeed("late")
        }
      }
      const gone = yield* Effect.forkChild(waiters.until(look, counted), { startImmediately: true })
      yield* Fiber.interrupt(gone)
      const { looks } = box
      waiters.look()
      assert.strictEqual(box.looks, looks)
      const served = yield* Effect.forkChild(waiters.until(look, counted), { startImmediately: true })
      box.there = true
      waiters.look()
      assert.strictEqual(yield* Fiber.join(served), "there")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(late, 0)
    })
  )

  it.effect("whoever goes on and waits again is looked after with the others", () =>
    Effect.gen(function* () {
      const waiters = yield* make
      const first = thing()
      const second = thing()
      const fiber = yield* Effect.forkChild(
        Effect.andThen(waiters.until(first.look), waiters.until(second.look, after(1_000))),
        { startImmediately: true }
      )
      first.box.there = true
      waiters.look()
      assert.isUndefined(fiber.pollUnsafe())
      second.box.there = true
      waiters.look()
      assert.strictEqual(yield* Fiber.join(fiber), "there")
    })
  )
})
