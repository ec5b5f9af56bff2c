/**
 * What a test over HTTP stands on: fault servers on real sockets, connections to them, and the check that nothing outlives it.
 *
 * A connection lives in the scope of the test's body, a server in one around it: when the body has ended, the servers are asked
 * whether a socket of the connection is left.
 */
import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Reason } from "../../src/ConnectionError.ts"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import type { ConnectionState } from "../../src/ConnectionState.ts"
import type { Delivery } from "../../src/Delivery.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import type { RequestError } from "../../src/RequestError.ts"
import { type Connection, eventsOf, fast, nothingHeld, resources, textOf, until } from "../driver/rig.ts"
import * as Proxy from "./proxy.ts"
import * as Server from "./server.ts"

export { eventsOf, failureOf, tagsOf, textOf, timed, until } from "../driver/rig.ts"
export type { Connection } from "../driver/rig.ts"

/** Options of a connection over HTTP. */
export interface Options extends Partial<Omit<McpConnection.Options, "transport">> {
  /** What is not as usual about its transport. */
  readonly http?: Partial<McpTransport.HttpOptions>
}

export interface Rig {
  /** A server that outlives the test's connections. */
  readonly serve: (options?: Server.Options) => Effect.Effect<Server.Server>
  /** Acquires what shall outlive the test's connections. */
  readonly around: <A, E>(resource: Effect.Effect<A, E, Scope.Scope>) => Effect.Effect<A, E>
  /** A connection with a fast policy and no heartbeat unless said otherwise. */
  readonly connect: (
    target: { readonly url: string },
    options?: Options
  ) => Effect.Effect<Connection, Effect.Error<ReturnType<typeof McpConnection.make>>, Scope.Scope>
  /** A server, and a connection to it that is Ready and at rest. */
  readonly ready: (
    server?: Server.Options,
    options?: Options
  ) => Effect.Effect<
    { readonly server: Server.Server; readonly connection: Connection; readonly events: Array<ConnectionEvent> },
    Effect.Error<ReturnType<typeof McpConnection.make>>,
    Scope.Scope
  >
  /** Every line that was logged, at any level. */
  readonly logs: ReadonlyArray<string>
}

/** A behaviour on real sockets and the real clock. In the end no socket, timer or handle of it may be left. */
export const scenario = <A, E>(
  name: string,
  body: (rig: Rig) => Effect.Effect<A, E, Scope.Scope>,
  timeout = 30_000
): void =>
  it.live(
    name,
    () =>
      Effect.suspend(() => {
        const before = resources()
        return Effect.scoped(
          Effect.gen(function* () {
            const { logger, rig, servers } = makeRig(yield* Effect.scope)
            yield* Effect.scoped(body(rig)).pipe(
              Effect.provide(logger),
              Effect.provideService(References.MinimumLogLevel, "All")
            )
            yield* Effect.forEach(servers, letGo, { discard: true })
          })
        ).pipe(Effect.andThen(nothingHeld(before)))
      }),
    timeout
  )

const makeRig = (outer: Scope.Scope) => {
  const logs: Array<string> = []
  const servers: Array<Server.Server> = []
  const print = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value))
  const around: Rig["around"] = (resource) => Scope.provide(resource, outer)
  const serve: Rig["serve"] = (options) =>
    Effect.tap(around(Server.make(options)), (server) => Effect.sync(() => servers.push(server)))
  const connect: Rig["connect"] = (target, { http, ...options } = {}) =>
    McpConnection.make({
      name: "fixture",
      policy: fast,
      heartbeat: "off",
      requestTimeout: "15 seconds",
      wait: "15 seconds",
      ...options,
      transport: McpTransport.streamableHttp({ url: target.url, ...http })
    })
  const rig: Rig = {
    serve,
    around,
    connect,
    ready: Effect.fnUntraced(function* (serverOptions, options) {
      const server = yield* serve(serverOptions)
      const connection = yield* connect(server, options)
      yield* opened(server)
      return { server, connection, events: yield* eventsOf(connection) }
    }),
    logs
  }
  const logger = Logger.layer([
    Logger.make(({ cause, fiber, logLevel, message }) => {
      const annotations = fiber.getRef(References.CurrentLogAnnotations)
      logs.push(`${logLevel} ${print(message)} ${print(annotations)} ${Cause.pretty(cause)}`)
    })
  ])
  return { rig, servers, logger }
}

