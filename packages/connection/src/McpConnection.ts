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
import type {
  CallToolRequest,
  CallToolResult,
  CompleteRequest,
  CompleteResult,
  CreateMessageRequest,
  CreateMessageResult,
  ElicitRequest,
  ElicitResult,
  GetPromptRequest,
  GetPromptResult,
  LoggingLevel,
  Progress,
  Prompt,
  ReadResourceRequest,
  ReadResourceResult,
  Resource,
  ResourceTemplateType,
  Root,
  Tool
} from "@modelcontextprotocol/client"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Catalog } from "./Catalog.ts"
import type { ConnectionError } from "./ConnectionError.ts"
import type { ConnectionEvent } from "./ConnectionEvent.ts"
import type { ConnectionState } from "./ConnectionState.ts"
import type { Health } from "./Health.ts"
import type * as Heartbeat from "./Heartbeat.ts"
import * as Engine from "./internal/engine/engine.ts"
import * as EngineOptions from "./internal/engine/options.ts"
import * as ToolStream from "./internal/engine/toolStream.ts"
import * as Filtered from "./internal/filtered.ts"
import type { InvalidOptions } from "./InvalidOptions.ts"
import type { ParamsOf, Refusal, ResultOf, ServerNotification, SessionFailure, SessionInfo } from "./McpSession.ts"
import type { McpTransport } from "./McpTransport.ts"
import type { ReconnectPolicy } from "./ReconnectPolicy.ts"
import type { ReplayPolicy } from "./ReplayPolicy.ts"
import type { ConnectionClosed, ConnectionUnavailable, RequestError } from "./RequestError.ts"
import type { ToolFilter } from "./ToolFilter.ts"

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
  /**
   * Calls a tool like {@link Shape.callTool}, and tells of its progress: any number of `Progress`, then exactly one `Result`, or
   * the error that the call would have failed with. Whoever stops reading cancels the call. A reader more than 256 behind misses
   * the oldest progress, and never the result.
   */
  readonly callToolStream: (
    params: CallToolRequest["params"],
    options?: RequestOptions
  ) => Stream.Stream<ToolUpdate, RequestError>
  /** Lists all tools, over all pages, as far as `limits` allows (MCP `tools/list`). */
  readonly listTools: (options?: RequestOptions) => Effect.Effect<ReadonlyArray<Tool>, RequestError>
  /** Lists all resources, over all pages, bounded like {@link Shape.listTools} (MCP `resources/list`). */
  readonly listResources: (options?: RequestOptions) => Effect.Effect<ReadonlyArray<Resource>, RequestError>
  /** Lists all resource templates, bounded likewise (MCP `resources/templates/list`). */
  readonly listResourceTemplates: (
    options?: RequestOptions
  ) => Effect.Effect<ReadonlyArray<ResourceTemplateType>, RequestError>
  /** Reads a resource (MCP `resources/read`). */
  readonly readResource: (
    params: ReadResourceRequest["params"],
    options?: RequestOptions
  ) => Effect.Effect<ReadResourceResult, RequestError>
  /** Lists all prompts, bounded likewise (MCP `prompts/list`). */
  readonly listPrompts: (options?: RequestOptions) => Effect.Effect<ReadonlyArray<Prompt>, RequestError>
  /** Gets a prompt (MCP `prompts/get`). */
  readonly getPrompt: (
    params: GetPromptRequest["params"],
    options?: RequestOptions
  ) => Effect.Effect<GetPromptResult, RequestError>
  /** Asks for completions of an argument (MCP `completion/complete`). */
  readonly complete: (
    params: CompleteRequest["params"],
    options?: RequestOptions
  ) => Effect.Effect<CompleteResult, RequestError>
  /** Asks the server for a sign of life: MCP `ping`, or `server/discover` in the modern era, which has no `ping`. */
  readonly ping: (options?: RequestOptions) => Effect.Effect<void, RequestError>
  /**
   * Sends any request. Results of methods outside the specification are passed on unchecked. The lists without parameters list
   * all pages.
   */
  readonly request: <const Method extends string>(
    method: Method,
    ...args: RequestArguments<Method>
  ) => Effect.Effect<ResultOf<Method>, RequestError>
  /** Sends a notification on the current session; succeeds when it was handed over. It is never sent twice. */
  readonly notify: (method: string, params?: Readonly<Record<string, unknown>>) => Effect.Effect<void, RequestError>
  /** The notifications of the server, from now on and over all sessions. A reader more than 1,024 behind misses the oldest. */
  readonly notifications: Stream.Stream<ServerNotification>
  /**
   * Sets the level of the server's log notifications, for this session and all that follow. Without a session it succeeds at
   * once: the next session gets it before anyone can use it. A server without logging is left alone.
   */
  readonly setLogLevel: (level: LoggingLevel) => Effect.Effect<void, RequestError>
  /** Replaces the roots that the server is told of (see `roots`), and tells the server that they changed. */
  readonly setRoots: (roots: ReadonlyArray<Root>) => Effect.Effect<void, RequestError>
  /**
   * The updates of a resource, as long as the stream is read: the server is subscribed to in this session and in all that follow
   * (MCP `resources/subscribe`). `MayHaveMissed` says that a new session took over, between which and the last one updates can
   * have been lost.
   */
  readonly resourceUpdates: (uri: string) => Stream.Stream<ResourceUpdate, RequestError>
  /** Which of the server's tools are offered (see `tools`); `undefined`: all. It may change under a connection of a fleet. */
  readonly toolFilter: Effect.Effect<ToolFilter | undefined>
  /** The last known lists, also while there is no session; a list that was never asked for is absent. */
  readonly catalog: Effect.Effect<Catalog>
  /**
   * How the connection fares now, beside its state: whether a transport is open, whether a session serves, and how the last
   * requests ended. A server that is there and answers nothing is `Ready`; here it shows.
   */
  readonly health: Effect.Effect<Health>
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
  /**
   * Replaces the session without a gap, for rotated credentials or changed configuration: the new one is opened and restored
   * while the old one serves; then they are swapped, and requests in flight on the old one have `drainTimeout` to end. When the
   * new one cannot be opened, the old one goes on serving, and this fails. Without a session it is a {@link Shape.reconnect}.
   */
  readonly refresh: Effect.Effect<Ready, ConnectionUnavailable | ConnectionClosed>
}

