/** What the parts of one connection share: the `Ref` that holds state and session, the streams of changes, the mailbox. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as MutableRef from "effect/MutableRef"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import type * as Semaphore from "effect/Semaphore"
import type * as Catalog from "../../Catalog.ts"
import { ConnectionError, InternalError, type Reason } from "../../ConnectionError.ts"
import type * as ConnectionEvent from "../../ConnectionEvent.ts"
import * as ConnectionState from "../../ConnectionState.ts"
import type { McpSession, ServerNotification } from "../../McpSession.ts"
import * as Catalogs from "./catalogs.ts"
import type * as Deadlines from "./deadlines.ts"
import type * as Desired from "./desired.ts"
import * as SlidingPubSub from "./slidingPubSub.ts"
import * as Suspicion from "./suspicion.ts"
import * as Telemetry from "./telemetry.ts"
import * as ToolCatalog from "./toolCatalog.ts"
import * as Vitals from "./vitals.ts"
import * as Waiters from "./waiters.ts"

/** A session that callers may use. */
export interface Published {
  readonly generation: number
  readonly session: McpSession
  readonly openedAt: number
  readonly tools: ToolCatalog.ToolCatalog
  /** What this session has acknowledged of what is desired. */
  readonly applied: Desired.Applied
  /** How often it has said that its lists changed. */
  readonly versions: Catalogs.Versions
  /** What is doubtful about it. */
  readonly suspicions: Suspicion.Suspicions
  /** Tells that something more is desired of it than it knows, or that it may not have told of something. */
  readonly wish: (what: Wish) => void
  /** Has lists read again: an answer was overtaken by a change that the server told of. */
  readonly relist: (kinds: ReadonlyArray<Catalog.Kind>) => void
  /** Held by whoever asks it to tell of changes: of two who ask at once, the older wish could win. There when somebody asks. */
  listenTurn: Semaphore.Semaphore | undefined
  /** Whether there was an outage before it. */
  isReturn: boolean
  /** The machine slept, and the session was not heard of since: its loss is nobody's fault. */
  jumped: boolean
  /** When the clock is looked at next: a session can be lost as the machine wakes, before anyone did. */
  lookDue: number
  /** Changes whenever an attempt to replace it starts or ends. */
  refreshPhase: number
  /** Why it was lost, once it is: what its requests failed with is often only the consequence. */
  loss: ConnectionError | undefined
}

/**
 * Why a session is to be asked to tell of changes: more or less is desired (`More`), a reader could not be subscribed at once
 * (`Late`), or the stream has broken (`Gap`). After the last two something may have been missed.
 */
export type Wish = "More" | "Late" | "Gap"

/** State and session, swapped in one write: nobody sees one without the other. */
export interface Snapshot {
  readonly state: ConnectionState.ConnectionState
  readonly published: Published | undefined
  /** The number of the last session that was published; 0 before the first. */
  readonly generation: number
}

/**
 * What the supervisor is told. `seen` is the generation and `phase` the phase that the sender knew, so that a stale message can be
 * told apart: a thousand callers who ask for a reconnect at once get one, and who asks while an attempt runs shares its end.
 */
export type Signal = Data.TaggedEnum<{
  Start: {}
  LossReported: { readonly seen: number; readonly error: ConnectionError }
  ReconnectRequested: { readonly seen: number; readonly phase: number }
  RefreshRequested: { readonly seen: number; readonly phase: number; readonly refreshPhase: number }
}>
export const { Start, LossReported, ReconnectRequested, RefreshRequested } = Data.taggedEnum<Signal>()

export interface Core {
  readonly server: string
  readonly snapshot: Ref.Ref<Snapshot>
  readonly states: SlidingPubSub.OnDemand<ConnectionState.ConnectionState>
  readonly events: SlidingPubSub.OnDemand<ConnectionEvent.ConnectionEvent>
  readonly mailbox: Queue.Queue<Signal>
  /** Changes whenever an attempt starts or ends. */
  phase: number
  /** How to read the last of the server's stderr, of the attempt that was made last. */
  stderrTail: () => string | undefined
  /** Applies an event: one `Ref` write of state and session, then the streams. Only the supervisor changes the session. */
  readonly emit: (
    event: (at: number) => ConnectionEvent.ConnectionEvent,
    publish?: (current: Published | undefined) => Published | undefined
  ) => Effect.Effect<void>
  /** The same, if something holds at the moment of the write; tells whether it did. */
  readonly emitIf: (
    holds: () => boolean,
    event: (at: number) => ConnectionEvent.ConnectionEvent,
    publish: (current: Published | undefined) => Published | undefined,
    /** What there is to tell besides, before anyone who waits goes on. */
    then?: (at: number) => ConnectionEvent.ConnectionEvent | undefined
  ) => Effect.Effect<boolean>
  readonly telemetry: Telemetry.Telemetry
  readonly vitals: Vitals.Vitals
  /** Completes when the connection is closed. */
  readonly closed: Deferred.Deferred<void>
  /** The notifications of the sessions, restored or not. */
  readonly notifications: SlidingPubSub.OnDemand<ServerNotification>
  /** They look at each change to `Ready`, `Failed` or `Closed`, and when a suspicion is cleared. */
  readonly waiters: Waiters.Waiters
  /**
   * Reports that a session has failed under a request: to the supervisor, or where one failure proves nothing, as a suspicion, which is
   * returned.
   */
  readonly report: (published: Published, error: ConnectionError) => Suspicion.Suspicion | undefined
  readonly error: (reason: Reason, stderrTail?: string) => ConnectionError
  /** What broke its own rules, without whatever an exception carries along: Node's hold whole command lines. */
  readonly defect: (where: InternalError["where"], cause: Cause.Cause<unknown>) => ConnectionError
}

