/** How many fibers of Effect are alive: the runtime tells of each, on its way in and on its way out. */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

let alive = 0

export const fibersAlive = (): number => alive

/** Counts the fibers that the effect starts, and all that those start. `Metric`'s own gauge does the same, at a higher price. */
export const counted = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Metric.FiberRuntimeMetrics, {
    recordFiberStart: () => {
      alive += 1
    },
    recordFiberEnd: () => {
      alive -= 1
    }
  })
