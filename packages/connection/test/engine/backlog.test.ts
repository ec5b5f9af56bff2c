import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Backlog from "../../src/internal/engine/backlog.ts"

/** What is worked off, in order, and how often somebody was started to do it. */
const worked = (backlog: Backlog.Backlog<number>) => {
  const work = { done: [] as Array<number>, starts: 0 }
  backlog.onFirst((items) => {
    work.starts += 1
    Effect.runFork(
      Effect.forever(
        Effect.map(Queue.take(items), (item) => {
          work.done.push(item)
        })
      )
    )
  })
  return work
}

describe("a backlog", () => {
  it("starts nobody before there is something to do, and one for all of it then", async () => {
    const backlog = Backlog.make<number>()
    const work = worked(backlog)
    assert.strictEqual(work.starts, 0)
    backlog.offer(1)
    backlog.offer(2)
    await new Promise((resolve) => setImmediate(resolve))
    backlog.offer(3)
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepStrictEqual(work, { done: [1, 2, 3], starts: 1 })
  })

  it("keeps what came before anybody was there for it", async () => {
    const backlog = Backlog.make<number>()
    backlog.offer(1)
    backlog.offer(2)
    const work = worked(backlog)
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepStrictEqual(work, { done: [1, 2], starts: 1 })
  })
})
