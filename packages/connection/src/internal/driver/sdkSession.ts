/** The official SDK's `Client` on one transport, as an `McpSession`. A new `Client` and a new transport for every session. */
import {
  type Client,
  type ClientContext,
  type McpSubscription,
  type PriorDiscovery,
  ProtocolError,
  type RequestOptions,
  type StandardSchemaV1,
  type Transport
} from "@modelcontextprotocol/client"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
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
import * as Loss from "../loss.ts"
import type { Telling } from "../telling.ts"
import { toolOf } from "../tool.ts"
import * as Failure from "./failure.ts"
import * as Flights from "./flights.ts"
import { withoutFrames } from "./frames.ts"
import { SessionClient } from "./sessionClient.ts"

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
  readonly onFlights?: ((flights: Flights.Flights) => void) | undefined
  /** A stream of notifications has broken. */
  readonly onGap: () => void
  /** How the loss of the transport is told: by an effect that waits for it, or by an event, which no fiber has to wait for. */
  readonly lost: Effect.Effect<Reason> | Telling<Reason>
  readonly stderrTail: () => string | undefined
  /** Takes out of what the server says what must not be told; `undefined` when there is nothing to hide. */
  readonly conceal: ((text: string) => string) | undefined
  readonly pid: number | undefined
  /** When the last byte came from the server, in milliseconds since the epoch. */
  readonly lastActivity: () => number
}

