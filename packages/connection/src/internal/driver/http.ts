/** HTTP: Streamable HTTP, and the deprecated HTTP with SSE, on the SDK's transports over a `fetch` of ours (DESIGN §10). */
import {
  SseError,
  SSEClientTransport,
  StreamableHTTPClientTransport,
  type Transport
} from "@modelcontextprotocol/client"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { constants } from "node:buffer"
import { ConnectionError, HeadersFailed, type Reason, TransportClosed } from "../../ConnectionError.ts"
import type { McpSession } from "../../McpSession.ts"
import type { Headers, HttpOptions, McpTransport, OpenContext } from "../../McpTransport.ts"
import { CountOption, decode, DurationOption, SecretOption, valueOption } from "../options.ts"
import * as Telling from "../telling.ts"
import * as Concealment from "./concealment.ts"
import type * as Flights from "./flights.ts"
import { withoutFrames } from "./frames.ts"
import * as Network from "./network.ts"
import * as SdkSession from "./sdkSession.ts"
import type * as Sockets from "./sockets.ts"
import * as Wire from "./wire.ts"

const urlOf = (u: unknown): URL | undefined => {
  const text = u instanceof URL ? u.href : u
  return Predicate.isString(text) && URL.canParse(text) ? new URL(text) : undefined
}

const isHttpUrl = (u: unknown): u is string | URL => {
  const url = urlOf(u)
  return (
    url !== undefined &&
    (url.protocol === "http:" || url.protocol === "https:") &&
    url.username === "" &&
    url.password === ""
  )
}

const Options = Schema.Struct({
  url: valueOption(
    isHttpUrl,
    `an http: or https: URL without credentials, like "https://example.com/mcp" (credentials go into \`headers\` or \`authProvider\`)`
  ),
  headers: Schema.optional(
    Schema.Union([
      Schema.Record(Schema.String, SecretOption),
      valueOption((u): u is object => Effect.isEffect(u), "an Effect of headers")
    ])
  ),
  authProvider: Schema.optional(
    valueOption(
      (u): u is object =>
        (Predicate.hasProperty(u, "token") && Predicate.isFunction(u.token)) ||
        (Predicate.hasProperty(u, "tokens") && Predicate.isFunction(u.tokens)),
      "an AuthProvider or OAuthClientProvider of the MCP SDK"
    )
  ),
  connectTimeout: Schema.optional(DurationOption),
  maxMessageBytes: Schema.optional(CountOption(1, constants.MAX_STRING_LENGTH))
})

const defaultMaxMessageBytes = 64 * 1024 * 1024

/** How long the server gets to take note that its session has ended. */
const terminateWithin = Duration.seconds(1)

type Kind = Wire.Options["kind"]

const names = { streamable: "McpTransport.streamableHttp", sse: "McpTransport.sse" } as const

const hostOf = (url: unknown): string => urlOf(url)?.host ?? "http"

const base = <R>(options: HttpOptions<R>, of: string) => ({
  label: hostOf(options.url),
  validate: Effect.asVoid(decode(Options, { of, secret: ["url", "headers", "authProvider"] })(options)),
  closeWithin: () => Duration.sum(terminateWithin, Duration.seconds(2))
})

export const streamable = <R>(options: HttpOptions<R>): McpTransport<R> => ({
  ...base(options, names.streamable),
  open: eraWise(options)
})

export const sse = <R>(options: HttpOptions<R>): McpTransport<R> => ({
  ...base(options, names.sse),
  open: (context) => open("sse", options, context, { _tag: "initialize", modern: false }, { pool: undefined })
})

/** Streamable HTTP first; where the server has no such thing, the older SSE transport, and from then on that one. */
export const either = <R>(options: HttpOptions<R>): McpTransport<R> => {
  const first = streamable(options)
  const second = sse(options)
  let chosen: McpTransport<R> | undefined
  const opening = (transport: McpTransport<R>, context: OpenContext) =>
    Effect.tap(inOwnScope(transport.open(context)), () =>
      Effect.sync(() => {
        chosen = transport
      })
    )
  return {
    ...base(options, "McpTransport.http"),
    open: (context) =>
      Effect.suspend(() => {
        if (chosen !== undefined) return chosen.open(context)
        return Effect.catch(opening(first, context), (error) =>
          mayBeSse(error.reason)
            ? // What the first one said is what is wrong, if the second one fails too.
              Effect.mapError(opening(second, context), (other) => (other.isRetryable ? other : error))
            : Effect.fail(error)
        )
      })
  }
}

/** MCP 2025-11-25, Transports, Backwards Compatibility: a 4xx to `initialize` may come from a server of the older kind. */
const mayBeSse = (reason: Reason): boolean =>
  reason._tag === "UnexpectedStatus" && reason.status >= 400 && reason.status < 500

