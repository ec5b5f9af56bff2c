/** One attempt: opens a session in a fresh scope, restores it, publishes it, and has it watched (DESIGN §4.1). */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Catalog from "../../Catalog.ts"
import { type ConnectionError, StartupTimeout } from "../../ConnectionError.ts"
import * as ConnectionEvent from "../../ConnectionEvent.ts"
import * as Heartbeats from "../../Heartbeat.ts"
import type { Admission } from "../../McpConnection.ts"
import type { McpSession, SessionHost } from "../../McpSession.ts"
import type { McpTransport, OpenContext } from "../../McpTransport.ts"
import * as Loss from "../loss.ts"
import * as Backlog from "./backlog.ts"
import * as Catalogs from "./catalogs.ts"
import * as Core from "./core.ts"
import * as Debounce from "./debounce.ts"
import * as Desired from "./desired.ts"
import * as Liveness from "./liveness.ts"
import type { Restoration } from "./restoration.ts"
import type { SessionScopes } from "./sessionScopes.ts"
import * as Suspicion from "./suspicion.ts"

export interface Options<R> {
  readonly transport: McpTransport<R>
  /** Around each attempt; `undefined`: nothing. */
  readonly admission: Admission | undefined
  readonly client: OpenContext["client"]
  readonly limits: OpenContext["limits"]
  readonly host: SessionHost
  readonly restoration: Restoration<R>
  readonly catalogs: Catalogs.Catalogs
  readonly startupTimeout: Duration.Duration
  /** `undefined`: no heartbeats. */
  readonly heartbeat: Heartbeats.Heartbeat | undefined
  /** Whether the user asked for heartbeats: also of a server that has nothing to keep alive. */
  readonly heartbeatAsked: boolean
}

export interface Opened {
  readonly _tag: "Opened"
  readonly published: Core.Published
  readonly scope: Scope.Closeable
}

export interface NotOpened {
  readonly _tag: "NotOpened"
  readonly error: ConnectionError
}

/** The scope is retired unless the attempt succeeds. */
export const open = <R>(
  core: Core.Core,
  scopes: SessionScopes,
  options: Options<R>
): Effect.Effect<Opened | NotOpened, never, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* scopes.open
      const attempt = yield* makeAttempt(core, options)
      core.vitals.attempt("begins")
      const run = attempt.run.pipe(Scope.provide(scope))
      // Suspended: an admission that throws is an attempt that has failed, like one that dies.
      const exit = yield* Effect.suspend(() => options.admission?.(run) ?? run).pipe(restore, Effect.exit)
      core.vitals.attempt("ends")
      if (Exit.isSuccess(exit)) {
        yield* Scope.provide(attempt.watch(exit.value), scope)
        return { _tag: "Opened", published: exit.value, scope } as const
      }
      yield* scopes.retire(scope)
      return {
        _tag: "NotOpened",
        error: Option.getOrElse(Cause.findErrorOption(exit.cause), () => core.defect("transport", exit.cause))
      } as const
    })
  )

/** A start that writes is given this many times `startupTimeout`, but not once it is quiet for this part of it. */
const coldStartFactor = 5
const coldStartQuiet = 4

