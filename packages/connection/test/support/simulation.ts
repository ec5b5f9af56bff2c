/** A server, its transport and its sessions, in memory: the test writes the script, and reads what happened. */
import type { ProtocolEra, ServerCapabilities, SubscriptionFilter, Tool } from "@modelcontextprotocol/client"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { TestClock } from "effect/testing"
import { ConnectionError, ProcessExited, type Reason, TransportClosed } from "../../src/ConnectionError.ts"
import type { ConnectionState } from "../../src/ConnectionState.ts"
import type {
  Isolation,
  McpSession,
  RequestTicket,
  ResultOf,
  ServerNotification,
  SessionFailure,
  SessionHost
} from "../../src/McpSession.ts"
import type { McpTransport, OpenContext } from "../../src/McpTransport.ts"

/** What the server and the network do. Every part may be replaced at any time. */
export interface Script {
  /** What attempt `attempt` (from 1) does before its session exists: succeed, fail, hang, die or sleep. */
  open: (attempt: number, context: OpenContext) => Effect.Effect<void, ConnectionError>
  /** What happens before the first byte of a request is handed over; a failure here leaves `ticket.sent` false. */
  send: (call: Call) => Effect.Effect<void, SessionFailure>
  /** What the server does with a request that it got. */
  handle: (call: Call) => Effect.Effect<unknown, SessionFailure>
  /** What the finalizer of a session does, after it failed what was pending. */
  close: (generation: number) => Effect.Effect<void>
  /** What `session.lost` is; by default it tells of the loss. */
  lost: (session: SimulatedSession) => Effect.Effect<ConnectionError>
  /** The tools that the server lists, per session. */
  tools: (generation: number) => ReadonlyArray<Tool>
  /** What the server says it can do. */
  capabilities: ServerCapabilities
  /** What the failure of one request says of its session. */
  isolation: Isolation
  era: ProtocolEra
  /** What the server does when it is asked to tell of changes (modern era). */
  listen: (listened: Listened, session: SimulatedSession) => Effect.Effect<void, SessionFailure>
}

/** One request, as a session sees it. */
export interface Call {
  readonly session: SimulatedSession
  readonly generation: number
  readonly ticket: RequestTicket
  /** The tool's name, of a `tools/call`. */
  readonly tool: string | undefined
  /** The server does the work, which shows in the ledger; the result is its answer. */
  readonly run: Effect.Effect<unknown>
}

/** One request that was put on the wire. `state` is the connection's at that moment, where the simulation is told how to ask. */
export interface Sent {
  readonly generation: number
  readonly method: string
  readonly tool: string | undefined
  readonly requestId: string | number | undefined
  readonly at: number
  readonly state: ConnectionState | undefined
  readonly params: unknown
}

/** One time that a session was asked for notifications of changes. `state` is as in {@link Sent}. */
export interface Listened {
  readonly generation: number
  readonly at: number
  readonly state: ConnectionState | undefined
  readonly filter: SubscriptionFilter
}

export interface SimulatedSession extends McpSession {
  readonly generation: number
  /** The session is lost: what is pending fails with `error`. */
  readonly lose: (error?: ConnectionError) => Effect.Effect<void>
  /** A byte comes from the server. */
  readonly hear: Effect.Effect<void>
  /** The server sends a notification. */
  readonly tell: (notification: ServerNotification) => Effect.Effect<void>
  /** What the client side offers in this session. */
  readonly host: SessionHost
  /** The transport tells that notifications may have been lost. */
  readonly gap: Effect.Effect<void>
  /** The transport tells of a failure that is no request's own. */
  readonly suspect: (error: ConnectionError) => Effect.Effect<void>
}

