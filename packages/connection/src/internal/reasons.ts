/** The reasons of a `ConnectionError`; public through it. */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { Delivery } from "../Delivery.ts"

const id = <const Name extends string>(name: Name) => `@mcp-tether/connection/ConnectionError/${name}` as const

/** Node's codes of a spawn that failed for want of a resource, not because the command is wrong. */
const transientSpawnCodes: ReadonlySet<string> = new Set(["EAGAIN", "EMFILE", "ENFILE", "ENOMEM", "ETXTBSY"])

/** Codes of a connect that failed before any byte of a request could leave. */
const neverConnectedCodes: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH"
])

/**
 * The server's process could not be started: no such command, no permission, no such working directory.
 *
 * Not retryable, unless the machine was short of something (`EAGAIN`, `EMFILE`, `ENFILE`, `ENOMEM`, `ETXTBSY`).
 *
 * @category errors
 * @since 0.1.0
 */
export class SpawnFailed extends Schema.TaggedError<SpawnFailed>(id("SpawnFailed"))("SpawnFailed", {
  /** The command as configured, without its arguments. */
  command: Schema.String,
  /** The system's error code, like `ENOENT`. */
  code: Schema.optional(Schema.String),
  description: Schema.String
}) {
  override get message(): string {
    return this.description
  }
  get isRetryable(): boolean {
    return this.code !== undefined && transientSpawnCodes.has(this.code)
  }
  get delivery(): Delivery {
    return "NotSent"
  }
}

/**
 * The server's process ended. Exactly one of `exitCode` and `signal` is known.
 *
 * @category errors
 * @since 0.1.0
 */
export class ProcessExited extends Schema.TaggedError<ProcessExited>(id("ProcessExited"))("ProcessExited", {
  exitCode: Schema.optional(Schema.Int),
  signal: Schema.optional(Schema.String)
}) {
  override get message(): string {
    return this.signal === undefined
      ? `the server process exited with code ${this.exitCode ?? "unknown"}`
      : `the server process was ended by ${this.signal}`
  }
  get isRetryable(): boolean {
    return true
  }
  get delivery(): Delivery {
    return "Unknown"
  }
}

/**
 * The channel to the server broke while the server itself may live: closed stdout, `EPIPE`, a stream cut without a reply.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransportClosed extends Schema.TaggedError<TransportClosed>(id("TransportClosed"))("TransportClosed", {
  description: Schema.String
}) {
  override get message(): string {
    return this.description
  }
  get isRetryable(): boolean {
    return true
  }
  get delivery(): Delivery {
    return "Unknown"
  }
}

/**
 * The network failed: refused, not resolved, timed out on connect, or reset.
 *
 * @category errors
 * @since 0.1.0
 */
export class NetworkFailed extends Schema.TaggedError<NetworkFailed>(id("NetworkFailed"))("NetworkFailed", {
  /** The system's error code, like `ECONNREFUSED`. */
  code: Schema.String,
  description: Schema.String,
  /** Whether it failed before there was a connection, where that is known. */
  phase: Schema.optional(Schema.Literals(["connect", "exchange"]))
}) {
  override get message(): string {
    return this.description
  }
  get isRetryable(): boolean {
    return true
  }
  /** `NotSent` when no connection came about, else `Unknown`. */
  get delivery(): Delivery {
    return this.phase === "connect" || (this.phase === undefined && neverConnectedCodes.has(this.code))
      ? "NotSent"
      : "Unknown"
  }
}

/**
 * No secure connection could be made: an expired, self-signed or wrong certificate, or no TLS at all behind the port.
 *
 * Not retryable: a certificate does not heal by itself, and trying again would only hide it.
 *
 * @category errors
 * @since 0.1.0
 */
export class TlsFailed extends Schema.TaggedError<TlsFailed>(id("TlsFailed"))("TlsFailed", {
  /** The code of Node or OpenSSL, like `CERT_HAS_EXPIRED`. */
  code: Schema.String,
  description: Schema.String
}) {
  override get message(): string {
    return this.description
  }
  get isRetryable(): boolean {
    return false
  }
  get delivery(): Delivery {
    return "NotSent"
  }
}