const makeAttempt = Effect.fnUntraced(function* <R>(core: Core.Core, options: Options<R>) {
  const { catalogs, heartbeat, host, restoration, startupTimeout } = options
  const previous = Ref.getUnsafe(core.snapshot).generation
  const applied = restoration.appliedAtStart()
  const generation = previous + 1
  const changedLists = Backlog.make<ReadonlyArray<Catalog.Kind>>()
  const wishes = Backlog.make<Core.Wish>()
  const clock = yield* Clock.Clock
  let lastActivity = Number.NEGATIVE_INFINITY
  let stderrTail: () => string | undefined = () => undefined
  let published: Core.Published | undefined

  core.stderrTail = () => stderrTail()
  const context: OpenContext = {
    server: core.server,
    generation,
    client: options.client,
    limits: options.limits,
    host: {
      ...host,
      onNotification: (notification) => {
        const kinds = Catalogs.changedKinds(notification.method)
        if (kinds.length > 0) listsChanged(kinds)
        host.onNotification(notification)
      }
    },
    setStderrTail: (read) => {
      stderrTail = read
    },
    onActivity: () => {
      lastActivity = clock.currentTimeMillisUnsafe()
    },
    onSuspect: (error) => {
      if (published !== undefined && Ref.getUnsafe(core.snapshot).published === published) core.report(published, error)
    },
    onGap: () => wishes.offer("Gap")
  }

  const run: Effect.Effect<Core.Published, ConnectionError, R | Scope.Scope> = Effect.gen(function* () {
    const session = yield* Effect.raceFirst(
      Effect.suspend(() => options.transport.open(context)),
      Effect.flatMap(untilStuck, (after) => Effect.fail(core.error(new StartupTimeout({ after }), stderrTail())))
    )
    core.vitals.attempt(session)
    const suspicions = yield* Suspicion.make(session, {
      server: core.server,
      within: (heartbeat ?? defaultHeartbeat).timeout,
      onRestart,
      onClear: () => core.waiters.look()
    })
    const candidate = Core.makePublished(generation, session, yield* Clock.currentTimeMillis, applied, {
      suspicions,
      wish: wishes.offer,
      relist: changedLists.offer
    })
    published = candidate
    let gone = false
    const lost = Effect.flatMap(session.lost, (error) =>
      Effect.suspend(() => {
        gone = true
        return Effect.fail(error)
      })
    )
    yield* Effect.raceFirst(
      lost,
      Effect.flatMap(restoration.restore(candidate, previous === 0 ? undefined : previous), (readings) =>
        publish(candidate, readings, () => !gone)
      )
    ).pipe(
      // Lost in the very moment in which it was published: the attempt has succeeded, and the loss is for whoever watches.
      Effect.catchIf(
        () => Ref.getUnsafe(core.snapshot).published === candidate,
        () => Effect.void
      )
    )
    return candidate
  }).pipe(Effect.annotateLogs({ generation }))

  /** The server that answers may be another one behind the same address: what it offers is read again. */
  const onRestart = (): void => {
    published?.tools.forget()
    listsChanged(catalogs.listed())
  }

  /**
   * Waits until a start takes too long, and tells how long it took. A server that is still writing is being installed (`npx`):
   * cutting that off would make it start from nothing for ever.
   */
  const untilStuck: Effect.Effect<Duration.Duration> = Effect.gen(function* () {
    if (!Duration.isFinite(startupTimeout)) return yield* Effect.never
    const limit = Duration.toMillis(startupTimeout)
    const since = yield* Clock.currentTimeMillis
    let due = since + limit
    while (true) {
      yield* Effect.sleep(due - (yield* Clock.currentTimeMillis))
      const extended = Math.min(lastActivity + limit / coldStartQuiet, since + limit * coldStartFactor)
      if (extended <= due) return Duration.millis(due - since)
      due = extended
    }
  })

  /** What is desired may have changed while it was being restored: it is published only as it shall be. */
  const publish = (
    candidate: Core.Published,
    readings: ReadonlyArray<Catalogs.Reading>,
    isAlive: () => boolean
  ): Effect.Effect<void, ConnectionError> =>
    Effect.gen(function* () {
      const { session } = candidate
      const { state } = Ref.getUnsafe(core.snapshot)
      const lostAt = state._tag === "Reconnecting" ? state.lostAt : undefined
      let changes: Catalog.Changes = {}
      const done = yield* core.emitIf(
        () => isAlive() && restoration.isSettled(candidate),
        (at) =>
          ConnectionEvent.SessionReady({
            at,
            generation,
            server: session.info,
            downtimeMillis: lostAt === undefined ? undefined : at - lostAt
          }),
        () => {
          // With the session its lists are swapped: what it was not asked for is of an earlier one.
          catalogs.markStale(Catalogs.kinds)
          changes = catalogs.note(readings, generation)
          return candidate
        },
        (at) =>
          Object.keys(changes).length === 0 ? undefined : ConnectionEvent.CatalogChanged({ at, generation, changes })
      )
      if (!done) return yield* Effect.andThen(restoration.settle(candidate), publish(candidate, readings, isAlive))
      candidate.isReturn = lostAt !== undefined
    })

  const listsChanged = (kinds: ReadonlyArray<Catalog.Kind>): void => {
    if (published !== undefined) {
      for (const kind of kinds) published.versions[kind] += 1
      if (kinds.includes("tools")) published.tools.forget()
      if (Ref.getUnsafe(core.snapshot).published === published) catalogs.markStale(kinds)
    }
    changedLists.offer(kinds)
  }

  /** Reads again what the server says has changed, once it has been quiet for a moment. Ends with the loss of the session. */
  const follow = (
    session: Core.Published,
    changed: Queue.Dequeue<ReadonlyArray<Catalog.Kind>>
  ): Effect.Effect<ConnectionError> =>
    Effect.gen(function* () {
      let failures = 0
      while (true) {
        const kinds = new Set((yield* Debounce.settled(changed)).flat())
        // A session that drains has nothing to say of what the server offers.
        if (Ref.getUnsafe(core.snapshot).published !== session) continue
        yield* session.suspicions.settled
        const listed = catalogs.listed().filter((kind) => kinds.has(kind))
        const readings = yield* Effect.catch(restoration.relist(session, listed), (error) => {
          const suspicion = core.report(session, error)
          if (suspicion === undefined) return Effect.fail(error)
          changedLists.offer(listed)
          return Effect.as(Deferred.await(suspicion.verdict), undefined)
        })
        if (readings === undefined) {
          // A session that is good and has no lists is not asked for them all the time.
          yield* Effect.sleep(backoff(failures))
          failures += 1
          continue
        }
        failures = 0
        if (Ref.getUnsafe(core.snapshot).published !== session) continue
        const changes = catalogs.note(readings, generation)
        if (Object.keys(changes).length > 0) {
          yield* core.emit((at) => ConnectionEvent.CatalogChanged({ at, generation, changes }))
        }
      }
    }).pipe(Effect.flip)

  /**
   * Keeps the session telling of the changes that are desired to be told: when there are more of them, and when the stream that told of
   * them broke, as soon as the server agrees again.
   */
  const tend = (session: Core.Published, wished: Queue.Dequeue<Core.Wish>): Effect.Effect<never> =>
    Effect.gen(function* () {
      let failures = 0
      let gap = false
      let agreedAt = Number.NEGATIVE_INFINITY
      while (true) {
        const wish = yield* Queue.take(wished)
        // A session that drains has been replaced by one that tells.
        if (Ref.getUnsafe(core.snapshot).published !== session) continue
        gap ||= wish !== "More"
        if (wish === "Gap") {
          // Streams that break as soon as they are open, as behind a proxy that allows none, are not opened all the time.
          const now = yield* Clock.currentTimeMillis
          failures = now - agreedAt < provenStream ? failures + 1 : 0
          if (failures > 1) yield* Effect.sleep(backoff(failures - 2))
        }
        yield* session.suspicions.settled
        const told = yield* restoration.listen(session, wish === "Gap" ? "anew" : undefined).pipe(
          Effect.catchDefect((defect) => Effect.fail(core.defect("transport", Cause.die(defect)))),
          Effect.result
        )
        if (Result.isFailure(told)) {
          const { failure } = told
          yield* Effect.logWarning("mcp server could not be asked to tell of changes", { error: failure.message })
          if (failure._tag === "ConnectionError") core.report(session, failure)
          yield* Effect.sleep(backoff(failures))
          failures += 1
          wishes.offer("More")
          continue
        }
        agreedAt = yield* Clock.currentTimeMillis
        // What changed between the list and the server's word is told by nobody.
        if (told.success.length > 0) changedLists.offer(told.success)
        if (!gap) continue
        gap = false
        yield* core.emit((at) => ConnectionEvent.NotificationsMissed({ at, generation }))
        listsChanged(catalogs.listed())
      }
    })

  /**
   * Turns the loss of the session, or the verdict that it is dead, into a letter to the supervisor: the one place where losses arrive. Each
   * watcher is a fiber of its own, and only the first is listened to; a race would have one more fiber wait for them.
   */
  const watch = (session: Core.Published): Effect.Effect<void, never, Scope.Scope> =>
    Effect.gen(function* () {
      const fork = Effect.runForkWith(yield* Effect.context<never>())
      const watchers: Array<Fiber.Fiber<ConnectionError>> = []
      let isOver = false
      const tell = (error: ConnectionError): void => {
        if (isOver) return
        isOver = true
        Queue.offerUnsafe(core.mailbox, Core.LossReported({ seen: generation, error }))
      }
      const start = (watcher: Effect.Effect<ConnectionError>): void => {
        if (isOver) return
        const fiber = fork(Effect.catchCause(watcher, (cause) => Effect.succeed(core.defect("transport", cause))))
        watchers.push(fiber)
        fiber.addObserver((exit) => {
          if (Exit.isSuccess(exit)) tell(exit.value)
        })
      }
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          isOver = true
          return Fiber.interruptAll(watchers)
        })
      )
      // A fiber that waits weighs more than a kibibyte: none waits for what cannot come, has not come yet, or is told without.
      const { lost } = session.session
      const listen = Loss.listenTo(lost)
      if (listen === undefined) start(lost)
      else listen(tell)
      if (heartbeat !== undefined) start(untilDead(session, heartbeat))
      if (session.session.isolation === "perRequest") start(session.suspicions.untilLost)
      // Whoever gives it something to do first does what it is about: a list is wished to be told of before it is noted.
      const later = (watcher: Effect.Effect<ConnectionError>) => start(Effect.andThen(Effect.yieldNow, watcher))
      changedLists.onFirst((changed) => later(follow(session, changed)))
      if (canMissChanges(session.session)) wishes.onFirst((wished) => later(tend(session, wished)))
    })

  const untilDead = (published: Core.Published, heartbeat: Heartbeats.Heartbeat): Effect.Effect<ConnectionError> => {
    const { session } = published
    const notes: Liveness.Notes = {
      missed: core.telemetry.missedHeartbeat,
      jumped: (jumped) => {
        published.jumped = jumped
      },
      failed: (error) => {
        core.report(published, error)
      },
      isDormant: () =>
        // Somebody else is asking already, as soon as the server allows it.
        published.suspicions.isOpen() ||
        (!options.heartbeatAsked &&
          session.isolation === "perRequest" &&
          session.info.era === "modern" &&
          !Desired.isListening(published.applied)),
      lookDue: (at) => {
        published.lookDue = at
      }
    }
    return Effect.map(Liveness.untilDead(session, heartbeat, notes), (reason) => core.error(reason, stderrTail()))
  }

  return { run, watch }
})

/** Whether it has to be asked to tell of changes, or tells of them on a stream that can break by itself. */
const canMissChanges = ({ info, isolation }: McpSession): boolean => info.era === "modern" || isolation === "perRequest"

/** In milliseconds: how long a stream of notifications has to live for its end to be no surprise. */
const provenStream = 10_000

/** In milliseconds: between attempts to read lists, or to be told of changes, on a session that is good otherwise. */
const backoff = (failures: number): number => Math.min(30_000, 1_000 * 2 ** failures)

const defaultHeartbeat = Heartbeats.make()
