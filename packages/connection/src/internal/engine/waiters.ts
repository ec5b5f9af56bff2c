/**
 * Those who wait for a session, each in its own fiber: who is handed one goes on at once, before anything else is done. A race with a timer
 * would first have to end its other side.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Deadlines from "./deadlines.ts"

/** What a waiter gets, once there is something. */
type Look<A, E> = () => Effect.Effect<A, E> | undefined

/** How long somebody waits at the most, and what there is then. */
export interface Within<A, E> {
  readonly duration: Duration.Duration
  readonly orElse: () => Effect.Effect<A, E>
}

export class Waiters {
  readonly #deadlines: Deadlines.Deadlines
  readonly #looks = new Set<() => void>()

  constructor(deadlines: Deadlines.Deadlines) {
    this.#deadlines = deadlines
  }

  /** Something has changed that can end a wait. In the order in which they came. */
  look(): void {
    for (const look of this.#looks) look()
  }

  /** Waits until there is something: now, or after a change. */
  until<A, E>(look: Look<A, E>, within?: Within<A, E>): Effect.Effect<A, E> {
    return Effect.callback((resume) => {
      const found = look()
      if (found !== undefined) return resume(found)
      let deadline: Deadlines.Deadline | undefined
      const leave = (): void => {
        this.#looks.delete(again)
        if (deadline !== undefined) this.#deadlines.remove(deadline)
      }
      const end = (what: Effect.Effect<A, E>): void => {
        leave()
        resume(what)
      }
      const again = (): void => {
        const found = look()
        if (found !== undefined) end(found)
      }
      this.#looks.add(again)
      if (within !== undefined && Duration.isFinite(within.duration)) {
        deadline = this.#deadlines.add(Duration.toMillis(within.duration), () => {
          end(within.orElse())
          return 0
        })
      }
      return Effect.sync(leave)
    })
  }
}
