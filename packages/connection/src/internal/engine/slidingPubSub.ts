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

/**
 * One that is made when somebody subscribes for the first time: most connections tell nobody of most things. Whoever subscribes is told
 * first what was published last, and before anything was, `initial`; without it, nothing of what was before.
 */
export class OnDemand<A> {
  readonly #capacity: number
  #last: A | undefined
  #made: PubSub.PubSub<A> | undefined

  constructor(capacity: number, initial?: A) {
    this.#capacity = capacity
    this.#last = initial
  }

  publish(value: A): void {
    if (this.#made !== undefined) PubSub.publishUnsafe(this.#made, value)
    else if (this.#last !== undefined) this.#last = value
  }

  /** To subscribe to. */
  get pubsub(): Effect.Effect<PubSub.PubSub<A>> {
    return Effect.sync(() => {
      if (this.#made !== undefined) return this.#made
      const capacity = this.#capacity
      this.#made = Effect.runSync(make<A>(this.#last === undefined ? { capacity } : { capacity, replay: 1 }))
      if (this.#last !== undefined) PubSub.publishUnsafe(this.#made, this.#last)
      return this.#made
    })
  }
}

/** The linked list of an unbounded one, which slides at `capacity` by itself: there is always room, so nobody has to wait to publish. */
const atomic = <A>(options: { readonly capacity: number; readonly replay?: number }): PubSub.PubSub.Atomic<A> => {
  const { capacity } = options
  const list = PubSub.makeAtomicUnbounded<A>(options)
  const isFull = (): boolean => list.size() >= capacity
  const publish = (value: A): boolean => {
    if (isFull()) list.slide()
    return list.publish(value)
  }
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
