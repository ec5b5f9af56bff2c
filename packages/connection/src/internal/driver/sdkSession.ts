/** The official SDK's `Client` on one transport, as an `McpSession`. A new `Client` and a new transport for every session. */
import {
  Client,
  type ClientContext,
  type JSONRPCMessage,
  LOG_LEVEL_META_KEY,
  type McpSubscription,
  type PriorDiscovery,
  ProtocolError,
  type RequestOptions,
  type StandardSchemaV1,
  type Transport,
  type TransportSendOptions
} from "@modelcontextprotocol/client"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { ConnectionError, type Reason, TransportClosed } from "../../ConnectionError.ts"
import {
  type Isolation,
  type McpSession,
  RequestTicket,
  type ResultOf,
  type SessionFailure,
  type SessionHost,
  type SessionInfo
} from "../../McpSession.ts"
import type { OpenContext } from "../../McpTransport.ts"
import { InvalidRequest, InvalidResult, ServerRejected } from "../../RequestError.ts"
import { toolOf } from "../tool.ts"
import * as Failure from "./failure.ts"

/** Timeouts are the engine's, on Effect's clock; this keeps the SDK's timers (`setTimeout`'s largest delay) out of the way. */
const noSdkTimeout = 2 ** 31 - 1

/**
 * How the protocol era is found out (DESIGN §10): `probe` asks with `server/discover` first, unless `prior` says that the server is
 * legacy; `initialize` starts as a legacy client, and goes on as a modern one on the same channel when that is rejected.
 */
export type Negotiation =
  | { readonly _tag: "probe"; readonly prior: PriorDiscovery | undefined }
  | { readonly _tag: "initialize"; readonly modern: boolean }

export interface Options {
  readonly server: string
  readonly client: { readonly name: string; readonly version: string }
  readonly limits: OpenContext["limits"]
  readonly host: SessionHost
  readonly transport: Transport
  readonly isolation: Isolation
  readonly negotiation: Negotiation
  /** Explains a failed exchange, where one says nothing of the others. `sent`: whether a byte of the request left. */
  readonly explain?: ((error: unknown, sent: boolean | undefined) => Reason) | undefined
  /** Whether the transport wants to be told which request a message is (`idHeader`). */
  readonly idHeader?: string | undefined
  /** Told once what is in flight, where the transport has to know. */
  readonly onFlights?: ((flights: Flights) => void) | undefined
  /** A stream of notifications has broken. */
  readonly onGap: () => void
  /** Waits for the loss of the transport. */
  readonly lost: Effect.Effect<Reason>
  readonly stderrTail: () => string | undefined
  /** Takes out of what the server says what must not be told; `undefined` when there is nothing to hide. */
  readonly conceal: ((text: string) => string) | undefined
  readonly pid: number | undefined
  /** When the last byte came from the server, in milliseconds since the epoch. */
  readonly lastActivity: () => number
}

/** The requests on the wire, as a transport sees them that has a stream for each. */
export interface Flights {
  /** The request under an id, as the transport was told it (`idHeader`). */
  readonly ticketOf: (id: string) => RequestTicket | undefined
  /** Its response has come to an end: if it was not answered, the SDK may take the stream up again. */
  readonly broke: (id: string) => void
  /** No broken stream will be taken up again: fails what waits for one. */
  readonly failBroken: () => void
  /** Whether the session has been given up. */
  readonly isAbandoned: () => boolean
}

/** A request on the wire. */
interface Flight {
  readonly ticket: RequestTicket
  /** The server has answered; the SDK settles the request a moment later. */
  answered: boolean
  /** It answered with a JSON-RPC error. */
  refused: boolean
  /** The stream that it is answered on has ended. */
  broken: boolean
  /** Settles it, where the SDK would leave it waiting for its timeout. */
  readonly fail: (failure: Failed) => void
}

