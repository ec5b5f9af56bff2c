/** How long a request waits for its answer, where signs of progress or a question to the user make it wait longer (DESIGN §6). */
import * as Clock from "effect/Clock"
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
  /** For how many milliseconds more it lasts: 0 when it is at its end. */
  readonly left: () => number
}

/** How often an open question is looked at. */
const questionPause = 1_000

export const make = (millis: number, questions: Questions, now: () => number): Patience => {
  let due = now() + millis
  return {
    renew: () => {
      due = now() + millis
    },
    left: () =>
      questions.open() > 0
        ? Math.min(millis, questionPause)
        : Math.max(0, Math.max(due, questions.endedAt() + millis) - now())
  }
}
