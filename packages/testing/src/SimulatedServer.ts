/**
 * A server of the Model Context Protocol that runs wholly in virtual time: declared tools, both eras, sessions, faults, and a ledger
 * of every effect it had.
 *
 * It is an `McpTransport`, so an `McpConnection` that is given it runs as it is shipped, without sockets, processes, promises or
 * timers: everything waits on Effect's `Clock`. Under `TestClock` or a `VirtualClock` a bad day takes milliseconds, and is the same
 * every time; with `Random.withSeed` so is the jitter of the reconnects. Somebody has to let that time pass: `VirtualClock.run` does, for
 * as long as the program takes. Under a `VirtualClock` that nobody drives, the first thing that takes time hangs.
 *
 * It behaves as real servers do (each row of `Faults` is modelled on the real thing, which `FaultProxy` does for real): over stdio a
 * session is a process, and its end is the end of the session; over HTTP one process serves all sessions, a request that fails says
 * nothing of the others, and a restart forgets the sessions of the legacy era.
 *
 * @example
 * ```ts
 * import { McpConnection } from "@mcp-tether/connection"
 * import { Faults, SimulatedServer, VirtualClock } from "@mcp-tether/testing"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const server = yield* SimulatedServer.make({
 *     tools: { pay: { handler: () => Effect.succeed("paid") } },
 *     faults: Faults.script(Faults.on({ tool: "pay" }, Faults.crash({ when: "afterEffect" })))
 *   })
 *   const connection = yield* McpConnection.make({ transport: server.transport })
 *   const error = yield* Effect.flip(connection.callTool({ name: "pay" }))
 *   return [error._tag, server.ledger.length] as const
 * })
 *
 * await program.pipe(Effect.scoped, VirtualClock.run, Effect.provide(VirtualClock.layer()), Effect.runPromise) // => ["OutcomeUnknown", 1]
 * ```
 *
 * @since 0.1.0
 */
import type { ConnectionError, ConnectionState, InvalidOptions, McpSession, McpTransport } from "@mcp-tether/connection"
import type {
  LoggingLevel,
  Prompt,
  ProtocolEra,
  Resource,
  ServerCapabilities,
  SubscriptionFilter,
  Tool
} from "@modelcontextprotocol/client"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Fault } from "./Fault.ts"
import type { Script } from "./Faults.ts"
import * as Implementation from "./internal/simulated/server.ts"

/**
 * A tool of a simulated server.
 *
 * @category options
 * @since 0.1.0
 */
export interface ToolOptions {
  readonly description?: string | undefined
  /** Default: any object. */
  readonly inputSchema?: Tool["inputSchema"] | undefined
  /** What it promises, like `readOnlyHint`. Default: nothing, so that it is taken to have an effect. */
  readonly annotations?: Tool["annotations"] | undefined
  /** How long it works before its effect. Default: no time. */
  readonly latency?: Duration.Input | undefined
  /**
   * Its effect, and what it answers: a result, or a text. The call is in the ledger from when this begins, also where it fails or
   * answers with `isError`. Default: a text that says which call ran on which session.
   */
  readonly handler?:
    | ((
        args: Readonly<Record<string, unknown>>,
        call: Call
      ) => Effect.Effect<string | Readonly<Record<string, unknown>>, McpSession.SessionFailure>)
    | undefined
}

/**
 * What one release of a server offers.
 *
 * @category options
 * @since 0.1.0
 */
export interface Release {
  /** Its tools, by name; a call of any other is refused with -32602. Default: none are listed, and every call is carried out. */
  readonly tools?: Readonly<Record<string, ToolOptions>> | undefined
  readonly resources?: ReadonlyArray<Resource> | undefined
  readonly prompts?: ReadonlyArray<Prompt> | undefined
}

/**
 * The joints of a simulated server, for what no fault describes: each may be replaced at any time (`server.behavior`).
 *
 * @category models
 * @since 0.1.0
 */
export interface Behavior {
  /** What attempt `attempt` (from 1) does before its session exists: succeed, fail, hang, die or sleep. Default: succeed. */
  open: (attempt: number, context: McpTransport.OpenContext) => Effect.Effect<void, ConnectionError.ConnectionError>
  /** What happens before the first byte of a request leaves; a failure here leaves `ticket.sent` false. Default: nothing. */
  send: (call: Call) => Effect.Effect<void, McpSession.SessionFailure>
  /** What the server does with a request that it got. Default: what it offers (`call.run`). */
  handle: (call: Call) => Effect.Effect<unknown, McpSession.SessionFailure>
  /** What the finalizer of a session does, after it failed what was pending. Default: nothing. */
  close: (generation: number) => Effect.Effect<void>
  /** What `session.lost` is. Default: the loss of the session. */
  lost: (session: SimulatedSession) => Effect.Effect<ConnectionError.ConnectionError>
  /** The tools that the server lists, by session. Default: those of its release. */
  listed: (generation: number) => ReadonlyArray<Tool>
  /** What the server does when it is asked to tell of changes (modern era). Default: agree. */
  listen: (listened: Listened, session: SimulatedSession) => Effect.Effect<void, McpSession.SessionFailure>
  /** What it says that it can do. Default: tools, logging, resources with subscriptions, and prompts where it has some. */
  capabilities: ServerCapabilities
  /** What the failure of one request says of its session. Default: `"shared"` over stdio, `"perRequest"` over HTTP. */
  isolation: McpSession.Isolation
  /** Default: `"legacy"`. */
  era: ProtocolEra
}

