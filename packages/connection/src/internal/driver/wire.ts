/**
 * The `fetch` under the SDK's HTTP transports: it sees when the first byte of a request leaves, every byte that comes, every status
 * and every failure, and says what each of them means. All sockets of a session are its own, and end with it.
 */
import type { FetchLike } from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { Agent, type Dispatcher, fetch as undiciFetch } from "undici"
import { MalformedResponse, type Reason, SessionExpired, TransportClosed, Unauthorized } from "../reasons.ts"
import * as Authorization from "./authorization.ts"
import * as Network from "./network.ts"
import { WireFailure } from "./network.ts"
import type { Flights } from "./sdkSession.ts"

/** Carries the JSON-RPC id of a request from the transport's `send` to its `fetch`, and goes no further. */
export const idHeader = "x-mcp-tether-request"

export interface Options {
  readonly url: URL
  /** Streamable HTTP answers a request in the response to its POST; the older SSE transport does not. */
  readonly kind: "streamable" | "sse"
  readonly authProvider: Authorization.Provider | undefined
  readonly connectTimeout: Duration.Duration
  readonly maxMessageBytes: number
  /** What is in flight, once that is known. */
  readonly flights: () => Flights | undefined
  /** A stream of events broke off. */
  readonly onBreak: (reason: Reason) => void
  readonly onBytes: () => void
  readonly onToken: (token: string) => void
  /** A stream of notifications is open again, and what was said meanwhile was not kept for us. */
  readonly onGap: () => void
  readonly conceal: (text: string) => string
  readonly now: () => number
}

export interface Wire {
  readonly fetch: FetchLike
  /** The handshake is done: the SDK need not see refusals any more to negotiate. */
  readonly established: () => void
  /** Whether the server has ever opened a stream of notifications. */
  readonly hasStreamed: () => boolean
  /** Whether the server has said that it does not know the session. */
  readonly expired: () => boolean
  /** Why the last exchange failed, if it did. */
  readonly lastFailure: () => Reason | undefined
}

export const make = (options: Options): Effect.Effect<Wire, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(
        () =>
          new Agent({
            connect: { timeout: Math.min(Duration.toMillis(options.connectTimeout), 2 ** 31 - 1) },
            // How long an answer may take is the caller's to say, and a stream of events may be silent for hours.
            headersTimeout: 0,
            bodyTimeout: 0
          })
      ),
      (agent) => Effect.ignore(Effect.tryPromise(() => agent.destroy()))
    ),
    (agent) => makeOn(agent, options)
  )