export class Simulation {
  readonly script: Script
  /** `open <generation>` and `close <generation>`, of handshaken sessions; a `close` is logged when closing begins. */
  readonly log: Array<string> = []
  readonly sessions: Array<SimulatedSession> = []
  readonly sent: Array<Sent> = []
  /** The notifications of the client, as `<generation> <method>`. */
  readonly notified: Array<string> = []
  /** What was asked for with `listen`, in the modern era. */
  readonly listened: Array<Listened> = []
  /** The requests that were interrupted, as `<generation> <method>`. */
  readonly cancelled: Array<string> = []
  /** The ledger: the name of each tool that ran, or its `key` argument where it has one. */
  readonly ran: Array<string> = []
  /** When each attempt began, in milliseconds. */
  readonly attempts: Array<number> = []
  /** How many attempts and sessions hold something open. */
  live = 0
  /** How many attempts run now, and how many ever ran at a time. */
  opening = 0
  mostOpening = 0
  /** How to ask for the state of the connection under test. */
  state: Effect.Effect<ConnectionState> | undefined = undefined

  constructor(script: Partial<Script> = {}) {
    this.script = {
      open: () => Effect.void,
      send: () => Effect.void,
      handle: (call) => call.run,
      close: () => Effect.void,
      lost: (session) => session.lost,
      tools: () => [],
      capabilities: { tools: {}, logging: {}, resources: { subscribe: true } },
      isolation: "shared",
      era: "legacy",
      listen: () => Effect.void,
      ...script
    }
  }

  readonly transport: McpTransport = {
    label: "simulated",
    validate: Effect.void,
    open: (context) => this.open(context)
  }

  /** The session that was opened last. */
  get current(): SimulatedSession {
    const session = this.sessions.at(-1)
    if (session === undefined) throw new Error("no session was opened yet")
    return session
  }

  /** The requests of one method that were put on the wire, as the generations of their sessions. */
  generationsOf(method: string): ReadonlyArray<number> {
    return this.sent.filter((sent) => sent.method === method).map((sent) => sent.generation)
  }

