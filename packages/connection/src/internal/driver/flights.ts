/** The requests on the wire: which is sent under which id, and what the server says of each before the SDK sees it. */
import type { JSONRPCMessage, Transport, TransportSendOptions } from "@modelcontextprotocol/client"
import * as Predicate from "effect/Predicate"
import { RequestTicket } from "../../McpSession.ts"

/** A request on the wire. */
export interface Flight {
  readonly ticket: RequestTicket
  /** Ends the exchange when the caller is gone. */
  readonly signal: AbortSignal | undefined
  /** The server has answered; the SDK settles the request a moment later. */
  answered: boolean
  /** It answered with a JSON-RPC error. */
  refused: boolean
  /** It answers on a stream of its own. */
  streaming: boolean
  /** The response that it is answered in has ended. */
  broken: boolean
  /** Settles it, where the SDK would leave it waiting for its timeout. */
  readonly fail: (failed: Failed) => void
}

/** What the SDK does not tell: the reply was no JSON-RPC response, or the response ended without a reply. */
export type Failed = "malformed" | "unanswered"

export const makeFlight = (
  ticket: RequestTicket,
  signal: AbortSignal | undefined,
  fail: (failed: Failed) => void
): Flight => ({ ticket, signal, answered: false, refused: false, streaming: false, broken: false, fail })

/**
 * The SDK hands this option through to `Transport.send` as it is (protocol.ts, `_requestWithSchemaViaCodec`), on every leg of a
 * request, so it can carry the request's identity to the place where the bytes leave.
 */
interface Carrier {
  (token: string): void
  flight?: Flight
}

export const carrierOf = (flight: Flight): ((token: string) => void) => {
  const carrier: Carrier = () => {}
  carrier.flight = flight
  return carrier
}

/** The ticket of the request that a transport is asked to send. */
export const ticketOf = (carrier: ((token: string) => void) | undefined): RequestTicket | undefined =>
  (carrier as Carrier | undefined)?.flight?.ticket

export interface Flights {
  readonly size: () => number
  /** It is over. */
  readonly land: (flight: Flight) => void
  /** The handshake is done: from now on requests are the session's, and not the SDK's. */
  readonly established: () => void
  /** The request under an id, as a transport with a stream for each was told it (`idHeader`). */
  readonly ticketOf: (id: string) => RequestTicket | undefined
  /** Its response is a stream of events. */
  readonly streams: (id: string) => void
  /** Its response has come to an end: if it was not answered, the SDK may take the stream up again. */
  readonly broke: (id: string) => void
  /** No broken stream will be taken up again: fails what waits for one. */
  readonly failBroken: () => void
  /** The session is given up: what is broken fails, now and from now on. */
  readonly abandon: () => void
  readonly isAbandoned: () => boolean
}

export interface Options {
  /** The header that tells a transport with a stream for each request which one a message is. */
  readonly idHeader: string | undefined
  /** The server ended its answer to a request of the handshake without the answer. */
  readonly onHandshakeFailed: () => void
}

/** Notes what passes through a transport. */
export const make = (transport: Transport, options: Options): Flights => {
  const { idHeader } = options
  const flights = new Map<string | number, Flight>()
  let handshaking = true
  let abandoned = false
  // The SDK counts its own requests in numbers, and names the others.
  const flightOf = (id: string): Flight | undefined => flights.get(Number(id)) ?? flights.get(id)
  const failBroken = (): void => {
    for (const flight of flights.values()) {
      if (flight.broken && !flight.answered) flight.fail("unanswered")
    }
  }

  const takeOff = (id: string | number, flight: Flight): void => {
    const { ticket } = flight
    // A list of many pages is one request to us: only its last page is in flight.
    if (ticket.requestId !== undefined) flights.delete(ticket.requestId)
    ticket.requestId = id
    // What the server said of an earlier leg says nothing of this one.
    flight.answered = false
    flight.refused = false
    flight.streaming = false
    flight.broken = false
    flights.set(id, flight)
  }

  const send = transport.send.bind(transport)
  transport.send = (message, sendOptions) => {
    if (!("method" in message) || !("id" in message)) return send(message, sendOptions)
    const flight =
      (sendOptions?.onresumptiontoken as Carrier | undefined)?.flight ??
      (handshaking && idHeader !== undefined
        ? makeFlight(new RequestTicket<string>(message.method, undefined), undefined, options.onHandshakeFailed)
        : undefined)
    if (flight !== undefined) takeOff(message.id, flight)
    if (idHeader === undefined) return send(message, sendOptions)
    const unanswered = (): void => {
      if (flight !== undefined && flights.get(message.id) === flight && !flight.answered) flight.fail("unanswered")
    }
    const sent = send(message, withStream(sendOptions, flight, message.id, idHeader, unanswered))
    // Read to its end by now, unless it is a stream.
    sent.then(
      () => {
        if (flight?.streaming === false) unanswered()
      },
      () => {}
    )
    return sent
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

  return {
    size: () => flights.size,
    land: ({ ticket }) => {
      if (ticket.requestId !== undefined) flights.delete(ticket.requestId)
    },
    established: () => {
      handshaking = false
      flights.clear()
    },
    ticketOf: (id) => flightOf(id)?.ticket,
    streams: (id) => {
      const flight = flightOf(id)
      if (flight !== undefined) flight.streaming = true
    },
    broke: (id) => {
      const flight = flightOf(id)
      if (flight !== undefined) flight.broken = true
    },
    failBroken,
    abandon: () => {
      abandoned = true
      failBroken()
    },
    isAbandoned: () => abandoned
  }
}

/** What a transport with a stream for each request is told besides. */
const withStream = (
  sendOptions: TransportSendOptions | undefined,
  flight: Flight | undefined,
  id: string | number,
  idHeader: string,
  unanswered: () => void
): TransportSendOptions => ({
  ...sendOptions,
  headers: { ...sendOptions?.headers, [idHeader]: String(id) },
  // The SDK leaves the exchange of a cancelled request open in the legacy era, and with it a socket.
  requestSignal: sendOptions?.requestSignal ?? flight?.signal,
  // Not forwarded by the SDK from the options of a request (mcp-sdk-facts §5).
  onRequestStreamEnd: () => {
    sendOptions?.onRequestStreamEnd?.()
    unanswered()
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