/**
 * What a reader of a resource hears.
 *
 * @category models
 * @since 0.1.0
 */
export type ResourceUpdate =
  | { readonly _tag: "Updated"; readonly uri: string }
  | { readonly _tag: "MayHaveMissed"; readonly uri: string; readonly generation: number }

/**
 * What a reader of a tool call hears.
 *
 * @category models
 * @since 0.1.0
 */
export type ToolUpdate =
  | { readonly _tag: "Progress"; readonly progress: Progress }
  | { readonly _tag: "Result"; readonly result: CallToolResult }

/**
 * A new session, before anyone else can use it.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionHandle {
  readonly info: SessionInfo
  readonly request: <const Method extends string>(
    method: Method,
    params?: ParamsOf<Method>
  ) => Effect.Effect<ResultOf<Method>, SessionFailure>
  readonly notify: (method: string, params?: Readonly<Record<string, unknown>>) => Effect.Effect<void, SessionFailure>
}

/**
 * Brings the user's own state into a new session. `previous` is the generation before, if there was one.
 *
 * @category models
 * @since 0.1.0
 */
export type OnSession<R = never> = (
  session: SessionHandle,
  context: { readonly generation: number; readonly previous: number | undefined }
) => Effect.Effect<void, { readonly message: string }, R>

/**
 * Answers to the server's own requests, the same in every session. A handler that is given is declared in the handshake.
 *
 * @category options
 * @since 0.1.0
 */
export interface Handlers<R = never> {
  /** MCP `sampling/createMessage`: the server asks for a completion of a model. */
  readonly sampling?:
    | ((params: CreateMessageRequest["params"]) => Effect.Effect<CreateMessageResult, Refusal, R>)
    | undefined
  /** MCP `elicitation/create`: the server asks the user. The time that takes does not count as the server's. */
  readonly elicitation?: ((params: ElicitRequest["params"]) => Effect.Effect<ElicitResult, Refusal, R>) | undefined
}

/**
 * Lets an attempt to open a session begin when there is room for it, and ends as the attempt does.
 *
 * @category models
 * @since 0.1.0
 */