/**
 * Options of {@link make} and {@link makeUnsafe}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Release, Partial<Behavior> {
  /** Its name, in its handshake and in errors. Default: `"simulated"`. */
  readonly name?: string | undefined
  /** What it says its version is, by session. Default: the session's number, as `1.0.0`, `2.0.0` …. */
  readonly version?: ((generation: number) => string) | undefined
  /** How it is reached, which says what a crash means. Default: `"stdio"`. */
  readonly over?: "stdio" | "http" | undefined
  /** How long a handshake takes. Default: no time. */
  readonly handshake?: Duration.Input | undefined
  /** How long a session may be idle before the server forgets it (HTTP, legacy era). Default: for ever. */
  readonly sessionIdle?: Duration.Input | undefined
  /** Whether it asks for the client's roots, in each session and when they change. Default: no. */
  readonly asksForRoots?: boolean | undefined
  /** The releases that `Faults.deploy` names. What one does not say is as in the options. Default: none. */
  readonly releases?: Readonly<Record<string, Release>> | undefined
}

/**
 * One request, as the server sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly session: SimulatedSession
  readonly generation: number
  readonly ticket: McpSession.RequestTicket
  /** The tool's name, of a `tools/call`. */
  readonly tool: string | undefined
  /** The server does the work, which shows in the ledger; the result is its answer. */
  readonly run: Effect.Effect<unknown, McpSession.SessionFailure>
}

/**
 * One request that was put on the wire.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sent {
  /** Its place among all that happened (`server.nextOrder`). */
  readonly order: number
  readonly generation: number
  readonly method: string
  readonly tool: string | undefined
  readonly requestId: string | number | undefined
  /** When, in milliseconds since the epoch. */
  readonly at: number
  /** The state of the connection at that moment, where the server is told how to ask for it (`server.state`). */
  readonly state: ConnectionState.ConnectionState | undefined
  readonly params: unknown
}

/**
 * One time that a session was asked to tell of changes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listened {
  readonly generation: number
  /** When, in milliseconds since the epoch. */
  readonly at: number
  /** As in {@link Sent}. */
  readonly state: ConnectionState.ConnectionState | undefined
  readonly filter: SubscriptionFilter
}

/**
 * An entry of the ledger: a tool that ran. A request that arrived twice ran twice, under one id.
 *
 * @category models
 * @since 0.1.0
 */
export interface Performed {
  /** Its place among all that happened (`server.nextOrder`). */
  readonly order: number
  /** When, in milliseconds since the epoch. */
  readonly at: number
  readonly generation: number
  readonly tool: string
  readonly requestId: string | number | undefined
  readonly arguments: Readonly<Record<string, unknown>>
  /** The `key` argument of the call, or the tool's name. */
  readonly key: string
  /** The number of the call that asked for it, where it was made through a `ConnectionProbe`. */
  readonly call: number | undefined
  /** Whether the tool promises, in the release that ran it, that it does no harm twice. */
  readonly safe: boolean
}

/**
 * A fault that has happened: at a time, or to a message. A crash on a message is here once its moment has come; where the message never
 * gets that far, it does not happen.
 *
 * @category models
 * @since 0.1.0
 */
export interface Happened {
  /** Its place among all that happened (`server.nextOrder`). */
  readonly order: number
  /** When, in milliseconds since the epoch. */
  readonly at: number
  readonly fault: Fault
  /** The message that it happened to, or that triggered it; `undefined`: it happened at a time, or was injected. */
  readonly to: { readonly method: string; readonly tool: string | undefined } | undefined
}

/**
 * What a session has been told and asked to do, as its server sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Book {
  /** The log level; in the modern era that of the last request. */
  level: LoggingLevel | undefined
  /** The resources that are subscribed to: one by one, or in the filter of the modern era. */
  subscriptions: ReadonlySet<string>
  /** The roots, as last asked for (`asksForRoots`). */
  roots: unknown
  /** What it was last asked to tell of, in the modern era. */
  filter: SubscriptionFilter | undefined
  /** The methods of requests that were never answered: nobody can know what became of them. */
  readonly unanswered: Set<string>
  /** When it last told that a list changed, in milliseconds since the epoch. */
  listsChangedAt: number
  closed: boolean
}

