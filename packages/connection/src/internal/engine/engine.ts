/** One connection: the supervisor, the requests, and their end. Effect only; knows no SDK and no socket. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type ConnectionError, StartupTimeout, TransportClosed } from "../../ConnectionError.ts"
import * as ConnectionEvent from "../../ConnectionEvent.ts"
import * as ConnectionState from "../../ConnectionState.ts"
import type { Options, Ready, ResourceUpdate, Shape } from "../../McpConnection.ts"
import type { ParamsOf, ResultOf } from "../../McpSession.ts"
import { ConnectionClosed, type ConnectionUnavailable, InvalidRequest, type RequestError } from "../../RequestError.ts"
import { toolOf } from "../tool.ts"
import * as Catalogs from "./catalogs.ts"
import * as Core from "./core.ts"
import * as Deadlines from "./deadlines.ts"
import * as Desired from "./desired.ts"
import * as Host from "./host.ts"
import type { Decoded } from "./options.ts"
import * as Patience from "./patience.ts"
import * as Requests from "./requests.ts"
import * as Restoration from "./restoration.ts"
import * as SessionScopes from "./sessionScopes.ts"
import type * as SlidingPubSub from "./slidingPubSub.ts"
import * as Supervisor from "./supervisor.ts"
import * as Turns from "./turns.ts"

export interface Engine extends Pick<
  Shape,
  | "name"
  | "state"
  | "changes"
  | "events"
  | "awaitReady"
  | "reconnect"
  | "refresh"
  | "notify"
  | "notifications"
  | "setLogLevel"
  | "setRoots"
  | "resourceUpdates"
  | "catalog"
  | "health"
> {
  readonly request: <Method extends string>(
    method: Method,
    params: ParamsOf<Method> | undefined,
    options: Requests.Options
  ) => Effect.Effect<ResultOf<Method>, RequestError>
}

/** The options that are the user's own code: nothing is decoded in them. */
type Own<R> = Pick<Options<R>, "transport" | "handlers" | "roots" | "onSession" | "admission">

