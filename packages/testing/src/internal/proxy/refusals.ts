/** Whom a server over HTTP turns away: sessions that it has forgotten, credentials that it does not take any more. */
import type { IncomingMessage } from "node:http"
import type { Tagged } from "../../Fault.ts"

export interface Refusal {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export const sessionHeader = "mcp-session-id"

export class Refusals {
  /** The sessions that the server has told of, and those it is made to have forgotten, with the status that it says so with. */
  private readonly sessions = new Set<string>()
  private readonly forgotten = new Map<string, number>()
  /** The credentials that came, none among them, and those that are refused. */
  private readonly credentials = new Set<string | undefined>()
  private readonly refused = new Map<string | undefined, number>()
  /** Credentials that nobody knows yet are refused when they come. */
  private refusesNext: number | undefined = undefined

  /** Somebody comes, with credentials or without. */
  meet({ headers: { authorization } }: IncomingMessage): void {
    this.credentials.add(authorization)
    if (this.refusesNext !== undefined) this.refused.set(authorization, this.refusesNext)
    this.refusesNext = undefined
  }

  /** The server has answered. */
  learn(answer: IncomingMessage): void {
    const session = answer.headers[sessionHeader]
    if (typeof session === "string") this.sessions.add(session)
  }

  expire(status: number): void {
    for (const session of this.sessions) this.forgotten.set(session, status)
    this.sessions.clear()
  }

  refuse(status: number): void {
    for (const credentials of this.credentials) this.refused.set(credentials, status)
    if (this.credentials.size === 0) this.refusesNext = status
  }

  of({ headers }: IncomingMessage): Refusal | undefined {
    const status = this.refused.get(headers.authorization)
    if (status !== undefined)
      return { status, headers: { "www-authenticate": challenges[status] ?? "Bearer" }, body: "" }
    const session = headers[sessionHeader]
    const forgotten = typeof session === "string" ? this.forgotten.get(session) : undefined
    return forgotten === undefined ? undefined : unknownSession(forgotten)
  }
}

/** RFC 6750, section 3.1. */
const challenges: Readonly<Record<number, string>> = {
  401: 'Bearer error="invalid_token"',
  403: 'Bearer error="insufficient_scope"'
}

/** As the official SDK says it with 404, and many servers with 400. */
const unknownSession = (status: number): Refusal => {
  const error =
    status === 404
      ? { code: -32_001, message: "Session not found" }
      : { code: -32_000, message: "Bad Request: No valid session ID provided" }
  return {
    status,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: null, error })
  }
}

export const unavailable = ({ retryAfterMillis, status }: Tagged<"Unavailable">): Refusal => ({
  status,
  // Whole seconds are all that the header has (RFC 9110, section 10.2.3).
  headers: retryAfterMillis === undefined ? {} : { "retry-after": String(Math.ceil(retryAfterMillis / 1000)) },
  body: ""
})