/** Closed at once when opening fails, so that a second try does not begin beside the remains of the first. */
const inOwnScope = <A, E, R>(opening: Effect.Effect<A, E, R | Scope.Scope>): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(yield* Effect.scope)
    return yield* opening.pipe(
      Scope.provide(scope),
      Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)))
    )
  })

/**
 * The era is asked for (`server/discover`) unless the server is known to be legacy. What is known is dropped when the server refuses
 * the legacy handshake, or is not the server that it was: it may have been upgraded.
 */
const eraWise = <R>(options: HttpOptions<R>): McpTransport<R>["open"] => {
  let legacy: string | undefined
  const estate: Sockets.Estate = { pool: undefined }
  const attempt = (context: OpenContext) =>
    open(
      "streamable",
      options,
      context,
      { _tag: "probe", prior: legacy === undefined ? undefined : { kind: "legacy" } },
      estate
    )
  return (context) =>
    Effect.suspend(() => (legacy === undefined ? attempt(context) : inOwnScope(attempt(context)))).pipe(
      Effect.catch((error) => {
        if (legacy === undefined || !isRefusal(error.reason)) return Effect.fail(error)
        legacy = undefined
        return attempt(context)
      }),
      Effect.tap(({ info }) =>
        Effect.sync(() => {
          const identity = `${info.name}@${info.version}`
          legacy = info.era === "legacy" && (legacy === undefined || legacy === identity) ? identity : undefined
        })
      )
    )
}

const isRefusal = (reason: Reason): boolean =>
  reason._tag === "HandshakeRejected" ||
  reason._tag === "UnsupportedProtocol" ||
  (reason._tag === "UnexpectedStatus" && reason.status >= 400 && reason.status < 500)

const open = Effect.fnUntraced(function* <R>(
  kind: Kind,
  options: HttpOptions<R>,
  context: OpenContext,
  negotiation: SdkSession.Negotiation,
  estate: Sockets.Estate
): Effect.fn.Return<McpSession, ConnectionError, R | Scope.Scope> {
  const url = urlOf(options.url)
  if (url === undefined) return yield* Effect.die(new Error("validated before"))
  const clock = yield* Clock.Clock
  const headers = yield* headersOf(options.headers, context.server)
  const tokens = new Set<string>()
  const concealHeaders = Concealment.make(Object.values(headers))
  const conceal = (text: string): string => {
    const concealed = concealHeaders?.(text) ?? text
    return [...tokens].reduce((rest, token) => rest.replaceAll(token, "<redacted>"), concealed)
  }
  let lastActivity = clock.currentTimeMillisUnsafe()
  let flights: Flights.Flights | undefined
  let live = false
  const wire = yield* Wire.make({
    url,
    kind,
    authProvider: options.authProvider,
    connectTimeout: Duration.fromInputUnsafe(options.connectTimeout ?? "10 seconds"),
    estate,
    maxMessageBytes: options.maxMessageBytes ?? defaultMaxMessageBytes,
    flights: () => flights,
    onBreak: (reason) => {
      if (live && kind === "streamable")
        context.onSuspect(withoutFrames(new ConnectionError({ server: context.server, reason })))
    },
    onBytes: () => {
      lastActivity = clock.currentTimeMillisUnsafe()
      context.onActivity()
    },
    onToken: (token) => {
      // The old one, too: a server may still speak of it.
      tokens.add(token)
      const [oldest] = tokens
      if (tokens.size > rememberedTokens && oldest !== undefined) tokens.delete(oldest)
    },
    onGap: context.onGap,
    // The SDK opens again what was open before, and only that.
    onNotStreaming: (reason) => {
      if (flights?.isAbandoned === true || !(transport instanceof StreamableHTTPClientTransport)) return
      const asked = reason._tag === "ServerUnavailable" ? reason.retryAfter : undefined
      const usual = Math.min(longestDelay, firstDelay * 2 ** refusals++)
      after(asked === undefined ? usual : Math.max(usual, Duration.toMillis(asked)), () => {
        // It has told of its failure by then.
        transport.resumeStream("").catch(() => {})
      })
    },
    conceal,
    now: () => clock.currentTimeMillisUnsafe()
  })
  const broken = Telling.make<Reason>()
  const timers = new Set<ReturnType<typeof setTimeout>>()
  let isClosed = false
  const after = (delay: number, then: () => void): (() => void) => {
    if (isClosed) return () => {}
    const timer = setTimeout(() => {
      timers.delete(timer)
      then()
    }, delay)
    timers.add(timer)
    return () => {
      clearTimeout(timer)
      timers.delete(timer)
    }
  }
  let refusals = 0
  const requestInit = {
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, plain(value)]))
  }
  const explain = (error: unknown, sent: boolean | undefined): Reason =>
    // EventSource tells of failures only in words.
    SseError.isInstance(error)
      ? (wire.lastFailure() ?? new TransportClosed({ description: "the server ended the stream of events" }))
      : Network.ofSdk(error, sent)

  const transport: Transport =
    kind === "sse"
      ? new SSEClientTransport(url, { fetch: wire.fetch, requestInit })
      : new StreamableHTTPClientTransport(url, {
          fetch: wire.fetch,
          requestInit,
          // The stream of notifications is opened again for as long as the session lives: what is to become of the session, the
          // engine decides.
          reconnectionOptions: {
            initialReconnectionDelay: firstDelay,
            maxReconnectionDelay: longestDelay,
            reconnectionDelayGrowFactor: 2,
            maxRetries: Number.POSITIVE_INFINITY
          },
          // The SDK forgets all of its timers but the last one.
          reconnectionScheduler: (reconnect, delay, attempts) => {
            if (flights?.isAbandoned === true || attempts >= resumptions) flights?.failBroken()
            if (flights?.isAbandoned === true) return
            return after(delay, reconnect)
          }
        })

  const onError = (error: unknown): void => {
    if (!live) return
    const reason = explain(error, undefined)
    if (kind === "sse") broken.tell(reason)
    else if (error instanceof Network.WireFailure && !isNoStream(reason, wire)) {
      context.onSuspect(withoutFrames(new ConnectionError({ server: context.server, reason })))
    }
  }

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      live = false
      isClosed = true
      for (const timer of timers) clearTimeout(timer)
      timers.clear()
    })
  )
  transport.onerror = onError
  const session = yield* SdkSession.open({
    server: context.server,
    client: context.client,
    host: context.host,
    limits: context.limits,
    transport,
    isolation: kind === "sse" ? "shared" : "perRequest",
    negotiation,
    explain,
    idHeader: kind === "sse" ? undefined : Wire.idHeader,
    onFlights: (all) => {
      flights = all
    },
    onGap: context.onGap,
    lost: broken,
    stderrTail: () => undefined,
    conceal: concealHeaders === undefined && options.authProvider === undefined ? undefined : conceal,
    pid: undefined,
    lastActivity: () => lastActivity
  })
  live = true
  wire.established()
  if (transport instanceof StreamableHTTPClientTransport) {
    // Registered last, so it runs first: while there is still something to say it with (2025-11-25, Session Management).
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        live = false
        return wire.expired()
          ? Effect.void
          : Effect.ignore(
              Effect.timeout(
                Effect.interruptible(Effect.tryPromise(() => transport.terminateSession())),
                terminateWithin
              )
            )
      })
    )
  }
  return session
})

