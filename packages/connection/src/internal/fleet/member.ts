/** One server of a fleet: its connection, and what may be changed about it while it lives. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { ConnectionError, StartupTimeout, TransportClosed } from "../../ConnectionError.ts"
import * as ConnectionState from "../../ConnectionState.ts"
import * as McpConnection from "../../McpConnection.ts"
import type { Server } from "../../McpFleet.ts"
import { InvalidOptions } from "../../InvalidOptions.ts"
import type { McpTransport } from "../../McpTransport.ts"
import * as EngineOptions from "../engine/options.ts"
import * as Filtered from "../filtered.ts"

export interface Member<R> {
  readonly name: string
  /** Which connection to a server of this name it is, counted from 1. */
  readonly ordinal: number
  /** It offers the tools that `server` says. */
  readonly connection: McpConnection.Shape
  /** Looks whether `server` names tools that there are none of. */
  readonly look: Effect.Effect<void>
  readonly scope: Scope.Closeable
  /** What it is now. */
  server: Server<R>
  /** The way to it; a new session takes the one that is here then. */
  readonly way: Way<R>
}

interface Way<R> {
  current: McpTransport<R>
  /** Completes when `current` is another one. */
  changed: Deferred.Deferred<void>
  /** Which one the last attempt took. */
  attempted: McpTransport<R> | undefined
  /** Which way the latest sessions came, by their generations. */
  readonly taken: Map<number, McpTransport<R>>
}

const wayOf = <R>(current: McpTransport<R>): Way<R> => ({
  current,
  changed: Deferred.makeUnsafe(),
  attempted: undefined,
  taken: new Map()
})

const redirect = <R>(way: Way<R>, next: McpTransport<R>): void => {
  const { changed } = way
  way.current = next
  way.changed = Deferred.makeUnsafe()
  Deferred.doneUnsafe(changed, Exit.void)
}

/** A transport that is another one when it is told so. */
const redirected = <R>(way: Way<R>): McpTransport<R> => ({
  get label() {
    return way.current.label
  },
  validate: Effect.suspend(() => way.current.validate),
  // Asked once: for whatever its ways may need.
  closeWithin: () => way.current.closeWithin?.() ?? Duration.seconds(15),
  open: (context) =>
    Effect.suspend(() => {
      const taken = way.current
      way.attempted = taken
      const reason = new TransportClosed({ description: "there is another way to the server now" })
      return Effect.raceFirst(
        taken.open(context),
        // What hangs in the old way would hold up the new one.
        Effect.andThen(
          Deferred.await(way.changed),
          Effect.fail(new ConnectionError({ server: context.server, reason }))
        )
      ).pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            way.taken.set(context.generation, taken)
            // At most one session is beside the one that serves.
            way.taken.delete(context.generation - 2)
          })
        )
      )
    })
})

/** Whether the session that serves came another way than new ones would: what `server` says is not what runs. */
const isBehind = <R>({ connection, way }: Member<R>): Effect.Effect<boolean> =>
  Effect.map(
    connection.state,
    (state) => state._tag === "Ready" && (way.taken.get(state.generation) ?? way.current) !== way.current
  )

/** Whether a server could be opened, as far as its options say. */
export const check = <R>(name: string, server: Server<R>): Effect.Effect<void, InvalidOptions> => {
  const { required: _required, source: _source, ...options } = server
  return Effect.andThen(EngineOptions.decode({ ...options, name }), server.transport.validate).pipe(
    Effect.mapError(({ issues, of }) => new InvalidOptions({ of: `McpFleet, server ${name}: ${of}`, issues }))
  )
}

/** Opens the connection of a server, in a child of the fleet's scope, and does not wait for it. */
export const open = <R>(
  name: string,
  server: Server<R>,
  options: {
    readonly ordinal: number
    readonly admission: McpConnection.Admission
    /** Hears of names in `server.tools` that are no tools of the server. */
    readonly unknownTools: (tools: ReadonlyArray<string>) => Effect.Effect<void>
  },
  fleet: Scope.Scope
): Effect.Effect<Member<R>, InvalidOptions, R> =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(fleet)
    const { required: _required, source: _source, tools: _tools, transport, ...own } = server
    const way = wayOf(transport)
    const connection = yield* McpConnection.make<R>({
      ...own,
      name,
      start: server.start ?? "background",
      admission: options.admission,
      transport: redirected(way)
    }).pipe(
      // Only `start: "required"` fails with anything else.
      Effect.catchTag("ConnectionError", (error) => Effect.die(error)),
      Scope.provide(scope),
      Effect.onError(() => Scope.close(scope, Exit.void))
    )
    const filtered = Filtered.make(connection, () => member.server.tools, options.unknownTools)
    const member: Member<R> = { name, ordinal: options.ordinal, ...filtered, scope, server, way }
    return member
  })