/** What the SDK does not tell: the reply was no JSON-RPC response, or the stream of its reply ended without one. */
type Failed = "malformed" | "unanswered"

/**
 * The SDK hands this option through to `Transport.send` as it is (protocol.ts, `_requestWithSchemaViaCodec`), on every leg of a
 * request, so it can carry the request's identity to the place where the bytes leave.
 */
interface Carrier {
  (token: string): void
  flight?: Flight
  /** Ends the exchange when the caller is gone. */
  signal?: AbortSignal
}

/** The ticket of the request that a transport is asked to send. */
export const ticketOf = (carrier: ((token: string) => void) | undefined): RequestTicket | undefined =>
  (carrier as Carrier | undefined)?.flight?.ticket

export const open = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<McpSession, ConnectionError, Scope.Scope> {
  const { isolation, limits, transport } = options
  const context = yield* Effect.context<never>()
  const lost = Deferred.makeUnsafe<ConnectionError>()
  const flights = new Map<string | number, Flight>()
  let loss: ConnectionError | undefined
  const conceal = options.conceal ?? ((text: string) => text)
  const concealData = options.conceal === undefined ? (data: unknown) => data : concealedBy(options.conceal)

  const explain = (reason: Reason): ConnectionError =>
    new ConnectionError({ server: options.server, reason, stderrTail: options.stderrTail() })

  /** The one way out: everything pending is settled here, with the same cause. */
  const lose = (reason: Reason): void => {
    if (loss !== undefined) return
    loss = explain(reason)
    // First nothing can leave any more: whoever is told that its request was not sent may send it again elsewhere.
    transport.close().catch(() => {})
    transport.onclose?.()
    Deferred.doneUnsafe(lost, Exit.succeed(loss))
  }

  intercept(transport, flights, options.idHeader)
  const flightOf = (id: string) => flights.get(Number(id)) ?? flights.get(id)
  const failBroken = (): void => {
    for (const flight of flights.values()) {
      if (flight.broken && !flight.answered) flight.fail("unanswered")
    }
  }
  let abandoned = false
  options.onFlights?.({
    ticketOf: (id) => flightOf(id)?.ticket,
    broke: (id) => {
      const flight = flightOf(id)
      if (flight !== undefined) flight.broken = true
    },
    failBroken,
    isAbandoned: () => abandoned
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      lose(new TransportClosed({ description: "the session was closed" }))
      // A late event of this transport must not reach anything (reference: mcp-sdk-facts §4).
      delete transport.onmessage
      delete transport.onclose
      delete transport.onerror
    })
  )
  yield* options.lost.pipe(
    Effect.catchDefect(() => Effect.succeed(new TransportClosed({ description: "the transport broke" }))),
    Effect.map((reason) => lose(reason)),
    Effect.forkScoped({ startImmediately: true })
  )

  const client = yield* Effect.callback<Client, ConnectionError>((resume) => {
    connect(options, context).then(
      (connected) => resume(Effect.succeed(connected)),
      (error: unknown) =>
        resume(Effect.suspend(() => Effect.fail(loss ?? explain(Failure.ofHandshake(error, conceal, options.explain)))))
    )
  })
  let subscription: McpSubscription | undefined

  const invalid = (ticket: RequestTicket, description: string) =>
    new InvalidResult({
      server: options.server,
      method: ticket.method,
      tool: toolOf(ticket.method, ticket.params),
      description
    })

  const failureOf = ({ refused, ticket }: Flight, error: unknown): SessionFailure => {
    const rejection = Failure.ofRequest(error, refused, limits)
    if (rejection._tag === "Disconnected") {
      if (loss !== undefined) return loss
      if (options.explain !== undefined && !isUnserializable(error, ticket)) {
        return explain(options.explain(error, ticket.sent))
      }
    }
    const request = { server: options.server, method: ticket.method, tool: toolOf(ticket.method, ticket.params) }
    const description = isUnserializable(error, ticket)
      ? Failure.unserializable(error).message
      : conceal(rejection.description)
    if (rejection._tag === "Rejected") {
      return new ServerRejected({ ...request, code: rejection.code, description, data: concealData(rejection.data) })
    }
    // What the SDK finds wrong by itself is no reason to condemn the session.
    return rejection._tag === "InvalidRequest" || !ticket.sent
      ? new InvalidRequest({ ...request, description })
      : new InvalidResult({ ...request, description })
  }

  const session: McpSession = {
    info: infoOf(client, options),
    isolation,
    lost: Deferred.await(lost),
    abandon: () => {
      abandoned = true
      failBroken()
    },
    lastActivity: options.lastActivity,
    inFlight: () => flights.size,
    notify: (method, params) =>
      Effect.callback<void, SessionFailure>((resume) => {
        const ticket = new RequestTicket<string>(method, params)
        client.notification(params === undefined ? { method } : { method, params }).then(
          () => resume(Effect.void),
          (error: unknown) =>
            resume(
              Effect.fail(failureOf({ ticket, answered: false, refused: false, broken: false, fail: () => {} }, error))
            )
        )
      }),
    request: <Method extends string>(ticket: RequestTicket<Method>) =>
      Effect.callback<ResultOf<Method>, SessionFailure>((resume) => {
        const abort = new AbortController()
        const land = (): void => {
          if (ticket.requestId !== undefined) flights.delete(ticket.requestId)
        }
        const flight: Flight = {
          ticket,
          answered: false,
          refused: false,
          broken: false,
          fail: (failed) => {
            land()
            resume(
              Effect.fail(
                failed === "malformed"
                  ? invalid(ticket, "the reply is no JSON-RPC response")
                  : (loss ??
                      explain(new TransportClosed({ description: "the stream of the reply ended without the reply" })))
              )
            )
            abort.abort(failed)
          }
        }
        const carrier: Carrier = () => {}
        carrier.flight = flight
        carrier.signal = abort.signal
        const requestOptions = { signal: abort.signal, timeout: noSdkTimeout, onresumptiontoken: carrier }
        const { onProgress } = ticket
        dispatch(
          client,
          ticket,
          // For the token alone: see `intercept`.
          onProgress === undefined ? requestOptions : { ...requestOptions, onprogress: () => {} }
        ).then(
          (result) => {
            land()
            resume(
              isTooLong(ticket, result, limits.maxItems)
                ? Effect.fail(
                    invalid(
                      ticket,
                      `more than ${limits.maxItems} ${ticket.method.slice(0, ticket.method.indexOf("/"))} (limits.maxItems)`
                    )
                  )
                : Effect.succeed(result as ResultOf<Method>)
            )
          },
          (error: unknown) => {
            land()
            resume(Effect.fail(failureOf(flight, error)))
          }
        )
        return Effect.sync(() => {
          land()
          abort.abort("the caller is gone")
        })
      }),
    listen: (filter) =>
      Effect.suspend(() => {
        const before = subscription
        if (Object.keys(filter).length === 0) {
          subscription = undefined
          return Effect.promise(() => before?.close() ?? Promise.resolve())
        }
        return Effect.callback<void, SessionFailure>((resume) => {
          const abort = new AbortController()
          const ticket = new RequestTicket<string>("subscriptions/listen", undefined)
          client.listen(filter, { signal: abort.signal, timeout: noSdkTimeout }).then(
            (opened) => {
              subscription = opened
              void opened.closed.then((cause) => {
                if (subscription !== opened) return
                subscription = undefined
                if (cause !== "local") options.onGap()
              })
              // Only now: what changes between the two would not be told.
              void before?.close()
              resume(Effect.void)
            },
            (error: unknown) =>
              resume(
                Effect.suspend(() =>
                  Effect.fail(
                    failureOf(
                      {
                        ticket,
                        answered: false,
                        broken: false,
                        refused: ProtocolError.isInstance(error),
                        fail: () => {}
                      },
                      error
                    )
                  )
                )
              )
          )
          return Effect.sync(() => abort.abort("the caller is gone"))
        })
      })
  }
  return session
})

