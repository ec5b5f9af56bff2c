/** What HTTP and the network say, as reasons of a `ConnectionError`. */
import * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import {
  MalformedResponse,
  NetworkFailed,
  type Reason,
  ServerUnavailable,
  TlsFailed,
  TransportClosed,
  UnexpectedStatus
} from "../reasons.ts"

/** Thrown by our `fetch`; the SDK hands it on as it is, or as the cause of an error of its own. */
export class WireFailure extends Error {
  readonly reason: Reason
  constructor(reason: Reason) {
    super(reason.message)
    this.name = "WireFailure"
    this.reason = reason
  }
}

/** How deep causes are followed: fetch wraps undici's errors, which wrap the system's. */
const maxCauses = 8

/** An error and what caused it, outermost first. The SDK keeps some causes in `data`. */
const causes = (error: unknown): ReadonlyArray<unknown> => {
  const chain: Array<unknown> = []
  let current = error
  while (current !== undefined && current !== null && chain.length < maxCauses) {
    chain.push(current)
    current =
      (Predicate.hasProperty(current, "cause") ? current.cause : undefined) ??
      (Predicate.hasProperty(current, "data") && Predicate.hasProperty(current.data, "cause")
        ? current.data.cause
        : undefined)
  }
  return chain
}

const text = (value: unknown, key: string): string | undefined =>
  Predicate.hasProperty(value, key) && Predicate.isString(value[key]) ? value[key] : undefined

/** The codes of OpenSSL's and Node's verdicts about certificates, and of a peer that does not speak TLS. */
const tlsCode =
  /^(ERR_TLS_|ERR_SSL_|CERT_|CRL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|EPROTO$)/

const connectCodes: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "UND_ERR_CONNECT_TIMEOUT"
])

const phrases: Readonly<Record<string, string>> = {
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection was reset",
  ENOTFOUND: "the host was not found",
  EAI_AGAIN: "the host could not be resolved for now",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network cannot be reached",
  EPIPE: "the connection was closed",
  ETIMEDOUT: "the connection timed out",
  UND_ERR_CONNECT_TIMEOUT: "the connection was not made in time"
}

/**
 * Explains why a request could not be sent, or its answer not be read. `sent`: whether a byte of it left, where that is known.
 */
export const ofNetwork = (error: unknown, sent: boolean | undefined): Reason => {
  const chain = causes(error)
  const known = chain.find((cause) => cause instanceof WireFailure)
  if (known !== undefined) return known.reason
  if (chain.some((cause) => cause instanceof SyntaxError || text(cause, "name") === "ZodError")) {
    return new MalformedResponse({ description: "the server answered with something that is not a JSON-RPC message" })
  }
  const withCode = chain.findLast((cause) => text(cause, "code") !== undefined)
  const code = text(withCode, "code")
  if (code === undefined || code.startsWith("CLIENT_") || code.startsWith("ERA_")) {
    return new TransportClosed({ description: "the exchange with the server failed" })
  }
  if (tlsCode.test(code)) {
    return new TlsFailed({ code, description: `no secure connection could be made (${code})` })
  }
  const syscall = text(withCode, "syscall")
  const connecting = connectCodes.has(code) || syscall === "connect" || syscall === "getaddrinfo" || sent === false
  // undici's name for a socket that the other side closed.
  const named = code === "UND_ERR_SOCKET" || code === "UND_ERR_RES_CONTENT_LENGTH_MISMATCH" ? "ECONNRESET" : code
  return new NetworkFailed({
    code: named,
    description: `${phrases[named] ?? "the network failed"} (${named})`,
    phase: connecting ? "connect" : "exchange"
  })
}

/** What the SDK throws for a failed exchange, of itself: statuses and contents that our `fetch` has let pass. */
export const ofSdk = (error: unknown, sent: boolean | undefined): Reason => {
  const status =
    Predicate.hasProperty(error, "data") && Predicate.hasProperty(error.data, "status") ? error.data.status : undefined
  return Predicate.isNumber(status) && Number.isInteger(status) ? ofStatus(status) : ofNetwork(error, sent)
}

const statusTexts: Readonly<Record<number, string>> = {
  400: "bad request",
  404: "not found",
  405: "method not allowed",
  406: "not acceptable",
  410: "gone",
  413: "too large",
  415: "unsupported media type",
  500: "internal error"
}

/** A status that says nothing else. `detail`: what the server says of it. */
export const ofStatus = (status: number, detail?: string): UnexpectedStatus => {
  const name = statusTexts[status] === undefined ? "" : ` (${statusTexts[status]})`
  const what =
    status >= 300 && status < 400
      ? `the server answered with a redirect that is not followed (HTTP ${status}): it leads to another origin, or nowhere`
      : `the server answered with HTTP ${status}${name}`
  return new UnexpectedStatus({ status, description: detail === undefined ? what : `${what}: ${detail}` })
}

export const isOverload = (status: number): boolean =>
  status === 429 || status === 502 || status === 503 || status === 504

export const ofOverload = (status: number, retryAfter: string | null, now: number): ServerUnavailable =>
  new ServerUnavailable({ status, retryAfter: parseRetryAfter(retryAfter, now) })

/** RFC 9110 §10.2.3: seconds, or an HTTP date. */
const parseRetryAfter = (header: string | null, now: number): Duration.Duration | undefined => {
  if (header === null) return undefined
  const value = header.trim()
  if (/^\d+$/.test(value)) return bounded(Number(value) * 1000)
  const at = /[a-z]/i.test(value) ? Date.parse(value) : Number.NaN
  return Number.isNaN(at) ? undefined : bounded(at - now)
}

/** Timers of Node fire at once past 24.8 days. */
const longestRetryAfter = 20 * 24 * 60 * 60 * 1000

const bounded = (millis: number): Duration.Duration => Duration.millis(Math.min(Math.max(0, millis), longestRetryAfter))