/** In milliseconds: between attempts to open the stream of notifications again. */
const firstDelay = 500
const longestDelay = 30_000

/** A server without a stream of notifications is no reason to doubt it. */
const isNoStream = (reason: Reason, wire: Wire.Wire): boolean => !wire.hasStreamed() && Wire.isNotOffered(reason)

/** How often a broken stream is taken up again before the request that waits for it counts as failed; the SDK's own default. */
const resumptions = 2

/** How many tokens of the past are still kept out of what is told. */
const rememberedTokens = 64

const plain = (value: string | Redacted.Redacted<string>): string =>
  Predicate.isString(value) ? value : Redacted.value(value)

const decodeHeaders = Schema.decodeUnknownEffect(Schema.Record(Schema.String, SecretOption))

/** Evaluated for each session, so that rotated tokens are picked up. */
const headersOf = <R>(
  headers: HttpOptions<R>["headers"],
  server: string
): Effect.Effect<Headers, ConnectionError, R> => {
  if (headers === undefined) return Effect.succeed({})
  const failed = (description: string) => new ConnectionError({ server, reason: new HeadersFailed({ description }) })
  const sendable = (made: Headers): Effect.Effect<Headers, ConnectionError> => {
    const wrong = Object.entries(made).find(([name, value]) => !isSendable(name, plain(value)))
    return wrong === undefined
      ? Effect.succeed(made)
      : Effect.fail(failed(`HTTP cannot carry the name or the value of ${JSON.stringify(wrong[0].slice(0, 60))}`))
  }
  if (!Effect.isEffect(headers)) return sendable(headers)
  return headers.pipe(
    Effect.mapError(({ message }) => failed(message)),
    Effect.tap((made) => Effect.mapError(decodeHeaders(made), () => failed("they are no record of strings"))),
    Effect.flatMap(sendable)
  )
}

const isSendable = (name: string, value: string): boolean => {
  try {
    return new globalThis.Headers([[name, value]]).has(name)
  } catch {
    return false
  }
}