/** The SDK's own transports let `JSON.stringify` throw, before anything is sent. */
const isUnserializable = (error: unknown, { sent }: RequestTicket): boolean =>
  !sent && error instanceof TypeError && error.cause === undefined

/** The SDK's client, which asks for log messages with every request of the modern era. */
class SessionClient extends Client {
  readonly #logLevel: SessionHost["logLevel"]

  constructor(options: Options, modern: boolean) {
    super(options.client, {
      listMaxPages: options.limits.maxPages,
      capabilities: options.host.capabilities,
      versionNegotiation:
        options.negotiation._tag === "probe" ? { mode: "auto" } : modern ? modernOnly : { mode: "legacy" }
    })
    this.#logLevel = options.host.logLevel
  }

  protected override _outboundMetaEnvelope(): Readonly<Record<string, unknown>> | undefined {
    const envelope = super._outboundMetaEnvelope()
    const level = this.#logLevel()
    return envelope === undefined || level === undefined ? envelope : { ...envelope, [LOG_LEVEL_META_KEY]: level }
  }
}

/** A server that ignores what it does not know must not use up the whole time there is to start. */
const modernOnly = { mode: { pin: "2026-07-28" }, probe: { timeoutMs: 5_000 } } as const

const connect = async (options: Options, context: Context.Context<never>): Promise<Client> => {
  const { negotiation, transport } = options
  const start = async (channel: Transport, modern: boolean, prior?: PriorDiscovery): Promise<Client> => {
    const client = new SessionClient(options, modern)
    serve(client, options.host, context)
    await client.connect(channel, { timeout: noSdkTimeout, ...(prior === undefined ? {} : { prior }) })
    return client
  }
  if (negotiation._tag === "probe") return start(transport, false, negotiation.prior)
  await transport.start()
  const channelOf = channels(transport)
  if (negotiation.modern) return start(channelOf(), true)
  try {
    return await start(channelOf(), false)
  } catch (rejection) {
    if (!ProtocolError.isInstance(rejection)) throw rejection
    try {
      return await start(channelOf(), true)
    } catch {
      // It is no modern server either: what it said first is what is wrong.
      throw rejection
    }
  }
}