/** How many changes a slow reader may be behind before it misses the oldest: it must never hold the connection up. */
const streamCapacity = 1024

export const make = Effect.fnUntraced(function* (server: string, deadlines: Deadlines.Deadlines) {
  const snapshot = yield* Ref.make<Snapshot>({ state: ConnectionState.initial, published: undefined, generation: 0 })
  const states = new SlidingPubSub.OnDemand<ConnectionState.ConnectionState>(streamCapacity, ConnectionState.initial)
  const events = new SlidingPubSub.OnDemand<ConnectionEvent.ConnectionEvent>(streamCapacity)
  const notifications = new SlidingPubSub.OnDemand<ServerNotification>(streamCapacity)
  const mailbox = yield* Queue.unbounded<Signal>()
  const vitals = new Vitals.Vitals()
  const telemetry = Telemetry.make(server, (at, exit) => vitals.ended(at, exit))
  const closed = Deferred.makeUnsafe<void>()
  const waiters = new Waiters.Waiters(deadlines)

  const unheard: Array<() => void> = []
  let isTelling = false
  let hasSettled = false
  /** Who hears of something goes on at once, and may cause the next thing to tell: that comes after. Those who wait come last. */
  const tell = (news: () => void): void => {
    unheard.push(news)
    if (isTelling) return
    isTelling = true
    try {
      for (let next = unheard.shift(); next !== undefined; next = unheard.shift()) next()
    } finally {
      isTelling = false
      if (hasSettled) {
        hasSettled = false
        waiters.look()
      }
    }
  }

  const emitIf: Core["emitIf"] = (holds, makeEvent, publish, then = () => undefined) =>
    Effect.withFiber((fiber) => {
      const event = makeEvent(fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
      const before = Ref.getUnsafe(snapshot)
      if (!holds()) return Effect.succeed(false)
      const state = ConnectionState.transition(before.state, event)
      const published = state._tag === "Closed" ? undefined : publish(before.published)
      MutableRef.set(snapshot.ref, { state, published, generation: published?.generation ?? before.generation })
      if (before.published !== undefined && before.published !== published) vitals.left(before.published.session)
      tell(() => {
        if (state !== before.state) states.publish(state)
        events.publish(event)
        const more = then(event.at)
        if (more !== undefined) events.publish(more)
        if (state !== before.state && settles(state)) hasSettled = true
        if (state._tag === "Closed") Deferred.doneUnsafe(closed, Exit.void)
        // Last: a tracer may throw.
        telemetry.record(event, fiber)
      })
      return Effect.succeed(true)
    })

  const core: Core = {
    server,
    snapshot,
    states,
    events,
    notifications,
    telemetry,
    vitals,
    closed,
    mailbox,
    phase: 0,
    stderrTail: () => undefined,
    emit: (makeEvent, publish = (current) => current) => Effect.asVoid(emitIf(() => true, makeEvent, publish)),
    emitIf,
    report: (published, error) => {
      if (Suspicion.isDoubtful(published.session, error) && Ref.getUnsafe(snapshot).published === published) {
        return published.suspicions.raise(error)
      }
      Queue.offerUnsafe(mailbox, LossReported({ seen: published.generation, error }))
      return undefined
    },
    waiters,
    error: (reason, stderrTail) => new ConnectionError({ server, reason, stderrTail }),
    defect: (where, cause) => {
      const squashed = Cause.squash(cause)
      const [description, stack] =
        squashed instanceof Error ? [squashed.message, squashed.stack] : [String(squashed), undefined]
      return new ConnectionError({ server, reason: new InternalError({ where, description, stack }) })
    }
  }
  return core
})

const settles = (state: ConnectionState.ConnectionState): boolean =>
  state._tag === "Ready" || state._tag === "Failed" || state._tag === "Closed"

export const makePublished = (
  generation: number,
  session: McpSession,
  openedAt: number,
  applied: Desired.Applied,
  care: Pick<Published, "suspicions" | "wish" | "relist">
): Published => ({
  ...care,
  generation,
  session,
  openedAt,
  tools: new ToolCatalog.ToolCatalog(),
  applied,
  versions: Catalogs.noVersions(),
  listenTurn: undefined,
  refreshPhase: 0,
  isReturn: false,
  jumped: false,
  lookDue: Number.POSITIVE_INFINITY,
  loss: undefined
})
