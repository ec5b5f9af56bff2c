/** Whether a series of measurements rises, by ranks: a few outliers, of which garbage collection has many, decide nothing. */

export interface Trend {
  /** The median of the slopes between all pairs of points (Theil, Sen). */
  readonly slope: number
  /** The true slope is between these with a probability of 95 % (Sen 1968, by the variance of Kendall's S). */
  readonly low: number
  readonly high: number
}

/** The standard normal deviate that 2.5 % exceed. */
const deviate = 1.96

/** Needs at least two points with different `x`. */
export const trendOf = (points: ReadonlyArray<readonly [x: number, y: number]>): Trend => {
  const slopes: Array<number> = []
  for (const [index, [x, y]] of points.entries()) {
    for (const [otherX, otherY] of points.slice(index + 1)) {
      if (otherX !== x) slopes.push((otherY - y) / (otherX - x))
    }
  }
  slopes.sort((a, b) => a - b)
  const n = points.length
  const spread = deviate * Math.sqrt((n * (n - 1) * (2 * n + 5)) / 18)
  // With few points the interval is wider than all slopes there are: then it is all of them.
  const at = (rank: number): number => slopes[Math.min(slopes.length - 1, Math.max(0, rank))] ?? Number.NaN
  return {
    slope: (at(Math.floor((slopes.length - 1) / 2)) + at(Math.ceil((slopes.length - 1) / 2))) / 2,
    low: at(Math.floor((slopes.length - spread) / 2)),
    high: at(Math.ceil((slopes.length + spread) / 2))
  }
}