export const make = Effect.fnUntraced(function* <R>(own: Own<R>, options: Decoded) {
  const deadlines = yield* Deadlines.make
  const core = yield* Core.make(options.name, deadlines)
  const desired = Desired.make(own.roots)
  const catalogs = new Catalogs.Catalogs()
  const restoration = Restoration.make(core, desired, catalogs, {
    restore: options.restore,
    onSession: own.onSession,
    timeout: options.defaults.timeout
  })
  const questions = Patience.makeQuestions()
  const requests = Requests.make(
    core,
    catalogs,
    options,
    own.handlers?.elicitation === undefined ? undefined : questions,
    deadlines
  )
  const context = yield* Effect.context<R>()
  const host = Host.make({
    handlers: own.handlers ?? {},
    context,
    desired,
    questions,
    onNotification: (notification) => core.notifications.publish(notification)
  })
  const scope = yield* Scope.fork(yield* Effect.scope)
  const closeTimeout = options.closeTimeout ?? own.transport.closeWithin?.() ?? Duration.seconds(15)

  yield* Effect.acquireRelease(
    start(core, { ...options, transport: own.transport, admission: own.admission, host, restoration, catalogs }),
    (running) => stop(core, catalogs, running, closeTimeout)
  ).pipe(Scope.provide(scope))
  if (options.start === "required") {
    yield* untilStarted(core, options).pipe(
      Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)))
    )
  }

  const ready = (after: number, known?: ConnectionState.ConnectionState) =>
    Effect.map(requests.awaitSession(after, known), ({ generation, openedAt, session }): Ready => {
      const { state } = Ref.getUnsafe(core.snapshot)
      return state._tag === "Ready" && state.generation === generation
        ? state
        : ConnectionState.Ready({ generation, since: openedAt, server: session.info })
    })

  /** Asks the supervisor for another session, and waits for it. */
  const replaced = (kind: "reconnect" | "refresh") =>
    Effect.suspend(() => {
      const { generation: seen, published, state } = Ref.getUnsafe(core.snapshot)
      const { phase } = core
      Queue.offerUnsafe(
        core.mailbox,
        kind === "reconnect"
          ? Core.ReconnectRequested({ seen, phase })
          : Core.RefreshRequested({ seen, phase, refreshPhase: published?.refreshPhase ?? 0 })
      )
      return ready(seen, state)
    })

  const refreshed = () =>
    Effect.scoped(
      Effect.gen(function* () {
        const events = yield* PubSub.subscribe(yield* core.events.pubsub)
        const seen = Ref.getUnsafe(core.snapshot).generation
        const refused: Effect.Effect<never, ConnectionUnavailable> = Effect.flatMap(PubSub.take(events), (event) =>
          event._tag === "RefreshFailed" && event.generation === seen
            ? Effect.fail(requests.unavailable("RefreshFailed", event.error))
            : refused
        )
        return yield* Effect.raceFirst(replaced("refresh"), refused)
      })
    )

  const untilClosed = <A>(stream: Stream.Stream<A>): Stream.Stream<A> =>
    Stream.interruptWhen(stream, Deferred.await(core.closed))

  const engine: Engine = {
    name: core.server,
    request: (method, params, options) => requests.request(method, params, options, toolOf(method, params)),
    state: Effect.sync(() => Ref.getUnsafe(core.snapshot).state),
    // Put together when somebody reads them: most connections are asked for none of it, and it weighs as much as a session.
    changes: Stream.suspend(() => Stream.takeUntil(streamOf(core.states), (state) => state._tag === "Closed")),
    events: Stream.suspend(() =>
      Ref.getUnsafe(core.snapshot).state._tag === "Closed"
        ? Stream.empty
        : Stream.takeUntil(streamOf(core.events), (event) => event._tag === "Closed")
    ),
    notifications: Stream.suspend(() => untilClosed(streamOf(core.notifications))),
    awaitReady: Effect.suspend(() => ready(0)),
    reconnect: replaced("reconnect"),
    refresh: Effect.suspend(refreshed),
    catalog: Effect.sync(() => catalogs.current),
    health: Effect.sync(() => core.vitals.health(Ref.getUnsafe(core.snapshot).published, requests.waiting())),
    notify: (method, params) =>
      requests.onSession(method, options.defaults, ({ session }) => session.notify(method, params)),
    setLogLevel: (level) =>
      Effect.suspend(() => {
        const before = desired.logLevel
        desired.logLevel = level
        return tell(
          "logging/setLevel",
          { level },
          "the level",
          ({ session }) => session.info.era === "legacy" && session.info.capabilities.logging !== undefined
        ).pipe(
          // What the server will not have is not desired: it would keep the next session from being restored.
          Effect.tapError((error) =>
            Effect.sync(() => {
              if (error._tag === "ServerRejected" && desired.logLevel === level) desired.logLevel = before
            })
          )
        )
      }),
    setRoots: (roots) =>
      Effect.suspend(() => {
        if (desired.roots === undefined) {
          return Effect.fail(
            new InvalidRequest({
              server: core.server,
              method: Desired.rootsChanged,
              description: "no roots were declared: give the connection `roots`, if only an empty list"
            })
          )
        }
        const { published, state } = Ref.getUnsafe(core.snapshot)
        if (state._tag === "Closed") return Effect.fail(closedBefore())
        desired.roots = roots
        if (published === undefined) return Effect.void
        published.applied.roots = roots
        // The modern era asks for them each time it needs them.
        if (published.session.info.era === "modern") return Effect.void
        return engine.notify(Desired.rootsChanged)
      }),
    resourceUpdates: (uri) => Stream.unwrap(updatesOf(uri))
  }

  const closedBefore = () => new ConnectionClosed({ server: core.server, delivery: "NotSent" })

  /** Servers may take concurrent requests in any order: of each thing one is told at a time, so that the last wish wins. */
  const turns = Turns.make()

  /** Sends what is desired now to the session that serves, if there is one where it is due; the next is restored to it. */
  const tell = <const Method extends "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe">(
    method: Method,
    params: ParamsOf<Method>,
    turn: string,
    due: (published: Core.Published) => boolean,
    ended: (published: Core.Published, exit: Exit.Exit<unknown, RequestError>) => void = () => {}
  ): Effect.Effect<void, RequestError> =>
    turns.take(
      turn,
      Effect.suspend((): Effect.Effect<void, RequestError> => {
        const { published, state } = Ref.getUnsafe(core.snapshot)
        if (state._tag === "Closed") return Effect.fail(closedBefore())
        return published === undefined || !due(published)
          ? Effect.void
          : requests.request(method, params, { ...options.defaults, replay: replayOn(published) }).pipe(
              Effect.onExit((exit) => Effect.sync(() => ended(published, exit))),
              Effect.asVoid,
              // The session was lost under it, and the next one is restored to what is desired: nothing needs to be sent again.
              Effect.catchTag("ConnectionUnavailable", (error) =>
                error.because === "NotReplayed" && !goesOn(published) ? Effect.void : Effect.fail(error)
              )
            )
      })
    )

  const goesOn = (published: Core.Published): boolean =>
    published.session.isolation === "perRequest" && Ref.getUnsafe(core.snapshot).published === published

  /** Each reader asks: the one whose request all relied on may have failed, or gone. */
  const subscribe = (uri: string) =>
    tell(
      "resources/subscribe",
      { uri },
      `resource ${uri}`,
      ({ applied, session }) => Desired.canSubscribe(session.info) && !applied.subscriptions.has(uri),
      ({ applied }, exit) => {
        if (Exit.isSuccess(exit)) applied.subscriptions.add(uri)
        else if (!isRejected(exit)) applied.doubtful.add(uri)
      }
    )

  const unsubscribe = (uri: string) =>
    tell(
      "resources/unsubscribe",
      { uri },
      `resource ${uri}`,
      ({ applied, session }) =>
        Desired.canSubscribe(session.info) &&
        !desired.subscriptions.has(uri) &&
        (applied.subscriptions.has(uri) || applied.doubtful.has(uri)),
      ({ applied }, exit) => {
        applied.subscriptions.delete(uri)
        if (Exit.isSuccess(exit) || isRejected(exit)) applied.doubtful.delete(uri)
        else applied.doubtful.add(uri)
      }
    )

  /** The same for a session of the modern era, whose subscriptions are one stream. */
  const listenAnew = (late: Core.Wish): Effect.Effect<void, RequestError> =>
    Effect.suspend(() =>
      Ref.getUnsafe(core.snapshot).published?.session.info.era !== "modern"
        ? Effect.void
        : requests
            .onSession("subscriptions/listen", options.defaults, (published) =>
              Effect.tapError(Effect.asVoid(restoration.listen(published)), (failure) =>
                // It is asked again for as long as the session lives, and the next one is restored to what is desired.
                failure._tag === "ConnectionError" ? Effect.sync(() => published.wish(late)) : Effect.void
              )
            )
            .pipe(
              Effect.catchTag("ConnectionUnavailable", (error) =>
                error.because === "NotReplayed" ? Effect.void : Effect.fail(error)
              )
            )
    )

  /** One subscription of the server for all readers of a resource. */
  const subscribed = (uri: string): Effect.Effect<void, RequestError, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => {
        desired.subscriptions.set(uri, (desired.subscriptions.get(uri) ?? 0) + 1)
      }),
      () =>
        Effect.suspend(() => {
          const others = (desired.subscriptions.get(uri) ?? 0) - 1
          if (others > 0) {
            desired.subscriptions.set(uri, others)
            return Effect.void
          }
          desired.subscriptions.delete(uri)
          // In the background: whoever stops reading need not wait for the server to agree.
          return Effect.andThen(unsubscribe(uri), listenAnew("More")).pipe(
            Effect.ignore,
            Effect.forkDetach({ startImmediately: true })
          )
        })
    ).pipe(Effect.andThen(subscribe(uri)), Effect.andThen(listenAnew("Late")))

  const updatesOf = (uri: string): Effect.Effect<Stream.Stream<ResourceUpdate>, RequestError, Scope.Scope> =>
    Effect.gen(function* () {
      // Before the server knows of the reader, so that nothing it says at once is missed.
      const notifications = yield* PubSub.subscribe(yield* core.notifications.pubsub)
      const events = yield* PubSub.subscribe(yield* core.events.pubsub)
      yield* subscribed(uri)
      const updates = Stream.fromSubscription(notifications).pipe(
        Stream.filter(
          ({ method, params }) =>
            method === "notifications/resources/updated" && params !== undefined && params["uri"] === uri
        ),
        Stream.map((): ResourceUpdate => ({ _tag: "Updated", uri }))
      )
      const gaps = Stream.fromSubscription(events).pipe(
        Stream.filter((event) => event._tag === "SessionReady" || event._tag === "NotificationsMissed"),
        Stream.map(({ generation }): ResourceUpdate => ({ _tag: "MayHaveMissed", uri, generation }))
      )
      return untilClosed(Stream.merge(updates, gaps))
    })

  return engine
})

