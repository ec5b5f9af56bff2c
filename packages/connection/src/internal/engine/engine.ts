/** One connection: the supervisor, the requests, and their end. Effect only; knows no SDK and no socket. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type ConnectionError, StartupTimeout } from "../../ConnectionError.ts"
import * as ConnectionEvent from "../../ConnectionEvent.ts"
import * as ConnectionState from "../../ConnectionState.ts"
import type { Ready, Shape } from "../../McpConnection.ts"
import type { ParamsOf, ResultOf } from "../../McpSession.ts"
import type { McpTransport } from "../../McpTransport.ts"
import type { RequestError } from "../../RequestError.ts"
import { toolOf } from "../tool.ts"
import * as Core from "./core.ts"
import type { Decoded } from "./options.ts"
import * as Requests from "./requests.ts"
import * as SessionScopes from "./sessionScopes.ts"
import * as Supervisor from "./supervisor.ts"

export interface Engine extends Pick<Shape, "name" | "state" | "changes" | "events" | "awaitReady" | "reconnect"> {
  readonly request: <Method extends string>(
    method: Method,
    params: ParamsOf<Method> | undefined,
    options: Requests.Options
  ) => Effect.Effect<ResultOf<Method>, RequestError>
}

export const make = Effect.fnUntraced(function* <R>(transport: McpTransport<R>, options: Decoded) {
  const core = yield* Core.make(options.name)
  const requests = Requests.make(core, options)
  const scope = yield* Scope.fork(yield* Effect.scope)

  yield* Effect.acquireRelease(start(core, transport, options), (running) =>
    stop(core, running, options.closeTimeout ?? transport.closeWithin?.() ?? Duration.seconds(15))
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

  const engine: Engine = {
    name: core.server,
    request: (method, params, options) => requests.request(method, params, options, toolOf(method, params)),
    state: Effect.sync(() => Ref.getUnsafe(core.snapshot).state),
    changes: Stream.takeUntil(Stream.fromPubSub(core.states), (state) => state._tag === "Closed"),
    events: Stream.suspend(() =>
      Ref.getUnsafe(core.snapshot).state._tag === "Closed"
        ? Stream.empty
        : Stream.takeUntil(Stream.fromPubSub(core.events), (event) => event._tag === "Closed")
    ),
    awaitReady: ready(0),
    reconnect: Effect.suspend(() => {
      const seen = Ref.getUnsafe(core.generation)
      Queue.offerUnsafe(core.mailbox, Core.ReconnectRequested({ seen, phase: Ref.getUnsafe(core.phase) }))
      return ready(seen, Ref.getUnsafe(core.snapshot).state)
    })
  }
  return engine
})

/** Waits for the first session, or for the reason why there is none. */
const untilStarted = (core: Core.Core, options: Decoded): Effect.Effect<void, ConnectionError> => {
  const settled: Effect.Effect<void, ConnectionError> = Effect.suspend(() => {
    const turn = core.turn()
    const { state } = Ref.getUnsafe(core.snapshot)
    if (state._tag === "Ready") return Effect.void
    if (state._tag === "Failed") return Effect.fail(state.error)
    return Effect.andThen(Deferred.await(turn), settled)
  })
  if (!Duration.isFinite(options.startWithin)) return settled
  return Effect.timeoutOrElse(settled, {
    duration: options.startWithin,
    orElse: () => {
      const { state } = Ref.getUnsafe(core.snapshot)
      return Effect.fail(
        ConnectionState.causeOf(state) ??
          core.error(new StartupTimeout({ after: options.startWithin }), Ref.getUnsafe(core.stderrTail)())
      )
    }
  })
}

interface Running {
  readonly supervisor: Fiber.Fiber<never>
  readonly scopes: SessionScopes.SessionScopes
}

const start = Effect.fnUntraced(function* <R>(core: Core.Core, transport: McpTransport<R>, options: Decoded) {
  const scopes = SessionScopes.make()
  const supervisor = yield* Supervisor.run(core, scopes, {
    ...options,
    transport,
    eager: options.start !== "lazy"
  }).pipe(Effect.forkDetach)
  const running: Running = { supervisor, scopes }
  return running
})

/** In this order: nothing is opened any more, nobody is handed a session any more, and what is open is closed. */
const stop = Effect.fnUntraced(function* (
  core: Core.Core,
  { scopes, supervisor }: Running,
  closeTimeout: Duration.Duration
) {
  supervisor.interruptUnsafe()
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
