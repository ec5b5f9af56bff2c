/**
 * The `fetch` under the SDK's HTTP transports: it sees when the first byte of a request leaves, every byte that comes, every status
 * and every failure, and says what each of them means.
 */
import type { FetchLike } from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { Agent, Dispatcher, fetch as UndiciFetch } from "undici"
import { MalformedResponse, type Reason, SessionExpired, TransportClosed, Unauthorized } from "../reasons.ts"
import * as Authorization from "./authorization.ts"
import { exchange } from "./exchange.ts"
import * as Network from "./network.ts"
import { WireFailure } from "./network.ts"
import type { Flights } from "./flights.ts"
import * as Sockets from "./sockets.ts"

/** Carries the JSON-RPC id of a request from the transport's `send` to its `fetch`, and goes no further. */
export const idHeader = "x-mcp-tether-request"

export interface Options {
  readonly url: URL
  /** Streamable HTTP answers a request in the response to its POST; the older SSE transport does not. */
  readonly kind: "streamable" | "sse"
  readonly authProvider: Authorization.Provider | undefined
  readonly connectTimeout: Duration.Duration
  readonly estate: Sockets.Estate
  readonly maxMessageBytes: number
  /** What is in flight, once that is known. */
  readonly flights: () => Flights | undefined
  /** A stream of events broke off. */
  readonly onBreak: (reason: Reason) => void
  readonly onBytes: () => void
  readonly onToken: (token: string) => void
  /** A stream of notifications is open again, and what was said meanwhile was not kept for us. */
  readonly onGap: () => void
  /** The first stream of notifications could not be opened, and may be later. */
  readonly onNotStreaming: (reason: Reason) => void
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

export const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Wire, never, Scope.Scope> {
  const sockets = yield* Sockets.acquire(options.estate, options.connectTimeout)
  const { turn, wire } = makeOn(sockets, options)
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      const running = turn()
      return running === undefined
        ? Effect.void
        : Effect.ignore(Effect.timeout(Effect.interruptible(Effect.tryPromise(() => running)), saveWithin))
    })
  )
  return wire
})

/** How long a closing session waits for a token that it has asked for: a refresh token that is spent and not replaced is a login lost. */
const saveWithin = Duration.seconds(1)

