/** The one fiber that owns the session of a connection: it opens, publishes, watches, retires, and opens again. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import { type ConnectionError, StartupTimeout, TransportClosed } from "../../ConnectionError.ts"
import * as ConnectionEvent from "../../ConnectionEvent.ts"
import type { Heartbeat } from "../../Heartbeat.ts"
import type { McpTransport, OpenContext } from "../../McpTransport.ts"
import type { ReconnectPolicy } from "../../ReconnectPolicy.ts"
import * as Core from "./core.ts"
import * as Ladder from "./ladder.ts"
import * as Liveness from "./liveness.ts"
import type { SessionScopes } from "./sessionScopes.ts"

export interface Options<R> {
  readonly transport: McpTransport<R>
  readonly client: OpenContext["client"]
  readonly policy: ReconnectPolicy
  readonly startupTimeout: Duration.Duration
  readonly stableAfter: Duration.Duration
  /** `undefined`: no heartbeats. */
  readonly heartbeat: Heartbeat | undefined
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
        Effect.andThen(scopes.retireAll),
        Effect.andThen(untilRequested(core))
      ),
      { disableYield: true }
    )
  ).pipe(Effect.annotateLogs({ server: core.server }))

/** Returns when the connection has to give up, and says why. */
const supervise = Effect.fnUntraced(
  function* <R>(
    core: Core.Core,
    scopes: SessionScopes,
    options: Options<R>
  ): Effect.fn.Return<ConnectionError, ConnectionError, R> {
    const ladder = yield* Ladder.make(options.policy, (defect) => core.defect("policy", Cause.die(defect)))
    let attempt = 1

    while (true) {
      const current = attempt
      yield* nextPhase(core)
      yield* core.emit((at) => ConnectionEvent.AttemptStarted({ at, attempt: current }))
      const opened = yield* open(core, scopes, options)
      yield* nextPhase(core)

      let setback: Setback
      if (opened._tag === "Opened") {
        const { generation } = opened.published
        yield* publish(core, opened.published)
        setback = yield* untilLost(core, opened.published)
        const proven =
          (yield* Clock.currentTimeMillis) - opened.published.openedAt >= Duration.toMillis(options.stableAfter)
        opened.published.loss = setback.error
        // Unpublished before its scope closes: a dead session may close slowly, and nobody may be handed it meanwhile.
        yield* core.emit(
          (at) => ConnectionEvent.SessionLost({ at, generation, error: setback.error, proven }),
          () => undefined
        )
        yield* Effect.logWarning("mcp session lost", {
          generation,
          reason: setback.error.reason._tag,
          error: setback.error.message
        })
        yield* scopes.retire(opened.scope)
        if (proven) yield* ladder.reset
        attempt = 1
      } else {
        setback = opened
        yield* core.emit((at) => ConnectionEvent.AttemptFailed({ at, attempt: current, error: opened.error }))
        yield* Effect.logWarning("mcp connection attempt failed", {
          attempt,
          reason: setback.error.reason._tag,
          error: setback.error.message
        })
        attempt += 1
      }

      const now = yield* Clock.currentTimeMillis
      const delay = setback._tag === "Requested" ? Option.some(0) : yield* ladder.next(now, setback.error)
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

/** Why there is no session: it was lost, could not be opened, or somebody asked for a new one. */
type Setback =
  | { readonly _tag: "Lost"; readonly error: ConnectionError }
  | { readonly _tag: "Requested"; readonly error: ConnectionError }
  | { readonly _tag: "NotOpened"; readonly error: ConnectionError }

type Opened = { readonly _tag: "Opened"; readonly published: Core.Published; readonly scope: Scope.Closeable }

/** One attempt, in a fresh scope, which is retired unless the attempt succeeds. */
const open = <R>(
  core: Core.Core,
  scopes: SessionScopes,
  options: Options<R>
): Effect.Effect<Opened | Extract<Setback, { _tag: "NotOpened" }>, never, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* scopes.open
      const generation = Ref.getUnsafe(core.generation) + 1
      let stderrTail: () => string | undefined = () => undefined
      const context: OpenContext = {
        server: core.server,
        generation,
        client: options.client,
        setStderrTail: (read) => {
          stderrTail = read
        }
      }
      yield* Ref.set(core.stderrTail, () => stderrTail())
      const exit = yield* Effect.suspend(() => options.transport.open(context)).pipe(
        Scope.provide(scope),
        Effect.timeoutOrElse({
          duration: options.startupTimeout,
          orElse: () => Effect.fail(core.error(new StartupTimeout({ after: options.startupTimeout }), stderrTail()))
        }),
        Effect.annotateLogs({ generation }),
        restore,
        Effect.exit
      )
      if (Exit.isSuccess(exit)) {
        const published = Core.makePublished(generation, exit.value, yield* Clock.currentTimeMillis)
        yield* Effect.forkIn(watch(core, published, options.heartbeat, stderrTail), scope)
        return { _tag: "Opened", published, scope } as const
      }
      yield* scopes.retire(scope)
      return {
        _tag: "NotOpened",
        error: Option.getOrElse(Cause.findErrorOption(exit.cause), () => core.defect("transport", exit.cause))
      } as const
    })
  )

