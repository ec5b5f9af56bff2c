import * as Effect from "effect/Effect"
import { assert, describe, it } from "vitest"
import { rounds } from "../interleave.ts"
import { seeded } from "../random.ts"

describe("rounds", () => {
  it("measures every subject once in each round, in no fixed order", async () => {
    const order: Array<string> = []
    const subject = (name: string) => Effect.sync(() => order.push(name))
    const measured = await Effect.runPromise(rounds({ a: subject("a"), b: subject("b") }, 20, seeded(2)))
    assert.lengthOf(measured, 20)
    const pairs = Array.from({ length: 20 }, (_, round) => order.slice(2 * round, 2 * round + 2).join(""))
    assert.deepStrictEqual([...new Set(pairs)].sort(), ["ab", "ba"])
    // What a subject measured is kept under its own name: here, the number of measurements taken by then.
    measured.forEach(({ a, b }, round) => {
      assert.strictEqual(order[a - 1], "a", `round ${round}`)
      assert.strictEqual(order[b - 1], "b", `round ${round}`)
    })
  })

  it("fails with the subject that fails", async () => {
    const exit = await Effect.runPromiseExit(rounds({ a: Effect.succeed(1), b: Effect.fail("wrong") }, 3, seeded(2)))
    assert.strictEqual(exit._tag, "Failure")
  })
})
