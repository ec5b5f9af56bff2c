/**
 * A sliding `PubSub` that takes memory for what waits in it. `PubSub.sliding` takes it for all that could, whether or not anyone ever
 * subscribes: 16 KiB for each 1,024 places, half of what a connection weighs.
 */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"

export const make = <A>(options: {
  readonly capacity: number
  readonly replay?: number
}): Effect.Effect<PubSub.PubSub<A>> =>
  PubSub.make({ atomicPubSub: () => atomic<A>(options), strategy: () => new PubSub.SlidingStrategy() })

/** One that is made when somebody subscribes for the first time: most connections tell nobody of most things. */
export interface OnDemand<A> {
  readonly publish: (value: A) => Effect.Effect<boolean>
  /** To subscribe to. */
  readonly pubsub: Effect.Effect<PubSub.PubSub<A>>
}

/** `initial`: whoever subscribes is told first what was published last, and before anything was, this. */
export const onDemand = <A>(options: { readonly capacity: number; readonly initial?: A }): OnDemand<A> => {
  const { capacity } = options
  let made: PubSub.PubSub<A> | undefined
  let last = options.initial
  return {
    publish: (value) => {
      if (made !== undefined) return PubSub.publish(made, value)
      if (last !== undefined) last = value
      return Effect.succeed(true)
    },
    pubsub: Effect.sync(() => {
      if (made !== undefined) return made
      made = Effect.runSync(make<A>(last === undefined ? { capacity } : { capacity, replay: 1 }))
      if (last !== undefined) PubSub.publishUnsafe(made, last)
      return made
    })
  }
}

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