const streamOf = <A>(told: SlidingPubSub.OnDemand<A>): Stream.Stream<A> =>
  Stream.unwrap(Effect.map(told.pubsub, (made) => Stream.fromPubSub(made)))

const isRejected = (exit: Exit.Exit<unknown, RequestError>): boolean =>
  Exit.isFailure(exit) && Option.exists(Cause.findErrorOption(exit.cause), (error) => error._tag === "ServerRejected")

/** Where a failed request proves nothing of its session, the session may go on, and is told again. */
const replayOn = ({ session }: Core.Published): "safe" | "never" =>
  session.isolation === "perRequest" ? "safe" : "never"

/** Waits for the first session, or for the reason why there is none. */
const untilStarted = (core: Core.Core, options: Decoded): Effect.Effect<void, ConnectionError> =>
  core.waiters.until<void, ConnectionError>(
    () => {
      const { state } = Ref.getUnsafe(core.snapshot)
      switch (state._tag) {
        case "Ready":
          return Effect.void
        case "Failed":
          return Effect.fail(state.error)
        case "Closed":
          return Effect.fail(
            core.error(new TransportClosed({ description: "the connection was closed before there was a session" }))
          )
        default:
          return undefined
      }
    },
    {
      duration: options.startWithin,
      orElse: () =>
        Effect.fail(
          ConnectionState.causeOf(Ref.getUnsafe(core.snapshot).state) ??
            core.error(new StartupTimeout({ after: options.startWithin }), core.stderrTail())
        )
    }
  )

