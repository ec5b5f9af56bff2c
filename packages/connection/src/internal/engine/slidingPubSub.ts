/**
 * A sliding `PubSub` that takes memory for what waits in it. `PubSub.sliding` takes it for all that could, whether or not anyone ever
 * subscribes: 16 KiB for each 1,024 places, half of what a connection weighs.
 */
import type * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"

export const make = <A>(options: {
  readonly capacity: number
  readonly replay?: number
}): Effect.Effect<PubSub.PubSub<A>> =>
  PubSub.make({ atomicPubSub: () => atomic<A>(options), strategy: () => new PubSub.SlidingStrategy() })

/** The linked list of an unbounded one, full at `capacity`. */
const atomic = <A>(options: { readonly capacity: number; readonly replay?: number }): PubSub.PubSub.Atomic<A> => {
  const { capacity } = options
  const list = PubSub.makeAtomicUnbounded<A>(options)
  const isFull = (): boolean => list.size() >= capacity
  const publish = (value: A): boolean => !isFull() && list.publish(value)
  return {
    capacity,
    isEmpty: () => list.isEmpty(),
    isFull,
    size: () => list.size(),
    publish,
    publishAll: (values) => Array.from(values).filter((value) => !publish(value)),
    slide: () => list.slide(),
    subscribe: () => list.subscribe(),
    replayWindow: () => list.replayWindow()
  }
}
