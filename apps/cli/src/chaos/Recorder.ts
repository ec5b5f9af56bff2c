/** Takes down what happens in a run. */
import {
  type ConnectionError,
  type ConnectionEvent,
  ConnectionState,
  type McpConnection,
  type RequestError
} from "@mcp-tether/connection"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type { Call, Kill, Outage, StateChange } from "./Run.ts"
import type { Planned } from "./workload.ts"

type Mutable<A> = { -readonly [Key in keyof A]: A[Key] }

export interface Recorder {
  /** Notes what happens to the connection, from now on. */
  readonly watch: (connection: McpConnection.Shape) => Effect.Effect<void, never, Scope.Scope>
  /** Fails when opening the first session has failed this often. */
  readonly startFailed: Effect.Effect<never, ConnectionError.ConnectionError>
  /** The run begins now: times count from here. */
  readonly begin: Effect.Effect<void>
  /** Since the beginning; `undefined`: it has not begun. */
  readonly elapsed: Effect.Effect<number | undefined>
  /** Makes a call, and notes what becomes of it. */
  readonly call: (planned: Planned, connection: McpConnection.Shape) => Effect.Effect<void>
  /** Notes a kill, and later when it was healed. */
  readonly kill: (kill: Omit<Kill, "at" | "healedAt">) => Effect.Effect<{ readonly healed: Effect.Effect<void> }>
  /** From now on nothing is an answer any more. */
  readonly close: Effect.Effect<void>
  readonly calls: ReadonlyArray<Call & { readonly order: string | undefined }>
  readonly kills: ReadonlyArray<Kill>
  readonly outages: ReadonlyArray<Outage>
  readonly states: ReadonlyArray<StateChange>
  /** All processes that have served. */
  readonly pids: ReadonlySet<number>
  readonly replays: () => number
}

const mostStarts = 3

export const make: Effect.Effect<Recorder> = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const startFailed = yield* Deferred.make<never, ConnectionError.ConnectionError>()
  const calls: Array<Mutable<Call> & { readonly order: string | undefined }> = []
  const kills: Array<Mutable<Kill>> = []
  const outages: Array<Mutable<Outage>> = []
  const states: Array<StateChange> = []
  const pids = new Set<number>()
  let start: number | undefined
  let replays = 0
  let closed = false
  let state: ConnectionState.ConnectionState = ConnectionState.initial
  let generation = 0

  const since = (at: number): number => Math.max(0, at - (start ?? at))
  const now = (): number => since(clock.currentTimeMillisUnsafe())

  const note = (event: ConnectionEvent.ConnectionEvent): Effect.Effect<unknown> => {
    const before = state._tag
    state = ConnectionState.transition(state, event)
    const at = since(event.at)
    const outage = outages.at(-1)
    const open = outage?.readyAt === null ? outage : undefined
    if (event._tag === "SessionReady") {
      generation = event.generation
      if (event.server.pid !== undefined) pids.add(event.server.pid)
      if (open !== undefined) open.readyAt = at
    }
    if (event._tag === "SessionLost" && start !== undefined)
      outages.push({ lostAt: at, readyAt: null, cause: event.error.reason._tag, attempts: 0 })
    if (event._tag === "AttemptStarted" && open !== undefined) open.attempts += 1
    if (event._tag === "RequestReplayed" && start !== undefined) replays += 1
    if (state._tag !== before && start !== undefined) states.push({ at, state: state._tag, generation })
    const failed = event._tag === "GaveUp" || (event._tag === "AttemptFailed" && event.attempt >= mostStarts)
    return failed && generation === 0 ? Deferred.fail(startFailed, event.error) : Effect.void
  }

  return {
    calls,
    kills,
    outages,
    states,
    pids,
    replays: () => replays,
    startFailed: Deferred.await(startFailed),
    watch: (connection) =>
      Effect.asVoid(Effect.forkScoped(Stream.runForEach(connection.events, note), { startImmediately: true })),
    begin: Effect.sync(() => {
      start = clock.currentTimeMillisUnsafe()
      states.push({ at: 0, state: state._tag, generation })
    }),
    elapsed: Effect.sync(() => (start === undefined ? undefined : now())),
    call: ({ order, run, what }, connection) =>
      Effect.suspend(() => {
        const call: (typeof calls)[number] = {
          number: calls.length + 1,
          what,
          at: now(),
          tookMillis: null,
          outcome: "pending",
          error: null,
          delivery: null,
          sent: 0,
          right: null,
          charged: null,
          order
        }
        calls.push(call)
        const began = clock.currentTimeNanosUnsafe()
        return run(connection).pipe(
          Effect.withTracer(sendings(() => (call.sent += 1))),
          Effect.onExit((exit) =>
            Effect.sync(() => {
              if (closed) return
              Object.assign(call, outcomeOf(exit))
              if (call.outcome === "cutOff") return
              call.tookMillis = Number((clock.currentTimeNanosUnsafe() - began) / 10_000n) / 100
            })
          ),
          Effect.exit,
          Effect.asVoid
        )
      }),
    kill: (kill) =>
      Effect.sync(() => {
        const noted: Mutable<Kill> = { ...kill, at: now(), healedAt: null }
        kills.push(noted)
        pids.add(kill.pid)
        return { healed: Effect.sync(() => void (noted.healedAt = now())) }
      }),
    close: Effect.sync(() => void (closed = true))
  }
})

/** The library makes a span for each sending of a request. */
const sendings = (onSending: () => void): Tracer.Tracer =>
  Tracer.make({
    span: (options) => {
      if (options.name.startsWith("mcp.client ")) onSending()
      return new Tracer.NativeSpan(options)
    }
  })

const outcomeOf = (
  exit: Exit.Exit<boolean | null, RequestError.RequestError>
): Partial<Pick<Call, "delivery" | "error" | "outcome" | "right">> => {
  if (Exit.isSuccess(exit)) return { outcome: "answered", right: exit.value }
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (error === undefined)
    return Cause.hasInterrupts(exit.cause)
      ? { outcome: "cutOff" }
      : { outcome: "failed", error: "Defect", delivery: "Unknown" }
  return {
    outcome: error._tag === "OutcomeUnknown" ? "unknown" : "failed",
    error: error._tag,
    delivery: "delivery" in error ? error.delivery : error._tag === "InvalidRequest" ? "NotSent" : "Unknown"
  }
}
