import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Turns from "../../src/internal/engine/turns.ts"
import { advance, settle } from "../support/time.ts"

describe("turns", () => {
  it.effect("of one key one is taken at a time, in the order of their coming; others do not wait", () =>
    Effect.gen(function* () {
      const turns = Turns.make()
      const log: Array<string> = []
      const taken = (key: string, name: string) =>
        turns.take(
          key,
          Effect.gen(function* () {
            log.push(`> ${name}`)
            yield* Effect.sleep("1 second")
            log.push(`< ${name}`)
          })
        )
      const all = yield* Effect.forEach(["1", "2", "3"], (name) => Effect.forkChild(taken("a", name)))
      const other = yield* Effect.forkChild(taken("b", "other"))
      yield* settle
      assert.deepStrictEqual(log, ["> 1", "> other"])
      for (let i = 0; i < 3; i += 1) yield* advance("1 second")
      yield* Fiber.joinAll([...all, other])
      assert.deepStrictEqual(
        log.filter((line) => !line.includes("other")),
        ["> 1", "< 1", "> 2", "< 2", "> 3", "< 3"]
      )
    })
  )

  it.effect("nothing is kept of a key that nobody uses, however its users went", () =>
    Effect.gen(function* () {
      const turns = Turns.make()
      const slow = yield* Effect.forkChild(turns.take("a", Effect.never))
      const waiting = yield* Effect.forkChild(turns.take("a", Effect.void))
      yield* settle
      assert.strictEqual(turns.size(), 1)
      yield* Fiber.interrupt(waiting)
      assert.strictEqual(turns.size(), 1)
      yield* Fiber.interrupt(slow)
      assert.strictEqual(turns.size(), 0)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(turns.take("b", Effect.fail("no")))))
      yield* turns.take("c", Effect.void)
      assert.strictEqual(turns.size(), 0)
    })
  )

  it.effect("who comes while the last one leaves still waits for it", () =>
    Effect.gen(function* () {
      const turns = Turns.make()
      let busy = 0
      const step = turns.take(
        "a",
        Effect.gen(function* () {
          busy += 1
          assert.strictEqual(busy, 1)
          yield* Effect.sleep("10 millis")
          busy -= 1
        })
      )
      const fibers = yield* Effect.forEach(Array.from({ length: 20 }), (_, i) =>
        Effect.forkChild(Effect.delay(step, i * 5))
      )
      for (let i = 0; i < 30; i += 1) yield* advance("10 millis")
      yield* Fiber.joinAll(fibers)
      assert.strictEqual(turns.size(), 0)
    })
  )
})