/**
 * The server answered with an HTTP status that no other reason covers, like 404 where there is no session, 405, 500, or a
 * redirect that may not be followed.
 *
 * 408, 425 and 5xx are retryable. Others are where a session has served before: a gateway in the middle of a deployment says 404,
 * too. A first session that fails with one fails for good: the URL is probably wrong.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnexpectedStatus extends Schema.TaggedError<UnexpectedStatus>(id("UnexpectedStatus"))("UnexpectedStatus", {
  status: Schema.Int,
  description: Schema.String
}) {
  override get message(): string {
    return this.description
  }
  get isRetryable(): boolean {
    return this.status >= 500 || this.status === 408 || this.status === 425
  }
  get delivery(): Delivery {
    return "Unknown"
  }
}

/**
 * The server no longer knows this session: 404 with a session id, or 400 "no valid session ID".
 *
 * MCP 2025-11-25, Streamable HTTP, Session Management: the client must start a new session.
 *
 * @category errors
 * @since 0.1.0
 */
export class SessionExpired extends Schema.TaggedError<SessionExpired>(id("SessionExpired"))("SessionExpired", {
  status: Schema.Int
}) {
  override get message(): string {
    return `the server no longer knows the session (HTTP ${this.status})`
  }
  get isRetryable(): boolean {
    return true
  }
  get delivery(): Delivery {
    return "Refused"
  }
}

/**
 * The server, or something before it, is overloaded or down: 429, 502, 503, 504.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerUnavailable extends Schema.TaggedError<ServerUnavailable>(id("ServerUnavailable"))(
  "ServerUnavailable",
  {
    status: Schema.Int,
    /** The `Retry-After` header (RFC 9110 §10.2.3), as a span from when it arrived. */
    retryAfter: Schema.optional(Schema.DurationFromMillis)
  }
) {
  override get message(): string {
    const hint = this.retryAfter === undefined ? "" : `, retry after ${Duration.format(this.retryAfter)}`
    return `the server is unavailable (HTTP ${this.status}${hint})`
  }
  get isRetryable(): boolean {
    return true
  }
  /** 429 and 503 say that the request was not processed; a gateway's 502 and 504 say nothing of the server behind it. */
  get delivery(): Delivery {
    return this.status === 429 || this.status === 503 ? "Refused" : "Unknown"
  }
}

/**
 * The headers of a session could not be made: the `Effect` that makes them failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class HeadersFailed extends Schema.TaggedError<HeadersFailed>(id("HeadersFailed"))("HeadersFailed", {
  description: Schema.String
}) {
  override get message(): string {
    return `the headers could not be made: ${this.description}`
  }
  get isRetryable(): boolean {
    return true
  }
  get delivery(): Delivery {
    return "NotSent"
  }
}

/**
 * The server refused the credentials (401 or 403), after the auth provider had its one turn.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unauthorized extends Schema.TaggedError<Unauthorized>(id("Unauthorized"))("Unauthorized", {
  status: Schema.Int,
  /** The server's `WWW-Authenticate` header (RFC 9110 §11.6.1): what it would accept. */
  challenge: Schema.optional(Schema.String),
  /** Why new credentials could not be had, where they were asked for. */
  description: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const why = this.description === undefined ? "" : `: ${this.description}`
    const challenge = this.challenge === undefined ? "" : `; it asks for: ${this.challenge}`
    return `the server refused the credentials (HTTP ${this.status})${why}${challenge}`
  }
  get isRetryable(): boolean {
    return false
  }
  get delivery(): Delivery {
    return "Refused"
  }
}

/**
 * The server did not finish the handshake within `startupTimeout`.
 *
 * @category errors
 * @since 0.1.0
 */
export class StartupTimeout extends Schema.TaggedError<StartupTimeout>(id("StartupTimeout"))("StartupTimeout", {
  after: Schema.DurationFromMillis
}) {
  override get message(): string {
    return `the server did not finish the handshake within ${Duration.format(this.after)}`
  }
  get isRetryable(): boolean {
    return true
  }
  get delivery(): Delivery {
    return "NotSent"
  }
}

