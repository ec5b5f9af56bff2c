/** The passing of time in tests. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"

/** Lets every fiber that can run do so; no time passes. */
export const settle: Effect.Effect<void> = Effect.forEach(Array.from({ length: 20 }), () => TestClock.adjust(0), {
  discard: true
})

/** Lets time pass, and every fiber that can run then. */
export const advance = (duration: Duration.Input): Effect.Effect<void> =>
  settle.pipe(Effect.andThen(TestClock.adjust(duration)), Effect.andThen(settle))
