/** One budget of attempts for many connections: so many at a time, so many in a burst, and so many more each second. */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Semaphore from "effect/Semaphore"
import type { Admission } from "../../McpConnection.ts"

export interface Options {
  readonly concurrency: number
  readonly slot: Duration.Duration
  readonly burst: number
  readonly perSecond: number
}

export const make = ({ burst, concurrency, perSecond, slot }: Options): Admission => {
  const slots = Semaphore.makeUnsafe(concurrency)
  const every = 1000 / perSecond
  const line = Semaphore.makeUnsafe(1)
  /** When the bucket would be full again (GCRA, ITU-T I.371): one number says all of a token bucket. By the clock that does not jump. */
  let fullAt = Number.NEGATIVE_INFINITY

  /** One after the other; whoever leaves the line has taken nothing. */
  const token = Clock.clockWith((clock) => {
    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const wait = Effect.suspend(() => {
      const millis = Math.max(fullAt, now()) + every - burst * every - now()
      return millis > 0 ? Effect.sleep(millis) : Effect.void
    })
    const take = Effect.sync(() => {
      fullAt = Math.max(fullAt, now()) + every
    })
    return Semaphore.withPermit(line)(Effect.andThen(wait, take))
  })

  return (attempt) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.andThen(
        restore(Effect.andThen(token, Semaphore.take(slots, 1))),
        Effect.suspend(() => {
          let held = true
          const release = Effect.suspend(() => {
            if (!held) return Effect.void
            held = false
            return Effect.asVoid(Semaphore.release(slots, 1))
          })
          return Effect.flatMap(
            // A server that hangs holds up nobody.
            Effect.forkDetach(Effect.andThen(Effect.interruptible(Effect.sleep(slot)), release)),
            (timer) => Effect.ensuring(restore(attempt), Effect.andThen(Fiber.interrupt(timer), release))
          )
        })
      )
    )
}
