/**
 * The port between the engine and the drivers: what one live session offers.
 *
 * The engine knows this file and nothing of the SDK, sockets or processes. A driver opens sessions; a test kit simulates them.
 *
 * @since 0.1.0
 */
import type {
  ClientCapabilities,
  LoggingLevel,
  Progress,
  ProtocolEra,
  RequestMethod,
  RequestTypeMap,
  ResultTypeMap,
  ServerCapabilities,
  SubscriptionFilter
} from "@modelcontextprotocol/client"
import type * as Effect from "effect/Effect"
import type { ConnectionError } from "./ConnectionError.ts"
import type { InvalidRequest, InvalidResult, RequestTimeout, ServerRejected } from "./RequestError.ts"

/**
 * The parameters that the SDK defines for a method; any object for a method outside the specification.
 *
 * @category models
 * @since 0.1.0
 */
export type ParamsOf<Method extends string> = Method extends RequestMethod
  ? RequestTypeMap[Method] extends { readonly params?: infer Params }
    ? Params
    : undefined
  : Readonly<Record<string, unknown>> | undefined

/**
 * The result that the SDK defines for a method; `unknown` for a method outside the specification.
 *
 * @category models
 * @since 0.1.0
 */
export type ResultOf<Method extends string> = Method extends RequestMethod ? ResultTypeMap[Method] : unknown

/**
 * Who answered the handshake, and what was agreed.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionInfo {
  /** `legacy` up to protocol 2025-11-25, `modern` from 2026-07-28. */
  readonly era: ProtocolEra
  readonly protocolVersion: string
  /** The server's own name and version, as it reports them. */
  readonly name: string
  readonly version: string
  /** What the server says it can do. */
  readonly capabilities: ServerCapabilities
  /** How the server wants to be used, in words for a model. */
  readonly instructions?: string | undefined
  /** The id of the server's process, over stdio. */
  readonly pid?: number | undefined
  /** What the server calls this session, over Streamable HTTP in the legacy era (`Mcp-Session-Id`). */
  readonly sessionId?: string | undefined
}

/**
 * A notification of the server, like `notifications/message` or `notifications/resources/updated`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerNotification {
  readonly method: string
  readonly params: Readonly<Record<string, unknown>> | undefined
}

/**
 * Why a request of the server was refused: a JSON-RPC error for it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Refusal {
  readonly code: number
  readonly message: string
}

/**
 * What the client side of a session offers to the server. It is the same in every session of a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionHost {
  /** What the handshake declares. */
  readonly capabilities: ClientCapabilities
  /** The requests of the server that are answered, by method: `sampling/createMessage`, `elicitation/create`, `roots/list`. */
  readonly handlers: ReadonlyMap<string, (params: unknown) => Effect.Effect<unknown, Refusal>>
  /** Called for every notification, in order. It must not block. */
  readonly onNotification: (notification: ServerNotification) => void
  /** The log level to ask for with every request, in the modern era, which has no `logging/setLevel`. */
  readonly logLevel: () => LoggingLevel | undefined
}

/**
 * One sending of a request. The engine makes it, the driver fills in how far it got; the engine reads that when it fails.
 *
 * @category models
 * @since 0.1.0
 */
export class RequestTicket<out Method extends string = string> {
  readonly method: Method
  readonly params: ParamsOf<Method> | undefined
  /** The JSON-RPC id, once there is one. */
  requestId: string | number | undefined = undefined
  /** Called for each progress notification. Without it the server is not asked for progress. */
  readonly onProgress: ((progress: Progress) => void) | undefined
  /** Whether a byte of the request was handed to the pipe or socket. Set before the first byte, never unset. */
  sent = false
  /**
   * Set by a driver that offers it (`McpSession.expires`) while `request` waits: cancels the request as interruption does, and ends
   * `request` with what it is given.
   */
  expire: ((late: Effect.Effect<never, RequestTimeout>) => void) | undefined = undefined

  constructor(method: Method, params: ParamsOf<Method> | undefined, onProgress?: (progress: Progress) => void) {
    this.method = method
    this.params = params
    this.onProgress = onProgress
  }
}

/**
 * What a failed request says of its session:
 *
 * - `shared`: all requests share one channel, and one that fails with a `ConnectionError` means that it is broken (stdio, SSE);
 * - `perRequest`: each has a stream of its own (Streamable HTTP). Its failure makes the session suspect, and a probe decides.
 *
 * @category models
 * @since 0.1.0
 */
export type Isolation = "shared" | "perRequest"

/**
 * What a request can fail with on one session. A `ConnectionError` means that the session is lost (or cannot be trusted with
 * this request any more); the others are answers.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionFailure = ConnectionError | ServerRejected | InvalidResult | InvalidRequest | RequestTimeout

/**
 * One opened and handshaken conversation, bound to the `Scope` it was opened in. It is never used again after a loss.
 *
 * What a driver owes the engine:
 *
 * - `request` settles for every ticket: when the session is lost or its scope closes, what is pending fails with a
 *   `ConnectionError`. Interrupting it cancels the request.
 * - A request that was not sent when it failed, or was interrupted, is never sent after that: its caller may send it elsewhere.
 * - `tools/list` without parameters returns all pages; `ping` proves life in either era.
 * - Whatever comes from the server, an answer above all, shows in `lastActivity`.
 * - `lost` completes exactly once, with the best explanation there is.
 *
 * @category models
 * @since 0.1.0
 */
export interface McpSession {
  readonly info: SessionInfo
  readonly isolation: Isolation
  /**
   * Whether `request` sets the ticket's `expire`, so that the engine can end it when its time is up. Default: no, and then each request
   * runs in a fiber of its own, which can be interrupted.
   */
  readonly expires?: boolean | undefined
  readonly request: <Method extends string>(
    ticket: RequestTicket<Method>
  ) => Effect.Effect<ResultOf<Method>, SessionFailure>
  /** Sends a notification; succeeds when it was handed over. */
  readonly notify: (
    method: string,
    params: Readonly<Record<string, unknown>> | undefined
  ) => Effect.Effect<void, SessionFailure>
  /**
   * Asks for notifications of changes (MCP 2026-07-28, `subscriptions/listen`), instead of those asked for before, and without a gap
   * between the two; an empty filter ends them. Succeeds when the server has agreed. That the stream broke later, the transport's
   * `onGap` tells, and then it has to be asked for again. Modern era only.
   */
  readonly listen: (filter: SubscriptionFilter) => Effect.Effect<void, SessionFailure>
  /**
   * Tells that the session has been given up, and that what is in flight may still end: what can only be answered by taking a broken
   * stream up again fails now, and nothing is taken up again. Default: nothing of that kind is ever in flight.
   */
  readonly abandon?: (() => void) | undefined
  /** Waits for the loss of the session and succeeds with its cause. */
  readonly lost: Effect.Effect<ConnectionError>
  /** When the last byte came from the server, in milliseconds since the epoch, on Effect's clock. */
  readonly lastActivity: () => number
  /** How many requests wait for their answer. */
  readonly inFlight: () => number
}