/**
 * A session, with what only its server can do.
 *
 * @category models
 * @since 0.1.0
 */
export interface SimulatedSession extends McpSession.McpSession {
  readonly generation: number
  /** The release that serves it. */
  readonly release: string | undefined
  readonly book: Book
  /** What the client side offers in this session. */
  readonly host: McpSession.SessionHost
  /** The session is lost: what is pending fails with `error`. Default: its process exited with 1. */
  readonly lose: (error?: ConnectionError.ConnectionError) => Effect.Effect<void>
  /** When it was lost, or its server died, in milliseconds since the epoch; `undefined`: it lives. */
  readonly endedAt: () => number | undefined
  /** A byte comes from the server. */
  readonly hear: Effect.Effect<void>
  /** The server sends a notification. */
  readonly tell: (notification: McpSession.ServerNotification) => Effect.Effect<void>
  /** The transport tells that notifications may have been lost. */
  readonly gap: Effect.Effect<void>
  /** The transport tells of a failure that is no request's own. */
  readonly suspect: (error: ConnectionError.ConnectionError) => Effect.Effect<void>
}

/**
 * A simulated server: what it does, and what happened to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface SimulatedServer {
  readonly transport: McpTransport.McpTransport
  /** Its joints; each may be replaced at any time. */
  readonly behavior: Behavior

  // What happened, in lists that only grow; whoever wants to see only what comes next may empty one.
  /** Every tool that ran, in order. */
  readonly ledger: Array<Performed>
  /** The keys of the ledger. */
  readonly ran: ReadonlyArray<string>
  /** The requests that were put on the wire, in order. */
  readonly sent: Array<Sent>
  /** The notifications of the client, as `<generation> <method>`. */
  readonly notified: Array<string>
  /** What was asked for with `listen`, in the modern era. */
  readonly listened: Array<Listened>
  /** The requests that were interrupted, as `<generation> <method>`. */
  readonly cancelled: Array<string>
  /** `open <generation>` and `close <generation>`, of handshaken sessions; a `close` is logged when closing begins. */
  readonly log: Array<string>
  /** When each attempt to open a session began, in milliseconds since the epoch. */
  readonly attempts: Array<number>
  /** The faults that happened, in order. */
  readonly happened: Array<Happened>
  /** Every session that shook hands, in order. */
  readonly sessions: ReadonlyArray<SimulatedSession>
  /** The session that was opened last; throws where there is none. */
  readonly current: SimulatedSession
  /** How many attempts and sessions hold something open now. */
  readonly live: number
  /** How many attempts run now (`opening`), and how many ever ran at the same time (`mostOpening`). */
  readonly opening: number
  readonly mostOpening: number
  /** How to ask for the state of the connection that is watched, for {@link Sent}. */
  state: Effect.Effect<ConnectionState.ConnectionState> | undefined

  /** Counts on: the place of what happens next among all that happened. What a probe sees is numbered with it, too. */
  readonly nextOrder: () => number
  /** The generations on which requests of one method were put on the wire. */
  readonly generationsOf: (method: string) => ReadonlyArray<number>
  /**
   * Does a fault now. One that strikes a message waits for the next; one that goes on ends when it is over. Dies with `InvalidOptions`
   * where it cannot happen to such a server.
   */
  readonly inject: (fault: Fault) => Effect.Effect<void>
  /** A user has refreshed the credentials: what `Faults.unauthorized` began is over. */
  readonly refreshCredentials: Effect.Effect<void>
  /** A resource has changed: sessions that are subscribed to it are told. */
  readonly update: (uri: string) => Effect.Effect<void>
  /** Tells all sessions, in the modern era those that asked to be told. */
  readonly notify: (notification: McpSession.ServerNotification) => Effect.Effect<void>
}

/**
 * Makes a server, and begins its script. `faults` are what goes wrong, and when; their times count from now.
 *
 * Fails with `InvalidOptions` where a fault cannot happen to such a server: a status without HTTP, a release that is not declared, a
 * jump of a clock that cannot jump.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (
  options?: Options & { readonly faults?: Script | undefined }
) => Effect.Effect<SimulatedServer, InvalidOptions.InvalidOptions, Scope.Scope> = Implementation.make

/**
 * Makes a server without a script, outside of an effect. `inject` works; clock jumps do not.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe: (options?: Options) => SimulatedServer = Implementation.makeUnsafe

/**
 * A connection error of a simulated server.
 *
 * @category constructors
 * @since 0.1.0
 */
export const failure: (reason: ConnectionError.Reason, stderrTail?: string) => ConnectionError.ConnectionError =
  Implementation.failure

/**
 * The error of a server whose process exited with 1.
 *
 * @category constants
 * @since 0.1.0
 */
export const exited: ConnectionError.ConnectionError = Implementation.exited

/**
 * A tool, as a server lists it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tool: (name: string, annotations?: Tool["annotations"]) => Tool = Implementation.tool