/** Turns the loss of a session, or the verdict that it is dead, into a letter to the supervisor: the one place where losses arrive. */
const watch = (
  core: Core.Core,
  { generation, session }: Core.Published,
  heartbeat: Heartbeat | undefined,
  stderrTail: () => string | undefined
): Effect.Effect<void> =>
  (heartbeat === undefined
    ? session.lost
    : Effect.raceFirst(
        session.lost,
        Effect.map(Liveness.untilDead(session, heartbeat), (reason) => core.error(reason, stderrTail()))
      )
  ).pipe(
    Effect.catchCause((cause) => Effect.succeed(core.defect("transport", cause))),
    Effect.flatMap((error) => Queue.offer(core.mailbox, Core.LossReported({ seen: generation, error }))),
    Effect.asVoid
  )

const publish = Effect.fnUntraced(function* (core: Core.Core, published: Core.Published) {
  const { generation, session } = published
  const { state } = Ref.getUnsafe(core.snapshot)
  const lostAt = state._tag === "Reconnecting" ? state.lostAt : undefined
  yield* Ref.set(core.generation, generation)
  yield* core.emit(
    (at) =>
      ConnectionEvent.SessionReady({
        at,
        generation,
        server: session.info,
        downtimeMillis: lostAt === undefined ? undefined : at - lostAt
      }),
    () => published
  )
  yield* lostAt === undefined
    ? Effect.logDebug("mcp session ready", { generation, ...session.info })
    : Effect.logInfo("mcp session is back", { generation, ...session.info })
})

/** Waits for the loss of this very session; what is said of other generations is stale. */
const untilLost = Effect.fnUntraced(function* (core: Core.Core, { generation }: Core.Published) {
  while (true) {
    const signal = yield* Queue.take(core.mailbox)
    if (signal._tag === "Start" || signal.seen !== generation) continue
    const setback: Setback =
      signal._tag === "LossReported"
        ? { _tag: "Lost", error: signal.error }
        : { _tag: "Requested", error: core.error(new TransportClosed({ description: "a reconnect was requested" })) }
    return setback
  }
})

/** Waits for the first caller of a lazy connection. */
const untilStart = (core: Core.Core): Effect.Effect<void> =>
  Effect.flatMap(Queue.take(core.mailbox), (signal) =>
    signal._tag === "LossReported" ? untilStart(core) : Effect.void
  )

const nextPhase = (core: Core.Core): Effect.Effect<void> => Ref.update(core.phase, (phase) => phase + 1)

/** Waits until somebody asks for a session now, knowing that there is none. */
const untilRequested = (core: Core.Core): Effect.Effect<void> =>
  Effect.flatMap(Queue.take(core.mailbox), (signal) =>
    signal._tag === "ReconnectRequested" && signal.phase === Ref.getUnsafe(core.phase)
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
