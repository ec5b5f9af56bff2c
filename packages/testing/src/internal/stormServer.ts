/** The server of a storm, and its sessions: no promises, no sockets, nothing but the clock. */
import { ConnectionError, type McpSession } from "@mcp-tether/connection"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"

/** When things happen, in milliseconds of the clock, and what the server can bear. */
export interface Plan {
  /** The outage begins: every session is lost. */
  readonly lostAt: number
  /** The outage ends. */
  readonly backAt: number
  /** The end of the observation. */
  readonly endAt: number
  /** How many handshakes a second the server can serve once it is back. */
  readonly capacity: number
  /** How many handshakes may wait for their turn; more are refused. */
  readonly backlog: number
}

/** What the server has seen since the outage began; the lists have an entry for each second. */
export interface Books {
  readonly attempts: Uint32Array
  readonly served: Uint32Array
  /** How long after the end of the outage each client had its session, in the order in which they came back. */
  readonly recoveries: Array<number>
  /** The longest time that a client waited between two attempts. */
  longestDelay: number
}

export interface StormServer {
  readonly books: Books
  /** Breaks all sessions that were opened before. */
  readonly fall: Effect.Effect<void>
  /** A client's way to ask for a handshake once the outage has begun: each has one of its own, so that its delays can be told. */
  readonly visitor: () => Visit
  /** Writes into the books that a handshake is done. */
  readonly served: (doneAt: number) => void
  /** Opens sessions, for one client. */
  readonly client: () => Effect.Effect<McpSession.McpSession, ConnectionError.ConnectionError>
}

/** Asks for a handshake now: why there is none, or when it will be done. */
export type Visit = (now: number) => ConnectionError.ConnectionError | number

export const failure = (reason: ConnectionError.Reason): ConnectionError.ConnectionError =>
  new ConnectionError.ConnectionError({ server: "storm", reason })

/** How sessions end when the outage begins. */
export const broken = failure(new ConnectionError.TransportClosed({ description: "the server went away" }))
const refused = failure(
  new ConnectionError.NetworkFailed({ code: "ECONNREFUSED", description: "nobody listens", phase: "connect" })
)
const overloaded = failure(new ConnectionError.ServerUnavailable({ status: 503 }))

export const make = (plan: Plan): StormServer => {
  const seconds = Math.max(1, Math.ceil((plan.endAt - plan.lostAt) / 1000))
  const books: Books = {
    attempts: new Uint32Array(seconds),
    served: new Uint32Array(seconds),
    recoveries: [],
    longestDelay: 0
  }
  const fallen = Deferred.makeUnsafe<ConnectionError.ConnectionError>()
  const serviceMillis = 1000 / plan.capacity
  let busyUntil = 0

  const count = (counts: Uint32Array, at: number): void => {
    const second = Math.floor((at - plan.lostAt) / 1000)
    // What happens at the very end is past the last second.
    if (second >= 0 && second < seconds) counts[second] = (counts[second] ?? 0) + 1
  }

  /** One server that shakes hands with one client after the other: when it is done with this one, if it takes it at all. */
  const queue = (now: number): number | undefined => {
    const begin = Math.max(now, busyUntil)
    if (begin - now > plan.backlog * serviceMillis) return undefined
    busyUntil = begin + serviceMillis
    return busyUntil
  }

  const sessionUntil = (lost: McpSession.McpSession["lost"], openedAt: number): McpSession.McpSession => ({
    info,
    isolation: "shared",
    // Nobody asks anything of it: the storm is about coming back.
    request: () => Effect.never,
    notify: () => Effect.void,
    listen: () => Effect.void,
    lost,
    lastActivity: () => openedAt,
    inFlight: () => 0
  })

  const visitor: StormServer["visitor"] = () => {
    let failedAt: number | undefined
    return (now) => {
      count(books.attempts, now)
      if (failedAt !== undefined) books.longestDelay = Math.max(books.longestDelay, now - failedAt)
      const doneAt = now < plan.backAt ? undefined : queue(now)
      if (doneAt !== undefined) return doneAt
      failedAt = now
      return now < plan.backAt ? refused : overloaded
    }
  }

  const served: StormServer["served"] = (doneAt) => {
    count(books.served, doneAt)
    books.recoveries.push(doneAt - plan.backAt)
  }

  const client: StormServer["client"] = () => {
    const visit = visitor()
    return Clock.clockWith((clock) => {
      const now = clock.currentTimeMillisUnsafe()
      // Before the outage there is room for everyone: the storm begins with its end.
      if (now < plan.lostAt) return Effect.succeed(sessionUntil(Deferred.await(fallen), now))
      const answer = visit(now)
      if (typeof answer !== "number") return Effect.fail(answer)
      return Effect.map(Effect.sleep(answer - now), () => {
        served(answer)
        return sessionUntil(Effect.never, answer)
      })
    })
  }

  return { books, fall: Effect.asVoid(Deferred.succeed(fallen, broken)), visitor, served, client }
}

const info: McpSession.SessionInfo = {
  era: "legacy",
  protocolVersion: "2025-11-25",
  name: "storm",
  version: "1.0.0",
  capabilities: {}
}
