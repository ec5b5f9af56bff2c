/** What becomes of each HTTP request. It understands as much of MCP over Streamable HTTP as the faults need; the rest passes as it is. */
import { type IncomingMessage, request as send, type ServerResponse } from "node:http"
import { pipeline, Readable } from "node:stream"
import type { Air } from "./air.ts"
import * as Director from "./director.ts"
import type { Link } from "./link.ts"
import { parse, type Requested, requestIn } from "./message.ts"
import { type Refusal, Refusals, unavailable } from "./refusals.ts"
import * as Struck from "./struck.ts"

type Upstream = ReturnType<typeof send>

/** One request and what is known of it. */
interface Exchange {
  readonly request: IncomingMessage
  readonly body: Buffer
  readonly response: ServerResponse
  readonly link: Link
  readonly message: Requested | undefined
  readonly part: "handshake" | "continued" | undefined
  readonly strikes: Director.Strikes
}

export class Exchanges {
  private readonly director: Director.Director
  private readonly air: Air
  private readonly target: URL
  private readonly onCrash: (spared: Link | undefined) => void
  private readonly upstreams = new Set<Upstream>()
  readonly refusals = new Refusals()
  /** How many handshakes have begun with a question for the era that was refused, and go on with `initialize`. */
  private begun = 0

  constructor(director: Director.Director, air: Air, target: URL, onCrash: (spared: Link | undefined) => void) {
    this.director = director
    this.air = air
    this.target = target
    this.onCrash = onCrash
  }

  /** Ends what the server is doing. */
  reset(): void {
    for (const upstream of this.upstreams) upstream.destroy()
  }

  serve(request: IncomingMessage, response: ServerResponse, link: Link): void {
    response.on("error", () => {})
    this.meet(request, response, link).catch(() => link.reset())
  }

  private async meet(request: IncomingMessage, response: ServerResponse, link: Link): Promise<void> {
    const body = await contentOf(request)
    if (link.isSevered) return
    const isEndpoint = request.url?.split("?")[0] === this.target.pathname
    if (isEndpoint) this.refusals.meet(request)
    const message = isEndpoint && request.method === "POST" ? requestIn(parse(body.toString("utf8"))) : undefined
    // Messages without an id are notifications: nothing is counted, and nothing is answered but that they came.
    const asks = message?.id !== undefined
    const part = asks ? this.partOf(message) : undefined
    const { weather } = this.director
    const wasSlow = weather.holds("SlowLink")
    const arrival = this.director.now()
    const strikes = asks ? this.director.meet(message, part) : Director.unharmed
    const exchange = { request, body, response, link, message, part, strikes }
    if (part === "handshake" && weather.startsToRefuse > 0) {
      weather.startsToRefuse -= 1
      return link.reset()
    }
    if (part === "handshake" && weather.handshakesToHang > 0) {
      weather.handshakesToHang -= 1
      return
    }
    // What this very message has brought on holds it up as well.
    const slow = weather.holds("SlowLink")
    const late = slow === undefined || slow === wasSlow ? 0 : slow.latencyMillis
    this.air.whenArrived(arrival + late, () => this.pass(exchange, isEndpoint))
  }

  private pass(exchange: Exchange, isEndpoint: boolean): void {
    const { link, message, request, response, strikes } = exchange
    if (link.isSevered || link.isReset) return
    if (strikes.crash === "beforeReceiving") return this.crash(undefined)
    if (strikes.drop === "request") return
    const refusal = isEndpoint ? this.refusalOf(request, strikes) : undefined
    if (refusal !== undefined) {
      response.writeHead(refusal.status, { ...refusal.headers }).end(refusal.body)
      return
    }
    if (message?.method === "ping" && this.director.weather.holds("SilentToPing") !== undefined) return
    const upstream = this.forward(exchange, (answer) => this.answer(exchange, answer, upstream))
    // Whoever is behind is gone: so is the socket of whoever asked.
    upstream.once("error", () => link.reset())
    // The server is told of a client that leaves, unless it is to be dead by then.
    if (strikes.crash === "afterReceiving") upstream.once("finish", () => this.crash(undefined, upstream))
    else response.once("close", () => upstream.destroy())
    if (strikes.duplicate === "request")
      // One after the other: at the same time, servers mix up answers to requests of one id.
      upstream.once("close", () => {
        if (!link.isReset) this.forward(exchange, (answer) => answer.resume()).on("error", () => {})
      })
  }

