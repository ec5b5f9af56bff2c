/**
 * How to reach one server: a recipe that opens sessions, each in a `Scope` of its own.
 *
 * @since 0.1.0
 */
import type { AuthProvider, OAuthClientProvider, Transport } from "@modelcontextprotocol/client"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { ConnectionError, Reason } from "./ConnectionError.ts"
import * as Foreign from "./internal/driver/foreign.ts"
import * as Http from "./internal/driver/http.ts"
import * as Stdio from "./internal/driver/stdio.ts"
import type { InvalidOptions } from "./InvalidOptions.ts"
import type { McpSession, SessionHost } from "./McpSession.ts"

/**
 * What a transport is told when it opens a session, and what it tells while it does.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenContext {
  /** The connection's name, for errors and logs. */
  readonly server: string
  /** The number the session will have. */
  readonly generation: number
  /** How this program introduces itself in the handshake. */
  readonly client: { readonly name: string; readonly version: string }
  /** How much a list without parameters, over all of its pages, may hold; beyond it the request fails with `InvalidResult`. */
  readonly limits: { readonly maxPages: number; readonly maxItems: number }
  /** What the client side offers to the server. */
  readonly host: SessionHost
  /**
   * Tells how to read the last of the server's stderr. The engine asks when it cuts a handshake off, since the transport is
   * interrupted then and cannot say.
   */
  readonly setStderrTail: (read: () => string | undefined) => void
  /** Tells that something came from the server: a start that is still writing is not cut off at once. */
  readonly onActivity: () => void
  /**
   * Tells that something failed which is no request's own, like a stream of notifications: the session is suspect, and a probe
   * decides.
   */
  readonly onSuspect: (error: ConnectionError) => void
  /** Tells that notifications may have been lost. In the modern era they have to be asked for again (`McpSession.listen`). */
  readonly onGap: () => void
}

/**
 * How to reach one server. `R` is what opening a session needs, like a `ChildProcessSpawner`.
 *
 * @category models
 * @since 0.1.0
 */
export interface McpTransport<out R = never> {
  /** A short name for people: the command, or the host. Never arguments, headers or credentials. */
  readonly label: string
  /** Checks the transport's own options, before anything is opened. */
  readonly validate: Effect.Effect<void, InvalidOptions>
  /**
   * How long closing one of its sessions can take when everything resists. A connection waits that long by default. Default: 15
   * seconds.
   */
  readonly closeWithin?: (() => Duration.Duration) | undefined
  /** Opens one session: connects and shakes hands. What it acquires belongs to the `Scope`. */
  readonly open: (context: OpenContext) => Effect.Effect<McpSession, ConnectionError, R | Scope.Scope>
}

/**
 * Options of {@link stdio}.
 *
 * @category options
 * @since 0.1.0
 */
export interface StdioOptions {
  /** The command to run, without a shell: on Windows, a `.cmd` like `npx` takes `command: "cmd", args: ["/c", "npx", …]`. */
  readonly command: string
  /** Its arguments. Default: none. What is `Redacted`, here or in `env`, is kept out of errors and logs even
   * where the server prints it. */
  readonly args?: ReadonlyArray<string | Redacted.Redacted<string>> | undefined
  /**
   * Environment variables, on top of the few that are safe to inherit (`HOME`, `LOGNAME`, `PATH`, `SHELL`, `TERM`, `USER`;
   * the same as the MCP SDK's). Default: none.
   */
  readonly env?: Readonly<Record<string, string | Redacted.Redacted<string>>> | undefined
  /** The working directory. Default: this process's. */
  readonly cwd?: string | undefined
  /** The largest message the server may send, in bytes; at most what a string can hold (512 MiB). Default: 64 MiB. */
  readonly maxMessageBytes?: number | undefined
  /** How long the server gets to leave after its stdin is closed, and again after SIGTERM. Default: 2 seconds each. */
  readonly closeGrace?: Duration.Input | undefined
}

/**
 * A server that is a child process and talks newline-delimited JSON-RPC over its stdin and stdout
 * (MCP 2025-11-25, Transports, stdio).
 *
 * Each session is a process group of its own. Closing it ends its stdin, waits `closeGrace`, sends SIGTERM to the group, waits
 * again, sends SIGKILL to the group, and waits for the end: nothing of the group survives. stderr is always drained; the last
 * 64 KiB are kept for errors, and each line goes to the log at level Debug.
 *
 * @example
 * ```ts
 * import { McpTransport } from "@mcp-tether/connection"
 *
 * const everything = McpTransport.stdio({ command: "mcp-server-everything", args: ["stdio"] })
 * everything.label // => "mcp-server-everything"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const stdio: (options: StdioOptions) => McpTransport<ChildProcessSpawner.ChildProcessSpawner> = Stdio.make

/**
 * Headers of HTTP requests. What is `Redacted` is kept out of errors and logs, even where the server repeats it.
 *
 * @category models
 * @since 0.1.0
 */
