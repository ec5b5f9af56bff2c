/**
 * The sockets to an HTTP server: a session's own, and gone with it. A server that has only forgotten the session still answers on them, so
 * there the next session takes them over: a connection is not made anew, with TLS in several round trips.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Socket } from "node:net"
import { TLSSocket } from "node:tls"
import type * as Undici from "undici"

export interface Sockets {
  readonly agent: Undici.Agent
  readonly fetch: typeof Undici.fetch
  /** Whether they are those of the session before. */
  readonly areInherited: boolean
  /** Leaves them to the next session, if one is opened before this one is closed: once, for from then on they are in its use. */
  readonly bequeath: () => void
  /** Makes one connection more than there is use for yet, which is there for a moment. */
  readonly prepare: (server: URL) => void
  readonly hasSpare: () => boolean
}

/** Of one transport: what a session has left to the next one. */
export interface Estate {
  pool: Pool | undefined
}

interface Pool {
  readonly agent: Undici.Agent
  readonly prepare: (server: URL) => void
  readonly hasSpare: () => boolean
  readonly close: () => Promise<void>
  holders: number
}

/** Loaded when it is needed: it is as large as all else together, and servers over stdio have no use for it. */
const undici = Effect.suspend(() => {
  if (loaded !== undefined) return Effect.succeed(loaded)
  return Effect.promise(async () => {
    loaded = await import("undici")
    return loaded
  })
})
let loaded: typeof Undici | undefined

export const acquire = Effect.fnUntraced(function* (
  estate: Estate,
  connectTimeout: Duration.Duration
): Effect.fn.Return<Sockets, never, Scope.Scope> {
  const library = yield* undici
  const { areInherited, pool } = yield* Effect.acquireRelease(
    Effect.sync(() => {
      // They may have been left by a session that is closed by now.
      const left = estate.pool !== undefined && estate.pool.holders > 0 ? estate.pool : undefined
      estate.pool = undefined
      const pool = left ?? open(library, connectTimeout)
      pool.holders += 1
      return { pool, areInherited: left !== undefined }
    }),
    ({ pool }) =>
      Effect.suspend(() => {
        pool.holders -= 1
        if (pool.holders > 0) return Effect.void
        return Effect.ignore(Effect.tryPromise(pool.close))
      })
  )
  let areLeft = false
  return {
    agent: pool.agent,
    fetch: library.fetch,
    areInherited,
    bequeath: () => {
      if (areLeft) return
      areLeft = true
      estate.pool = pool
    },
    prepare: pool.prepare,
    hasSpare: pool.hasSpare
  }
})

const open = ({ Agent, buildConnector }: typeof Undici, connectTimeout: Duration.Duration): Pool => {
  // undici's own timer is up to a second late, and it forgets a socket that is still connecting.
  const connect = buildConnector({ timeout: 0 })
  const within = Math.min(Duration.toMillis(connectTimeout), 2 ** 31 - 1)
  const connecting = new Set<Socket>()
  const dial = (target: Target, then: Undici.buildConnector.Callback): void => {
    const socket: unknown = connect(target, (...connected) => {
      clearTimeout(timer)
      if (socket instanceof Socket) connecting.delete(socket)
      then(...connected)
    })
    const timer = setTimeout(() => {
      if (socket instanceof Socket) socket.destroy(new ConnectTimedOut())
    }, within)
    if (socket instanceof Socket) connecting.add(socket)
  }

  let isClosed = false
  let wanted: URL | undefined
  let last: Target | undefined
  let spare: Spare | undefined
  /** A spare is made of what a connection to the server was made of: of the first one as soon as there is one. */
  const makeSpare = (): void => {
    if (isClosed || wanted === undefined || last === undefined || spare !== undefined || !isAt(last, wanted)) return
    const target = last
    wanted = undefined
    dial(target, (error, socket) => {
      if (error !== null) return
      if (spare !== undefined || isShared(socket)) return void socket.destroy()
      const made: Spare = { target, socket, timer: setTimeout(() => socket.destroy(), spareMillis) }
      spare = made
      socket.unref()
      socket.once("close", () => {
        clearTimeout(made.timer)
        if (spare === made) spare = undefined
      })
    })
  }
  const takeSpare = (target: Target): Socket | undefined => {
    if (spare === undefined || !isSame(spare.target, target)) return undefined
    const { socket, timer } = spare
    spare = undefined
    clearTimeout(timer)
    if (!socket.writable || socket.readableEnded) {
      socket.destroy()
      return undefined
    }
    return socket.ref()
  }

  const agent = new Agent({
    connect: (target, callback) => {
      const ready = takeSpare(target)
      // Not at once: undici is not done with asking yet.
      if (ready !== undefined) return queueMicrotask(() => callback(null, ready))
      dial(target, (...connected) => {
        callback(...connected)
        const [error, socket] = connected
        if (error !== null || isShared(socket)) return
        last = target
        makeSpare()
      })
    },
    // How long an answer may take is the caller's to say, and a stream of events may be silent for hours.
    headersTimeout: 0,
    bodyTimeout: 0
  })
  return {
    agent,
    prepare: (server) => {
      // Of those that are inherited, one may have nothing to do.
      const stats = agent.stats[server.origin]
      if (stats !== undefined && "free" in stats && stats.free > 0) return
      wanted = server
      makeSpare()
    },
    hasSpare: () => spare !== undefined,
    close: () => {
      isClosed = true
      spare?.socket.destroy()
      for (const socket of connecting) socket.destroy(new Error("the session was closed"))
      return agent.destroy()
    },
    holders: 0
  }
}

type Target = Undici.buildConnector.Options

interface Spare {
  readonly target: Target
  readonly socket: Socket
  readonly timer: ReturnType<typeof setTimeout>
}

/** In milliseconds: for how long there is a spare connection. A server lets one on which nothing comes be for longer. */
const spareMillis = 1_000

const isAt = ({ host, protocol }: Target, server: URL): boolean => host === server.host && protocol === server.protocol

const isSame = (a: Target, b: Target): boolean =>
  a.host === b.host && a.protocol === b.protocol && a.servername === b.servername

/** HTTP/2 has one connection for everything. */
const isShared = (socket: Socket): boolean => socket instanceof TLSSocket && socket.alpnProtocol === "h2"

class ConnectTimedOut extends Error {
  readonly code = "UND_ERR_CONNECT_TIMEOUT"
}
