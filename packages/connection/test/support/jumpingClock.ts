/** A TestClock whose wall clock can jump while no timer runs, as it does when a machine sleeps. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

export interface JumpingClock {
  readonly jump: (duration: Duration.Input, direction?: "forward" | "back") => Effect.Effect<void>
  /** Runs something under this clock. The test itself keeps the TestClock, and advances it. */
  readonly under: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const make: Effect.Effect<JumpingClock> = Effect.map(Clock.Clock, (clock) => {
  let offset = 0
  const currentTimeMillisUnsafe = () => clock.currentTimeMillisUnsafe() + offset
  // All else is the TestClock's, the way to advance it too.
  const jumping: Clock.Clock = Object.assign(Object.create(clock), {
    currentTimeMillisUnsafe,
    currentTimeMillis: Effect.sync(currentTimeMillisUnsafe)
  })
  return {
    jump: (duration, direction = "forward") =>
      Effect.sync(() => {
        offset += (direction === "forward" ? 1 : -1) * Duration.toMillis(duration)
      }),
    under: (effect) => Effect.provideService(effect, Clock.Clock, jumping)
  }
})