/**
 * The server answered `initialize` with a JSON-RPC error.
 *
 * @category errors
 * @since 0.1.0
 */
export class HandshakeRejected extends Schema.TaggedError<HandshakeRejected>(id("HandshakeRejected"))(
  "HandshakeRejected",
  {
    code: Schema.Int,
    description: Schema.String
  }
) {
  override get message(): string {
    return `the server rejected the handshake: ${this.description} (${this.code})`
  }
  get isRetryable(): boolean {
    return false
  }
  get delivery(): Delivery {
    return "NotSent"
  }
}

/**
 * Client and server share no protocol version.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnsupportedProtocol extends Schema.TaggedError<UnsupportedProtocol>(id("UnsupportedProtocol"))(
  "UnsupportedProtocol",
  {
    description: Schema.String
  }
) {
  override get message(): string {
    return this.description
  }
  get isRetryable(): boolean {
    return false
  }
  get delivery(): Delivery {
    return "NotSent"
  }
}

/**
 * The server sent what cannot be an MCP message: HTML with 200, broken JSON, more than `maxMessageBytes` without an end.
 *
 * Retried at most {@link maxMalformed} times in a row: a server that is broken this way seldom heals by itself.
 *
 * @category errors
 * @since 0.1.0
 */
export class MalformedResponse extends Schema.TaggedError<MalformedResponse>(id("MalformedResponse"))(
  "MalformedResponse",
  {
    description: Schema.String
  }
) {
  override get message(): string {
    return this.description
  }
  get isRetryable(): boolean {
    return true
  }
  get delivery(): Delivery {
    return "Unknown"
  }
}

/**
 * The server stopped answering heartbeats.
 *
 * @category errors
 * @since 0.1.0
 */
export class LivenessLost extends Schema.TaggedError<LivenessLost>(id("LivenessLost"))("LivenessLost", {
  /** How many probes in a row went unanswered. */
  missed: Schema.Int,
  /** How long not one byte came from the server. */
  silentFor: Schema.DurationFromMillis
}) {
  override get message(): string {
    return `the server missed ${this.missed} heartbeats and was silent for ${Duration.format(this.silentFor)}`
  }
  get isRetryable(): boolean {
    return true
  }
  get delivery(): Delivery {
    return "Unknown"
  }
}

/**
 * A new session could not be brought to what is desired: log level, subscriptions, lists, or the user's own `onSession`.
 *
 * @category errors
 * @since 0.1.0
 */
export class RestorationFailed extends Schema.TaggedError<RestorationFailed>(id("RestorationFailed"))(
  "RestorationFailed",
  {
    /** The method of the step, or `onSession`. */
    step: Schema.String,
    description: Schema.String
  }
) {
  override get message(): string {
    return `the session could not be restored: ${this.step}: ${this.description}`
  }
  get isRetryable(): boolean {
    return true
  }
  get delivery(): Delivery {
    return "NotSent"
  }
}

/**
 * A transport, a policy or this library broke its own rules: a defect, not a condition. Please report it.
 *
 * @category errors
 * @since 0.1.0
 */
export class InternalError extends Schema.TaggedError<InternalError>(id("InternalError"))("InternalError", {
  /** Which part broke: `"transport"`, `"policy"`, `"onSession"` or `"supervisor"`. */
  where: Schema.String,
  description: Schema.String,
  /** Where in the code, as far as it is known. */
  stack: Schema.optional(Schema.String)
}) {
  override get message(): string {
    return `a defect in the ${this.where}: ${this.description}`
  }
  get isRetryable(): boolean {
    return false
  }
  get delivery(): Delivery {
    return "Unknown"
  }
}

/**
 * Schema of {@link Reason}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Union([
  SpawnFailed,
  ProcessExited,
  TransportClosed,
  NetworkFailed,
  TlsFailed,
  SessionExpired,
  ServerUnavailable,
  UnexpectedStatus,
  HeadersFailed,
  Unauthorized,
  StartupTimeout,
  HandshakeRejected,
  UnsupportedProtocol,
  MalformedResponse,
  LivenessLost,
  RestorationFailed,
  InternalError
])

/**
 * Everything that can stop a connection.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type
