/** The parent's side of a stdio proxy: it directs the processes in between, one a session, over sockets on loopback. */
import { type InvalidOptions, McpTransport } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import { type AddressInfo, createServer, type Server, type Socket } from "node:net"
import { fileURLToPath } from "node:url"
import type { StdioFault } from "../../Fault.ts"
import type { StdioOptions, StdioProxy } from "../../FaultProxy.ts"
import * as Director from "./director.ts"
import * as Lines from "./lines.ts"
import { parse } from "./message.ts"
import { addressVariable, type Order, type Report, type Verdict } from "./protocol.ts"

/** The same file as a source and as what is published. */
const shim = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./shim.ts" : "./shim.js", import.meta.url))

export const make = Effect.fnUntraced(function* (
  options: StdioOptions
): Effect.fn.Return<StdioProxy, InvalidOptions.InvalidOptions, Scope.Scope> {
  const { args = [], command, env, faults = [], ...rest } = options
  const control = new Control()
  const { director, play } = yield* Director.make("FaultProxy.stdio", "stdio", faults, control)
  control.director = director
  const port = yield* Effect.acquireRelease(
    Effect.promise(() => control.listen()),
    () => Effect.promise(() => control.close())
  )
  yield* Effect.forkScoped(play, { startImmediately: true })
  const proxied: McpTransport.StdioOptions = {
    ...rest,
    command: process.execPath,
    args: [shim, command, ...args],
    env: { ...env, [addressVariable]: Redacted.make(`${port} ${control.token}`) }
  }
  const transport = McpTransport.stdio(proxied)
  const label = McpTransport.stdio({ command }).label
  return {
    options: proxied,
    // Whoever reads logs wants to know the server, not what is before it.
    transport: { ...transport, label },
    passed: director.passed,
    happened: director.happened,
    inject: (fault: StdioFault) => director.inject(fault)
  }
})

/** A process in between, and whether its client has begun to shake hands. */
interface Shim {
  readonly pid: number
  greeted: boolean
}

