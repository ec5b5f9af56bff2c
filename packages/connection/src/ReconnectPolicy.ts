/**
 * When to try again: `Schedule`s over `ConnectionError`.
 *
 * A policy is stepped once for each loss and each failed attempt, and answers with the delay before the next attempt, or with
 * its end: then the connection is `Failed`. It starts anew when a session has proven itself (`stableAfter`). Errors that
 * reconnecting cannot heal never reach it. Any `Schedule` that takes a `ConnectionError` is a policy as it is.
 *
 * @example
 * ```ts
 * import { type ConnectionError, ReconnectPolicy } from "@mcp-tether/connection"
 * import { Schedule } from "effect"
 *
 * // Ten retries of the default ladder, then Failed.
 * export const bounded: ReconnectPolicy.ReconnectPolicy = ReconnectPolicy.bounded(10)
 *
 * // Your own: every second for a minute, jittered, and never before the server's Retry-After.
 * export const own: ReconnectPolicy.ReconnectPolicy = Schedule.spaced("1 second").pipe(
 *   Schedule.upTo({ duration: "1 minute" }),
 *   Schedule.setInputType<ConnectionError.ConnectionError>(),
 *   ReconnectPolicy.fullJitter,
 *   ReconnectPolicy.retryAfter
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { ConnectionError } from "./ConnectionError.ts"

/**
 * A schedule that decides on the next attempt.
 *
 * @category models
 * @since 0.1.0
 */
export type ReconnectPolicy = Schedule.Schedule<unknown, ConnectionError>

/**
 * Draws each delay anew from between nothing and what the schedule says, so that many clients of one server do not come back
 * all at once. `Schedule.jittered` is ±20 % and can pass a cap; this never does.
 *
 * "Full jitter": M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
 *
 * @category combinators
 * @since 0.1.0
 */
export const fullJitter = <Output, Input, Error, Env>(
  self: Schedule.Schedule<Output, Input, Error, Env>
): Schedule.Schedule<Output, Input, Error, Env> =>
  Schedule.modifyDelay(self, ({ duration }) =>
    Effect.map(Random.next, (random) => Duration.millis(Math.round(Duration.toMillis(duration) * random)))
  )

/**
 * Makes every delay at most `cap`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const capped = <Output, Input, Error, Env>(
  self: Schedule.Schedule<Output, Input, Error, Env>,
  cap: Duration.Input
): Schedule.Schedule<Output, Input, Error, Env> => {
  const limit = Duration.fromInputUnsafe(cap)
  return Schedule.modifyDelay(self, ({ duration }) => Effect.succeed(Duration.min(duration, limit)))
}

/**
 * Makes every delay at least what the server asked for with `Retry-After`, past any cap.
 *
 * @category combinators
 * @since 0.1.0
 */
export const retryAfter = <Output, Error, Env>(
  self: Schedule.Schedule<Output, ConnectionError, Error, Env>
): Schedule.Schedule<Output, ConnectionError, Error, Env> =>
  Schedule.modifyDelay(self, ({ duration, input }) =>
    Effect.succeed(input.retryAfter === undefined ? duration : Duration.max(duration, input.retryAfter))
  )

/**
 * The first delay of a ladder is nothing; the schedule's own first delay comes second.
 *
 * @category combinators
 * @since 0.1.0
 */
export const atOnceFirst = <Output, Input, Error, Env>(
  self: Schedule.Schedule<Output, Input, Error, Env>
): Schedule.Schedule<unknown, Input, Error, Env> => Schedule.concat(Schedule.recurs(1), self)

/**
 * Starts a schedule anew when its last delay ended at least `stableFor` before the next failure: what a connection does by itself
 * with `stableAfter`, for schedules used elsewhere. A `Schedule` does not reset by itself.
 *
 * @category combinators
 * @since 0.1.0
 */
export const provenReset = <Output, Input, Error, Env>(
  self: Schedule.Schedule<Output, Input, Error, Env>,
  stableFor: Duration.Input
): Schedule.Schedule<Output, Input, Error, Env> => {
  const stableMillis = Duration.toMillis(Duration.fromInputUnsafe(stableFor))
  return Schedule.fromStep(
    Effect.map(Schedule.toStep(self), (first) => {
      let step = first
      let resumeAt = Number.POSITIVE_INFINITY
      return (now: number, input: Input) =>
        Effect.gen(function* () {
          if (now - resumeAt >= stableMillis) step = yield* Schedule.toStep(self)
          const [output, delay] = yield* step(now, input)
          resumeAt = now + Duration.toMillis(delay)
          return [output, delay] satisfies [Output, Duration.Duration]
        })
    })
  )
}

const laddered = (first: Duration.Input, cap: Duration.Input): ReconnectPolicy =>
  Schedule.exponential(first, 2).pipe(
    Schedule.setInputType<ConnectionError>(),
    (self) => capped(self, cap),
    fullJitter,
    atOnceFirst,
    retryAfter
  )

const ladder = laddered("250 millis", "30 seconds")

/**
 * The default: at once, then 250 ms, 500 ms, 1 s … 30 s, each with full jitter, at least `Retry-After`, without end.
 *
 * @category policies
 * @since 0.1.0
 */
export { ladder as default }

/**
 * The default ladder, ended after `retries` retries in a row that brought no proven session: that many attempts after a loss,
 * and one more at the start, where the first attempt is no retry.
 *
 * @category policies
 * @since 0.1.0
 */
export const bounded = (retries: number): ReconnectPolicy => Schedule.upTo(ladder, { times: retries })

/**
 * For a server that matters more than its machine: at once, then 50 ms, 100 ms … 2 s with full jitter, at least `Retry-After`,
 * without end.
 *
 * @category policies
 * @since 0.1.0
 */
export const aggressive: ReconnectPolicy = laddered("50 millis", "2 seconds")

/**
 * For a server that many share, or that is slow to start: at once, then 1 s, 2 s … 5 minutes with full jitter, at least
 * `Retry-After`, without end.
 *
 * @category policies
 * @since 0.1.0
 */
export const patient: ReconnectPolicy = laddered("1 second", "5 minutes")

/**
 * No second attempt: the first loss is the end.
 *
 * @category policies
 * @since 0.1.0
 */
export const never: ReconnectPolicy = Schedule.recurs(0)