/** The same transport for one client after another: each may close what it was given, and the last one hears what comes. */
const channels = (transport: Transport): (() => Transport) => {
  let current: Transport | undefined
  const hear = transport.onmessage
  transport.onmessage = (message, extra) => {
    hear?.(message, extra)
    current?.onmessage?.(message, extra)
  }
  transport.onclose = () => current?.onclose?.()
  transport.onerror = (error) => current?.onerror?.(error)
  return () => {
    current = {
      start: () => Promise.resolve(),
      send: (message, sendOptions) => transport.send(message, sendOptions),
      close: () => Promise.resolve(),
      ...(transport.setProtocolVersion === undefined
        ? {}
        : { setProtocolVersion: (version: string) => transport.setProtocolVersion?.(version) }),
      ...(transport.hasPerRequestStream === undefined ? {} : { hasPerRequestStream: transport.hasPerRequestStream })
    }
    return current
  }
}

/** Installs what the client side offers. The SDK checks that each handler's capability is declared. */
const serve = (client: Client, host: SessionHost, context: Context.Context<never>): void => {
  for (const [method, handler] of host.handlers) {
    client.setRequestHandler(method as "ping", (request: unknown, { mcpReq }: ClientContext) =>
      Effect.runPromiseExitWith(context)(
        handler(Predicate.hasProperty(request, "params") ? request.params : undefined),
        {
          signal: mcpReq.signal
        }
      ).then((exit) => {
        if (Exit.isSuccess(exit)) return exit.value as Record<string, unknown>
        const refusal = Option.getOrElse(Cause.findErrorOption(exit.cause), () => ({
          code: -32603,
          message: "the handler failed"
        }))
        throw new ProtocolError(refusal.code, refusal.message)
      })
    )
  }
  client.fallbackNotificationHandler = ({ method, params }) => {
    host.onNotification({ method, params })
    return Promise.resolve()
  }
}

