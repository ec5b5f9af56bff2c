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

export interface Options {
  /** The header that tells a transport with a stream for each request which one a message is. */
  readonly idHeader: string | undefined
  /** The server ended its answer to a request of the handshake without the answer. */
  readonly onHandshakeFailed: () => void
}

/** Notes what passes through a transport. */
export class Flights {
  readonly #transport: Transport
  readonly #send: Transport["send"]
  readonly #options: Options
  readonly #flights = new Map<string | number, Flight>()
  #handshaking = true
  #abandoned = false

  constructor(transport: Transport, options: Options) {
    this.#transport = transport
    this.#send = transport.send
    this.#options = options
    transport.send = (message, sendOptions) => this.#sends(message, sendOptions)
    transport.onmessage = (message: JSONRPCMessage) => this.#hears(message)
  }

  get size(): number {
    return this.#flights.size
  }

  get isAbandoned(): boolean {
    return this.#abandoned
  }

  /** It is over. */
  land({ ticket }: Flight): void {
    if (ticket.requestId !== undefined) this.#flights.delete(ticket.requestId)
  }

  /** The handshake is done: from now on requests are the session's, and not the SDK's. */
  established(): void {
    this.#handshaking = false
    this.#flights.clear()
  }

  /** The request under an id, as a transport with a stream for each was told it (`idHeader`). */
  ticketOf(id: string): RequestTicket | undefined {
    return this.#flightOf(id)?.ticket
  }

  /** Its response is a stream of events. */
  streams(id: string): void {
    const flight = this.#flightOf(id)
    if (flight !== undefined) flight.streaming = true
  }

  /** Its response has come to an end: if it was not answered, the SDK may take the stream up again. */
  broke(id: string): void {
    const flight = this.#flightOf(id)
    if (flight !== undefined) flight.broken = true
  }

  /** No broken stream will be taken up again: fails what waits for one. */
  failBroken(): void {
    for (const flight of this.#flights.values()) {
      if (flight.broken && !flight.answered) flight.fail("unanswered")
    }
  }

  /** The session is given up: what is broken fails, now and from now on. */
  abandon(): void {
    this.#abandoned = true
    this.failBroken()
  }

  // The SDK counts its own requests in numbers, and names the others.
  #flightOf(id: string): Flight | undefined {
    return this.#flights.get(Number(id)) ?? this.#flights.get(id)
  }

  #takeOff(id: string | number, flight: Flight): void {
    const { ticket } = flight
    // A list of many pages is one request to us: only its last page is in flight.
    if (ticket.requestId !== undefined) this.#flights.delete(ticket.requestId)
    ticket.requestId = id
    // What the server said of an earlier leg says nothing of this one.
    flight.answered = false
    flight.refused = false
    flight.streaming = false
    flight.broken = false
    this.#flights.set(id, flight)
  }

  #sends(message: JSONRPCMessage, sendOptions: TransportSendOptions | undefined): Promise<void> {
    const send = (options = sendOptions): Promise<void> => this.#send.call(this.#transport, message, options)
    if (!("method" in message) || !("id" in message)) return send()
    const { idHeader, onHandshakeFailed } = this.#options
    const flight =
      (sendOptions?.onresumptiontoken as Carrier | undefined)?.flight ??
      (this.#handshaking && idHeader !== undefined
        ? makeFlight(new RequestTicket<string>(message.method, undefined), undefined, onHandshakeFailed)
        : undefined)
    if (flight !== undefined) this.#takeOff(message.id, flight)
    if (idHeader === undefined) return send()
    const unanswered = (): void => {
      if (flight !== undefined && this.#flights.get(message.id) === flight && !flight.answered)
        flight.fail("unanswered")
    }
    const sent = send(withStream(sendOptions, flight, message.id, idHeader, unanswered))
    // Read to its end by now, unless it is a stream.
    sent.then(
      () => {
        if (flight?.streaming === false) unanswered()
      },
      () => {}
    )
    return sent
  }

  #hears(message: JSONRPCMessage): void {
    if ("method" in message) return tellProgress(message, this.#flights)
    if (!("id" in message) || message.id === undefined) return
    // Some servers answer with the id as a string, and the SDK takes it for the number that it is.
    const flight = this.#flights.get(message.id) ?? this.#flights.get(Number(message.id))
    if (flight === undefined) return
    flight.answered = true
    if (!isResponse(message)) flight.fail("malformed")
    else if ("error" in message) flight.refused = true
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