const makeOn = (
  { agent, areInherited, bequeath, fetch: undiciFetch, hasSpare, prepare }: Sockets.Sockets,
  options: Options
): { readonly wire: Wire; readonly turn: () => Promise<void> | undefined } => {
  const { conceal, kind, url } = options
  let isEstablished = false
  let isPrepared = false
  /**
   * In a handshake, while there is a socket that undici has not let go of yet: it takes a turn after an answer, and to make another
   * connection costs more than that.
   */
  let free = areInherited ? nextTurn() : undefined
  let hasExpired = false
  let hasStreamed = false
  /** Whether the SDK has one, and opens it again when it ends: it takes any body for one. */
  let hasFirst = false
  /** Whether what the server had to say may have gone by before there was a first stream. */
  let isLate = false
  let lastFailure: Reason | undefined

  /** `id`: of the request that this is, or `undefined` for a notification, whose acceptance is no word of the server. */
  const raw = async (
    target: URL,
    init: RequestInit | undefined,
    headers: Headers,
    id: string | undefined,
    onBytes: () => void
  ): Promise<Response> => {
    const ticket = id === undefined ? undefined : options.flights()?.ticketOf(id)
    const body = init?.body ?? undefined
    let sent = false
    let isStream = false
    let budget = options.maxMessageBytes
    try {
      return await exchange(
        agent,
        target,
        {
          method: init?.method ?? "GET",
          headers,
          body: Predicate.isString(body) ? body : undefined,
          signal: init?.signal ?? undefined
        },
        {
          onSent: () => {
            sent = true
            if (ticket !== undefined) ticket.sent = true
          },
          onHead: (received) => {
            onBytes()
            isStream = essenceOf(received) === "text/event-stream"
            if (isStream && id !== undefined) options.flights()?.streams(id)
          },
          onData: (chunk) => {
            onBytes()
            if (isStream) return
            budget -= chunk.length
            if (budget < 0) throw tooLarge(options.maxMessageBytes)
          },
          onEnd: (broken) => {
            // undici comes to it only when it has told of the end.
            if (!isEstablished) free = Promise.resolve().then(nextTurn)
            if (id !== undefined && kind === "streamable") options.flights()?.broke(id)
            if (isStream && broken !== undefined) options.onBreak(Network.ofNetwork(broken, sent))
          }
        }
      )
    } catch (error) {
      if (init?.signal?.aborted === true) throw error
      throw new WireFailure(Network.ofNetwork(error, sent))
    }
  }

  /** The exchanges whose answer has not begun. */
  const unanswered = new Set<Promise<void>>()
  const note = (exchange: Promise<unknown>): void => {
    const end = exchange.then(
      () => void unanswered.delete(end),
      () => void unanswered.delete(end)
    )
    unanswered.add(end)
  }

  const markSent = (id: string, sent: boolean): void => {
    const ticket = options.flights()?.ticketOf(id)
    if (ticket !== undefined) ticket.sent = sent
  }

  /**
   * A refusal is told when the others who were under way are answered, too: it ends the session, and would leave them in doubt about
   * what is refused for certain.
   */
  const company = (): Promise<unknown> => {
    if (unanswered.size === 0) return Promise.resolve()
    let timer: ReturnType<typeof setTimeout> | undefined
    const enough = new Promise((resolve) => {
      timer = setTimeout(resolve, companyMillis)
    })
    return Promise.race([Promise.all(unanswered), enough]).finally(() => clearTimeout(timer))
  }

  /** For authorization servers, which are somewhere else, and may send us on. */
  const authFetch: FetchLike = async (target, init) => {
    const seen: Seen = { sent: false }
    try {
      const dispatcher = bounded(agent, seen, options.maxMessageBytes)
      // The same classes as far as the SDK can tell: Node's own fetch is undici's.
      return (await undiciFetch(target, { ...(init as unknown as UndiciInit), dispatcher })) as unknown as Response
    } catch (error) {
      if (init?.signal?.aborted === true) throw error
      throw new WireFailure(Network.ofNetwork(error, seen.sent))
    }
  }

  const send: FetchLike = async (target, init) => {
    const headers = new Headers(init?.headers)
    const id = headers.get(idHeader)
    headers.delete(idHeader)
    // The older transport does not pass headers on.
    const asked = id ?? (kind === "sse" ? idIn(init?.body) : undefined)
    const speaks = asked !== undefined || init?.method !== "POST"
    if (free !== undefined && !(init?.method === "GET" && hasSpare())) {
      await free
      if (isEstablished) free = undefined
    }
    const answered = raw(new URL(target), init, headers, asked, speaks ? options.onBytes : () => {})
    // The stream of notifications takes one connection, and the first call another: that is made while the server thinks.
    if (!isPrepared && !isEstablished && kind === "streamable" && isInitialize(init?.body)) {
      isPrepared = true
      prepare(url)
    }
    if (id !== null && options.authProvider !== undefined) note(answered)
    const response = await answered
    // Refused for certain: whatever becomes of the session while it waits for other credentials, it did not run.
    if (response.status === 401 && id !== null) markSent(id, false)
    return check(response, init?.method ?? "GET", headers, init?.body)
  }

  const authorization =
    options.authProvider === undefined
      ? undefined
      : Authorization.make({
          provider: options.authProvider,
          serverUrl: url,
          send,
          authFetch,
          onSecret: (secret) => {
            if (secret.length >= minSecret) options.onToken(secret)
          },
          conceal
        })
  const authorized = authorization === undefined ? send : authorization.fetch

  /** What a response means, before the SDK sees it. */
  const check = async (
    response: Response,
    method: string,
    headers: Headers,
    body: RequestInit["body"]
  ): Promise<Response> => {
    const { status } = response
    if (response.ok) {
      if (kind === "streamable" && method === "POST") return answer(response, body)
      return asksForStream(method, headers) ? stream(response) : response
    }
    // Redirects are the SDK's to follow, within the origin.
    if (status >= 300 && status < 400) return response
    // A provider of the user's is handed it.
    if (status === 401 || status === 403)
      return options.authProvider === undefined
        ? response
        : new Response(response.body, { status, headers: response.headers })
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
            description: `the server answered with ${conceal(response.headers.get("content-type") ?? "no content type")} instead of a JSON-RPC message`
          })
    )
  }

  /** A stream of notifications may not have been open from the start, and not go on where the last one ended. */
  const stream = (response: Response): Response => {
    hasFirst = true
    if (essenceOf(response.headers) === "text/event-stream") {
      hasStreamed = true
      if (isLate) options.onGap()
    }
    isLate = true
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
      bequeath()
      throw new WireFailure(new SessionExpired({ status }))
    }
    // The SDK tells the eras apart by what refuses its first request.
    if (!isEstablished && status < 500 && !isInitialize(body)) return again(status)
    throw new WireFailure(
      Network.ofStatus(status, reply?.message === undefined ? undefined : conceal(reply.message).slice(0, 200))
    )
  }

  /** What a provider and an authorization server say of a failure is theirs. */
  const secretive = (reason: Reason): Reason =>
    reason._tag !== "Unauthorized"
      ? reason
      : new Unauthorized({
          status: reason.status,
          challenge: reason.challenge === undefined ? undefined : conceal(reason.challenge),
          description: reason.description === undefined ? undefined : conceal(reason.description)
        })

  const allowed = async (response: Response): Promise<Response> => {
    if (response.status !== 401 && response.status !== 403) return response
    await discard(response)
    throw new WireFailure(new Unauthorized({ status: response.status, challenge: Authorization.challengeOf(response) }))
  }

  /** For that of notifications, from now on; with an id it would be one of those that have broken. */
  const asksForStream = (method: string | undefined, headers: Headers): boolean =>
    kind === "streamable" && method === "GET" && !headers.has("last-event-id")

  const wire: Wire = {
    fetch: (target, init) =>
      authorized(target, init)
        .then(allowed)
        .then(
          (response) => {
            lastFailure = undefined
            return response
          },
          async (error: unknown) => {
            if (!(error instanceof WireFailure)) {
              lastFailure = undefined
              throw error
            }
            const { reason } = error
            lastFailure = secretive(reason)
            if (
              !hasFirst &&
              asksForStream(init?.method, new Headers(init?.headers)) &&
              !isNotOffered(lastFailure) &&
              lastFailure._tag !== "Unauthorized"
            ) {
              isLate = true
              options.onNotStreaming(lastFailure)
            }
            if (lastFailure._tag === "Unauthorized") {
              const id = new Headers(init?.headers).get(idHeader)
              if (id !== null) markSent(id, true)
              await company()
            }
            throw lastFailure === reason ? error : new WireFailure(lastFailure)
          }
        ),
    lastFailure: () => lastFailure,
    established: () => {
      isEstablished = true
    },
    expired: () => hasExpired,
    hasStreamed: () => hasStreamed
  }
  return { wire, turn: () => authorization?.turn() }
}