  private readonly open = Effect.fnUntraced(function* (this: Simulation, context: OpenContext) {
    const { generation } = context
    const clock = yield* Clock.Clock
    const ended = yield* Deferred.make<ConnectionError>()
    let opened = false
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        this.live += 1
      }),
      () =>
        Effect.suspend(() => {
          if (opened) this.log.push(`close ${generation}`)
          return Effect.andThen(
            Deferred.succeed(ended, failure(new TransportClosed({ description: "the session was closed" }))),
            this.script.close(generation)
          )
        }).pipe(
          Effect.ensuring(
            Effect.sync(() => {
              this.live -= 1
            })
          )
        )
    )
    yield* Effect.suspend(() => {
      this.attempts.push(clock.currentTimeMillisUnsafe())
      this.opening += 1
      this.mostOpening = Math.max(this.mostOpening, this.opening)
      return this.script.open(this.attempts.length, context)
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          this.opening -= 1
        })
      )
    )
    opened = true
    this.log.push(`open ${generation}`)
    const session = this.session(context, clock, ended)
    this.sessions.push(session)
    return { ...session, lost: this.script.lost(session) }
  })

  private session(
    { generation, host, onGap, onSuspect }: OpenContext,
    clock: Clock.Clock,
    ended: Deferred.Deferred<ConnectionError>
  ): SimulatedSession {
    let lastActivity = clock.currentTimeMillisUnsafe()
    let inFlight = 0
    const hear = Effect.sync(() => {
      lastActivity = clock.currentTimeMillisUnsafe()
    })

    const exchange = (call: Call): Effect.Effect<unknown, SessionFailure> =>
      this.script.send(call).pipe(
        Effect.andThen(this.state ?? Effect.succeed(undefined)),
        Effect.flatMap((state) => {
          const { ticket, tool } = call
          ticket.sent = true
          const requestId = this.sent.length + 1
          ticket.requestId = requestId
          const at = clock.currentTimeMillisUnsafe()
          this.sent.push({ generation, method: ticket.method, tool, requestId, at, state, params: ticket.params })
          return this.script.handle(call)
        }),
        // An answer is bytes; a broken connection is not.
        Effect.tap(() => hear),
        Effect.tapError((failure) => (failure._tag === "ConnectionError" ? Effect.void : hear))
      )

    const request = (ticket: RequestTicket): Effect.Effect<unknown, SessionFailure> =>
      Effect.suspend(() => {
        const gone = Effect.flatMap(Deferred.await(ended), (error) => Effect.fail(error))
        // On a session that ended, no byte of the request leaves.
        if (Deferred.isDoneUnsafe(ended)) return gone
        const tool = toolOf(ticket)
        const run = Effect.sync(() => this.run(generation, ticket))
        inFlight += 1
        return Effect.raceFirst(gone, exchange({ session, generation, ticket, tool, run })).pipe(
          Effect.onInterrupt(() => Effect.sync(() => this.cancelled.push(`${generation} ${ticket.method}`))),
          Effect.ensuring(
            Effect.sync(() => {
              inFlight -= 1
            })
          )
        )
      })

    const session: SimulatedSession = {
      generation,
      info: {
        era: this.script.era,
        protocolVersion: this.script.era === "legacy" ? "2025-11-25" : "2026-07-28",
        name: "simulated",
        version: `${generation}.0.0`,
        capabilities: this.script.capabilities
      },
      host,
      tell: (notification) => Effect.sync(() => host.onNotification(notification)),
      notify: (method) =>
        Effect.suspend(() =>
          Deferred.isDoneUnsafe(ended)
            ? Effect.flatMap(Deferred.await(ended), (error) => Effect.fail(error))
            : Effect.sync(() => void this.notified.push(`${generation} ${method}`))
        ),
      request: <Method extends string>(ticket: RequestTicket<Method>) =>
        // The script answers any method; only the test knows that the result fits.
        request(ticket) as Effect.Effect<ResultOf<Method>, SessionFailure>,
      lost: Deferred.await(ended),
      isolation: this.script.isolation,
      listen: (filter) =>
        Effect.flatMap(this.state ?? Effect.succeed(undefined), (state) => {
          const gone = Effect.flatMap(Deferred.await(ended), (error) => Effect.fail(error))
          if (Deferred.isDoneUnsafe(ended)) return gone
          const listened: Listened = { generation, at: clock.currentTimeMillisUnsafe(), state, filter }
          this.listened.push(listened)
          return Effect.raceFirst(gone, this.script.listen(listened, session))
        }),
      gap: Effect.sync(() => onGap()),
      suspect: (error) => Effect.sync(() => onSuspect(error)),
      lastActivity: () => lastActivity,
      inFlight: () => inFlight,
      lose: (error = exited) => Effect.asVoid(Deferred.succeed(ended, error)),
      hear
    }
    return session
  }

  private run(generation: number, ticket: RequestTicket): unknown {
    switch (ticket.method) {
      case "tools/list":
        return { tools: this.script.tools(generation) }
      case "tools/call": {
        const key = keyOf(ticket) ?? toolOf(ticket) ?? "?"
        this.ran.push(key)
        return { content: [{ type: "text", text: `${key} on ${generation}` }] }
      }
      default:
        return {}
    }
  }
}

/** A connection error of the simulated server. */
export const failure = (reason: Reason, stderrTail?: string): ConnectionError =>
  new ConnectionError({ server: "simulated", reason, stderrTail })

/** The error of a server that died. */
export const exited = failure(new ProcessExited({ exitCode: 1 }))

/** A tool, as a server lists it. */
export const tool = (name: string, annotations?: Tool["annotations"]): Tool => ({
  name,
  inputSchema: { type: "object" },
  ...(annotations === undefined ? {} : { annotations })
})

/** Lets every fiber that can run do so; no time passes. */
export const settle: Effect.Effect<void> = Effect.forEach(Array.from({ length: 20 }), () => TestClock.adjust(0), {
  discard: true
})

/** Lets time pass, and every fiber that can run then. */
export const advance = (duration: Duration.Input): Effect.Effect<void> =>
  settle.pipe(Effect.andThen(TestClock.adjust(duration)), Effect.andThen(settle))

const toolOf = (ticket: RequestTicket): string | undefined =>
  ticket.method === "tools/call" &&
  Predicate.hasProperty(ticket.params, "name") &&
  Predicate.isString(ticket.params.name)
    ? ticket.params.name
    : undefined

const keyOf = (ticket: RequestTicket): string | undefined =>
  Predicate.hasProperty(ticket.params, "arguments") &&
  Predicate.hasProperty(ticket.params.arguments, "key") &&
  Predicate.isString(ticket.params.arguments.key)
    ? ticket.params.arguments.key
    : undefined
