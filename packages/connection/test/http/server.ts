/**
 * A fault kit: a Streamable HTTP MCP server (2025-11-25) on a real socket of 127.0.0.1, by hand, whose answer to any request can
 * be replaced.
 *
 * It keeps two books: every HTTP request that came (`seen`), and every tool call that ran (`ledger`).
 */
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse
} from "node:http"
import { createServer as createTlsServer, type ServerOptions as TlsOptions } from "node:https"
import type { AddressInfo, Socket } from "node:net"

/** A JSON-RPC message, as far as this server looks into it. */
export interface Message {
  readonly jsonrpc: "2.0"
  readonly id?: string | number | null
  readonly method?: string
  readonly params?: {
    readonly name?: string
    readonly arguments?: Script
    readonly uri?: string
    readonly requestId?: string | number
  }
  readonly result?: unknown
  readonly error?: unknown
}

/** The arguments of every tool: `read` (read-only), `again` (idempotent), `write` (no promise). */
export interface Script {
  /** What the ledger and the answer call it. Default: the empty string. */
  readonly label?: string
  /** The answer waits until this gate is opened; the tool has run before. */
  readonly gate?: string
  /** How long the text of the answer is, instead of the label. */
  readonly bytes?: number
}

/** What came in one HTTP request. */
export interface Seen {
  readonly http: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** The MCP method of a POST. */
  readonly method: string | undefined
  readonly id: string | number | null | undefined
  readonly tool: string | undefined
  readonly label: string | undefined
  /** The id that a cancellation names. */
  readonly cancels: string | number | undefined
  readonly session: string | undefined
  readonly lastEventId: string | undefined
  /** The number of the socket that it came over, from 1 in the order in which they were accepted. */
  readonly socket: number
  /** When it came, in milliseconds since the epoch. */
  readonly at: number
}

/** One HTTP request that wants its answer. */
export interface Exchange {
  readonly seen: Seen
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Does what is asked, without an answer: a tool gets its line in the ledger. Returns the JSON-RPC answer. */
  readonly run: () => Message
  /** Answers as a healthy server does. */
  readonly serve: () => void
  /** Keeps an answer for whoever comes with this `Last-Event-ID`. */
  readonly keep: (eventId: string, answer: Message) => void
}

/** A way to answer. */
export type Reply = (exchange: Exchange) => void

/** Which requests a reply is for: by HTTP method, MCP method, or tool (`call write`). `resume`: a GET with `Last-Event-ID`. */
export type What = "any" | "POST" | "GET" | "DELETE" | "resume" | `call ${string}` | (string & {})

/** Of those, counted from when this was said: the n-th, the first n, or all. */
export type Which = number | "every" | { readonly first: number }

export interface Options {
  /** How requests are answered. Default: `json`. */
  readonly answers?: "json" | "sse"
  /** Whether there is a GET stream; without it a GET gets 405. Default: false. */
  readonly stream?: boolean
  /** What a session id that is not known gets. Default: 404. */
  readonly unknownSession?: 404 | 400
  readonly tls?: TlsOptions
}

export interface Server {
  readonly port: number
  readonly url: string
  readonly seen: ReadonlyArray<Seen>
  /** `tool label`, in the order in which they ran. */
  readonly ledger: ReadonlyArray<string>
  /** Replaces answers. What was said first wins. */
  readonly on: (what: What, which: Which, reply: Reply) => void
  /** Takes back all that `on` said. */
  readonly heal: () => void
  /** How many requests of a kind have come. */
  readonly count: (what: What) => number
  readonly open: (gate: string) => void
  /** Forgets all sessions, and keeps the sockets. */
  readonly forget: () => void
  /** Closes the listener and all sockets: connecting is refused from then on. Sessions are kept. */
  readonly stop: Effect.Effect<void>
  /** Listens again on the same port. */
  readonly start: Effect.Effect<void>
  /** `stop`, `forget`, `start`. */
  readonly restart: Effect.Effect<void>
  /** Ends the GET streams. */
  readonly cutStreams: (how: Cut) => void
  /** How many GET streams are open. */
  readonly streams: () => number
  /** Sends a notification on all GET streams. */
  readonly notify: (method: string, params: Readonly<Record<string, unknown>>) => void
  /** How many sockets are open. */
  readonly sockets: () => number
  /** How many sockets there have ever been. */
  readonly accepted: () => number
  /** Called with each socket that is accepted, and its number. */
  readonly onSocket: (listener: (socket: Socket, number: number) => void) => void
}

/** How a socket ends: the body in good order, the socket with a FIN, or with a RST. */
export type Cut = "end" | "fin" | "rst"

