/** A proxy on loopback before a server over HTTP: its port, its sockets, and what is done to them. */
import { InvalidOptions } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import type { Socket } from "node:net"
import type { HttpFault } from "../../Fault.ts"
import type { HttpOptions, HttpProxy } from "../../FaultProxy.ts"
import { Air } from "./air.ts"
import * as Director from "./director.ts"
import { Door } from "./door.ts"
import { Exchanges } from "./exchanges.ts"
import { Link } from "./link.ts"

export const make = Effect.fnUntraced(function* (
  options: HttpOptions
): Effect.fn.Return<HttpProxy, InvalidOptions.InvalidOptions, Scope.Scope> {
  const target = yield* checkTarget(options.target)
  const host = new Host()
  const { director, play } = yield* Director.make("FaultProxy.http", "http", options.faults ?? [], host)
  yield* Effect.acquireRelease(
    Effect.promise(() => host.open(director, target)),
    () => Effect.promise(() => host.close())
  )
  yield* Effect.forkScoped(play, { startImmediately: true })
  return {
    url: `http://127.0.0.1:${host.port}${target.pathname}${target.search}`,
    passed: director.passed,
    happened: director.happened,
    connections: () => host.sockets.size,
    inject: (fault: HttpFault) => director.inject(fault)
  }
})

const checkTarget = (target: unknown): Effect.Effect<URL, InvalidOptions.InvalidOptions> => {
  const url = target instanceof URL ? target : typeof target === "string" ? URL.parse(target) : null
  return url !== null &&
    url.protocol === "http:" &&
    ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname) &&
    url.username === "" &&
    url.password === ""
    ? Effect.succeed(url)
    : Effect.fail(
        new InvalidOptions.InvalidOptions({
          of: "FaultProxy.http",
          issues: [
            {
              option: "target",
              expected: "an http: URL on this machine, like http://127.0.0.1:3000/mcp",
              // What is before the host can be a secret.
              actual: url === null ? "no URL" : `${url.protocol}//${url.username === "" ? "" : "…@"}${url.host}`
            }
          ]
        })
      )
}

/** What runs the proxy, and is told what happens to it. */
class Host implements Director.Actor {
  private director: Director.Director | undefined = undefined
  private air: Air | undefined = undefined
  private exchanges: Exchanges | undefined = undefined
  private readonly links = new Set<Link>()
  readonly sockets = new Set<Socket>()
  private isClosed = false
  private readonly server = createServer((request, response) => {
    if (request.socket instanceof Link) this.exchanges?.serve(request, response, request.socket)
  })
  private readonly door = new Door(
    (socket) => this.connected(socket),
    () => {
      const weather = this.director?.weather
      if (this.isClosed || weather?.isDown() === true) return "closed"
      return weather?.holds("Partition") === undefined ? "open" : "silent"
    }
  )

  get port(): number {
    return this.door.port
  }

  open(director: Director.Director, target: URL): Promise<void> {
    this.director = director
    const air = new Air(director.weather, director.now)
    this.air = air
    this.exchanges = new Exchanges(director, air, target, (spared) => this.reset(spared))
    return this.door.open()
  }

  async close(): Promise<void> {
    this.isClosed = true
    this.air?.close()
    this.exchanges?.reset()
    for (const socket of this.sockets) socket.destroy()
    for (const link of this.links) link.destroy()
    await this.door.settle()
  }

  crash(): void {
    this.reset(undefined)
  }

  /** All sockets at once, but for one that has just been answered: its end comes after the answer. */
  private reset(spared: Link | undefined): void {
    this.exchanges?.reset()
    this.exchanges?.refusals.expire(404)
    for (const link of this.links) {
      if (link === spared) link.destroy()
      else link.reset()
    }
    this.settleUntil(() => {
      const { director } = this
      return director === undefined ? 0 : director.weather.downUntil - director.now()
    })
  }

  partition(): void {
    this.still()
    this.settleUntil(() => this.director?.weather.left("Partition") ?? 0)
  }

  freeze(): void {
    this.still()
  }

  private still(): void {
    for (const link of this.links) link.flow()
  }

  /** Now, and when it is over. */
  private settleUntil(left: () => number): void {
    void this.door.settle()
    const millis = left()
    if (millis > 0) this.air?.later(millis, () => this.settleUntil(left))
  }

  sever(): void {
    for (const link of this.links) link.isSevered = true
  }

  expire(status: number): void {
    this.exchanges?.refusals.expire(status)
  }

  refuse(status: number): void {
    this.exchanges?.refusals.refuse(status)
  }

  /** There is nothing between the messages of HTTP. */
  noise(): void {}

  private connected(socket: Socket): void {
    const { air } = this
    if (air === undefined || this.isClosed) {
      socket.destroy()
      return
    }
    this.sockets.add(socket)
    socket.once("close", () => this.sockets.delete(socket))
    const link = new Link(socket, air)
    this.links.add(link)
    link.once("close", () => this.links.delete(link))
    this.server.emit("connection", link)
  }
}
