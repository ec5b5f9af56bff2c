/** What a fiber works off that is there only once there is something to do: most sessions never say that anything has changed. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"

export interface Backlog<A> {
  readonly offer: (item: A) => void
  /** Starts whoever works it off, at the first item. */
  readonly onFirst: (begin: (items: Queue.Dequeue<A>) => void) => void
}

export const make = <A>(): Backlog<A> => {
  let items: Queue.Queue<A> | undefined
  let begin: ((items: Queue.Dequeue<A>) => void) | undefined
  return {
    offer: (item) => {
      const isFirst = items === undefined
      items ??= Effect.runSync(Queue.unbounded<A>())
      Queue.offerUnsafe(items, item)
      if (isFirst) begin?.(items)
    },
    onFirst: (start) => {
      begin = start
      if (items !== undefined) start(items)
    }
  }
}
