/** What sits between a client and a server and fails by itself: a TCP proxy, a listener that says nothing, and name resolution. */
import * as Effect from "effect/Effect"
import dns from "node:dns"
import { readFileSync } from "node:fs"
import { type AddressInfo, connect, createServer, type Server as TcpServer, type Socket } from "node:net"
import { setImmediate } from "node:timers/promises"

export interface Proxy {
  readonly port: number
  readonly url: string
  /**
   * Ends all connections, on both sides. `silent`: as a NAT that has forgotten them. The client hears nothing, until it sends
   * something and gets a RST for it.
   */
  readonly drop: (how: "fin" | "rst" | "silent") => void
  readonly connections: () => number
}

/** A TCP proxy on loopback before a server's port. */
export const make = (port: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const pairs = new Set<Pair>()
        return {
          pairs,
          listener: await listen((client) => {
            const pair: Pair = { client, server: connect(port, "127.0.0.1"), forgotten: false }
            pairs.add(pair)
            join(pair, () => pairs.delete(pair))
          })
        }
      }),
      ({ listener, pairs }) =>
        close(
          listener,
          [...pairs].flatMap(({ client, server }) => [client, server])
        )
    ),
    ({ listener, pairs }): Proxy => {
      const own = portOf(listener)
      return {
        port: own,
        url: `http://127.0.0.1:${own}/mcp`,
        drop: (how) => {
          for (const pair of pairs) {
            pair.forgotten ||= how === "silent"
            if (how === "silent") pair.server.destroy()
            else if (how === "fin") pair.client.destroy()
            else pair.client.resetAndDestroy()
          }
        },
        connections: () => pairs.size
      }
    }
  )

interface Pair {
  readonly client: Socket
  readonly server: Socket
  /** Whether the proxy knows nothing of it any more. */
  forgotten: boolean
}

const join = (pair: Pair, onClose: () => void): void => {
  const { client, server } = pair
  for (const socket of [client, server]) socket.on("error", () => {})
  client.on("data", (chunk) => {
    if (pair.forgotten) client.resetAndDestroy()
    else server.write(chunk)
  })
  client.on("close", () => {
    server.destroy()
    onClose()
  })
  server.on("data", (chunk) => client.write(chunk))
  server.on("close", () => {
    if (!pair.forgotten) client.destroy()
  })
}

/** A port that accepts connections and never says a word. */
export const silence = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => {
      const sockets = new Set<Socket>()
      return listen((socket) => {
        sockets.add(socket)
        socket.on("error", () => {})
        socket.on("close", () => sockets.delete(socket))
        socket.resume()
      }).then((listener) => ({ listener, sockets }))
    }),
    ({ listener, sockets }) => close(listener, [...sockets])
  ),
  ({ listener, sockets }) => ({ port: portOf(listener), connections: () => sockets.size })
)

/** A port at which nobody listens. */
export const nobody = Effect.flatMap(
  Effect.promise(() => listen(() => {})),
  (listener) => Effect.as(close(listener, []), portOf(listener))
)

/** What a name resolves to: an address, or nothing (`ENOTFOUND`), or no answer at all. */
export type Resolution = "127.0.0.1" | "ENOTFOUND" | "hang"

/** Resolves one name as told, for as long as the scope is open. Node's own lookup answers for all others. */
export const name = (hostname: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const original = dns.lookup
      const answers: { resolution: Resolution; next: Resolution | undefined; asked: number } = {
        resolution: "127.0.0.1",
        next: undefined,
        asked: 0
      }
      const lookup = (asked: string, options: dns.LookupOptions, done: (...answer: Array<unknown>) => void): void => {
        if (asked !== hostname) {
          Reflect.apply(original, dns, [asked, options, done])
          return
        }
        const { resolution } = answers
        answers.asked += 1
        answers.resolution = answers.next ?? resolution
        if (resolution === "ENOTFOUND") {
          const failed = { code: "ENOTFOUND", errno: -3008, syscall: "getaddrinfo", hostname }
          process.nextTick(done, Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), failed))
        } else if (resolution !== "hang") {
          const address = { address: resolution, family: 4 }
          process.nextTick(done, null, ...(options.all === true ? [[address]] : [resolution, 4]))
        }
      }
      Object.assign(dns, { lookup })
      return {
        resolves: (to: Resolution) => {
          answers.resolution = to
          answers.next = undefined
        },
        resolvesOnce: (to: Resolution, next: Resolution) => {
          answers.resolution = to
          answers.next = next
        },
        /** How often it was asked for. */
        asked: () => answers.asked,
        restore: () => Object.assign(dns, { lookup: original })
      }
    }),
    ({ restore }) => Effect.sync(restore)
  )

/** Lets the event loop turn, so that a client that has just had its answer takes its connection for idle. */
export const idle: Effect.Effect<void> = Effect.promise(async () => {
  for (let turn = 0; turn < 10; turn += 1) await setImmediate()
})

/** How many sockets of clients are connected to a port of 127.0.0.1, whether in use or idle. */
export const clientsOf = (port: number): number => {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`
  return readFileSync("/proc/self/net/tcp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote = "", state]) => remote.endsWith(suffix) && (state === "01" || state === "08")).length
}

const listen = (onConnection: (socket: Socket) => void): Promise<TcpServer> =>
  new Promise((resolve, reject) => {
    const listener = createServer({ allowHalfOpen: false }, onConnection)
    listener.once("error", reject)
    listener.listen(0, "127.0.0.1", () => {
      resolve(listener)
    })
  })

const portOf = (listener: TcpServer): number => (listener.address() as AddressInfo).port

const close = (listener: TcpServer, sockets: ReadonlyArray<Socket>): Effect.Effect<void> =>
  Effect.callback((resume) => {
    listener.close(() => {
      resume(Effect.void)
    })
    for (const socket of sockets) socket.destroy()
  })
