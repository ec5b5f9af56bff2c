/** The official SDK's `Client` on one transport, as an `McpSession`. A new `Client` and a new transport for every session. */
import {
  Client,
  type ClientContext,
  type JSONRPCMessage,
  ProtocolError,
  type RequestOptions,
  type StandardSchemaV1,
  type Transport
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

export interface Options {
  readonly server: string
  readonly client: { readonly name: string; readonly version: string }
  readonly limits: OpenContext["limits"]
  readonly host: SessionHost
  readonly transport: Transport
  /** Waits for the loss of the transport. */
  readonly lost: Effect.Effect<Reason>
  readonly stderrTail: () => string | undefined
  /** Takes out of what the server says what must not be told; `undefined` when there is nothing to hide. */
  readonly conceal: ((text: string) => string) | undefined
  readonly pid: number | undefined
  /** When the last byte came from the server, in milliseconds since the epoch. */
  readonly lastActivity: () => number
}

/** A request on the wire. */
interface Flight {
  readonly ticket: RequestTicket
  /** The server has answered; the SDK settles the request a moment later. */
  answered: boolean
  /** It answered with a JSON-RPC error. */
  refused: boolean
  /** Settles it: the reply is no JSON-RPC response. The SDK drops such a reply, and the request would wait for its timeout. */
  readonly malformed: () => void
}

/**
 * The SDK hands this option through to `Transport.send` as it is (protocol.ts, `_requestWithSchemaViaCodec`), on every leg of a
 * request, so it can carry the request's identity to the place where the bytes leave.
 */
interface Carrier {
  (token: string): void
  flight?: Flight
}

/** The ticket of the request that a transport is asked to send. */
export const ticketOf = (carrier: ((token: string) => void) | undefined): RequestTicket | undefined =>
  (carrier as Carrier | undefined)?.flight?.ticket

export const open = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<McpSession, ConnectionError, Scope.Scope> {
  const { limits, transport } = options
  const client = new Client(options.client, { listMaxPages: limits.maxPages, capabilities: options.host.capabilities })
  serve(client, options.host, yield* Effect.context<never>())
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

  intercept(transport, flights)
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

  yield* Effect.callback<void, ConnectionError>((resume) => {
    client.connect(transport, { timeout: noSdkTimeout }).then(
      () => resume(Effect.void),
      (error: unknown) => resume(Effect.fail(loss ?? explain(Failure.ofHandshake(error, conceal))))
    )
  })

  const invalid = (ticket: RequestTicket, description: string) =>
    new InvalidResult({
      server: options.server,
      method: ticket.method,
      tool: toolOf(ticket.method, ticket.params),
      description
    })

  const failureOf = ({ refused, ticket }: Flight, error: unknown): SessionFailure => {
    const rejection = Failure.ofRequest(error, refused, limits)
    if (rejection._tag === "Disconnected" && loss !== undefined) return loss
    const request = { server: options.server, method: ticket.method, tool: toolOf(ticket.method, ticket.params) }
    const description = conceal(rejection.description)
    if (rejection._tag === "Rejected") {
      return new ServerRejected({ ...request, code: rejection.code, description, data: concealData(rejection.data) })
    }
    // What the SDK finds wrong by itself is no reason to condemn the session.
    return rejection._tag === "InvalidRequest" || !ticket.sent
      ? new InvalidRequest({ ...request, description })
      : new InvalidResult({ ...request, description })
  }

  const session: McpSession = {
    info: infoOf(client, options.pid),
    lost: Deferred.await(lost),
    lastActivity: options.lastActivity,
    inFlight: () => flights.size,
    notify: (method, params) =>
      Effect.callback<void, SessionFailure>((resume) => {
        const ticket = new RequestTicket<string>(method, params)
        client.notification(params === undefined ? { method } : { method, params }).then(
          () => resume(Effect.void),
          (error: unknown) =>
            resume(Effect.fail(failureOf({ ticket, answered: false, refused: false, malformed: () => {} }, error)))
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
          malformed: () => {
            land()
            resume(Effect.fail(invalid(ticket, "the reply is no JSON-RPC response")))
            abort.abort("the reply was malformed")
          }
        }
        const carrier: Carrier = () => {}
        carrier.flight = flight
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
      })
  }
  return session
})

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
const intercept = (transport: Transport, flights: Map<string | number, Flight>): void => {
  const send = transport.send.bind(transport)
  transport.send = (message, sendOptions) => {
    const flight = (sendOptions?.onresumptiontoken as Carrier | undefined)?.flight
    if (flight !== undefined && "method" in message && "id" in message) {
      // A list of many pages is one request to us: only its last page is in flight.
      if (flight.ticket.requestId !== undefined) flights.delete(flight.ticket.requestId)
      flight.ticket.requestId = message.id
      // What the server said of an earlier leg says nothing of this one.
      flight.answered = false
      flight.refused = false
      flights.set(message.id, flight)
    }
    return send(message, sendOptions)
  }
  transport.onmessage = (message: JSONRPCMessage) => {
    if ("method" in message) return tellProgress(message, flights)
    if (!("id" in message) || message.id === undefined) return
    // Some servers answer with the id as a string, and the SDK takes it for the number that it is.
    const flight = flights.get(message.id) ?? flights.get(Number(message.id))
    if (flight === undefined) return
    flight.answered = true
    if (!isResponse(message)) flight.malformed()
    else if ("error" in message) flight.refused = true
  }
}

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

const infoOf = (client: Client, pid: number | undefined): SessionInfo => {
  const server = client.getServerVersion()
  return {
    era: client.getProtocolEra() ?? "legacy",
    protocolVersion: client.getNegotiatedProtocolVersion() ?? "unknown",
    name: server?.name ?? "unknown",
    version: server?.version ?? "unknown",
    capabilities: client.getServerCapabilities() ?? {},
    instructions: client.getInstructions(),
    pid
  }
}
