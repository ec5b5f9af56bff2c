/** One server of a fleet: its connection, and what may be changed about it while it lives. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { ConnectionError, StartupTimeout } from "../../ConnectionError.ts"
import * as ConnectionState from "../../ConnectionState.ts"
import * as McpConnection from "../../McpConnection.ts"
import type { Server } from "../../McpFleet.ts"
import { InvalidOptions } from "../../InvalidOptions.ts"
import type { McpTransport } from "../../McpTransport.ts"
import * as EngineOptions from "../engine/options.ts"

export interface Member<R> {
  readonly name: string
  readonly connection: McpConnection.Shape
  readonly scope: Scope.Closeable
  /** What it is now. */
  server: Server<R>
  /** The way to it; a new session takes the one that is here then. */
  readonly way: Way<R>
}

interface Way<R> {
  current: McpTransport<R>
  /** The one that was taken last. */
  taken: McpTransport<R> | undefined
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
      way.taken = way.current
      return way.current.open(context)
    })
})

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
  admission: McpConnection.Admission,
  fleet: Scope.Scope
): Effect.Effect<Member<R>, InvalidOptions, R> =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(fleet)
    const { required: _required, source: _source, transport, ...options } = server
    const way: Way<R> = { current: transport, taken: undefined }
    const connection = yield* McpConnection.make<R>({
      ...options,
      name,
      start: server.start ?? "background",
      admission,
      transport: redirected(way)
    }).pipe(
      // Only `start: "required"` fails with anything else.
      Effect.catchTag("ConnectionError", (error) => Effect.die(error)),
      Scope.provide(scope),
      Effect.onError(() => Scope.close(scope, Exit.void))
    )
    return { name, connection, scope, server, way }
  })

/** What a change of its options means for a server. */
export const changeOf = <R>(member: Member<R>, next: Server<R>): "unchanged" | "refreshed" | "replaced" => {
  const { source: oldSource, transport: oldWay, ...old } = member.server
  const { source: newSource, transport: newWay, ...now } = next
  // Structure for data; functions, schedules and transports are the same only as themselves.
  if (!Equal.equals(old, now)) return "replaced"
  return Equal.equals(oldSource ?? oldWay, newSource ?? newWay) ? "unchanged" : "refreshed"
}

/** Replaces its session by one that came the way it has now: an attempt that was being made meanwhile came another one. */
export const refreshed = <R>({ connection, way }: Member<R>) =>
  Effect.repeat(connection.refresh, { while: () => way.taken !== way.current })

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