/** Ends an answer that has begun. */
export const cut = ({ request, response }: Pick<Exchange, "request" | "response">, how: Cut): void => {
  if (how === "end") response.end()
  else if (how === "fin") request.socket.destroy()
  else request.socket.resetAndDestroy()
}

const tools = [
  { name: "read", annotations: { readOnlyHint: true }, inputSchema: { type: "object" } },
  { name: "again", annotations: { idempotentHint: true }, inputSchema: { type: "object" } },
  { name: "write", inputSchema: { type: "object" } }
]

/** A server that is gone when the scope closes. */
export const make = (options: Options = {}) =>
  Effect.acquireRelease(
    Effect.promise(() => listen(options)),
    (server) => server.stop
  )

const listen = async (options: Options): Promise<Server> => {
  const seen: Array<Seen> = []
  const ledger: Array<string> = []
  const sockets = new Set<Socket>()
  const numbers = new Map<Socket, number>()
  const listeners: Array<(socket: Socket, number: number) => void> = []
  const sessions = new Set<string>()
  const streams = new Set<Exchange>()
  const kept = new Map<string, Message>()
  const gates = new Map<string, Array<() => void> | "open">()
  const rules: Array<{ what: What; which: Which; reply: Reply; matched: number }> = []

  const run = (message: Message): Message => {
    const answer = (result: unknown): Message => ({ jsonrpc: "2.0", id: message.id ?? null, result })
    switch (message.method) {
      case "initialize":
        return answer({
          protocolVersion: "2025-11-25",
          capabilities: { tools: { listChanged: true }, resources: { subscribe: true } },
          serverInfo: { name: "fault-kit", version: "1.0.0" }
        })
      case "ping":
      case "resources/subscribe":
      case "resources/unsubscribe":
        return answer({})
      case "tools/list":
        return answer({ tools })
      case "tools/call": {
        const { bytes, label = "" } = message.params?.arguments ?? {}
        ledger.push(`${message.params?.name} ${label}`)
        return answer({ content: [{ type: "text", text: bytes === undefined ? label : "x".repeat(bytes) }] })
      }
      default:
        return { jsonrpc: "2.0", id: message.id ?? null, error: { code: -32601, message: "Method not found" } }
    }
  }

  const serve = (exchange: Exchange, message: Message | undefined): void => {
    const { response, seen } = exchange
    if (seen.http === "DELETE") {
      response.writeHead(sessions.delete(seen.session ?? "") ? 200 : 404).end()
      return
    }
    const isHandshake = message?.method === "initialize"
    if (!isHandshake && !sessions.has(seen.session ?? "")) {
      const is404 = seen.session !== undefined && options.unknownSession !== 400
      const error = is404
        ? { code: -32001, message: "Session not found" }
        : { code: -32000, message: "Bad Request: No valid session ID provided" }
      json(response, is404 ? 404 : 400, { jsonrpc: "2.0", error, id: null })
      return
    }
    if (seen.http === "GET") {
      if (seen.lastEventId !== undefined) {
        const answer = kept.get(seen.lastEventId)
        if (answer === undefined) response.writeHead(400).end("Invalid event ID")
        else response.writeHead(200, sse).end(event({ id: `${seen.lastEventId}+`, message: answer }))
      } else if (options.stream === true) {
        streams.add(exchange)
        response.on("close", () => streams.delete(exchange))
        response.writeHead(200, sse).flushHeaders()
      } else {
        response.writeHead(405).end()
      }
      return
    }
    if (message === undefined) {
      response.writeHead(405).end()
      return
    }
    if (message.id === undefined || message.method === undefined) {
      response.writeHead(202).end()
      return
    }
    if (isHandshake) {
      const session = randomUUID()
      sessions.add(session)
      response.setHeader("mcp-session-id", session)
    }
    const answer = exchange.run()
    const send = (): void => {
      if (options.answers === "sse") response.writeHead(200, sse).end(event({ message: answer }))
      else json(response, 200, answer)
    }
    const gate = message.params?.arguments?.gate
    const waiting = gate === undefined ? "open" : (gates.get(gate) ?? [])
    if (gate === undefined || waiting === "open") send()
    else gates.set(gate, [...waiting, send])
  }

  const accept = (request: IncomingMessage, response: ServerResponse, body: string): void => {
    const message = body === "" ? undefined : (JSON.parse(body) as Message)
    const header = (name: string): string | undefined => request.headers[name]?.toString()
    const entry: Seen = {
      http: request.method ?? "",
      path: request.url ?? "",
      headers: request.headers,
      method: message?.method,
      id: message?.id,
      tool: message?.method === "tools/call" ? message.params?.name : undefined,
      label: message?.params?.arguments?.label,
      cancels: message?.method === "notifications/cancelled" ? message.params?.requestId : undefined,
      session: header("mcp-session-id"),
      lastEventId: header("last-event-id"),
      socket: numbers.get(request.socket) ?? 0,
      at: Date.now()
    }
    seen.push(entry)
    const exchange: Exchange = {
      seen: entry,
      request,
      response,
      run: () => run(message ?? { jsonrpc: "2.0" }),
      serve: () => {
        serve(exchange, message)
      },
      keep: (eventId, answer) => kept.set(eventId, answer)
    }
    let reply: Reply | undefined
    for (const rule of rules) {
      if (!matches(entry, rule.what)) continue
      rule.matched += 1
      if (reply === undefined && applies(rule.which, rule.matched)) reply = rule.reply
    }
    if (reply === undefined) exchange.serve()
    else reply(exchange)
  }

  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Array<Buffer> = []
    // Faults break these on purpose.
    for (const emitter of [request, response]) emitter.on("error", () => {})
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      accept(request, response, Buffer.concat(chunks).toString())
    })
  }
  const http: HttpServer = options.tls === undefined ? createServer(onRequest) : createTlsServer(options.tls, onRequest)
  // It never ends an idle connection by itself: what a client leaves open stays to be seen.
  http.keepAliveTimeout = 600_000
  http.on("connection", (socket: Socket) => {
    sockets.add(socket)
    numbers.set(socket, numbers.size + 1)
    for (const listener of listeners) listener(socket, numbers.size)
    socket.on("error", () => {})
    socket.on("close", () => sockets.delete(socket))
  })

  let port = 0
  const start = (): Promise<void> =>
    new Promise((resolve, reject) => {
      http.once("error", reject)
      http.listen(port, "127.0.0.1", () => {
        http.off("error", reject)
        port = (http.address() as AddressInfo).port
        resolve()
      })
    })
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      http.close(() => {
        resolve()
      })
      for (const socket of sockets) socket.destroy()
    })
  await start()

  const forget = (): void => {
    sessions.clear()
  }
  return {
    port,
    url: `${options.tls === undefined ? "http" : "https"}://127.0.0.1:${port}/mcp`,
    seen,
    ledger,
    on: (what, which, reply) => {
      rules.push({ what, which, reply, matched: 0 })
    },
    heal: () => {
      rules.length = 0
    },
    count: (what) => seen.filter((entry) => matches(entry, what)).length,
    open: (gate) => {
      const waiting = gates.get(gate) ?? []
      gates.set(gate, "open")
      if (waiting !== "open") for (const send of waiting) send()
    },
    forget,
    stop: Effect.promise(stop),
    start: Effect.promise(start),
    restart: Effect.promise(async () => {
      await stop()
      forget()
      await start()
    }),
    cutStreams: (how) => {
      for (const stream of streams) cut(stream, how)
    },
    streams: () => streams.size,
    notify: (method, params) => {
      for (const { response } of streams) response.write(event({ message: { jsonrpc: "2.0", method, params } }))
    },
    sockets: () => sockets.size,
    accepted: () => numbers.size,
    onSocket: (listener) => {
      listeners.push(listener)
    }
  }
}

const matches = (entry: Seen, what: What): boolean =>
  what === "any" ||
  what === entry.http ||
  what === entry.method ||
  (what === "resume" && entry.lastEventId !== undefined) ||
  (entry.tool !== undefined && what === `call ${entry.tool}`)

const applies = (which: Which, matched: number): boolean =>
  which === "every" || (typeof which === "number" ? matched === which : matched <= which.first)

/** The headers of a stream of events. */
export const sse = { "content-type": "text/event-stream", "cache-control": "no-cache" }

/** One event, as text. */
export const event = ({
  id,
  message,
  retry
}: {
  readonly id?: string
  readonly retry?: number
  readonly message?: Message | string
}): string =>
  [
    ...(id === undefined ? [] : [`id: ${id}`]),
    ...(retry === undefined ? [] : [`retry: ${retry}`]),
    ...(message === undefined ? [] : ["event: message"]),
    `data: ${message === undefined ? "" : typeof message === "string" ? message : JSON.stringify(message)}`,
    "\n"
  ].join("\n")

/** Answers with JSON, and its length. */
export const json = (response: ServerResponse, status: number, body: unknown): void => {
  const text = JSON.stringify(body)
  response
    .writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) })
    .end(text)
}
