/** A reverse proxy on loopback that understands as much of MCP over Streamable HTTP as the faults need. */
import { InvalidOptions } from "@mcp-tether/connection"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createServer, type IncomingMessage, request as send, type Server, type ServerResponse } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import type { HttpFault, Tagged } from "../../Fault.ts"
import type { HttpOptions, HttpProxy } from "../../FaultProxy.ts"
import * as Director from "./director.ts"
import { parse, requestIn } from "./message.ts"

type Director = Director.Director

const sessionHeader = "mcp-session-id"

export const make = Effect.fnUntraced(function* (
  options: HttpOptions
): Effect.fn.Return<HttpProxy, InvalidOptions.InvalidOptions, Scope.Scope> {
  const target = yield* checkTarget(options.target)
  const line = new Line(target)
  const { director, play } = yield* Director.make("FaultProxy.http", "http", options.faults ?? [], line)
  line.director = director
  yield* Effect.acquireRelease(
    Effect.promise(() => line.listen(0)),
    () => Effect.promise(() => line.close())
  )
  yield* Effect.forkScoped(play, { startImmediately: true })
  return {
    url: `http://127.0.0.1:${line.port}${target.pathname}${target.search}`,
    passed: director.passed,
    happened: director.happened,
    connections: () => line.sockets.size,
    inject: (fault: HttpFault) => director.inject(fault)
  }
})

const checkTarget = (target: string | URL): Effect.Effect<URL, InvalidOptions.InvalidOptions> => {
  const url = typeof target === "string" ? URL.parse(target) : target
  return url !== null && url.protocol === "http:" && ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname)
    ? Effect.succeed(url)
    : Effect.fail(
        new InvalidOptions.InvalidOptions({
          of: "FaultProxy.http",
          issues: [
            {
              option: "target",
              expected: "an http: URL on this machine, like http://127.0.0.1:3000/mcp",
              actual: url === null ? "no URL" : `${url.protocol}//${url.host}`
            }
          ]
        })
      )
}

/** The sockets on both sides, and what is done to them. */
class Line implements Director.Actor {
  private readonly target: URL
  readonly sockets = new Set<Socket>()
  /** Sockets whose bytes go nowhere. */
  private readonly severed = new WeakSet<Socket>()
  /** What ends when a socket does, or all do. */
  private readonly upstream = new Set<IncomingMessage | ReturnType<typeof send>>()
  private readonly timers = new Set<NodeJS.Timeout>()
  private server: Server | undefined = undefined
  port = 0
  director!: Director
  /** The sessions that the server has told of, and those it is made to have forgotten, with the status that it says so with. */
  private readonly known = new Set<string>()
  private readonly forgotten = new Map<string, number>()
  /** The credentials that came last, and those that are refused. */
  private credentials: string | undefined = undefined
  private refused: { readonly status: number; readonly credentials: string | undefined } | undefined = undefined
  /** Whether it was asked for its era. */
  private discovered = false
  private isClosed = false

  constructor(target: URL) {
    this.target = target
  }

  listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const server = createServer((request, response) => {
        void this.serve(request, response)
      })
      server.on("connection", (socket) => this.connected(socket))
      server.once("error", reject)
      server.listen(port, "127.0.0.1", () => {
        // Closed while it was rising.
        if (this.isClosed) server.close()
        this.server = server
        // Known from the first time on: the same port is taken again after each crash.
        this.port = (server.address() as AddressInfo).port
        resolve()
      })
    })
  }

  close(): Promise<void> {
    this.isClosed = true
    for (const timer of this.timers) clearTimeout(timer)
    this.reset()
    const { server } = this
    return server === undefined ? Promise.resolve() : new Promise((resolve) => server.close(() => resolve()))
  }

  crash(): void {
    this.expire(404)
    this.reset()
    const down = this.director.weather.downUntil - this.director.now()
    if (down <= 0 || this.server === undefined) return
    this.server.close()
    this.server = undefined
    this.rise(down)
  }

  /** Listens again when it is up again. */
  private rise(after: number): void {
    this.later(after, () => {
      const left = this.director.weather.downUntil - this.director.now()
      if (left > 0) this.rise(left)
      // A port that somebody else has taken meanwhile stays theirs; the clients find nobody, as they would.
      else void this.listen(this.port).catch(() => {})
    })
  }

  /** What is held up waits by itself (`delay`). */
  freeze(): void {}

  sever(): void {
    for (const socket of this.sockets) this.severed.add(socket)
  }

  expire(status: number): void {
    for (const session of this.known) this.forgotten.set(session, status)
    this.known.clear()
  }

  refuse(status: number): void {
    this.refused = { status, credentials: this.credentials }
  }

  /** There is nothing between the messages of HTTP. */
  noise(): void {}

  private reset(): void {
    for (const socket of this.sockets) socket.resetAndDestroy()
    for (const upstream of this.upstream) upstream.destroy()
  }

  private connected(socket: Socket): void {
    this.sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => this.sockets.delete(socket))
  }

  private later(millis: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      if (!this.isClosed) act()
    }, millis)
    this.timers.add(timer)
  }

  /** Waits for what holds messages up, and for longer while it lasts. */
  private async passage(socket: Socket): Promise<void> {
    const { director } = this
    for (let slow = true; ; slow = false) {
      const millis = slow
        ? director.delay()
        : director.delay() - (director.weather.holds("SlowLink")?.latencyMillis ?? 0)
      if (millis <= 0) return
      await new Promise<void>((resolve) => {
        const end = (): void => {
          socket.off("close", end)
          resolve()
        }
        this.later(millis, end)
        socket.once("close", end)
      })
      if (socket.destroyed) return
    }
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request
    response.on("error", () => {})
    const body = await bodyOf(request)
    if (body === undefined || this.severed.has(socket)) return
    const { authorization } = request.headers
    this.credentials = authorization
    const message = request.method === "POST" ? requestIn(parse(body.toString("utf8"))) : undefined
    // Messages without an id are notifications: nothing is counted, and nothing is answered but that they came.
    const strikes = message?.id === undefined ? Director.unharmed : this.director.meet(message)
    const { weather } = this.director
    if (message?.method === "initialize") {
      if (weather.startsToRefuse > 0) {
        weather.startsToRefuse -= 1
        socket.resetAndDestroy()
        return
      }
      if (weather.handshakesToHang > 0) {
        weather.handshakesToHang -= 1
        return
      }
    }
    await this.passage(socket)
    if (socket.destroyed || this.severed.has(socket)) return
    if (strikes.crash === "beforeReceiving") return this.director.crash()
    if (strikes.drop === "request") return
    const refusal = this.refusalOf(request, strikes.unavailable)
    if (refusal !== undefined) {
      response.writeHead(refusal.status, refusal.headers).end(refusal.body)
      return
    }
    // In the modern era, which has no other ping; the first one asks for the era.
    const isDiscovery = message?.method === "server/discover"
    const isPing = message?.method === "ping" || (isDiscovery && this.discovered)
    this.discovered ||= isDiscovery
    if (isPing && weather.holds("SilentToPing") !== undefined) return
    if (strikes.duplicate === "request") this.forward(request, body, (copy) => copy.resume())
    this.forward(
      request,
      body,
      (answer) => void this.answer(answer, response, socket, strikes),
      () => {
        // Whoever is behind is gone: so is the socket of whoever asked.
        socket.resetAndDestroy()
      }
    )
    if (strikes.crash === "afterReceiving") this.afterWriting(() => this.director.crash())
  }

  /** A turn of the loop later the request has been handed to the server's socket. */
  private afterWriting(act: () => void): void {
    this.later(50, act)
  }

  private refusalOf(
    request: IncomingMessage,
    once: Tagged<"Unavailable"> | undefined
  ): { readonly status: number; readonly headers: Record<string, string>; readonly body: string } | undefined {
    const unavailable = once ?? this.director.weather.holds("Unavailable")
    if (unavailable !== undefined) {
      const { retryAfterMillis, status } = unavailable
      return {
        status,
        headers:
          retryAfterMillis === undefined
            ? {}
            : { "retry-after": String(Math.ceil(Duration.toSeconds(Duration.millis(retryAfterMillis)))) },
        body: ""
      }
    }
    const { refused } = this
    if (refused !== undefined) {
      if (request.headers.authorization === refused.credentials)
        return { status: refused.status, headers: { "www-authenticate": 'Bearer error="invalid_token"' }, body: "" }
      this.refused = undefined
    }
    const session = request.headers[sessionHeader]
    const status = typeof session === "string" ? this.forgotten.get(session) : undefined
    if (status === undefined) return undefined
    const error = {
      jsonrpc: "2.0",
      id: null,
      error: { code: -32_000, message: "Bad Request: No valid session ID provided" }
    }
    return { status, headers: { "content-type": "application/json" }, body: JSON.stringify(error) }
  }

  private forward(
    request: IncomingMessage,
    body: Buffer,
    onAnswer: (answer: IncomingMessage) => void,
    onError: () => void = () => {}
  ): void {
    const { host: _, connection: __, "transfer-encoding": ___, ...headers } = request.headers
    const upstream = send(
      {
        host: this.target.hostname.replace(/^\[|\]$/g, ""),
        port: this.target.port || 80,
        method: request.method,
        path: request.url,
        headers: { ...headers, ...(body.length > 0 ? { "content-length": String(body.length) } : {}) },
        // A socket of its own: none is kept that could outlive the proxy.
        agent: false
      },
      (answer) => {
        this.upstream.add(answer)
        answer.on("close", () => this.upstream.delete(answer))
        onAnswer(answer)
      }
    )
    this.upstream.add(upstream)
    const leave = (): void => void upstream.destroy()
    // The socket is used again: what belongs to this request goes with it.
    request.socket.once("close", leave)
    upstream.on("close", () => {
      this.upstream.delete(upstream)
      request.socket.off("close", leave)
    })
    upstream.on("error", onError)
    upstream.end(body)
  }

  private async answer(
    answer: IncomingMessage,
    response: ServerResponse,
    socket: Socket,
    strikes: Director.Strikes
  ): Promise<void> {
    answer.on("error", () => socket.resetAndDestroy())
    const session = answer.headers[sessionHeader]
    if (typeof session === "string") this.known.add(session)
    const { connection: _, "transfer-encoding": __, "content-length": length, ...headers } = answer.headers
    const status = answer.statusCode ?? 502
    // What died with the request in its hands does not answer it.
    if (strikes.crash === "afterReceiving") {
      answer.resume()
      return
    }
    const struck =
      strikes.crash === "afterEffect" || strikes.drop === "reply" || strikes.duplicate === "reply" || strikes.corrupt
    if (struck) {
      const body = await bodyOf(answer)
      await this.passage(socket)
      if (body === undefined || socket.destroyed || this.severed.has(socket)) return
      if (strikes.crash === "afterEffect") return this.director.crash()
      if (strikes.drop === "reply") return
      if (strikes.corrupt) {
        response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>Sign in</title>")
        return
      }
      // One answer is all that JSON has room for; a stream can say everything twice.
      const isStream = String(headers["content-type"]).startsWith("text/event-stream")
      response.writeHead(status, headers).end(isStream ? Buffer.concat([body, body]) : body)
      return
    }
    await this.passage(socket)
    if (socket.destroyed || this.severed.has(socket)) return
    response.writeHead(status, length === undefined ? headers : { ...headers, "content-length": length })
    response.flushHeaders()
    response.on("finish", () => {
      // When the client has it, and not before.
      if (strikes.crash === "afterReplying") this.afterWriting(() => this.director.crash())
    })
    await this.pour(answer, response, socket)
  }

  /** Chunk by chunk, no faster than the client reads, and only what gets through. */
  private async pour(answer: IncomingMessage, response: ServerResponse, socket: Socket): Promise<void> {
    try {
      for await (const chunk of answer) {
        await this.passage(socket)
        if (this.severed.has(socket)) {
          answer.destroy()
          return
        }
        if (socket.destroyed) return
        if (!response.write(chunk))
          await new Promise<void>((resolve) => {
            const end = (): void => {
              socket.off("close", end)
              resolve()
            }
            response.once("drain", end)
            socket.once("close", end)
          })
      }
      response.end()
    } catch {
      // The server has broken it off: so does the proxy.
      if (!this.severed.has(socket)) socket.resetAndDestroy()
    }
  }
}

/** All of a body; `undefined` when it broke off. */
const bodyOf = async (message: IncomingMessage): Promise<Buffer | undefined> => {
  try {
    const chunks: Array<Buffer> = []
    for await (const chunk of message) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks)
  } catch {
    return undefined
  }
}