export interface Admission {
  <A, E, R>(attempt: Effect.Effect<A, E, R>): Effect.Effect<A, E, R>
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
  /**
   * How long one attempt may take, from spawn to handshake. A server that is still writing then, like `npx` installing it, is
   * given more: until it is quiet for a quarter of this, and at most five times as long. Default: 60 seconds.
   */
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
   * How many requests of the connection may be sent again in a burst, and how many more each second, so that a reconnect does not
   * multiply the load; beyond it a failed request fails. Default: 1,000 and 100.
   */
  readonly replayBudget?: { readonly burst: number; readonly perSecond: number } | undefined
  /**
   * Which of the server's tools are offered. What is left out is in no list, and a call of it fails with `InvalidRequest` and says why. A
   * name that is no tool of the server is told of in the log. Default: all of them.
   */
  readonly tools?: ToolFilter | undefined
  /** Answers to the server's own requests. Default: none. */
  readonly handlers?: Handlers<R> | undefined
  /** The roots that the server may ask for; an empty list declares that there may be some later. Default: none, undeclared. */
  readonly roots?: ReadonlyArray<Root> | undefined
  /** Brings your own state into each new session, before anyone can use it. Default: nothing. */
  readonly onSession?: OnSession<R> | undefined
  /**
   * What it means when a session cannot be restored (log level, subscriptions, `onSession`, lists). `"required"` (default): the
   * attempt has failed. `"best-effort"`: the session serves without, and a `RestorationSkipped` event says so.
   */
  readonly restore?: "required" | "best-effort" | undefined
  /**
   * How much of a list is read: at most `maxPages` pages and `maxItems` entries; a longer one fails with `InvalidResult`, since a
   * server whose cursor never ends must not end this program. Default: 100 and 10,000.
   */
  readonly limits?: { readonly maxPages?: number | undefined; readonly maxItems?: number | undefined } | undefined
  /**
   * Around every attempt to open a session, the first one and those of `reconnect` and `refresh` too: a place to bound how many are made at
   * a time over many connections, as `McpFleet` does. What it waits for does not count for `startupTimeout`. Default: nothing.
   */
  readonly admission?: Admission | undefined
  /** How long requests in flight may go on when `refresh` has replaced their session. Default: 30 seconds. */
  readonly drainTimeout?: Duration.Input | undefined
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
  /** Asks the server for progress. Each notification starts `timeout` anew. What the callback throws is ignored. */
  readonly onProgress?: ((progress: Progress) => void) | undefined
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
  const engine = yield* Engine.make(options, decoded)
  const { defaults } = decoded

  const decodeRequest = (options: RequestOptions, method: string, params: unknown) =>
    EngineOptions.decodeRequest(options, defaults, engine.name, method, params)

  const send = <const Method extends string>(
    method: Method,
    params: ParamsOf<Method> | undefined,
    options: RequestOptions | undefined
  ) =>
    options === undefined
      ? engine.request(method, params, defaults)
      : Effect.flatMap(decodeRequest(options, method, params), (decoded) => engine.request(method, params, decoded))

  const { request: _, ...shared } = engine
  const connection = McpConnection.of({
    ...shared,
    toolFilter: Effect.succeed(undefined),
    request: (method, ...[params, options]) => send(method, params, options),
    callTool: (params, options) => send("tools/call", params, options),
    callToolStream: (params, options = {}) =>
      ToolStream.make((onProgress) =>
        Effect.flatMap(decodeRequest(options, "tools/call", params), (decoded) =>
          engine.request("tools/call", params, {
            ...decoded,
            onProgress: (progress) => {
              onProgress(progress)
              decoded.onProgress?.(progress)
            }
          })
        )
      ),
    listTools: (options) => Effect.map(send("tools/list", undefined, options), ({ tools }) => tools),
    listResources: (options) => Effect.map(send("resources/list", undefined, options), ({ resources }) => resources),
    listResourceTemplates: (options) =>
      Effect.map(send("resources/templates/list", undefined, options), ({ resourceTemplates }) => resourceTemplates),
    readResource: (params, options) => send("resources/read", params, options),
    listPrompts: (options) => Effect.map(send("prompts/list", undefined, options), ({ prompts }) => prompts),
    getPrompt: (params, options) => send("prompts/get", params, options),
    complete: (params, options) => send("completion/complete", params, options),
    ping: (options) => Effect.asVoid(send("ping", undefined, options))
  })
  const { tools } = options
  if (tools === undefined) return connection
  return Filtered.make(
    connection,
    () => tools,
    (names) => Filtered.warn(connection.name, names)
  ).connection
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
