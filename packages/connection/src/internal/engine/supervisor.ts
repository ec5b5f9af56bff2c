/** The one fiber that owns the session of a connection: it opens, watches, replaces, retires, and opens again. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import { type ConnectionError, TransportClosed } from "../../ConnectionError.ts"
import * as ConnectionEvent from "../../ConnectionEvent.ts"
import type { ReconnectPolicy } from "../../ReconnectPolicy.ts"
import * as Catalogs from "./catalogs.ts"
import type * as Core from "./core.ts"
import * as Ladder from "./ladder.ts"
import * as Liveness from "./liveness.ts"
import * as Opening from "./opening.ts"
import type { SessionScopes } from "./sessionScopes.ts"

export interface Options<R> extends Opening.Options<R> {
  readonly policy: ReconnectPolicy
  readonly stableAfter: Duration.Duration
  /** How long requests in flight may go on when their session has been replaced. */
  readonly drainTimeout: Duration.Duration
  /** Whether the first session is opened without anybody asking. */
  readonly eager: boolean
}

/** Runs until it is interrupted. Nothing it meets ends it: a defect makes the connection `Failed`, and `reconnect` revives it. */
export const run = <R>(core: Core.Core, scopes: SessionScopes, options: Options<R>): Effect.Effect<never, never, R> =>
  Effect.andThen(
    options.eager ? Effect.void : untilStart(core),
    Effect.forever(
      supervise(core, scopes, options).pipe(
        Effect.catchDefect((defect) => Effect.succeed(core.defect("supervisor", Cause.die(defect)))),
        Effect.flatMap((error) => giveUp(core, error)),
        // What a defect left open. What drains is only given up when the connection is closed.
        Effect.andThen(scopes.retireServing),
        Effect.andThen(untilRequested(core))
      ),
      { disableYield: true }
    )
  ).pipe(Effect.annotateLogs({ server: core.server }))

/** Why there is no session: it was lost, could not be opened, or somebody asked for a new one. */
type Setback =
  | { readonly _tag: "Lost"; readonly error: ConnectionError }
  | { readonly _tag: "Requested"; readonly error: ConnectionError }
  | Opening.NotOpened

/** Returns when the connection has to give up, and says why. */
const supervise = Effect.fnUntraced(
  function* <R>(
    core: Core.Core,
    scopes: SessionScopes,
    options: Options<R>
  ): Effect.fn.Return<ConnectionError, ConnectionError, R> {
    const ladder = Ladder.make(options.policy, (defect) => core.defect("policy", Cause.die(defect)))
    let attempt = 1

    while (true) {
      const current = attempt
      yield* core.emit((at) => ConnectionEvent.AttemptStarted({ at, attempt: current }))
      const opened = yield* open(core, scopes, options)
      const setback: Setback = opened._tag === "Opened" ? yield* serve(core, scopes, options, ladder, opened) : opened

      if (setback._tag === "NotOpened") {
        const { error } = setback
        yield* core.emit((at) => ConnectionEvent.AttemptFailed({ at, attempt: current, error }))
        yield* Effect.logWarning("mcp connection attempt failed", {
          attempt,
          reason: error.reason._tag,
          error: error.message
        })
        attempt += 1
      } else {
        attempt = 1
      }

      const now = yield* Clock.currentTimeMillis
      const delay =
        setback._tag === "Requested"
          ? Option.some(0)
          : yield* ladder.next(now, setback.error, Ref.getUnsafe(core.snapshot).generation > 0)
      if (Option.isNone(delay)) return setback.error

      const next = { attempt, error: setback.error, delayMillis: delay.value, dueAt: now + delay.value }
      yield* core.emit((at) => ConnectionEvent.AttemptScheduled({ at, ...next }))
      if (delay.value === Number.POSITIVE_INFINITY) yield* untilRequested(core)
      else if (delay.value > 0) yield* Effect.raceFirst(Effect.sleep(delay.value), untilRequested(core))
    }
  },
  // A policy that broke its own rules is a reason to give up like another.
  Effect.catch((error) => Effect.succeed(error))
)

/** Serves with a session until it is lost, and returns why. A refresh replaces it meanwhile. */
const serve = Effect.fnUntraced(function* <R>(
  core: Core.Core,
  scopes: SessionScopes,
  options: Options<R>,
  ladder: Ladder.Ladder,
  first: Opening.Opened
): Effect.fn.Return<Setback, ConnectionError, R> {
  let current = first
  yield* logReady(current.published)
  while (true) {
    const signal = yield* signalFor(core, current.published)
    if (signal._tag !== "RefreshRequested") {
      return yield* lose(core, scopes, options, ladder, current, setbackOf(core, signal))
    }

    current.published.refreshPhase += 1
    const opening = yield* Effect.forkChild(open(core, scopes, options))
    const ended = Fiber.join(opening)
    const first = yield* Effect.raceFirst(ended, lossOf(core, current.published))
    if (first._tag === "Opened") {
      yield* drain(scopes, current, options.drainTimeout)
      current = first
      yield* logReady(current.published)
      continue
    }
    if (first._tag === "NotOpened") {
      const { generation } = current.published
      current.published.refreshPhase += 1
      yield* core.emit((at) => ConnectionEvent.RefreshFailed({ at, generation, error: first.error }))
      yield* Effect.logWarning("mcp session could not be replaced", { generation, error: first.error.message })
      continue
    }
    // The old session went before the new one came: then the refresh is the attempt to reconnect.
    const setback = yield* lose(core, scopes, options, ladder, current, first)
    const next = yield* ended
    if (next._tag === "NotOpened") return setback._tag === "Requested" ? setback : next
    current = next
    yield* logReady(current.published)
  }
})