interface Running {
  readonly supervisor: Fiber.Fiber<never>
  readonly scopes: SessionScopes.SessionScopes
}

const start = Effect.fnUntraced(function* <R>(
  core: Core.Core,
  options: Omit<Supervisor.Options<R>, "eager"> & Decoded
) {
  const scopes = SessionScopes.make()
  const supervisor = yield* Supervisor.run(core, scopes, { ...options, eager: options.start !== "lazy" }).pipe(
    Effect.forkDetach
  )
  const running: Running = { supervisor, scopes }
  return running
})

/** In this order: nothing is opened any more, nobody is handed a session any more, and what is open is closed. */
const stop = Effect.fnUntraced(function* (
  core: Core.Core,
  catalogs: Catalogs.Catalogs,
  { scopes, supervisor }: Running,
  closeTimeout: Duration.Duration
) {
  supervisor.interruptUnsafe()
  catalogs.markStale(Catalogs.kinds)
  yield* core.emit(
    (at) => ConnectionEvent.Closed({ at }),
    () => undefined
  )
  yield* scopes.retireAll.pipe(
    Effect.andThen(Fiber.await(supervisor)),
    // What the supervisor opened meanwhile.
    Effect.andThen(scopes.retireAll),
    Effect.andThen(scopes.awaitRetired),
    // A transport that does not let go must not hold the program: finalizers are not interruptible by themselves.
    Effect.interruptible,
    Effect.timeoutOrElse({
      duration: closeTimeout,
      orElse: () =>
        Effect.logError("an mcp transport did not let go within closeTimeout; it is abandoned", { server: core.server })
    })
  )
})
