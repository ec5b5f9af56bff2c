/** How long a request waits for its answer, where signs of progress or a question to the user make it wait longer (DESIGN §6). */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** Whether the server is asking the user something right now, and when it last ended: the user's time is not the server's. */
export interface Questions {
  /** Runs a question to the user. */
  readonly during: <A, E, R>(question: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly open: () => number
  readonly endedAt: () => number
}

export const makeQuestions = (): Questions => {
  let open = 0
  let endedAt = Number.NEGATIVE_INFINITY
  return {
    during: (question) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          open += 1
        }),
        () => question,
        () =>
          Clock.clockWith((clock) =>
            Effect.sync(() => {
              open -= 1
              endedAt = clock.currentTimeMillisUnsafe()
            })
          )
      ),
    open: () => open,
    endedAt: () => endedAt
  }
}

export interface Patience {
  /** A sign of progress: the time starts anew (MCP 2025-11-25, Lifecycle, Timeouts). */
  readonly renew: () => void
  /** Ends when the patience does. */
  readonly end: Effect.Effect<void>
}

/** How often an open question is looked at. */
const questionPause = 1_000

export const make = (timeout: Duration.Duration, questions: Questions): Patience => {
  const millis = Duration.toMillis(timeout)
  let now = (): number => 0
  let due = 0
  const untilDue: Effect.Effect<void> = Effect.suspend(() => {
    const left =
      questions.open() > 0 ? Math.min(millis, questionPause) : Math.max(due, questions.endedAt() + millis) - now()
    return left <= 0 ? Effect.void : Effect.andThen(Effect.sleep(left), untilDue)
  })
  const renew = (): void => {
    due = now() + millis
  }
  return {
    renew,
    end: Clock.clockWith((clock) => {
      now = () => clock.currentTimeMillisUnsafe()
      renew()
      return untilDue
    })
  }
}