/** Notes which request is sent under which id, and what the server says of it, before the SDK sees it. */
const intercept = (transport: Transport, flights: Map<string | number, Flight>, idHeader: string | undefined): void => {
  const send = transport.send.bind(transport)
  transport.send = (message, sendOptions) => {
    const carrier = sendOptions?.onresumptiontoken as Carrier | undefined
    const flight = carrier?.flight
    if (flight === undefined || !("method" in message) || !("id" in message)) return send(message, sendOptions)
    // A list of many pages is one request to us: only its last page is in flight.
    if (flight.ticket.requestId !== undefined) flights.delete(flight.ticket.requestId)
    flight.ticket.requestId = message.id
    // What the server said of an earlier leg says nothing of this one.
    flight.answered = false
    flight.refused = false
    flight.broken = false
    flights.set(message.id, flight)
    return send(
      message,
      idHeader === undefined ? sendOptions : withStream(sendOptions, carrier, message.id, idHeader, flights)
    )
  }
  transport.onmessage = (message: JSONRPCMessage) => {
    if ("method" in message) return tellProgress(message, flights)
    if (!("id" in message) || message.id === undefined) return
    // Some servers answer with the id as a string, and the SDK takes it for the number that it is.
    const flight = flights.get(message.id) ?? flights.get(Number(message.id))
    if (flight === undefined) return
    flight.answered = true
    if (!isResponse(message)) flight.fail("malformed")
    else if ("error" in message) flight.refused = true
  }
}

/** What a transport with a stream for each request is told besides. */
const withStream = (
  sendOptions: TransportSendOptions | undefined,
  carrier: Carrier | undefined,
  id: string | number,
  idHeader: string,
  flights: ReadonlyMap<string | number, Flight>
): TransportSendOptions => ({
  ...sendOptions,
  headers: { ...sendOptions?.headers, [idHeader]: String(id) },
  // The SDK leaves the exchange of a cancelled request open in the legacy era, and with it a socket.
  requestSignal: sendOptions?.requestSignal ?? carrier?.signal,
  // Not forwarded by the SDK from the options of a request (mcp-sdk-facts §5).
  onRequestStreamEnd: () => {
    sendOptions?.onRequestStreamEnd?.()
    const flight = flights.get(id)
    if (flight !== undefined && flight === carrier?.flight && !flight.answered) flight.fail("unanswered")
  }
})

/**
 * Told as it comes: the SDK tells of progress a moment later, and drops it when the answer came in the same piece (protocol.ts,
 * `_onnotification` and `_onresponse`).
 */
const tellProgress = (message: JSONRPCMessage, flights: ReadonlyMap<string | number, Flight>): void => {
  if (!("method" in message) || message.method !== "notifications/progress") return
  const { params } = message
  if (!Predicate.hasProperty(params, "progress") || !Predicate.isNumber(params.progress)) return
  const token = Predicate.hasProperty(params, "progressToken") ? params.progressToken : undefined
  const flight = flights.get(Number(token))
  if (flight === undefined || flight.answered) return
  flight.ticket.onProgress?.({
    progress: params.progress,
    ...(Predicate.hasProperty(params, "total") && Predicate.isNumber(params.total) ? { total: params.total } : {}),
    ...(Predicate.hasProperty(params, "message") && Predicate.isString(params.message)
      ? { message: params.message }
      : {})
  })
}