/** What a change of its options means for a server. */
export const changeOf = <R>(
  member: Member<R>,
  next: Server<R>
): Effect.Effect<"unchanged" | "filtered" | "refreshed" | "replaced"> =>
  Effect.map(isBehind(member), (isBehind) => {
    const { source: oldSource, tools: oldTools, transport: oldWay, ...old } = member.server
    const { source: newSource, tools: newTools, transport: newWay, ...now } = next
    // Structure for data; functions, schedules and transports are the same only as themselves.
    if (!Equal.equals(old, now)) return "replaced"
    if (isBehind || !Equal.equals(oldSource ?? oldWay, newSource ?? newWay)) return "refreshed"
    return Equal.equals(oldTools, newTools) ? "unchanged" : "filtered"
  })

/** Offers other tools; nothing is asked of the server. */
export const filtered = <R>(member: Member<R>, next: Server<R>): Effect.Effect<void> =>
  Effect.suspend(() => {
    member.server = { ...member.server, tools: next.tools }
    return member.look
  })

/** Replaces its session by one that came the way it has now. */
export const refreshed = <R>(member: Member<R>, next: Server<R>): Effect.Effect<"refreshed" | "not-refreshed"> =>
  Effect.suspend(() => {
    const { connection, way } = member
    member.server = next
    redirect(way, next.transport)
    const refresh = Effect.matchEffect(connection.refresh, {
      onSuccess: () => isBehind(member),
      // An attempt in the old way was under way, and has ended; it says nothing of the new one.
      onFailure: (error) =>
        error._tag === "ConnectionUnavailable" && way.attempted !== way.current
          ? Effect.succeed(true)
          : Effect.fail(error)
    })
    return Effect.flatMap(connection.state, ({ _tag }) =>
      // What has no session takes the new way by itself.
      _tag === "Idle"
        ? Effect.succeed("refreshed" as const)
        : Effect.repeat(refresh, { while: (again) => again }).pipe(
            // Without a session it would be waited for without end.
            Effect.timeoutOption(next.startWithin ?? "60 seconds"),
            Effect.map((done) => (done._tag === "Some" ? "refreshed" : "not-refreshed")),
            Effect.catch(() => Effect.succeed("not-refreshed" as const))
          )
    )
  })

export const close = <R>({ scope }: Member<R>): Effect.Effect<void> => Scope.close(scope, Exit.void)

/** Lets what is in flight end, and closes; at once where nobody waits for it any more. */
export const retire = <R>(member: Member<R>): Effect.Effect<void> => {
  const { connection, server } = member
  const busy = Effect.map(connection.health, ({ inFlight, waiting }) => inFlight + waiting > 0)
  return Effect.repeat(busy, { while: (busy) => busy, schedule: Schedule.spaced(drainPause) }).pipe(
    Effect.timeoutOption(Duration.fromInputUnsafe(server.drainTimeout ?? "30 seconds")),
    Effect.ensuring(close(member)),
    Effect.asVoid
  )
}

const drainPause = "25 millis"

/** Waits until it serves, and fails with the reason why it does not. */
export const started = <R>({ connection, name, server }: Member<R>): Effect.Effect<void, ConnectionError> => {
  const within = Duration.fromInputUnsafe(server.startWithin ?? "60 seconds")
  const cause = Effect.map(
    connection.state,
    (state) =>
      ConnectionState.causeOf(state) ??
      new ConnectionError({ server: name, reason: new StartupTimeout({ after: within }) })
  )
  return Effect.raceFirst(
    Effect.asVoid(connection.awaitReady),
    Effect.andThen(Effect.sleep(within), Effect.flatMap(cause, Effect.fail))
  ).pipe(
    Effect.catch((error) =>
      error._tag === "ConnectionError" ? Effect.fail(error) : Effect.flatMap(cause, Effect.fail)
    )
  )
}

/** Waits until it serves, or cannot; at most as long as its start may take. */
export const settled = <R>({ connection, server }: Member<R>): Effect.Effect<"Ready" | "not"> =>
  connection.awaitReady.pipe(
    Effect.as("Ready" as const),
    Effect.timeoutOption(server.startWithin ?? "60 seconds"),
    Effect.map((ready) => (ready._tag === "Some" ? "Ready" : "not")),
    Effect.catch(() => Effect.succeed("not" as const))
  )