/** Who talks to the processes in between. */
class Control implements Director.Actor {
  /** What a process has to know to be listened to. */
  readonly token = randomUUID()
  director!: Director.Director
  private readonly shims = new Map<Socket, Shim>()
  private readonly strangers = new Set<Socket>()
  private readonly thaws = new Map<NodeJS.Timeout, () => void>()
  private server: Server | undefined = undefined

  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      const server = createServer((socket) => this.connected(socket))
      this.server = server
      server.once("error", reject)
      server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port))
    })
  }

  close(): Promise<void> {
    for (const [timer, thaw] of this.thaws) {
      clearTimeout(timer)
      thaw()
    }
    // A process in between that loses its director ends, and its server with it.
    for (const socket of [...this.shims.keys(), ...this.strangers]) socket.destroy()
    const { server } = this
    return server === undefined ? Promise.resolve() : new Promise((resolve) => server.close(() => resolve()))
  }

  private connected(socket: Socket): void {
    this.strangers.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => {
      const shim = this.shims.get(socket)
      this.shims.delete(socket)
      this.strangers.delete(socket)
      // Whoever killed it alone has not killed its server.
      if (shim !== undefined) signal(shim, "SIGKILL")
    })
    Lines.read(socket, (line) => {
      // It comes from our own program, or is refused.
      const report = parse(line.toString("utf8")) as Report | undefined
      if (report !== undefined && this.shims.has(socket)) this.answer(socket, report)
      else if (report?._tag === "Hello" && report.token === this.token) this.welcome(socket, report.pid)
      else socket.destroy()
    })
  }

  private welcome(socket: Socket, pid: number): void {
    const { weather } = this.director
    const refused = weather.isDown() || weather.startsToRefuse > 0
    if (refused && !weather.isDown()) weather.startsToRefuse -= 1
    this.strangers.delete(socket)
    if (!refused) this.shims.set(socket, { pid, greeted: false })
    tell(socket, refused ? { _tag: "Refuse" } : { _tag: "Start" })
  }

  private answer(socket: Socket, report: Report): void {
    const { director } = this
    if (report._tag === "Hello") return
    if (report._tag === "Moment") return this.crashOne(socket)
    const waitMillis = director.delay()
    const verdict = (verdict: Partial<Verdict>): void =>
      tell(socket, {
        _tag: "Pass",
        number: report.number,
        times: 1,
        waitMillis,
        crash: undefined,
        reply: undefined,
        ...verdict
      })
    if (report._tag === "Reply") return verdict({})
    // What is a notification is not counted.
    if (!report.isRequest) return verdict({})
    const part = this.partOf(socket, report.method)
    const strikes = director.meet({ method: report.method, tool: report.tool }, part)
    const { weather } = director
    if (part === "handshake" && weather.handshakesToHang > 0) {
      weather.handshakesToHang -= 1
      return verdict({ times: 0 })
    }
    const isSilent = report.method === "ping" && weather.holds("SilentToPing") !== undefined
    if (strikes.crash === "beforeReceiving") return this.crashOne(socket)
    verdict({
      waitMillis: director.delay(),
      times: isSilent || strikes.drop === "request" ? 0 : strikes.duplicate === "request" ? 2 : 1,
      crash: strikes.crash === "afterReceiving" ? "afterReceiving" : undefined,
      reply: {
        drop: strikes.drop === "reply",
        duplicate: strikes.duplicate === "reply",
        corrupt: strikes.corrupt,
        crash: strikes.crash === "afterEffect" || strikes.crash === "afterReplying" ? strikes.crash : undefined
      }
    })
  }

  /** A client that asks for the era, or is refused the older one, goes on with its handshake in the same process. */
  private partOf(socket: Socket, method: string): "handshake" | "continued" | undefined {
    if (method !== "initialize" && method !== "server/discover") return undefined
    const shim = this.shims.get(socket)
    if (shim === undefined || shim.greeted) return "continued"
    shim.greeted = true
    return "handshake"
  }

  crash(): void {
    for (const socket of this.shims.keys()) this.kill(socket)
  }

  /** Each session has a process of its own: only that of the message dies. */
  private crashOne(socket: Socket): void {
    this.director.down()
    this.kill(socket)
  }

  private kill(socket: Socket): void {
    const shim = this.shims.get(socket)
    if (shim !== undefined && !signal(shim, "SIGKILL")) tell(socket, { _tag: "Crash" })
  }

  /** All that the server has started stands still, and the process in between with it. */
  freeze(forMillis: number): void {
    for (const [socket, shim] of this.shims) {
      if (!signal(shim, "SIGSTOP")) tell(socket, { _tag: "Freeze", forMillis })
      else {
        const thaw = (): void => {
          this.thaws.delete(timer)
          if (this.shims.has(socket)) signal(shim, "SIGCONT")
        }
        const timer = setTimeout(thaw, forMillis)
        this.thaws.set(timer, thaw)
      }
    }
    // A process that is started later is not frozen.
    this.director.weather.end("Freeze")
  }

  sever(): void {
    this.all({ _tag: "Sever" })
  }

  /** Only what is on its way waits (`delay`). */
  partition(): void {}

  noise(lines: number): void {
    this.all({ _tag: "Noise", lines })
  }

  /** Of HTTP only. */
  expire(): void {}
  refuse(): void {}

  private all(order: Order): void {
    for (const socket of this.shims.keys()) tell(socket, order)
  }
}

/** To its group, where it has one of its own: a transport sees to that, where there are groups. */
const signal = ({ pid }: Shim, signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): boolean => {
  try {
    return process.kill(-pid, signal)
  } catch {
    return false
  }
}

const tell = (socket: Socket, order: Order): void => {
  socket.write(`${JSON.stringify(order)}\n`)
}
