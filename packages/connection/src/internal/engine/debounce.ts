/** Waits for a burst to end: quiet for a moment, but never longer than the patience. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"

/** Servers announce a change for each tool they register; 300 ms and 2 s are Cline's numbers (reference/peers.md). */
const announcements: Pace = { quietMillis: 300, patienceMillis: 2000 }

export interface Pace {
  readonly quietMillis: number
  readonly patienceMillis: number
}

/** Takes all of a burst, from its first element on. */
export const settled = Effect.fnUntraced(function* <A>(
  queue: Queue.Dequeue<A>,
  { patienceMillis, quietMillis }: Pace = announcements
): Effect.fn.Return<ReadonlyArray<A>> {
  const burst = [yield* Queue.take(queue)]
  const end = (yield* Clock.currentTimeMillis) + patienceMillis
  while (true) {
    const left = end - (yield* Clock.currentTimeMillis)
    const next = yield* Effect.timeoutOption(Queue.take(queue), Math.max(0, Math.min(quietMillis, left)))
    if (Option.isNone(next)) return burst
    burst.push(next.value)
  }
})
