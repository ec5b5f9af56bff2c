/**
 * A connection to one MCP server that heals itself.
 *
 * @example
 * ```ts
 * import * as NodeServices from "@effect/platform-node/NodeServices"
 * import { McpConnection, McpTransport } from "@mcp-tether/connection"
 * import { Effect, Layer } from "effect"
 *
 * const Files = McpConnection.layer({
 *   name: "files",
 *   transport: McpTransport.stdio({ command: "npx", args: ["-y", "@modelcontextprotocol/server-filesystem", "."] }),
 *   start: "lazy"
 * }).pipe(Layer.provide(NodeServices.layer))
 *
 * export const readme = Effect.gen(function* () {
 *   const files = yield* McpConnection.McpConnection
 *   return yield* files.callTool({ name: "read_text_file", arguments: { path: "README.md" } })
 * }).pipe(
 *   Effect.catchTag("OutcomeUnknown", (error) => Effect.fail(`${error.tool} may have run: ${error.message}`)),
 *   Effect.provide(Files)
 * )
 * ```
 *
 * @since 0.1.0
 */
import type { CallToolRequest, CallToolResult, Tool } from "@modelcontextprotocol/client"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { ConnectionError } from "./ConnectionError.ts"
import type { ConnectionEvent } from "./ConnectionEvent.ts"
import type { ConnectionState } from "./ConnectionState.ts"
import type * as Heartbeat from "./Heartbeat.ts"
import * as Engine from "./internal/engine/engine.ts"
import * as EngineOptions from "./internal/engine/options.ts"
import type { InvalidOptions } from "./InvalidOptions.ts"
import type { ParamsOf, ResultOf } from "./McpSession.ts"
import type { McpTransport } from "./McpTransport.ts"
import type { ReconnectPolicy } from "./ReconnectPolicy.ts"
import type { ReplayPolicy } from "./ReplayPolicy.ts"
import type { ConnectionClosed, ConnectionUnavailable, RequestError } from "./RequestError.ts"

/**
 * What a connection offers. It outlives its sessions: every operation goes to the session that is current when it is sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Shape {
  /** The connection's name. */
  readonly name: string
  /**
   * Calls a tool (MCP `tools/call`). A result with `isError` is a result.
   *
   * When the session is lost under the call, it is sent again on the next one if it cannot have run, or if the tool, as the next
   * session lists it, is annotated read-only or idempotent. Otherwise it fails with `OutcomeUnknown`: it may have run.
   */
  readonly callTool: (
    params: CallToolRequest["params"],
    options?: RequestOptions
  ) => Effect.Effect<CallToolResult, RequestError>
  /** Lists all tools, over all pages: at most 100 pages and 10,000 tools (MCP `tools/list`). */
  readonly listTools: (options?: RequestOptions) => Effect.Effect<ReadonlyArray<Tool>, RequestError>
  /** Asks the server for a sign of life: MCP `ping`, or `server/discover` in the modern era, which has no `ping`. */
  readonly ping: (options?: RequestOptions) => Effect.Effect<void, RequestError>
  /**
   * Sends any request. Results of methods outside the specification are passed on unchecked. `tools/list` without parameters
   * lists all pages.
   */
  readonly request: <const Method extends string>(
    method: Method,
    ...args: RequestArguments<Method>
  ) => Effect.Effect<ResultOf<Method>, RequestError>
  /** The state now. */
  readonly state: Effect.Effect<ConnectionState>
  /** The state now, then every change. A reader more than 1,024 changes behind misses the oldest. */
  readonly changes: Stream.Stream<ConnectionState>
  /** What happens from now on. A reader more than 1,024 events behind misses the oldest. */
  readonly events: Stream.Stream<ConnectionEvent>
  /** Waits until a session serves, as long as it takes. Fails when the connection is `Failed` or `Closed`. */
  readonly awaitReady: Effect.Effect<Ready, ConnectionUnavailable | ConnectionClosed>
  /**
   * Drops the current session, opens a new one, and waits until it serves. It revives a `Failed` connection, and cuts a waiting
   * backoff short. Requests in flight fare as when a session is lost.
   */
  readonly reconnect: Effect.Effect<Ready, ConnectionUnavailable | ConnectionClosed>
}

/**
 * The parameters of a method, which may be left out only where the method allows it, and the options of the request.
 *
 * @category models
 * @since 0.1.0
 */
export type RequestArguments<Method extends string> =
  undefined extends ParamsOf<Method>
    ? readonly [params?: ParamsOf<Method>, options?: RequestOptions]
    : readonly [params: ParamsOf<Method>, options?: RequestOptions]

/**
 * The state `Ready`.
 *
 * @category models
 * @since 0.1.0
 */
export type Ready = Extract<ConnectionState, { readonly _tag: "Ready" }>

