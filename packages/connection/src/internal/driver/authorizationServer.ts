/**
 * The `fetch` for an authorization server (RFC 6749, 7591, 8414, 9728): it keeps secrets from being told, in both directions, and
 * tells trouble on the way from a verdict about credentials. The SDK takes both for a reason to ask the user anew.
 */
import { type FetchLike, OAuthError, OAuthErrorCode } from "@modelcontextprotocol/client"
import * as Predicate from "effect/Predicate"
import { NetworkFailed, type Reason, TlsFailed } from "../reasons.ts"
import * as Network from "./network.ts"
import { WireFailure } from "./network.ts"

export interface Options {
  readonly fetch: FetchLike
  readonly onSecret: (secret: string) => void
  readonly conceal: (text: string) => string
}

export interface AuthorizationServer {
  readonly fetch: FetchLike
  /** Why it could not be asked, or could not answer, if that is so. */
  readonly trouble: () => Reason | undefined
}

/** How long one exchange may take: who waits for it has no other bound. */
const within = 30_000

/** The server refused the refresh token, or the client. */
export class CredentialsRefused extends OAuthError {
  readonly ofClient: boolean
  constructor(error: string) {
    // Neither retried nor explained away by the SDK, as the error itself would be.
    super(OAuthErrorCode.AccessDenied, `the authorization server refused to renew the token (${error})`)
    this.ofClient = error !== "invalid_grant"
  }
}

const refusals: ReadonlySet<string> = new Set(["invalid_grant", "invalid_client", "unauthorized_client"])

/** OAuth's words for trouble of its own (RFC 6749 §4.1.2.1), which some servers say with a 400. */
const troubles: ReadonlySet<string> = new Set(["server_error", "temporarily_unavailable"])

export const make = (options: Options): AuthorizationServer => {
  let trouble: Reason | undefined

  const unavailable = (reason: Reason, method: string): Error => {
    trouble = reason
    // Of its own errors the SDK passes on these two, each in its place.
    return method === "GET"
      ? new TypeError(reason.message, { cause: new WireFailure(reason) })
      : new OAuthError(OAuthErrorCode.TemporarilyUnavailable, reason.message)
  }

  const exchange = async (
    target: string | URL,
    init: RequestInit | undefined
  ): Promise<{ readonly response: Response; readonly text: string }> => {
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(), within)
    try {
      const signal = init?.signal ? AbortSignal.any([init.signal, deadline.signal]) : deadline.signal
      const response = await options.fetch(target, { ...init, signal })
      return { response, text: isRedirect(response) ? "" : await response.text() }
    } catch (error) {
      throw deadline.signal.aborted ? new WireFailure(silent) : error
    } finally {
      clearTimeout(timer)
    }
  }

  const fetch: FetchLike = async (target, init) => {
    const method = (init?.method ?? "GET").toUpperCase()
    for (const secret of secretsOf(init)) options.onSecret(secret)
    const { response, text } = await exchange(target, init).catch((error: unknown) => {
      const reason = Network.ofNetwork(error, undefined)
      throw init?.signal?.aborted === true || !isTrouble(reason) ? error : unavailable(unreachable(reason), method)
    })
    if (isRedirect(response)) return response
    const { status } = response
    const body = parse(text)
    for (const secret of secretsIn(body)) options.onSecret(secret)
    if (response.ok) return again(text, response)
    const error = Predicate.hasProperty(body, "error") && Predicate.isString(body.error) ? body.error : undefined
    // Some say server trouble of a path that they do not know, so the SDK tries the next one.
    const isServers = Network.isOverload(status) ? method !== "GET" || status !== 502 : status >= 500
    if (method !== "GET" && error !== undefined && refusals.has(error)) throw new CredentialsRefused(error)
    if (error === undefined ? isServers : troubles.has(error)) {
      const reason = ofStatus(status, response.headers.get("retry-after"))
      if (method !== "GET" || Network.isOverload(status)) throw unavailable(reason, method)
      trouble = reason
    }
    return again(options.conceal(text), response)
  }

  return { fetch, trouble: () => trouble }
}

const isRedirect = ({ status }: Response): boolean => status >= 300 && status < 400

const again = (text: string, { headers, status }: Response): Response => {
  const kept = new Headers(headers)
  for (const name of ["content-length", "content-encoding", "transfer-encoding"]) kept.delete(name)
  return new Response(text === "" ? null : text, { status, headers: kept })
}

const isTrouble = (reason: Reason): boolean => reason._tag === "NetworkFailed" || reason._tag === "TlsFailed"

const silent = new NetworkFailed({ code: "ETIMEDOUT", description: "it did not answer in time (ETIMEDOUT)" })

const unreachable = (reason: Reason): Reason => {
  const description = `the authorization server could not be asked for a token: ${reason.message}`
  if (reason._tag === "TlsFailed") return new TlsFailed({ code: reason.code, description })
  // The server has refused the request that this is for, so it did not run: "connect", whatever happened here.
  const code = reason._tag === "NetworkFailed" ? reason.code : reason._tag
  return new NetworkFailed({ code, description, phase: "connect" })
}

const ofStatus = (status: number, retryAfter: string | null): Reason =>
  status === 429 || status === 503
    ? Network.ofOverload(status, retryAfter, Date.now())
    : new NetworkFailed({
        code: `HTTP_${status}`,
        description: `the authorization server could not give a token (HTTP ${status})`,
        phase: "connect"
      })

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const secretFields = [
  "access_token",
  "refresh_token",
  "id_token",
  "client_secret",
  "registration_access_token",
  "code",
  "code_verifier",
  "client_assertion",
  "assertion",
  "subject_token",
  "actor_token",
  "password"
]

/** What a server gives away. */
const secretsIn = (body: unknown): ReadonlyArray<string> =>
  secretFields.flatMap((field) => {
    const value = Predicate.hasProperty(body, field) ? body[field] : undefined
    return Predicate.isString(value) ? [value] : []
  })

/** What a request for a token gives away. */
const secretsOf = (init: RequestInit | undefined): ReadonlyArray<string> => {
  const body = init?.body
  const fields =
    body instanceof URLSearchParams
      ? secretFields.flatMap((field) => body.getAll(field))
      : Predicate.isString(body)
        ? secretsIn(parse(body))
        : []
  const authorization = new Headers(init?.headers).get("authorization") ?? ""
  const credentials = authorization.slice(authorization.indexOf(" ") + 1)
  if (credentials === "") return fields
  // RFC 6749 §2.3.1: the secret may be percent-encoded in there.
  const [, ...secret] = Buffer.from(credentials, "base64").toString().split(":")
  return [...fields, credentials, ...(secret.length === 0 ? [] : [secret.join(":"), decode(secret.join(":"))])]
}

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
