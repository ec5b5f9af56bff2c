/**
 * The sockets to an HTTP server: a session's own, and gone with it. A server that has only forgotten the session still answers on them, so
 * there the next session takes them over: a connection is not made anew, with TLS in several round trips.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Socket } from "node:net"
import type { Agent, buildConnector as BuildConnector, fetch as UndiciFetch } from "undici"

export interface Sockets {
  readonly agent: Agent
  readonly fetch: typeof UndiciFetch
  /** Whether they are those of the session before. */
  readonly areInherited: boolean
  /** Leaves them to the next session, if one is opened before this one is closed. */
  readonly bequeath: () => void
}

/** Of one transport: what a session has left to the next one. */
export interface Estate {
  pool: Pool | undefined
}

interface Pool {
  readonly agent: Agent
  readonly connecting: Set<Socket>
  holders: number
}

/** Loaded when it is needed: it is as large as all else together, and servers over stdio have no use for it. */
const undici = Effect.promise(() => import("undici"))

export const acquire = Effect.fnUntraced(function* (
  estate: Estate,
  connectTimeout: Duration.Duration
): Effect.fn.Return<Sockets, never, Scope.Scope> {
  const { Agent, buildConnector, fetch } = yield* undici
  const inherited = estate.pool
  estate.pool = undefined
  const pool = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const pool = inherited ?? open(Agent, buildConnector, connectTimeout)
      pool.holders += 1
      return pool
    }),
    (pool) =>
      Effect.suspend(() => {
        pool.holders -= 1
        if (pool.holders > 0) return Effect.void
        if (estate.pool === pool) estate.pool = undefined
        for (const socket of pool.connecting) socket.destroy(new Error("the session was closed"))
        return Effect.ignore(Effect.tryPromise(() => pool.agent.destroy()))
      })
  )
  return {
    agent: pool.agent,
    fetch,
    areInherited: inherited !== undefined,
    bequeath: () => {
      if (pool.holders > 0) estate.pool = pool
    }
  }
})

const open = (Undici: typeof Agent, buildConnector: typeof BuildConnector, connectTimeout: Duration.Duration): Pool => {
  // undici's own timer is up to a second late, and it forgets a socket that is still connecting.
  const connect = buildConnector({ timeout: 0 })
  const within = Math.min(Duration.toMillis(connectTimeout), 2 ** 31 - 1)
  const connecting = new Set<Socket>()
  const agent = new Undici({
    connect: (target, callback) => {
      const socket: unknown = connect(target, (...connected) => {
        clearTimeout(timer)
        if (socket instanceof Socket) connecting.delete(socket)
        callback(...connected)
      })
      const timer = setTimeout(() => {
        if (socket instanceof Socket) socket.destroy(new ConnectTimedOut())
      }, within)
      if (socket instanceof Socket) connecting.add(socket)
    },
    // How long an answer may take is the caller's to say, and a stream of events may be silent for hours.
    headersTimeout: 0,
    bodyTimeout: 0
  })
  return { agent, connecting, holders: 0 }
}

class ConnectTimedOut extends Error {
  readonly code = "UND_ERR_CONNECT_TIMEOUT"
}