/** Waits for the last request of a handshake, which asks for a stream: a fault that hits that one is another test's. */
export const opened = (server: Server.Server): Effect.Effect<void> =>
  Effect.andThen(
    until("the request for a stream", () => server.count("GET") === 1),
    Proxy.idle
  )

/** Waits until the connections of the test have let go of a server's sockets, which it does not end by itself. */
const letGo = (server: Server.Server): Effect.Effect<void> =>
  until(`the end of ${server.sockets()} sockets`, () => server.sockets() === 0)

/** Nothing hangs: what takes this long has failed the test. It is well below the request timeout. */
export const settled = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.timeoutOrElse(effect, {
    duration: "10 seconds",
    orElse: () => Effect.die(new Error("it did not settle within ten seconds"))
  })

/** Calls a tool, and answers its text. */
export const call = (
  connection: Connection,
  tool: "read" | "again" | "write",
  script: Server.Script | string,
  options?: McpConnection.RequestOptions
): Effect.Effect<string, RequestError> =>
  settled(
    Effect.map(
      connection.callTool(
        { name: tool, arguments: typeof script === "string" ? { label: script } : { ...script } },
        options
      ),
      textOf
    )
  )

/** What a caller is told of a connection that failed it. */
export interface Told {
  readonly error: string
  readonly because: string | undefined
  readonly delivery: Delivery
  readonly reason: Reason
}

/** Asserts that an error is one of the connection, and sums it up. */
export const toldBy = (error: RequestError): Told => {
  if (error._tag === "OutcomeUnknown")
    return { error: error._tag, because: undefined, delivery: "Unknown", reason: error.cause.reason }
  assert(error._tag === "ConnectionUnavailable", error.message)
  assert(error.cause !== undefined, error.message)
  return { error: error._tag, because: error.because, delivery: error.delivery, reason: error.cause.reason }
}

/** The generation that serves now, or soon. */
export const generationOf = (connection: Connection): Effect.Effect<number> =>
  settled(Effect.map(Effect.orDie(connection.awaitReady), ({ generation }) => generation))

/** Waits for a state that answers. */
export const untilState = <A>(
  connection: Connection,
  ask: (state: ConnectionState) => A | undefined | false
): Effect.Effect<A> =>
  settled(
    connection.changes.pipe(
      Stream.filterMap((state) => {
        const answer = ask(state)
        return answer === undefined || answer === false ? Result.failVoid : Result.succeed(answer)
      }),
      Stream.runHead,
      Effect.flatMap(Effect.fromOption),
      Effect.orDie
    )
  )

/** The events of one kind. */
export const only = <Tag extends ConnectionEvent["_tag"]>(
  events: ReadonlyArray<ConnectionEvent>,
  tag: Tag
): ReadonlyArray<Extract<ConnectionEvent, { readonly _tag: Tag }>> =>
  events.filter((event): event is Extract<ConnectionEvent, { readonly _tag: Tag }> => event._tag === tag)

/** Asserts that the first session still serves, and that there was never another one. */
export const sameSession = Effect.fnUntraced(function* (
  server: Server.Server,
  connection: Connection,
  events: ReadonlyArray<ConnectionEvent>
) {
  assert.strictEqual(yield* call(connection, "read", "afterwards"), "afterwards")
  assert.strictEqual(yield* generationOf(connection), 1)
  assert.strictEqual(server.count("initialize"), 1)
  assert.deepStrictEqual(
    events.filter(({ _tag }) => _tag === "SessionLost" || _tag === "AttemptStarted" || _tag === "GaveUp"),
    []
  )
})

/** The lines of the ledger for one label. */
export const runsOf = (server: Server.Server, label: string): number =>
  server.ledger.filter((line) => line.endsWith(` ${label}`)).length