/** Servers without a stream of notifications should say 405, and say whatever. */
export const isNotOffered = (reason: Reason): boolean =>
  reason._tag === "UnexpectedStatus" && (reason.status < 500 || reason.status === 501)

/** How long a refusal waits for the answers to others. */
const companyMillis = 1_000

/** What is shorter would be found everywhere, and is no secret. */
const minSecret = 4

type Fetch = typeof UndiciFetch
type UndiciInit = NonNullable<Parameters<Fetch>[1]>

interface Seen {
  sent: boolean
}

/** Notes that a request was sent, and reads no more of its answer than it may. */
const bounded = (agent: Agent, seen: Seen, maxBytes: number): Dispatcher => {
  const dispatch: Dispatcher["dispatch"] = (request, handler) => {
    let budget = maxBytes
    return agent.dispatch(request, {
      onRequestStart: (controller, context) => {
        seen.sent = true
        handler.onRequestStart?.(controller, context)
      },
      onRequestUpgrade: (...upgraded) => handler.onRequestUpgrade?.(...upgraded),
      onResponseStarted: () => handler.onResponseStarted?.(),
      onResponseStart: (...head) => handler.onResponseStart?.(...head),
      onResponseData: (controller, chunk) => {
        budget -= chunk.length
        if (budget < 0) controller.abort(tooLarge(maxBytes))
        else handler.onResponseData?.(controller, chunk)
      },
      onResponseEnd: (...end) => handler.onResponseEnd?.(...end),
      onResponseError: (...failed) => handler.onResponseError?.(...failed),
      onBodySent: (chunk) => handler.onBodySent?.(chunk),
      onRequestSent: () => handler.onRequestSent?.()
    })
  }
  // All that fetch uses of a dispatcher.
  return { dispatch } as unknown as Dispatcher
}

const tooLarge = (maxBytes: number): WireFailure =>
  new WireFailure(new MalformedResponse({ description: `the server sent a message of more than ${maxBytes} bytes` }))

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const discard = (response: Response): Promise<void> =>
  response.body === null ? Promise.resolve() : response.body.cancel().catch(() => {})

const essenceOf = (headers: Headers): string | undefined =>
  headers.get("content-type")?.split(";", 1)[0]?.trim().toLowerCase()

const isMessage = (response: Response): boolean => {
  const essence = essenceOf(response.headers)
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

const idIn = (body: RequestInit["body"]): string | undefined => {
  const id = requestIdOf(body)
  return Predicate.isString(id) || Predicate.isNumber(id) ? String(id) : undefined
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
