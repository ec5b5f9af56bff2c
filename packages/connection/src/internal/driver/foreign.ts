/** Any transport of the SDK's shape, made by the user. */
import type { Transport } from "@modelcontextprotocol/client"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { ConnectionError, Reason, TransportClosed } from "../../ConnectionError.ts"
import type { McpSession } from "../../McpSession.ts"
import type { FromSdkOptions, McpTransport, OpenContext } from "../../McpTransport.ts"
import { decode, valueOption } from "../options.ts"
import * as Telling from "../telling.ts"
import * as Era from "./era.ts"
import * as Flights from "./flights.ts"
import * as Network from "./network.ts"
import * as SdkSession from "./sdkSession.ts"

const Options = Schema.Struct({
  label: Schema.NonEmptyString,
  make: valueOption(
    (u): u is object => Predicate.isFunction(u),
    "a function that returns an Effect of an SDK transport"
  )
})

/** How long a transport's own `close` may take. */
const closeWithin = Duration.seconds(5)

export const make = <R>(options: FromSdkOptions<R>): McpTransport<R> => ({
  label: options.label,
  validate: Effect.asVoid(decode(Options, { of: "McpTransport.fromSdk" })(options)),
  closeWithin: () => Duration.sum(closeWithin, Duration.seconds(2)),
  open: Era.remembered((modern, context) => open(options, context, modern))
})

const isReason = Schema.is(Reason)

const open = Effect.fnUntraced(function* <R>(
  options: FromSdkOptions<R>,
  context: OpenContext,
  modern: boolean
): Effect.fn.Return<McpSession, ConnectionError, R | Scope.Scope> {
  const { server } = context
  const clock = yield* Clock.Clock
  const made = yield* options.make({ server, generation: context.generation }).pipe(
    Effect.mapError(
      (error) =>
        new ConnectionError({
          server,
          reason: isReason(error)
            ? error
            : new TransportClosed({ description: `the transport could not be made: ${error.message}` })
        })
    )
  )
  let lastActivity = clock.currentTimeMillisUnsafe()
  const broken = Telling.make<Reason>()
  const perRequest = made.hasPerRequestStream === true
  const transport = listened(
    made,
    () => {
      lastActivity = clock.currentTimeMillisUnsafe()
      context.onActivity()
    },
    () => broken.tell(new TransportClosed({ description: "the transport was closed" }))
  )
  // Closed once more than the session does it itself: what `close` promises is awaited here, before the user's own release.
  yield* Effect.addFinalizer(() =>
    Effect.ignore(Effect.timeout(Effect.interruptible(Effect.tryPromise(() => made.close())), closeWithin))
  )
  return yield* SdkSession.open({
    server,
    client: context.client,
    host: context.host,
    limits: context.limits,
    transport,
    isolation: perRequest ? "perRequest" : "shared",
    negotiation: { _tag: "initialize", modern },
    explain: perRequest ? Network.ofSdk : undefined,
    onGap: context.onGap,
    lost: broken,
    stderrTail: () => undefined,
    conceal: undefined,
    pid: undefined,
    lastActivity: () => lastActivity
  })
})

/** The same transport, with an ear at what comes. A request counts as sent once it was handed to the transport. */
const listened = (made: Transport, onActivity: () => void, onClose: () => void): Transport => {
  const transport: Transport = {
    start: () => made.start(),
    send: (message, options) => {
      const ticket = Flights.ticketOf(options?.onresumptiontoken)
      if (ticket !== undefined) ticket.sent = true
      return made.send(message, options)
    },
    close: () => made.close(),
    ...(made.setProtocolVersion === undefined
      ? {}
      : { setProtocolVersion: (version: string) => made.setProtocolVersion?.(version) }),
    ...(made.hasPerRequestStream === undefined ? {} : { hasPerRequestStream: made.hasPerRequestStream })
  }
  made.onmessage = (message, extra) => {
    onActivity()
    transport.onmessage?.(message, extra)
  }
  made.onerror = (error) => transport.onerror?.(error)
  made.onclose = () => {
    onClose()
    transport.onclose?.()
  }
  return transport
}