  /** Of the modern era, the question for it is the handshake; where it is refused, `initialize` goes on with that. */
  private partOf({ method }: Requested): Exchange["part"] {
    if (method === "server/discover") return "handshake"
    if (method !== "initialize") return undefined
    if (this.begun === 0) return "handshake"
    this.begun -= 1
    return "continued"
  }

  private refusalOf(request: IncomingMessage, strikes: Director.Strikes): Refusal | undefined {
    const patience = strikes.unavailable ?? this.director.weather.holds("Unavailable")
    return patience === undefined ? this.refusals.of(request) : unavailable(patience)
  }

  /** A server that is dead does not go on; only what it has just been given, nobody takes from it. */
  private crash(spared: Link | undefined, given?: Upstream): void {
    if (given !== undefined) this.upstreams.delete(given)
    this.director.down()
    this.onCrash(spared)
    if (given !== undefined) this.upstreams.add(given)
  }

  private forward({ body, request }: Exchange, onAnswer: (answer: IncomingMessage) => void): Upstream {
    const { connection: _, host: __, "keep-alive": ___, "transfer-encoding": ____, ...headers } = request.headers
    const upstream = send(
      {
        host: this.target.hostname.replace(/^\[|\]$/g, ""),
        port: this.target.port || 80,
        method: request.method,
        path: request.url,
        headers: { ...headers, ...(body.length > 0 ? { "content-length": String(body.length) } : {}) },
        // A socket of its own: none is kept that could outlive the proxy, or be closed by the server just when it is needed.
        agent: false
      },
      onAnswer
    )
    this.upstreams.add(upstream)
    upstream.once("close", () => this.upstreams.delete(upstream))
    upstream.end(body)
    return upstream
  }

  private answer(exchange: Exchange, answer: IncomingMessage, upstream: Upstream): void {
    const { link, message, request, response, strikes } = exchange
    this.refusals.learn(answer)
    const status = answer.statusCode ?? 502
    const { connection: _, "keep-alive": __, "transfer-encoding": ___, ...headers } = answer.headers
    const onEnd = (error: Error | null | undefined): void => {
      // The server has broken it off, or the client has left.
      if (error !== null && error !== undefined) {
        upstream.destroy()
        if (!link.isSevered) link.reset()
      }
    }
    // What died with the request in its hands does not answer it.
    if (strikes.crash === "afterReceiving") {
      answer.on("error", () => {})
      answer.resume()
    } else if (message?.id === undefined || !strikesReply(strikes)) {
      if (message?.method === "server/discover") this.judge(answer, status)
      response.writeHead(status, headers)
      // A stream has begun before anything is said in it.
      response.flushHeaders()
      pipeline(answer, response, onEnd)
    } else {
      const { "content-length": _, ...rest } = headers
      const body = Struck.bodyOf({
        id: message.id,
        strikes,
        answer,
        response,
        status,
        headers: rest,
        takesStream: request.headers.accept?.includes("text/event-stream") === true,
        crash: (when) => (when === "afterEffect" ? this.crash(undefined) : link.flushed(() => this.crash(link)))
      })
      pipeline(Readable.from(body), response, onEnd)
    }
  }

  /** Whether the server is of the modern era: if not, the handshake has only begun. */
  private judge(answer: IncomingMessage, status: number): void {
    if (status >= 400) {
      this.begun += 1
      return
    }
    let text = ""
    answer.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1")
    })
    answer.once("end", () => {
      if (/"error"\s*:\s*\{\s*"code"/.test(text)) this.begun += 1
    })
  }
}

const strikesReply = ({ corrupt, crash, drop, duplicate }: Director.Strikes): boolean =>
  corrupt || crash === "afterEffect" || crash === "afterReplying" || drop === "reply" || duplicate === "reply"

/** All of a body; fails when it breaks off. */
const contentOf = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
