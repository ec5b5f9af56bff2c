/** Ways to answer an HTTP request wrongly. Those of which the delivery is unknown run the tool first: the worst that can be. */
import { type Cut, cut, event, type Exchange, json, type Message, type Reply, sse } from "./server.ts"

/** Does what is asked, and then answers like this. */
export const ran =
  (reply: Reply): Reply =>
  (exchange) => {
    exchange.run()
    reply(exchange)
  }

/** Ends the socket before any byte of an answer. */
export const drop =
  (how: "fin" | "rst"): Reply =>
  (exchange) => {
    cut(exchange, how)
  }

/** No answer, until the socket ends. */
export const hold: Reply = () => {}

/** Any status, headers and body. The body may be made from the request. */
export const status =
  (
    code: number,
    headers: Readonly<Record<string, string>> = {},
    body: string | ((exchange: Exchange) => string) = ""
  ): Reply =>
  (exchange) => {
    exchange.response.writeHead(code, headers).end(typeof body === "string" ? body : body(exchange))
  }

/** A JSON-RPC error with any status. `id`: the request's own, or none. */
export const rpcError =
  (code: number, id: "own" | "null", error: { readonly code: number; readonly message: string }): Reply =>
  ({ response, seen }) => {
    json(response, code, { jsonrpc: "2.0", id: id === "own" ? seen.id : null, error })
  }

/** The right JSON answer, of which only the first half comes. `end`: in good order. */
export const halfJson =
  (how: Cut): Reply =>
  (exchange) => {
    const body = JSON.stringify(exchange.run())
    const length = how === "end" ? {} : { "content-length": Buffer.byteLength(body) }
    exchange.response.writeHead(200, { "content-type": "application/json", ...length })
    exchange.response.write(body.slice(0, body.length / 2), () => {
      cut(exchange, how)
    })
  }

/** A stream of these events, and then its end; `open`: it stays open. */
export const stream =
  (how: Cut | "open", ...events: ReadonlyArray<Parameters<typeof event>[0]>): Reply =>
  (exchange) => {
    exchange.run()
    const { response } = exchange
    response.writeHead(200, sse)
    // A comment, so that there is something to flush when there are no events.
    response.write([": here\n\n", ...events.map(event)].join(""), () => {
      if (how !== "open") cut(exchange, how)
    })
  }

/** A stream with an event id, cut before the answer, which is kept for whoever resumes. `retry` is in milliseconds. */
export const resumable =
  (eventId: string, how: Cut, retry?: number): Reply =>
  (exchange) => {
    exchange.keep(eventId, exchange.run())
    const { response } = exchange
    response.writeHead(200, sse)
    response.write(event({ id: eventId, ...(retry === undefined ? {} : { retry }) }), () => {
      cut(exchange, how)
    })
  }

/** 200, but this body instead of an answer. */
export const body = (contentType: string, text: string | ((answer: Message) => string)): Reply =>
  status(200, contentType === "" ? {} : { "content-type": contentType }, (exchange) => {
    const answer = exchange.run()
    return typeof text === "string" ? text : text(answer)
  })

export const html = "<!doctype html><title>Sign in</title><p>Welcome to the airport</p>"

/** Waits until so many have come, and then answers them all like this. */
export const together = (many: number, reply: Reply): Reply => {
  const waiting: Array<Exchange> = []
  return (exchange) => {
    waiting.push(exchange)
    if (waiting.length === many) for (const each of waiting) reply(each)
  }
}

/** Answers like this when it is told to. */
export const later = (
  reply: Reply
): { readonly reply: Reply; readonly now: () => void; readonly waiting: () => number } => {
  const waiting: Array<Exchange> = []
  return {
    reply: (exchange) => {
      waiting.push(exchange)
    },
    now: () => {
      for (const exchange of waiting.splice(0)) reply(exchange)
    },
    waiting: () => waiting.length
  }
}

/** As a healthy server does. */
export const healthy: Reply = ({ serve }) => {
  serve()
}
