/** What the suites hand to the report. */
import { type Estimate, estimate } from "./statistics.ts"

/** One line of the report. */
export interface Row {
  /** What was measured, like `stdio, echo, p50`. */
  readonly what: string
  /** The medians of the subjects themselves, in the unit; for orientation only, since machines differ. */
  readonly values: Readonly<Record<string, number>>
  readonly unit: string
  /** How the first subject compares with the second, and the interval of that. */
  readonly compared: { readonly how: Comparison; readonly estimate: Estimate }
  readonly target?: Target | undefined
}

/** A ratio, a difference, or the figure itself. */
export type Comparison = "×" | "+" | "="

export interface Target {
  readonly at: "most" | "least"
  readonly bound: number
}

export type Verdict = "reached" | "reached, within the noise" | "missed, within the noise" | "missed"

/** The median decides; when the bound lies inside the interval, another run may decide otherwise. */
export const verdict = ({ median, high, low }: Pick<Estimate, "median" | "low" | "high">, target: Target): Verdict => {
  const keeps = (value: number) => (target.at === "most" ? value <= target.bound : value >= target.bound)
  const sure = keeps(low) === keeps(high)
  if (keeps(median)) return sure ? "reached" : "reached, within the noise"
  return sure ? "missed" : "missed, within the noise"
}

/** What is drawn as lines: how something grows. */
export interface Curve {
  /** The name of the file. */
  readonly name: string
  readonly title: string
  readonly x: Axis
  readonly y: Axis
  readonly points: ReadonlyArray<
    { readonly series: string; readonly x: number } & Pick<Estimate, "median" | "low" | "high">
  >
}

export interface Axis {
  readonly title: string
  readonly log: boolean
}

export interface Suite {
  readonly suite: string
  /** In one line, what is compared. */
  readonly about: string
  readonly rows: ReadonlyArray<Row>
  readonly curves?: ReadonlyArray<Curve>
}

type Rounds<A> = ReadonlyArray<ReadonlyArray<A>>

/** The estimate of one figure of each round. */
export const over = <A>(starts: Rounds<A>, f: (round: A) => number): Estimate =>
  estimate(starts.map((rounds) => rounds.map(f)))

/** The ratio of two subjects in each round. */
export const ratio = <A>(
  starts: Rounds<A>,
  ours: (round: A) => number,
  theirs: (round: A) => number
): Row["compared"] => ({ how: "×", estimate: over(starts, (round) => ours(round) / theirs(round)) })

/** The difference of two subjects in each round. */
export const difference = <A>(
  starts: Rounds<A>,
  ours: (round: A) => number,
  theirs: (round: A) => number
): Row["compared"] => ({ how: "+", estimate: over(starts, (round) => ours(round) - theirs(round)) })

export const medianOf = <A>(starts: Rounds<A>, f: (round: A) => number): number => over(starts, f).median

/** What is counted and not measured, like bytes, is the same in each round. */
export const exact = (how: Comparison, value: number): Row["compared"] => ({
  how,
  estimate: { median: value, low: value, high: value, rounds: 0, starts: 0 }
})