const logReady = ({ generation, isReturn, session: { info } }: Core.Published): Effect.Effect<void> => {
  const { era, name, pid, protocolVersion, version } = info
  const details = { generation, era, protocolVersion, name, version, pid }
  return Effect.andThen(
    // Those who have waited for it are on their way before anybody is told of it.
    Effect.yieldNow,
    isReturn ? Effect.logInfo("mcp session is back", details) : Effect.logDebug("mcp session ready", details)
  )
}

/** One attempt. Whoever asks for a session while it runs shares its end. */
const open = <R>(core: Core.Core, scopes: SessionScopes, options: Options<R>) =>
  Effect.andThen(nextPhase(core), Effect.ensuring(Opening.open(core, scopes, options), nextPhase(core)))

/** Unpublishes a session and retires its scope. */
const lose = Effect.fnUntraced(function* <R>(
  core: Core.Core,
  scopes: SessionScopes,
  options: Options<R>,
  ladder: Ladder.Ladder,
  { published, scope }: Opening.Opened,
  setback: Setback
) {
  const { generation, openedAt } = published
  const { error } = setback
  const now = yield* Clock.currentTimeMillis
  const jumped = published.jumped || Liveness.hasJumped(now, published.lookDue)
  const proven = now - openedAt >= Duration.toMillis(options.stableAfter)
  published.loss = error
  options.catalogs.markStale(Catalogs.kinds)
  // Unpublished before its scope closes: a dead session may close slowly, and nobody may be handed it meanwhile. A refresh may
  // have replaced it already.
  yield* core.emitIf(
    () => Ref.getUnsafe(core.snapshot).published === published,
    (at) => ConnectionEvent.SessionLost({ at, generation, error, proven }),
    () => undefined
  )
  yield* setback._tag === "Requested"
    ? Effect.logInfo("mcp session is given up, as requested", { generation })
    : Effect.logWarning("mcp session lost", { generation, reason: error.reason._tag, error: error.message })
  published.session.abandon?.()
  // Over HTTP a session can be lost to us while it still answers what was asked before. If it does not, closing it has time: what that costs
  // would be paid by those who wait for the next one.
  yield* setback._tag === "Lost" && published.session.isolation === "perRequest" && error.reason._tag !== "LivenessLost"
    ? drain(scopes, { _tag: "Opened", published, scope }, options.drainTimeout, drainPause)
    : scopes.retire(scope)
  if (proven || jumped) ladder.reset()
  return setback
})

const drainPause = "25 millis"

/** Lets the requests in flight on a replaced session end, and retires it. */
const drain = (
  scopes: SessionScopes,
  { published, scope }: Opening.Opened,
  timeout: Duration.Duration,
  first: Duration.Input = Duration.zero
) =>
  Effect.suspend(() => {
    scopes.drains(scope)
    return Effect.sync(() => published.session.inFlight()).pipe(
      Effect.repeat({ until: (inFlight) => inFlight === 0, schedule: Schedule.spaced(drainPause) }),
      Effect.delay(first),
      Effect.timeoutOption(timeout),
      Effect.andThen(scopes.retire(scope)),
      Effect.forkIn(scope)
    )
  })

type SessionSignal = Exclude<Core.Signal, { readonly _tag: "Start" }>

/** The next signal that concerns this very session; what is said of other generations, or of phases that are over, is stale. */
const signalFor = (core: Core.Core, published: Core.Published): Effect.Effect<SessionSignal> =>
  Effect.flatMap(Queue.take(core.mailbox), (signal) =>
    signal._tag === "Start" ||
    signal.seen !== published.generation ||
    (signal._tag === "RefreshRequested" && signal.refreshPhase !== published.refreshPhase)
      ? signalFor(core, published)
      : Effect.succeed(signal)
  )

/** The next loss of this very session, while its replacement is being opened; a second refresh shares the first one's end. */
const lossOf = (core: Core.Core, published: Core.Published): Effect.Effect<Exclude<Setback, Opening.NotOpened>> =>
  Effect.flatMap(signalFor(core, published), (signal) =>
    signal._tag === "RefreshRequested" ? lossOf(core, published) : Effect.succeed(setbackOf(core, signal))
  )

const setbackOf = (
  core: Core.Core,
  signal: Exclude<SessionSignal, { readonly _tag: "RefreshRequested" }>
): Exclude<Setback, Opening.NotOpened> =>
  signal._tag === "LossReported"
    ? { _tag: "Lost", error: signal.error }
    : { _tag: "Requested", error: core.error(new TransportClosed({ description: "a reconnect was requested" })) }

/** Waits for the first caller of a lazy connection. */
const untilStart = (core: Core.Core): Effect.Effect<void> =>
  Effect.flatMap(Queue.take(core.mailbox), (signal) =>
    signal._tag === "LossReported" ? untilStart(core) : Effect.void
  )

const nextPhase = (core: Core.Core): Effect.Effect<void> =>
  Effect.sync(() => {
    core.phase += 1
  })

/** Waits until somebody asks for a session now, knowing that there is none. */
const untilRequested = (core: Core.Core): Effect.Effect<void> =>
  Effect.flatMap(Queue.take(core.mailbox), (signal) =>
    (signal._tag === "ReconnectRequested" || signal._tag === "RefreshRequested") && signal.phase === core.phase
      ? Effect.void
      : untilRequested(core)
  )

const giveUp = (core: Core.Core, error: ConnectionError): Effect.Effect<void> =>
  Effect.andThen(
    core.emit(
      (at) => ConnectionEvent.GaveUp({ at, error }),
      () => undefined
    ),
    Effect.logError("mcp connection failed for good", { reason: error.reason._tag, error: error.message })
  )