const makeOn = (agent: Agent, options: Options): Wire => {
  const { conceal, kind, url } = options
  let isEstablished = false
  let hasExpired = false
  let streams = 0
  let lastFailure: Reason | undefined

  const raw = async (target: string | URL, init: RequestInit | undefined, id: string | undefined) => {
    const seen: Seen = { sent: false }
    try {
      const response = await undiciFetch(target, {
        ...(init as unknown as UndiciInit),
        dispatcher: observed(agent, id, seen, options)
      })
      // The same class as far as the SDK can tell: Node's own fetch is undici's.
      return response as unknown as Response
    } catch (error) {
      if (init?.signal?.aborted === true) throw error
      throw new WireFailure(Network.ofNetwork(error, seen.sent))
    }
  }

  const authFetch: FetchLike = (target, init) => raw(target, init, undefined)

  const send: FetchLike = async (target, init) => {
    const headers = new Headers(init?.headers)
    const id = headers.get(idHeader)
    headers.delete(idHeader)
    const response = await raw(target, { ...init, headers }, id ?? undefined)
    return check(response, init?.method ?? "GET", headers, init?.body)
  }

  const authorized =
    options.authProvider === undefined
      ? send
      : Authorization.make({
          provider: options.authProvider,
          serverUrl: url,
          send,
          authFetch,
          onToken: options.onToken
        })

  /** What a response means, before the SDK sees it. */
  const check = async (
    response: Response,
    method: string,
    headers: Headers,
    body: RequestInit["body"]
  ): Promise<Response> => {
    const { status } = response
    if (response.ok)
      return method === "POST" && kind === "streamable" ? answer(response, body) : stream(response, headers)
    // Redirects are the SDK's to follow, within the origin.
    if (status >= 300 && status < 400) return response
    if (status === 401 || status === 403) return response
    if (Network.isOverload(status)) {
      await discard(response)
      throw new WireFailure(Network.ofOverload(status, response.headers.get("retry-after"), options.now()))
    }
    // No stream of notifications here: allowed by the specification.
    if (method === "GET" && status === 405) return response
    if (method === "DELETE") return response
    if (method !== "POST") {
      await discard(response)
      // What cannot be taken up again now never will be.
      if (headers.has("last-event-id") && status < 500) options.flights()?.failBroken()
      throw new WireFailure(Network.ofStatus(status))
    }
    return refused(response, headers, body)
  }

  const answer = async (response: Response, body: RequestInit["body"]): Promise<Response> => {
    if (response.status !== 202 && isMessage(response)) return response
    if (requestIdOf(body) === undefined) return response
    await discard(response)
    throw new WireFailure(
      response.status === 202
        ? new TransportClosed({ description: "the server accepted the request and will not answer it (HTTP 202)" })
        : new MalformedResponse({
            description: `the server answered with ${essenceOf(response) ?? "no content type"} instead of a JSON-RPC message`
          })
    )
  }

  /** A stream of notifications that was not the first, and does not go on where the last one ended. */
  const stream = (response: Response, headers: Headers): Response => {
    if (kind === "streamable" && essenceOf(response) === "text/event-stream") {
      streams += 1
      if (streams > 1 && !headers.has("last-event-id")) options.onGap()
    }
    return response
  }

  const refused = async (response: Response, headers: Headers, body: RequestInit["body"]): Promise<Response> => {
    const { status } = response
    const text = await response.text().catch(() => "")
    const reply = errorOf(text)
    const id = requestIdOf(body)
    const again = (as: number) => new Response(text, { status: as, headers: { "content-type": "application/json" } })
    // A JSON-RPC error with the request's own id is its answer, whatever the status says.
    if (reply !== undefined && id !== undefined && reply.id === id && (isEstablished || isInitialize(body)))
      return again(200)
    if (headers.has("mcp-session-id") && isExpiry(status, reply)) {
      hasExpired = true
      throw new WireFailure(new SessionExpired({ status }))
    }
    // The SDK tells the eras apart by what refuses its first request.
    if (!isEstablished && status < 500 && !isInitialize(body)) return again(status)
    throw new WireFailure(
      Network.ofStatus(status, reply?.message === undefined ? undefined : conceal(reply.message).slice(0, 200))
    )
  }

  const allowed = async (response: Response): Promise<Response> => {
    if (response.status !== 401 && response.status !== 403) return response
    await discard(response)
    const challenge = Authorization.challengeOf(response)
    throw new WireFailure(
      new Unauthorized({
        status: response.status,
        challenge: challenge === undefined ? undefined : conceal(challenge)
      })
    )
  }

  return {
    fetch: (target, init) =>
      authorized(target, init)
        .then(allowed)
        .then(
          (response) => {
            lastFailure = undefined
            return response
          },
          (error: unknown) => {
            lastFailure = error instanceof WireFailure ? error.reason : undefined
            throw error
          }
        ),
    lastFailure: () => lastFailure,
    established: () => {
      isEstablished = true
    },
    expired: () => hasExpired,
    hasStreamed: () => streams > 0
  }
}

type UndiciInit = NonNullable<Parameters<typeof undiciFetch>[1]>

interface Seen {
  sent: boolean
}