export type Headers = Readonly<Record<string, string | Redacted.Redacted<string>>>

/**
 * Options of {@link streamableHttp}, {@link sse} and {@link http}.
 *
 * @category options
 * @since 0.1.0
 */
export interface HttpOptions<R = never> {
  /** The MCP endpoint, `http:` or `https:`, without credentials. */
  readonly url: string | URL
  /**
   * Headers of every request to the server; none of them goes to an authorization server. An `Effect` is run once for each session, so
   * that rotated tokens are picked up. Default: none.
   */
  readonly headers?: Headers | Effect.Effect<Headers, { readonly message: string }, R> | undefined
  /**
   * Where tokens come from, as the MCP SDK defines it. It gets one turn when the server refuses a token, shared by all requests that
   * meet the refusal; a token that another process has renewed meanwhile is used without asking. Default: none.
   */
  readonly authProvider?: AuthProvider | OAuthClientProvider | undefined
  /** How long making a TCP and TLS connection may take. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** The largest answer the server may send outside of an event stream, in bytes; at most 512 MiB. Default: 64 MiB. */
  readonly maxMessageBytes?: number | undefined
}

/**
 * A server behind Streamable HTTP (MCP 2025-03-26 and later), of either era. The era is asked for once and remembered.
 *
 * Each request is an exchange of its own, so one that fails does not condemn the session: the server is asked for a sign of life, and
 * only when it gives none, or says that it does not know the session, is there a new one. Redirects are followed within the origin.
 * Closing a session ends it on the server (`DELETE`, within a second) and closes all of its sockets.
 *
 * @example
 * ```ts
 * import { McpTransport } from "@mcp-tether/connection"
 * import { Redacted } from "effect"
 *
 * const search = McpTransport.streamableHttp({
 *   url: "https://mcp.example.com/mcp",
 *   headers: { Authorization: Redacted.make("Bearer …") }
 * })
 * search.label // => "mcp.example.com"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const streamableHttp: <R = never>(options: HttpOptions<R>) => McpTransport<R> = Http.streamable

/**
 * A server that speaks the HTTP with SSE of MCP 2024-11-05, which {@link streamableHttp} has replaced.
 *
 * All answers come over one stream of events, so its end is the end of the session.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sse: <R = never>(options: HttpOptions<R>) => McpTransport<R> = Http.sse

/**
 * {@link streamableHttp}, and where the server refuses that with a 4xx, once {@link sse} (MCP 2025-11-25, Transports, Backwards
 * Compatibility). What worked is remembered.
 *
 * @category constructors
 * @since 0.1.0
 */
export const http: <R = never>(options: HttpOptions<R>) => McpTransport<R> = Http.either

/**
 * Options of {@link fromSdk}.
 *
 * @category options
 * @since 0.1.0
 */
export interface FromSdkOptions<R = never> {
  /** A short name for people, without anything secret. */
  readonly label: string
  /**
   * Makes a new, unstarted transport for one session: a transport of the MCP SDK (v1 and v2 have the same shape), or of your own. What
   * it holds is released with the `Scope`, after the transport's own `close`.
   */
  readonly make: (context: {
    readonly server: string
    readonly generation: number
  }) => Effect.Effect<Transport, Reason | { readonly message: string }, R | Scope.Scope>
}

/**
 * Any transport of the MCP SDK: in memory, WebSocket, or your own. The session is lost when the transport says that it is closed.
 *
 * @example
 * ```ts
 * import { McpTransport } from "@mcp-tether/connection"
 * import { InMemoryTransport } from "@modelcontextprotocol/client"
 * import { Effect } from "effect"
 *
 * const inMemory = McpTransport.fromSdk({
 *   label: "calculator",
 *   make: () =>
 *     Effect.sync(() => {
 *       const [client, server] = InMemoryTransport.createLinkedPair()
 *       // connect an McpServer to `server` here
 *       void server.start()
 *       return client
 *     })
 * })
 * inMemory.label // => "calculator"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSdk: <R = never>(options: FromSdkOptions<R>) => McpTransport<R> = Foreign.make
