/** Of each thing one at a time; what nobody does anything with takes no memory. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"

export interface Turns {
  /** Runs an effect when all that came before it, of the same key, have ended. */
  readonly take: <A, E, R>(key: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** How many keys there are turns of. */
  readonly size: () => number
}

interface Turn {
  readonly semaphore: Semaphore.Semaphore
  /** How many take it or wait for it. */
  users: number
}

export const make = (): Turns => {
  let turns: Map<string, Turn> | undefined
  return {
    take: (key, effect) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          turns ??= new Map()
          const turn = turns.get(key) ?? { semaphore: Semaphore.makeUnsafe(1), users: 0 }
          turn.users += 1
          turns.set(key, turn)
          return turn
        }),
        ({ semaphore }) => semaphore.withPermits(1)(effect),
        (turn) =>
          Effect.sync(() => {
            turn.users -= 1
            if (turn.users === 0) turns?.delete(key)
          })
      ),
    size: () => turns?.size ?? 0
  }
}