/** A dispatcher that notes what happens to one request. */
const observed = (agent: Agent, id: string | undefined, seen: Seen, options: Options): Dispatcher => {
  const ticket = id === undefined ? undefined : options.flights()?.ticketOf(id)
  let isStream = false
  const ended = (): void => {
    if (id !== undefined) options.flights()?.broke(id)
  }
  const dispatch = (request: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean => {
    let budget = Number.POSITIVE_INFINITY
    return agent.dispatch(request, {
      // undici calls this when it has a connection, and then writes the request to it.
      onRequestStart: (controller, context) => {
        seen.sent = true
        if (ticket !== undefined) ticket.sent = true
        handler.onRequestStart?.(controller, context)
      },
      onRequestUpgrade: (controller, status, headers, socket) =>
        handler.onRequestUpgrade?.(controller, status, headers, socket),
      onResponseStarted: () => handler.onResponseStarted?.(),
      onResponseStart: (controller, status, headers, message) => {
        options.onBytes()
        const type = headers["content-type"]
        isStream = Predicate.isString(type) && type.includes("text/event-stream")
        if (!isStream) budget = options.maxMessageBytes
        handler.onResponseStart?.(controller, status, headers, message)
      },
      onResponseData: (controller, chunk) => {
        options.onBytes()
        budget -= chunk.length
        if (budget < 0) {
          controller.abort(
            new WireFailure(
              new MalformedResponse({
                description: `the server sent a message of more than ${options.maxMessageBytes} bytes`
              })
            )
          )
          return
        }
        handler.onResponseData?.(controller, chunk)
      },
      onResponseEnd: (controller, trailers) => {
        ended()
        handler.onResponseEnd?.(controller, trailers)
      },
      onResponseError: (controller, error) => {
        ended()
        handler.onResponseError?.(controller, error)
        if (isStream && error.name !== "AbortError") options.onBreak(Network.ofNetwork(error, seen.sent))
      },
      onBodySent: (chunk) => handler.onBodySent?.(chunk),
      onRequestSent: () => handler.onRequestSent?.()
    })
  }
  // All that fetch uses of a dispatcher.
  return { dispatch } as unknown as Dispatcher
}

const discard = (response: Response): Promise<void> =>
  response.body === null ? Promise.resolve() : response.body.cancel().catch(() => {})

const essenceOf = (response: Response): string | undefined =>
  response.headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase()

const isMessage = (response: Response): boolean => {
  const essence = essenceOf(response)
  return essence === "application/json" || essence === "text/event-stream"
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The id of the request in a body, if it is one. Only looked at when something went wrong. */
const requestIdOf = (body: RequestInit["body"]): unknown => {
  const message = Predicate.isString(body) ? parse(body) : undefined
  return Predicate.hasProperty(message, "method") && Predicate.hasProperty(message, "id") ? message.id : undefined
}

const isInitialize = (body: RequestInit["body"]): boolean => {
  const message = Predicate.isString(body) ? parse(body) : undefined
  return Predicate.hasProperty(message, "method") && message.method === "initialize"
}

interface ErrorReply {
  readonly id: unknown
  readonly code: unknown
  readonly message: string | undefined
}

const errorOf = (text: string): ErrorReply | undefined => {
  const message = parse(text)
  if (!Predicate.hasProperty(message, "error") || !Predicate.isObject(message.error)) return undefined
  const { error } = message
  return {
    id: Predicate.hasProperty(message, "id") ? message.id : null,
    code: error.code,
    message: Predicate.isString(error.message) ? error.message : undefined
  }
}

/** 404 is the specification's word for it (2025-11-25, Session Management); many servers say 400 (typescript-sdk #389). */
const isExpiry = (status: number, reply: ErrorReply | undefined): boolean =>
  status === 404 ||
  (status === 400 &&
    reply !== undefined &&
    (reply.code === -32_000 || reply.code === -32_001 || /session|not initialized/i.test(reply.message ?? "")))
