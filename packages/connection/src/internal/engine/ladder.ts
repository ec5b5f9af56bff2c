/** The reconnect policy, stepped by hand, so that the delay is known before it is slept and the sleep can be cut short. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import { type ConnectionError, maxMalformed } from "../../ConnectionError.ts"
import type { ReconnectPolicy } from "../../ReconnectPolicy.ts"

export interface Ladder {
  /**
   * The delay before the next attempt, in milliseconds, or `None` when there shall be none. `served`: there was a session before.
   */
  readonly next: (
    now: number,
    error: ConnectionError,
    served: boolean
  ) => Effect.Effect<Option.Option<number>, ConnectionError>
  /** Back to the first rung: a `Schedule` does not reset by itself. */
  readonly reset: Effect.Effect<void, ConnectionError>
}

/** `broken` says what a defect of the policy, which is the user's, is called. */
export const make = Effect.fnUntraced(function* (
  policy: ReconnectPolicy,
  broken: (defect: unknown) => ConnectionError
) {
  const guarded = <A>(effect: Effect.Effect<A>) => Effect.catchDefect(effect, (defect) => Effect.fail(broken(defect)))
  const fresh = Schedule.toStep(policy)
  let step = yield* guarded(fresh)
  let malformed = 0

  const ladder: Ladder = {
    next: (now, error, served) =>
      Effect.suspend(() => {
        malformed = error.reason._tag === "MalformedResponse" ? malformed + 1 : 0
        if (!mayHeal(error, served) || malformed > maxMalformed) return Effect.succeedNone
        return guarded(
          Effect.suspend(() => step(now, error)).pipe(
            Effect.map(([, delay]) => Option.some(Duration.toMillis(delay))),
            Pull.catchDone(() => Effect.succeedNone)
          )
        )
      }),
    reset: Effect.suspend(() => {
      malformed = 0
      return Effect.map(guarded(fresh), (first) => {
        step = first
      })
    })
  }
  return ladder
})

/**
 * Whether another attempt can help. What was there before may only be away for a while: gateways say 404 in the middle of a
 * deployment.
 */
export const mayHeal = (error: ConnectionError, served: boolean): boolean =>
  error.isRetryable || (served && error.reason._tag === "UnexpectedStatus")
