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
  readonly reset: () => void
}

/** `broken` says what a defect of the policy, which is the user's, is called. */
export const make = (policy: ReconnectPolicy, broken: (defect: unknown) => ConnectionError): Ladder => {
  const fresh = Schedule.toStep(policy)
  // Put up at the first loss: a schedule's own state weighs as much as a fiber.
  let step: Effect.Success<typeof fresh> | undefined
  let malformed = 0

  const climb = (now: number, error: ConnectionError) =>
    Effect.flatMap(step === undefined ? fresh : Effect.succeed(step), (known) => {
      step = known
      return known(now, error)
    })

  return {
    next: (now, error, served) =>
      Effect.suspend(() => {
        malformed = error.reason._tag === "MalformedResponse" ? malformed + 1 : 0
        if (!mayHeal(error, served) || malformed > maxMalformed) return Effect.succeedNone
        return climb(now, error).pipe(
          Effect.map(([, delay]) => Option.some(Duration.toMillis(delay))),
          Pull.catchDone(() => Effect.succeedNone),
          Effect.catchDefect((defect) => Effect.fail(broken(defect)))
        )
      }),
    reset: () => {
      malformed = 0
      step = undefined
    }
  }
}

/**
 * Whether another attempt can help. What was there before may only be away for a while: gateways say 404 in the middle of a
 * deployment.
 */
export const mayHeal = (error: ConnectionError, served: boolean): boolean =>
  error.isRetryable || (served && error.reason._tag === "UnexpectedStatus")