/** JSON-RPC 2.0, §5. Everything else with the id of a request is a broken answer to it, which the SDK drops. */
const isResponse = (message: JSONRPCMessage): boolean =>
  message.jsonrpc === "2.0" &&
  ("error" in message
    ? Predicate.isObject(message.error) &&
      Number.isInteger(message.error.code) &&
      Predicate.isString(message.error.message)
    : "result" in message && Predicate.isObject(message.result))

const dispatch = (client: Client, ticket: RequestTicket, options: RequestOptions): Promise<unknown> => {
  const { method, params } = ticket
  const capabilities = client.getServerCapabilities()
  const all = { ...options, cacheMode: "refresh" } as const
  try {
    switch (method) {
      case "tools/call":
        return client.callTool(params as Parameters<Client["callTool"]>[0], options)
      // Without parameters the SDK walks all pages, and keeps what it needs to check results against output schemas. That a
      // server has no such lists it would tell with a line on stdout.
      case "tools/list":
        if (params !== undefined) break
        return capabilities?.tools === undefined ? Promise.resolve({ tools: [] }) : client.listTools(undefined, all)
      case "resources/list":
        if (params !== undefined) break
        return capabilities?.resources === undefined
          ? Promise.resolve({ resources: [] })
          : client.listResources(undefined, all)
      case "resources/templates/list":
        if (params !== undefined) break
        return capabilities?.resources === undefined
          ? Promise.resolve({ resourceTemplates: [] })
          : client.listResourceTemplates(undefined, all)
      case "prompts/list":
        if (params !== undefined) break
        return capabilities?.prompts === undefined
          ? Promise.resolve({ prompts: [] })
          : client.listPrompts(undefined, all)
      case "ping":
        if (client.getProtocolEra() === "modern") return client.discover(options)
        break
    }
    return send(
      client,
      params === undefined ? { method } : { method, params: params as Record<string, unknown> },
      options
    )
  } catch (error) {
    // The SDK throws some refusals synchronously (mcp-sdk-facts §3).
    return Promise.reject(error)
  }
}

/** The SDK knows the result schemas of the specification's methods; the results of others are passed on as they are. */
const send = (
  client: Client,
  request: { readonly method: string; readonly params?: Record<string, unknown> },
  options: RequestOptions
) => {
  try {
    return client.request(request as { method: "ping" }, options)
  } catch (error) {
    if (error instanceof TypeError) return client.request(request, unchecked, options)
    throw error
  }
}

const unchecked: StandardSchemaV1<unknown, unknown> = {
  "~standard": { version: 1, vendor: "mcp-tether", validate: (value) => ({ value }) }
}

const isTooLong = ({ method }: RequestTicket, result: unknown, maxItems: number): boolean =>
  method.endsWith("/list") &&
  Predicate.isObject(result) &&
  Object.values(result).some((list) => Array.isArray(list) && list.length > maxItems)

/** How deep JSON is gone through; what lies deeper is hidden whole. */
const maxDepth = 64

/** Goes through JSON and takes out of its strings what must not be told. */
const concealedBy =
  (conceal: (text: string) => string) =>
  (data: unknown, depth = 0): unknown => {
    if (Predicate.isString(data)) return conceal(data)
    if (!Array.isArray(data) && !Predicate.isObject(data)) return data
    if (depth === maxDepth) return "<redacted>"
    return Array.isArray(data)
      ? data.map((item) => concealedBy(conceal)(item, depth + 1))
      : Object.fromEntries(
          Object.entries(data).map(([key, value]) => [conceal(key), concealedBy(conceal)(value, depth + 1)])
        )
  }

const infoOf = (client: Client, { pid, transport }: Options): SessionInfo => {
  const server = client.getServerVersion()
  return {
    era: client.getProtocolEra() ?? "legacy",
    protocolVersion: client.getNegotiatedProtocolVersion() ?? "unknown",
    name: server?.name ?? "unknown",
    version: server?.version ?? "unknown",
    capabilities: client.getServerCapabilities() ?? {},
    instructions: client.getInstructions(),
    pid,
    sessionId: transport.sessionId
  }
}
