/** Whether a session that a request has failed on is still good: one probe decides for all who doubt it (DESIGN §4). */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import { ConnectionError, LivenessLost } from "../../ConnectionError.ts"
import { type McpSession, RequestTicket } from "../../McpSession.ts"

export interface Suspicion {
  /** Completes when the session turns out to be good; when it is lost, the supervisor says so. */
  readonly verdict: Deferred.Deferred<void>
  readonly isCleared: () => boolean
}

export interface Suspicions {
  /** Notes what failed. While a suspicion is open, others join it. */
  readonly raise: (error: ConnectionError) => Suspicion
  /** Probes whenever there is a suspicion; ends with the verdict that the session is lost. */
  readonly untilLost: Effect.Effect<ConnectionError>
}

/** Whether an error says by itself that the session is over, or that nothing more can be said of it. */
const condemns = ({ reason }: ConnectionError): boolean =>
  reason._tag === "SessionExpired" || reason._tag === "InternalError"

/** Whether a failed request is to be looked into, before its session is given up. */
export const isDoubtful = (session: McpSession, error: ConnectionError): boolean =>
  session.isolation === "perRequest" && !condemns(error)

export const make = Effect.fnUntraced(function* (
  session: McpSession,
  options: {
    readonly server: string
    /** How long the probe waits for its answer. */
    readonly within: Duration.Duration
    readonly onCleared: (error: ConnectionError) => void
  }
) {
  const raised = yield* Queue.unbounded<{
    readonly error: ConnectionError
    readonly urgent: Deferred.Deferred<void>
    readonly clear: () => void
  }>()
  let open: { readonly suspicion: Suspicion; readonly urgent: Deferred.Deferred<void> } | undefined

  /** The error that the session is lost with, or `undefined` when it gave a sign of life. */
  const examine = Effect.fnUntraced(function* (
    error: ConnectionError,
    urgent: Effect.Effect<void>
  ): Effect.fn.Return<ConnectionError | undefined> {
    // A server that asks to be left alone is alive, unless something else says otherwise.
    if (error.retryAfter !== undefined) yield* Effect.raceFirst(Effect.sleep(error.retryAfter), urgent)
    const asked = yield* Clock.currentTimeMillis
    return yield* Effect.suspend(() => session.request(new RequestTicket("ping", undefined))).pipe(
      Effect.match({
        onSuccess: () => undefined,
        // Any answer is life, also a refusal.
        onFailure: (failure) => (failure._tag === "ConnectionError" ? failure : undefined)
      }),
      Effect.catchDefect(() => Effect.succeed(error)),
      Effect.timeoutOrElse({
        duration: options.within,
        orElse: () =>
          Effect.map(Clock.currentTimeMillis, (now) =>
            // It may talk to others.
            session.lastActivity() > asked
              ? undefined
              : new ConnectionError({
                  server: options.server,
                  reason: new LivenessLost({
                    missed: 1,
                    silentFor: Duration.millis(Math.max(0, now - session.lastActivity()))
                  })
                })
          )
      })
    )
  })

  const suspicions: Suspicions = {
    raise: (error) => {
      if (open !== undefined) {
        if (error.retryAfter === undefined) Deferred.doneUnsafe(open.urgent, Exit.void)
        return open.suspicion
      }
      let cleared = false
      const verdict = Deferred.makeUnsafe<void>()
      const suspicion: Suspicion = { verdict, isCleared: () => cleared }
      const urgent = Deferred.makeUnsafe<void>()
      open = { suspicion, urgent }
      Queue.offerUnsafe(raised, {
        error,
        urgent,
        clear: () => {
          cleared = true
          open = undefined
          Deferred.doneUnsafe(verdict, Exit.void)
        }
      })
      return suspicion
    },
    untilLost: Effect.gen(function* () {
      while (true) {
        const { clear, error, urgent } = yield* Queue.take(raised)
        yield* Effect.logInfo("mcp session is suspect", { reason: error.reason._tag, error: error.message })
        const loss = yield* examine(error, Deferred.await(urgent))
        if (loss !== undefined) return loss
        // Before anyone goes on: what was known of the server may not hold any more.
        options.onCleared(error)
        clear()
        yield* Effect.logInfo("mcp session is good")
      }
    }).pipe(Effect.catchCause((cause) => (Cause.hasInterruptsOnly(cause) ? Effect.interrupt : Effect.never)))
  }
  return suspicions
})
