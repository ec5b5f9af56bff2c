/**
 * What a caller gets when a request has no result.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { ConnectionError } from "./ConnectionError.ts"
import { Delivery } from "./Delivery.ts"
import { oneLine } from "./internal/text.ts"

const id = <const Name extends string>(name: Name) => `@mcp-tether/connection/RequestError/${name}` as const

const named = (request: {
  readonly server: string
  readonly method: string
  readonly tool?: string | undefined
}): string =>
  request.tool === undefined
    ? `${request.server}: ${request.method}`
    : `${request.server}: ${request.method} ${request.tool}`

const requestFields = {
  /** The connection's name. */
  server: Schema.String,
  /** The MCP method, like `tools/call`. */
  method: Schema.String,
  /** The tool's name, of a `tools/call`. */
  tool: Schema.optional(Schema.String)
}

/**
 * There was no session to send the request on (again). `delivery` says how far it got: `Unknown` only where running twice does no
 * harm, as with lists and reads.
 *
 * `because` says why the caller did not wait (longer): `Failed` (the connection gave up), `WaitElapsed` (no session within
 * `wait`), `NotWaiting` (`wait: "none"`), `TooManyWaiting` (more than `maxWaiting` callers), `NotReplayed` (it failed with its
 * session, and may not be sent again, or not once more), `RefreshFailed` (of `refresh`: the new session
 * could not be opened, the old one serves on).
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionUnavailable extends Schema.TaggedError<ConnectionUnavailable>(id("ConnectionUnavailable"))(
  "ConnectionUnavailable",
  {
    server: Schema.String,
    because: Schema.Literals(["Failed", "WaitElapsed", "NotWaiting", "TooManyWaiting", "NotReplayed", "RefreshFailed"]),
    /** The tag of the connection's state at that moment. */
    state: Schema.String,
    delivery: Delivery,
    cause: Schema.optional(ConnectionError),
    /** When the next attempt is due, in milliseconds since the epoch; `Infinity` when the policy waits without end. */
    retryAt: Schema.optional(Schema.Number)
  }
) {
  override get message(): string {
    const cause = this.cause === undefined ? "" : `: ${this.cause.message}`
    return `${this.server}: no session (${this.because}, state ${this.state}, delivery: ${this.delivery})${cause}`
  }
}

/**
 * The request was handed over, the connection was lost before its answer, and it may not be sent again: **it may have run**.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>(id("OutcomeUnknown"))("OutcomeUnknown", {
  ...requestFields,
  /** The JSON-RPC id it was sent with, to find it in the server's logs. */
  requestId: Schema.optional(Schema.Union([Schema.String, Schema.Finite])),
  /** The session it was sent on. */
  generation: Schema.Int,
  /** The protocol era of that session. */
  era: Schema.Literals(["legacy", "modern"]),
  /** From the call to the verdict. */
  elapsed: Schema.DurationFromMillis,
  cause: ConnectionError
}) {
  override get message(): string {
    return `${named(this)} may have run; its outcome is unknown: ${this.cause.message}`
  }
}

/**
 * No answer came in time. The request was cancelled; with `delivery: "NotSent"` it has certainly not run.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestTimeout extends Schema.TaggedError<RequestTimeout>(id("RequestTimeout"))("RequestTimeout", {
  ...requestFields,
  requestId: Schema.optional(Schema.Union([Schema.String, Schema.Finite])),
  after: Schema.DurationFromMillis,
  delivery: Delivery
}) {
  override get message(): string {
    return `${named(this)} got no answer within ${Duration.format(this.after)} (delivery: ${this.delivery})`
  }
}

/**
 * The server answered with a JSON-RPC error, or the negotiated protocol has no such method. Never a reason to reconnect.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerRejected extends Schema.TaggedError<ServerRejected>(id("ServerRejected"))("ServerRejected", {
  ...requestFields,
  /** The JSON-RPC error code. */
  code: Schema.Finite,
  description: Schema.String,
  data: Schema.optional(Schema.Unknown)
}) {
  override get message(): string {
    return `${named(this)} was rejected: ${oneLine(this.description)} (${this.code})`
  }
}

/**
 * The server answered with something that is not a valid result of this request, or not one of the tool's output schema. It was
 * sent, and may have run.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidResult extends Schema.TaggedError<InvalidResult>(id("InvalidResult"))("InvalidResult", {
  ...requestFields,
  description: Schema.String
}) {
  override get message(): string {
    return `${named(this)} got an invalid result: ${oneLine(this.description)}`
  }
}

/**
 * The request could not be made into a message: circular arguments, a `BigInt`, a tool whose output schema is broken, an option
 * out of range. Nothing was sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>(id("InvalidRequest"))("InvalidRequest", {
  ...requestFields,
  description: Schema.String
}) {
  override get message(): string {
    return `${named(this)} cannot be sent: ${oneLine(this.description)}`
  }
}

/**
 * The connection's scope closed before the answer came.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionClosed extends Schema.TaggedError<ConnectionClosed>(id("ConnectionClosed"))("ConnectionClosed", {
  server: Schema.String,
  delivery: Delivery
}) {
  override get message(): string {
    return `${this.server}: the connection is closed (delivery: ${this.delivery})`
  }
}

/**
 * Schema of {@link RequestError}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RequestError = Schema.Union([
  ConnectionUnavailable,
  OutcomeUnknown,
  RequestTimeout,
  ServerRejected,
  InvalidResult,
  InvalidRequest,
  ConnectionClosed
])

/**
 * Everything a request can fail with. A tool's own `isError` is a result, not one of these.
 *
 * @category models
 * @since 0.1.0
 */
export type RequestError = typeof RequestError.Type