export const open = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<McpSession, ConnectionError, Scope.Scope> {
  const { isolation, limits, transport } = options
  const context = yield* Effect.context<never>()
  const told = Loss.make()
  let loss: ConnectionError | undefined
  const conceal = options.conceal ?? ((text: string) => text)
  const concealData = options.conceal === undefined ? (data: unknown) => data : concealedBy(options.conceal)

  const explain = (reason: Reason): ConnectionError =>
    withoutFrames(new ConnectionError({ server: options.server, reason, stderrTail: options.stderrTail() }))

  /** The one way out: everything pending is settled here, with the same cause. */
  const lose = (reason: Reason): void => {
    if (loss !== undefined) return
    loss = explain(reason)
    // First nothing can leave any more: whoever is told that its request was not sent may send it again elsewhere.
    transport.close().catch(() => {})
    transport.onclose?.()
    told.tell(loss)
  }

  const flights = new Flights.Flights(transport, {
    idHeader: options.idHeader,
    onHandshakeFailed: () =>
      lose(new TransportClosed({ description: "the server ended its answer to the handshake without the answer" }))
  })
  options.onFlights?.(flights)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      lose(new TransportClosed({ description: "the session was closed" }))
      // A late event of this transport must not reach anything (reference: mcp-sdk-facts §4).
      delete transport.onmessage
      delete transport.onclose
      delete transport.onerror
    })
  )
  yield* Effect.isEffect(options.lost)
    ? options.lost.pipe(
        Effect.catchDefect(() => Effect.succeed(new TransportClosed({ description: "the transport broke" }))),
        Effect.map((reason) => lose(reason)),
        Effect.forkScoped({ startImmediately: true })
      )
    : Effect.succeed(options.lost.listen(lose))

  const client = yield* Effect.callback<SessionClient, ConnectionError>((resume) => {
    connect(options, context).then(
      (connected) => resume(Effect.succeed(connected)),
      (error: unknown) =>
        resume(Effect.suspend(() => Effect.fail(loss ?? explain(Failure.ofHandshake(error, conceal, options.explain)))))
    )
  })
  flights.established()
  let subscription: McpSubscription | undefined

  const invalid = (ticket: RequestTicket, description: string) =>
    new InvalidResult({
      server: options.server,
      method: ticket.method,
      tool: toolOf(ticket.method, ticket.params),
      description
    })

  const failureOf = (
    { refused, ticket }: Pick<Flights.Flight, "refused" | "ticket">,
    error: unknown
  ): SessionFailure => {
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
    expires: true,
    lost: told.lost,
    abandon: () => flights.abandon(),
    lastActivity: options.lastActivity,
    inFlight: () => flights.size,
    notify: (method, params) =>
      Effect.callback<void, SessionFailure>((resume) => {
        const ticket = new RequestTicket<string>(method, params)
        client.notification(params === undefined ? { method } : { method, params }).then(
          () => resume(Effect.void),
          (error: unknown) => resume(Effect.fail(failureOf({ ticket, refused: false }, error)))
        )
      }),
    request: <Method extends string>(ticket: RequestTicket<Method>) =>
      Effect.callback<ResultOf<Method>, SessionFailure>((resume) => {
        const abort = new AbortController()
        const flight = Flights.makeFlight(ticket, abort.signal, (failed) => {
          flights.land(flight)
          resume(
            Effect.fail(
              failed === "malformed"
                ? invalid(ticket, "the reply is no JSON-RPC response")
                : (loss ??
                    explain(new TransportClosed({ description: "the server ended its answer without the answer" })))
            )
          )
          abort.abort(failed)
        })
        const land = (): void => flights.land(flight)
        const requestOptions = {
          signal: abort.signal,
          timeout: noSdkTimeout,
          onresumptiontoken: Flights.carrierOf(flight)
        }
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
        const cancel = (): void => {
          land()
          abort.abort("the caller is gone")
        }
        ticket.expire = (late) => {
          cancel()
          resume(late)
        }
        return Effect.sync(cancel)
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
              // Whoever asked has left meanwhile.
              if (abort.signal.aborted) return void opened.close()
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
                  Effect.fail(failureOf({ ticket, refused: ProtocolError.isInstance(error) }, error))
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

const connect = async (options: Options, context: Context.Context<never>): Promise<SessionClient> => {
  const { negotiation, transport } = options
  const start = async (channel: Transport, modern: boolean, prior?: PriorDiscovery): Promise<SessionClient> => {
    const client = new SessionClient({
      ...options,
      era: negotiation._tag === "probe" ? "auto" : modern ? "modern" : "legacy"
    })
    serve(client, options.host, context)
    await client.connect(channel, { timeout: noSdkTimeout, ...(prior === undefined ? {} : { prior }) })
    return client
  }
  await transport.start()
  const channelOf = channels(transport)
  if (negotiation._tag === "probe") return start(channelOf(), false, negotiation.prior)
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

/**
 * The same transport for one client after another: each may close what it was given, and the last one hears what comes. While it asks
 * for the era the SDK puts its own ears in the place of others (versionNegotiation.ts, `ProbeWindow`); here it cannot.
 */
const channels = (transport: Transport): (() => Transport) => {
  let current: Transport | undefined
  const { onerror: worry, onmessage: hear } = transport
  transport.onmessage = (message, extra) => {
    hear?.(message, extra)
    current?.onmessage?.(message, extra)
  }
  transport.onclose = () => current?.onclose?.()
  transport.onerror = (error) => {
    worry?.(error)
    current?.onerror?.(error)
  }
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

const dispatch = (client: SessionClient, ticket: RequestTicket, options: RequestOptions): Promise<unknown> => {
  const { method, params } = ticket
  const capabilities = client.getServerCapabilities()
  const all = { ...options, cacheMode: "refresh" } as const
  try {
    switch (method) {
      case "tools/call": {
        const call = params as Parameters<Client["callTool"]>[0]
        return client.hasMoreToDo(call.name)
          ? client.callTool(call, options)
          : send(client, { method, params: call }, options)
      }
      // Without parameters the SDK walks all pages, and keeps what it needs to check results against output schemas. That a
      // server has no such lists it would tell with a line on stdout.
      case "tools/list":
        if (params !== undefined) break
        return capabilities?.tools === undefined
          ? Promise.resolve({ tools: [] })
          : client.listTools(undefined, all).then((list) => client.listed(list))
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
