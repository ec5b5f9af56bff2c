/** Probes a silent session, and gives the verdict when it stays silent (DESIGN §8). */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type ConnectionError, LivenessLost, type Reason } from "../../ConnectionError.ts"
import type { Heartbeat } from "../../Heartbeat.ts"
import { type McpSession, RequestTicket } from "../../McpSession.ts"

/** A sleep this much longer, or shorter, than it should be was no sleep of ours: the machine slept (a laptop's lid, a stopped VM). */
const jumpMillis = 5_000

/** How often the clock is looked at: timers stand still while a machine sleeps, and go on afterwards with what they had left. */
const lookMillis = 2_000

export interface Notes {
  readonly missed: () => Effect.Effect<void>
  /** The clock has jumped, and nothing was heard since; or something was. */
  readonly jumped: (jumped: boolean) => void
  /** A probe could not be sent, or its answer not be read. */
  readonly failed: (error: ConnectionError) => void
  /** There is nothing to keep alive: a stateless server that is asked for nothing. */
  readonly isDormant: () => boolean
  /** When the clock is looked at next. */
  readonly lookDue: (at: number) => void
}

/** Whether the clock has jumped, now that it says `now` where it should say at most `due`. */
export const hasJumped = (now: number, due: number): boolean => now - due > jumpMillis

/** Waits for the verdict that the session is dead. Does not return while the server gives any sign of life. */
export const untilDead = Effect.fnUntraced(function* (
  session: McpSession,
  heartbeat: Heartbeat,
  notes: Notes
): Effect.fn.Return<Reason> {
  const interval = Duration.toMillis(heartbeat.interval)
  const busyGrace = Duration.toMillis(heartbeat.busyGrace)
  const timeout = Duration.toMillis(heartbeat.timeout)
  let missed = 0
  let jumped = false

  while (true) {
    if (notes.isDormant()) {
      yield* rest(interval, notes)
      continue
    }
    const silent = (yield* Clock.currentTimeMillis) - session.lastActivity()
    const patience = session.inFlight() > 0 ? Math.max(interval, busyGrace) : interval
    if (silent < interval) missed = 0
    if (silent < patience && !jumped) {
      // A request may come or go meanwhile, so the longer patience is looked at again.
      jumped = yield* rest(Math.min(interval, patience - silent), notes)
      continue
    }
    if (jumped) {
      missed = 0
      notes.jumped(true)
    }
    const heard = session.lastActivity()
    const due = (yield* Clock.currentTimeMillis) + timeout
    notes.lookDue(due)
    yield* probe(session, missed, notes).pipe(Effect.timeoutOption(heartbeat.timeout))
    // Bytes, not the answer: some requests the client answers by itself. Not "later than": the clock may have gone back.
    if (session.lastActivity() !== heard) {
      missed = 0
      notes.jumped(false)
      jumped = yield* rest(interval, notes)
      continue
    }
    // Nobody was there to answer, or to hear it: that is no miss.
    jumped = hasJumped(yield* Clock.currentTimeMillis, due)
    if (jumped) continue
    missed += 1
    yield* notes.missed()
    if (missed >= heartbeat.misses) {
      const silentFor = (yield* Clock.currentTimeMillis) - session.lastActivity()
      return new LivenessLost({ missed, silentFor: Duration.millis(Math.max(0, silentFor)) })
    }
  }
})

/** Sleeps, and tells whether the clock has jumped meanwhile: then it ends at once. */
const rest = Effect.fnUntraced(function* (millis: number, notes: Notes) {
  for (let left = millis; left > 0; left -= lookMillis) {
    const pause = Math.min(left, lookMillis)
    const due = (yield* Clock.currentTimeMillis) + pause
    notes.lookDue(due)
    yield* Effect.sleep(pause)
    const now = yield* Clock.currentTimeMillis
    if (hasJumped(now, due) || hasJumped(due, now)) return true
  }
  return false
})

/**
 * Any answer is life, also a refusal: servers without `ping` exist (-32601). A silent `ping` is confirmed by a different
 * request, since servers that swallow it exist too. A loss under the probe is told by the session itself.
 */
const probe = (session: McpSession, missed: number, notes: Notes): Effect.Effect<void> => {
  const request =
    missed % 2 === 0 || session.info.capabilities.tools === undefined
      ? Effect.asVoid(session.request(new RequestTicket("ping", undefined)))
      : Effect.asVoid(session.request(new RequestTicket("tools/list", undefined)))
  return Effect.catch(request, (failure) => {
    if (failure._tag !== "ConnectionError") return Effect.void
    notes.failed(failure)
    return Effect.never
  })
}
