/** What many noisy rounds say: a median, and between which bounds it would lie in 95 of 100 repetitions. */
import { type Random, seeded } from "./random.ts"

/** A median with its 95 % interval. */
export interface Estimate {
  readonly median: number
  readonly low: number
  readonly high: number
  /** How many rounds it is made of, and how many fresh starts of the processes those came from. */
  readonly rounds: number
  readonly starts: number
}

/** The value below which a share of the values lies, interpolated between neighbours. */
export const quantile = (values: ArrayLike<number>, share: number): number => {
  if (values.length === 0) throw new RangeError("a quantile of nothing")
  const sorted = Float64Array.from(values).sort()
  const place = (sorted.length - 1) * share
  const below = Math.floor(place)
  const low = sorted[below] ?? Number.NaN
  const high = sorted[Math.ceil(place)] ?? Number.NaN
  return low + (high - low) * (place - below)
}

export const median = (values: ArrayLike<number>): number => quantile(values, 0.5)

/** How often the rounds are drawn anew for an interval. */
const draws = 2_000

/**
 * The median of all rounds, and its bootstrap interval. Rounds of one start share its memory layout and compiled code, so they are no
 * independent witnesses: starts are drawn first, and then rounds out of each.
 */
export const estimate = (starts: ReadonlyArray<ReadonlyArray<number>>, random: Random = seeded(95)): Estimate => {
  const rounds = starts.flat()
  const any = <A>(items: ReadonlyArray<A>): A => {
    const item = items[Math.floor(random() * items.length)]
    if (item === undefined) throw new RangeError("an estimate of nothing")
    return item
  }
  const medians = Array.from({ length: draws }, () =>
    median(
      starts.flatMap(() => {
        const start = any(starts)
        return start.map(() => any(start))
      })
    )
  )
  return {
    median: median(rounds),
    low: quantile(medians, 0.025),
    high: quantile(medians, 0.975),
    rounds: rounds.length,
    starts: starts.length
  }
}

/** The slope and the intercept of the line with the smallest squared distance to the points. */
export const line = (
  points: ReadonlyArray<readonly [x: number, y: number]>
): { readonly slope: number; readonly intercept: number } => {
  const mean = (values: ReadonlyArray<number>) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [mx, my] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))]
  const spread = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0)
  const slope = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) / spread
  return { slope, intercept: my - slope * mx }
}
