import { assert, describe, it } from "@effect/vitest"
import { Effect, PubSub, Random } from "effect"
import * as SlidingPubSub from "../../src/internal/engine/slidingPubSub.ts"

const replays = [undefined, 1, 3]

/** What the readers of a `PubSub` see, while messages, readers and readings come and go at random. */
const history = (pubsub: PubSub.PubSub<number>) =>
  Effect.gen(function* () {
    const seen: Array<ReadonlyArray<number>> = []
    const readers: Array<PubSub.Subscription<number>> = []
    for (let message = 0; message < 400; message += 1) {
      const dice = yield* Random.nextIntBetween(0, 100)
      const reader = readers[yield* Random.nextIntBetween(0, Math.max(1, readers.length))]
      if (dice < 5) readers.push(yield* PubSub.subscribe(pubsub))
      else if (dice < 25 && reader !== undefined) seen.push(yield* PubSub.takeUpTo(reader, dice % 6))
      else yield* PubSub.publish(pubsub, message)
    }
    for (const reader of readers) seen.push(yield* PubSub.takeUpTo(reader, 1_000))
    return seen
  }).pipe(Effect.scoped)

describe("slidingPubSub", () => {
  it.effect("tells its readers what PubSub.sliding would", () =>
    Effect.gen(function* () {
      for (const replay of replays) {
        for (let seed = 0; seed < 30; seed += 1) {
          const options = { capacity: 8, ...(replay === undefined ? {} : { replay }) }
          const expected = yield* Effect.flatMap(PubSub.sliding<number>(options), history).pipe(Random.withSeed(seed))
          const actual = yield* Effect.flatMap(SlidingPubSub.make<number>(options), history).pipe(Random.withSeed(seed))
          assert.deepStrictEqual(actual, expected)
        }
      }
    })
  )

  it.effect("keeps nothing that nobody reads, and at most its capacity", () =>
    Effect.gen(function* () {
      const pubsub = yield* SlidingPubSub.make<number>({ capacity: 4 })
      yield* PubSub.publishAll(pubsub, [1, 2, 3])
      assert.strictEqual(PubSub.sizeUnsafe(pubsub), 0)
      const reader = yield* PubSub.subscribe(pubsub)
      yield* PubSub.publishAll(pubsub, [1, 2, 3, 4, 5, 6])
      assert.strictEqual(PubSub.sizeUnsafe(pubsub), 4)
      assert.deepStrictEqual(yield* PubSub.takeUpTo(reader, 9), [3, 4, 5, 6])
    }).pipe(Effect.scoped)
  )
})
