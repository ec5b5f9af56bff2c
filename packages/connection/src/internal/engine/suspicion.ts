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
  /** Whether a verdict is awaited; for so long, that is, that who only wants to know whether the server lives may wait for it. */
  readonly isOpen: () => boolean
  /** Waits for the verdict, if one is awaited, but not as long as a server may ask to be left alone. */
  readonly settled: Effect.Effect<void>
  /** Probes whenever there is a suspicion; ends with the verdict that the session is lost. */
  readonly untilLost: Effect.Effect<ConnectionError>
}

/** A suspicion that is open, and what its failures ask for. */
interface Doubt extends Suspicion {
  readonly clear: () => void
  readonly since: number
  /** When to probe: as soon as the first of those who failed may be sent again. What each was asked to wait for is its own affair. */
  notBefore: number
  /** Completes when that has become sooner. */
  sooner: Deferred.Deferred<void>
  /** The server that answers the probe may be another one. */
  mayHaveRestarted: boolean
}

/** How long those wait for a verdict who have not failed themselves: a server may ask to be left alone for hours. */
const longestPause = Duration.seconds(30)

/** In milliseconds: timers know no longer ones than 2^31. */
const longestSleep = 2 ** 31 - 1

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

/** Of a session whose every failure is its end. */
const none: Suspicions = {
  isOpen: () => false,
  settled: Effect.void,
  raise: (error) => {
    throw error
  },
  untilLost: Effect.never
}

export const make = Effect.fnUntraced(function* (
  session: McpSession,
  options: {
    readonly server: string
    /** How long the probe waits for its answer. */
    readonly within: Duration.Duration
    /** The session is good, but its server may have been restarted meanwhile. Called before anyone who waits goes on. */
    readonly onRestart: () => void
    /** The session is good. */
    readonly onClear: () => void
  }
) {
  if (session.isolation === "shared") return none
  const clock = yield* Clock.Clock
  const raised = yield* Queue.unbounded<readonly [Doubt, ConnectionError]>()
  let open: Doubt | undefined

  const doubt = (since: number): Doubt => {
    let cleared = false
    const verdict = Deferred.makeUnsafe<void>()
    return {
      verdict,
      isCleared: () => cleared,
      clear: () => {
        cleared = true
        open = undefined
        Deferred.doneUnsafe(verdict, Exit.void)
        options.onClear()
      },
      since,
      notBefore: Number.POSITIVE_INFINITY,
      sooner: Deferred.makeUnsafe(),
      mayHaveRestarted: false
    }
  }

  const join = (doubt: Doubt, error: ConnectionError): void => {
    doubt.mayHaveRestarted ||= mayHaveRestarted(error)
    const wait = error.retryAfter === undefined ? 0 : Duration.toMillis(error.retryAfter)
    const notBefore = clock.currentTimeMillisUnsafe() + wait
    if (notBefore >= doubt.notBefore) return
    const { sooner } = doubt
    doubt.notBefore = notBefore
    doubt.sooner = Deferred.makeUnsafe()
    Deferred.doneUnsafe(sooner, Exit.void)
  }

  /** A server that asks to be left alone is alive, unless something else says otherwise. */
  const untilDue = Effect.fnUntraced(function* (doubt: Doubt) {
    while (true) {
      const left = doubt.notBefore - (yield* Clock.currentTimeMillis)
      if (left <= 0) return
      yield* Effect.raceFirst(Effect.sleep(Math.min(left, longestSleep)), Deferred.await(doubt.sooner))
    }
  })

  /** The error that the session is lost with, or `undefined` when it gave a sign of life. */
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
    isOpen: () => open !== undefined && clock.currentTimeMillisUnsafe() - open.since < Duration.toMillis(longestPause),
    settled: Effect.suspend(() =>
      open === undefined ? Effect.void : Effect.asVoid(Effect.timeoutOption(Deferred.await(open.verdict), longestPause))
    ),
    raise: (error) => {
      const current = open ?? doubt(clock.currentTimeMillisUnsafe())
      if (open === undefined) Queue.offerUnsafe(raised, [current, error])
      open = current
      // Last: whoever is woken by it goes on at once, and may clear it.
      join(current, error)
      return current
    },
    untilLost: Effect.gen(function* () {
      while (true) {
        const [doubt, error] = yield* Queue.take(raised)
        yield* Effect.logInfo("mcp session is suspect", { reason: error.reason._tag, error: error.message })
        yield* untilDue(doubt)
        const loss = yield* probe(error)
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