/**
 * The service of a connection to one MCP server.
 *
 * @category services
 * @since 0.1.0
 */
export class McpConnection extends Context.Service<McpConnection, Shape>()("@mcp-tether/connection/McpConnection") {}

/**
 * Options of {@link make} and {@link layer}. Durations take anything `Duration.Input` does.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<R = never> {
  /** How to reach the server. */
  readonly transport: McpTransport<R>
  /** The connection's name, in errors, events and logs. Default: the transport's label. */
  readonly name?: string | undefined
  /** How this program introduces itself to the server. Default: `mcp-tether` and its version. */
  readonly client?: { readonly name: string; readonly version: string } | undefined
  /**
   * When the first session is opened, and what `make` and `layer` wait for. `"required"` (default): at once, and they return when
   * it serves; they fail when its error is not retryable, when the policy ends, or after `startWithin`. `"background"`: at once,
   * and they do not wait. `"lazy"`: by the first request, `awaitReady` or `reconnect`.
   */
  readonly start?: "required" | "background" | "lazy" | undefined
  /** How long `start: "required"` waits for the first session. Default: 60 seconds. */
  readonly startWithin?: Duration.Input | undefined
  /** How long one attempt may take, from spawn to handshake. Default: 60 seconds. */
  readonly startupTimeout?: Duration.Input | undefined
  /** When to try again. Default: `ReconnectPolicy.default`. */
  readonly policy?: ReconnectPolicy | undefined
  /** How long a session must live to reset the policy. Default: 10 seconds. */
  readonly stableAfter?: Duration.Input | undefined
  /** How a silent session is probed; `"off"`: not at all. Default: see `Heartbeat`. */
  readonly heartbeat?: Heartbeat.Options | "off" | undefined
  /** How long a request waits for its answer, on each session it is sent on. Default: 60 seconds. */
  readonly requestTimeout?: Duration.Input | undefined
  /** How long a request may stay unsent for want of a session; `"none"`: it fails at once. Default: 30 seconds. */
  readonly wait?: Duration.Input | "none" | undefined
  /** How many requests may wait for a session at a time; more fail at once. Default: 1,000. */
  readonly maxWaiting?: number | undefined
  /** Which failed request is sent again. Default: `"safe"`. */
  readonly replay?: ReplayPolicy | undefined
  /** How often one request is sent again after it was handed over or refused; one that was never sent is not counted. Default: 1. */
  readonly maxReplays?: number | undefined
  /**
   * How long closing waits for the transport to let go before it abandons it, and with it perhaps a process. Default: as long as
   * the transport says it can take (stdio: 3 × `closeGrace` + 3 seconds).
   */
  readonly closeTimeout?: Duration.Input | undefined
}

/**
 * Options of one request; each stands in for the connection's.
 *
 * @category options
 * @since 0.1.0
 */
export interface RequestOptions {
  readonly timeout?: Duration.Input | undefined
  readonly wait?: Duration.Input | "none" | undefined
  readonly replay?: ReplayPolicy | undefined
}

/**
 * Opens a connection that lives as long as the `Scope`. Closing it interrupts what it does, fails whoever waits with
 * `ConnectionClosed`, and leaves no process, socket, timer or fiber.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: <R = never>(
  options: Options<R>
) => Effect.Effect<Shape, InvalidOptions | ConnectionError, R | Scope.Scope> = Effect.fnUntraced(function* <R>(
  options: Options<R>
) {
  const decoded = yield* EngineOptions.decode(options)
  yield* options.transport.validate
  const engine = yield* Engine.make(options.transport, decoded)
  const { defaults } = decoded

  const send = <const Method extends string>(
    method: Method,
    params: ParamsOf<Method> | undefined,
    options: RequestOptions | undefined
  ) =>
    options === undefined
      ? engine.request(method, params, defaults)
      : Effect.flatMap(EngineOptions.decodeRequest(options, defaults, engine.name, method, params), (decoded) =>
          engine.request(method, params, decoded)
        )

  return McpConnection.of({
    name: engine.name,
    request: (method, ...[params, options]) => send(method, params, options),
    callTool: (params, options) => send("tools/call", params, options),
    listTools: (options) => Effect.map(send("tools/list", undefined, options), (result) => result.tools),
    ping: (options) => Effect.asVoid(send("ping", undefined, options)),
    state: engine.state,
    changes: engine.changes,
    events: engine.events,
    awaitReady: engine.awaitReady,
    reconnect: engine.reconnect
  })
})

/**
 * A layer of {@link make}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <R = never>(
  options: Options<R>
): Layer.Layer<McpConnection, InvalidOptions | ConnectionError, Exclude<R, Scope.Scope>> =>
  Layer.effect(McpConnection, make(options))
