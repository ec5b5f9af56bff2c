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
  /** Whether a verdict is awaited. */
  readonly isOpen: () => boolean
  /** Waits for the verdict, if one is awaited. */
  readonly settled: Effect.Effect<void>
  /** Probes whenever there is a suspicion; ends with the verdict that the session is lost. */
  readonly untilLost: Effect.Effect<ConnectionError>
}

/** A suspicion that is open, and what its failures ask for. */
interface Doubt extends Suspicion {
  readonly clear: () => void
  /** The server asked to be left alone until then. A server that asks is alive, unless something else says otherwise. */
  notBefore: number
  /** Completes when something else does. */
  readonly urgent: Deferred.Deferred<void>
  /** The server that answers the probe may be another one. */
  mayHaveRestarted: boolean
}

/** Whether an error says by itself that the session is over, or that nothing more can be said of it. */
const condemns = ({ reason }: ConnectionError): boolean =>
  reason._tag === "SessionExpired" || reason._tag === "InternalError"

/** Whether a failed request is to be looked into, before its session is given up. */
export const isDoubtful = (session: McpSession, error: ConnectionError): boolean =>
  session.isolation === "perRequest" && !condemns(error)

/** Whether the failure may be the end of the server's process, after which another one answers at the same address. */
const mayHaveRestarted = ({ reason }: ConnectionError): boolean =>
  reason._tag === "NetworkFailed" ||
  reason._tag === "TransportClosed" ||
  (reason._tag === "ServerUnavailable" && reason.status !== 429)

export const make = Effect.fnUntraced(function* (
  session: McpSession,
  options: {
    readonly server: string
    /** How long the probe waits for its answer. */
    readonly within: Duration.Duration
    /** The session is good, but its server may have been restarted meanwhile. Called before anyone who waits goes on. */
    readonly onRestart: () => void
  }
) {
  const clock = yield* Clock.Clock
  const raised = yield* Queue.unbounded<readonly [Doubt, ConnectionError]>()
  let open: Doubt | undefined

  const doubt = (): Doubt => {
    let cleared = false
    const verdict = Deferred.makeUnsafe<void>()
    return {
      verdict,
      isCleared: () => cleared,
      clear: () => {
        cleared = true
        open = undefined
        Deferred.doneUnsafe(verdict, Exit.void)
      },
      notBefore: Number.NEGATIVE_INFINITY,
      urgent: Deferred.makeUnsafe<void>(),
      mayHaveRestarted: false
    }
  }

  const join = (doubt: Doubt, error: ConnectionError): void => {
    const { retryAfter } = error
    doubt.mayHaveRestarted ||= mayHaveRestarted(error)
    if (retryAfter === undefined) Deferred.doneUnsafe(doubt.urgent, Exit.void)
    else doubt.notBefore = Math.max(doubt.notBefore, clock.currentTimeMillisUnsafe() + Duration.toMillis(retryAfter))
  }

  /** The error that the session is lost with, or `undefined` when it gave a sign of life. */
  const examine = Effect.fnUntraced(function* (
    doubt: Doubt,
    error: ConnectionError
  ): Effect.fn.Return<ConnectionError | undefined> {
    // Others may join meanwhile, and ask for more.
    while (!Deferred.isDoneUnsafe(doubt.urgent)) {
      const left = doubt.notBefore - (yield* Clock.currentTimeMillis)
      if (left <= 0) break
      yield* Effect.raceFirst(Effect.sleep(left), Deferred.await(doubt.urgent))
    }
    return yield* probe(error)
  })

  const probe = Effect.fnUntraced(function* (error: ConnectionError): Effect.fn.Return<ConnectionError | undefined> {
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
    isOpen: () => open !== undefined,
    settled: Effect.suspend(() => (open === undefined ? Effect.void : Deferred.await(open.verdict))),
    raise: (error) => {
      if (open !== undefined) {
        const joined = open
        // It may be cleared by the time this returns: whoever is woken runs at once.
        join(joined, error)
        return joined
      }
      const opened = doubt()
      open = opened
      join(opened, error)
      Queue.offerUnsafe(raised, [opened, error])
      return opened
    },
    untilLost: Effect.gen(function* () {
      while (true) {
        const [doubt, error] = yield* Queue.take(raised)
        yield* Effect.logInfo("mcp session is suspect", { reason: error.reason._tag, error: error.message })
        const loss = yield* examine(doubt, error)
        if (loss !== undefined) return loss
        // Whoever waits must not find what the server promised before.
        if (doubt.mayHaveRestarted) options.onRestart()
        doubt.clear()
        yield* Effect.logInfo("mcp session is good")
      }
    }).pipe(Effect.catchCause((cause) => (Cause.hasInterruptsOnly(cause) ? Effect.interrupt : Effect.never)))
  }
  return suspicions
})
