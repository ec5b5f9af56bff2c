/** Plays: a simulated server, a real connection to it, and what its callers are told, in virtual time. */
import { it } from "@effect/vitest"
import {
  type ConnectionError,
  type ConnectionEvent,
  type InvalidOptions,
  McpConnection,
  ReconnectPolicy,
  type RequestError
} from "@mcp-tether/connection"
import { type Faults, SimulatedServer, VirtualClock } from "@mcp-tether/testing"
import type { CallToolResult, ProtocolEra } from "@modelcontextprotocol/client"
import { Clock, type Duration, Effect, Logger, Random, Schedule, type Scope, Stream } from "effect"

/** What ends a test that did not expect it. */
type Mishap =
  | RequestError.RequestError
  | ConnectionError.ConnectionError
  | InvalidOptions.InvalidOptions
  | McpConnection.Ready
  | CallToolResult
  | void

/** A test in virtual time, which passes by itself for as long as the test lasts. */
export const virtual = (name: string, body: Effect.Effect<void, Mishap, Scope.Scope | VirtualClock.VirtualClock>) =>
  it.live(name, () => inVirtualTime(body))

/** Runs an effect in virtual time of its own, from 0, and closes its scope there. */
export const inVirtualTime = <A, E>(
  body: Effect.Effect<A, E, Scope.Scope | VirtualClock.VirtualClock>
): Effect.Effect<A, E> =>
  body.pipe(
    Effect.scoped,
    VirtualClock.run,
    Random.withSeed("play"),
    Effect.provide([VirtualClock.layer(), Logger.layer([])])
  )

/** At once, then every second, and never before the server's `Retry-After`. */
export const everySecond: ReconnectPolicy.ReconnectPolicy = Schedule.spaced("1 second").pipe(
  ReconnectPolicy.atOnceFirst,
  ReconnectPolicy.retryAfter
)

export type ServerOptions = SimulatedServer.Options & { readonly faults?: Faults.Script | undefined }

/** A tool that has an effect, one that has none, and one that works for a second. */
export const tools = {
  pay: {},
  read: { annotations: { readOnlyHint: true } },
  work: { latency: "1 second" }
} as const

/** How a server is reached, and in which era. */
export interface World {
  readonly over: "stdio" | "http"
  readonly era: ProtocolEra
}
const worldsOver = (over: World["over"]): ReadonlyArray<World> => [
  { over, era: "legacy" },
  { over, era: "modern" }
]
export const overStdio = worldsOver("stdio")
export const overHttp = worldsOver("http")
export const everywhere: ReadonlyArray<World> = [...overStdio, ...overHttp]
export const inWords = ({ era, over }: World): string => `over ${over}, ${era} era`

/**
 * A server with {@link tools}, and a connection to it that is `Ready`. It tries {@link everySecond} and is not probed, unless its
 * options say otherwise; `ready: false` leaves the connection closed until the first request.
 */
export const play = Effect.fnUntraced(function* (
  options: ServerOptions = {},
  { ready = true, ...connecting }: Partial<McpConnection.Options> & { readonly ready?: boolean } = {}
) {
  const server = yield* SimulatedServer.make({ tools, ...options })
  const connection = yield* McpConnection.make({
    transport: server.transport,
    start: "lazy",
    heartbeat: "off",
    policy: everySecond,
    ...connecting
  })
  const events: Array<ConnectionEvent.ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  if (ready) yield* connection.awaitReady
  /** Calls a tool, and says what its caller is told, and when. */
  const call = (name: string, options?: McpConnection.RequestOptions, args: Readonly<Record<string, unknown>> = {}) =>
    told(connection.callTool({ name, arguments: args }, options))
  return { server, connection, events, call }
})

/** What a caller is told, and how long it took, in words. */
export const told = <E extends RequestError.RequestError>(
  call: Effect.Effect<CallToolResult, E>
): Effect.Effect<string> =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    const words = yield* Effect.match(call, { onFailure: errorInWords, onSuccess: resultInWords })
    return `${words} after ${(yield* Clock.currentTimeMillis) - start} ms`
  })

const resultInWords = ({ content }: CallToolResult): string =>
  content.map((part) => (part.type === "text" ? part.text : part.type)).join()

const errorInWords = (error: RequestError.RequestError): string => {
  switch (error._tag) {
    case "ConnectionUnavailable":
      return `ConnectionUnavailable (${error.because}, ${error.delivery}, ${error.cause?.reason._tag ?? "no cause"})`
    case "OutcomeUnknown":
      return `OutcomeUnknown (${error.cause.reason._tag})`
    case "RequestTimeout":
    case "ConnectionClosed":
      return `${error._tag} (${error.delivery})`
    case "ServerRejected":
      return `ServerRejected (${error.code})`
    default:
      return error._tag
  }
}

/** Waits until that time of the clock, which may be now. */
export const until = (time: number): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sleep(time - now))

/** Says when an effect ended. */
export const endOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.andThen(effect, Clock.currentTimeMillis)

/** What happened, as `<time> <fault>`. */
export const happenedIn = (server: SimulatedServer.SimulatedServer): ReadonlyArray<string> =>
  server.happened.map(({ at, fault }) => `${at} ${fault._tag}`)

/** The requests that were put on the wire, as `<time> <generation> <method or tool>`. */
export const sentTo = (server: SimulatedServer.SimulatedServer): ReadonlyArray<string> =>
  server.sent.map(({ at, generation, method, tool }) => `${at} ${generation} ${tool ?? method}`)

/** The ledger, as `<time> <generation> <key>`. */
export const ledgerOf = (server: SimulatedServer.SimulatedServer): ReadonlyArray<string> =>
  server.ledger.map(({ at, generation, key }) => `${at} ${generation} ${key}`)

/** Why sessions were lost, as `<time> <generation> <reason>`. */
export const lossesIn = (events: ReadonlyArray<ConnectionEvent.ConnectionEvent>): ReadonlyArray<string> =>
  events.flatMap((event) =>
    event._tag === "SessionLost" ? [`${event.at} ${event.generation} ${event.error.reason._tag}`] : []
  )

/** Why attempts failed, as `<time> <reason>`. */
export const failuresIn = (events: ReadonlyArray<ConnectionEvent.ConnectionEvent>): ReadonlyArray<string> =>
  events.flatMap((event) => (event._tag === "AttemptFailed" ? [`${event.at} ${event.error.reason._tag}`] : []))

/** When sessions began to serve, as `<time> <generation>`. */
export const readyIn = (events: ReadonlyArray<ConnectionEvent.ConnectionEvent>): ReadonlyArray<string> =>
  events.flatMap((event) => (event._tag === "SessionReady" ? [`${event.at} ${event.generation}`] : []))

/** The options of a request that is given up after that long. */
export const within = (timeout: Duration.Input): McpConnection.RequestOptions => ({ timeout })
