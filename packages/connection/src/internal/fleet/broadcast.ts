/** What many readers hear from now on, until it ends. A reader far behind misses the oldest, and never the end. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SlidingPubSub from "../engine/slidingPubSub.ts"

export interface Broadcast<A> {
  readonly publish: (value: A) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
  /** What is published after this. */
  readonly subscribe: Effect.Effect<Stream.Stream<A>, never, Scope.Scope>
}

interface Item<A> {
  readonly value: A
}

export const make = Effect.fnUntraced(function* <A>(capacity: number): Effect.fn.Return<Broadcast<A>> {
  const pubsub = yield* SlidingPubSub.make<Item<A> | undefined>({ capacity })
  let ended = false
  const broadcast: Broadcast<A> = {
    publish: (value) => Effect.asVoid(PubSub.publish(pubsub, { value })),
    end: Effect.suspend(() => {
      ended = true
      return Effect.asVoid(PubSub.publish(pubsub, undefined))
    }),
    // Subscribed first: whoever comes after the end has nothing to wait for.
    subscribe: Effect.map(PubSub.subscribe(pubsub), (subscription) =>
      ended
        ? Stream.empty
        : Stream.fromSubscription(subscription).pipe(
            Stream.takeWhile((item): item is Item<A> => item !== undefined),
            Stream.map(({ value }) => value)
          )
    )
  }
  return broadcast
})
