/**
 * When the answers to requests are due. One fiber sleeps for all of them, of all connections on one clock: a fiber and a timer for each
 * request would cost more than the rest of a call, and for each connection more than two kibibytes.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

/** One wait. */
export interface Deadline {
  /** On the clock that does not jump when somebody sets the time. */
  at: number
  /** How long before that it was set. */
  millis: number
  /** Called when it is due: for how many milliseconds more it is waited for, or 0 when the wait is over. */
  readonly due: () => number
}

export interface Deadlines {
  readonly add: (millis: number, due: Deadline["due"]) => Deadline
  /** The wait has ended before it was due; nothing, if it is over. */
  readonly remove: (deadline: Deadline) => void
}

/** Those of the clock that is there now; nothing of them sleeps when no connection uses them. */
export const make: Effect.Effect<Deadlines, never, Scope.Scope> = Effect.acquireRelease(
  Clock.clockWith((clock) =>
    Effect.sync(() => {
      const shared = byClock.get(clock) ?? { clock, deadlines: on(clock), users: 0 }
      byClock.set(clock, shared)
      shared.users += 1
      return shared
    })
  ),
  (shared) =>
    Effect.sync(() => {
      shared.users -= 1
      if (shared.users > 0) return
      byClock.delete(shared.clock)
      shared.deadlines.stop()
    })
).pipe(Effect.map(({ deadlines }) => deadlines))

interface Shared {
  readonly clock: Clock.Clock
  readonly deadlines: Deadlines & { readonly stop: () => void }
  users: number
}

const byClock = new Map<Clock.Clock, Shared>()

const on = (clock: Clock.Clock): Shared["deadlines"] => {
  /** By how long they wait: those who wait equally long are due in the order in which they came. */
  const waits = new Map<number, Set<Deadline>>()
  let sleeper: Fiber.Fiber<void> | undefined
  let wakesAt = Number.POSITIVE_INFINITY

  const now = (): number => Number(clock.monotonicTimeNanosUnsafe()) / nanosPerMilli

  const insert = (deadline: Deadline): void => {
    const equals = waits.get(deadline.millis)
    if (equals === undefined) waits.set(deadline.millis, new Set([deadline]))
    else equals.add(deadline)
    // Whoever comes behind others who wait equally long is never the first.
    if (deadline.at < wakesAt) sleepUntil(deadline.at)
  }

  const sleepUntil = (at: number): void => {
    sleeper?.interruptUnsafe()
    wakesAt = at
    const left = Math.min(longestSleep, Math.max(0, Math.ceil(at - now())))
    const sleeping = Effect.runFork(Effect.provideService(Effect.sleep(left), Clock.Clock, clock))
    sleeper = sleeping
    sleeping.addObserver((exit) => {
      if (sleeper === sleeping && exit._tag === "Success") wake()
    })
  }

  const wake = (): void => {
    sleeper = undefined
    wakesAt = Number.POSITIVE_INFINITY
    try {
      callDue()
    } finally {
      // Whatever one of them throws, the others are of other connections, and still to come.
      sleepAgain()
    }
  }

  const callDue = (): void => {
    const until = now()
    for (const equals of waits.values()) {
      for (const deadline of equals) {
        if (deadline.at > until) break
        remove(deadline)
        const more = deadline.due()
        if (more <= 0) continue
        deadline.millis = more
        deadline.at = now() + more
        insert(deadline)
      }
    }
  }

  const sleepAgain = (): void => {
    let next = Number.POSITIVE_INFINITY
    for (const equals of waits.values()) {
      for (const { at } of equals) {
        next = Math.min(next, at)
        break
      }
    }
    if (next < wakesAt) sleepUntil(next)
  }

  const add: Deadlines["add"] = (millis, due) => {
    const deadline: Deadline = { at: now() + millis, millis, due }
    insert(deadline)
    return deadline
  }

  const remove: Deadlines["remove"] = (deadline) => {
    const equals = waits.get(deadline.millis)
    equals?.delete(deadline)
    if (equals?.size === 0) waits.delete(deadline.millis)
  }

  return { add, remove, stop: () => sleeper?.interruptUnsafe() }
}

const nanosPerMilli = 1_000_000

/** In milliseconds: timers know no longer ones than 2^31. */
const longestSleep = 2 ** 31 - 1
