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
  readonly compared: { readonly how: string; readonly estimate: Estimate }
  readonly target?: Target | undefined
}

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

export interface Suite {
  readonly suite: string
  readonly rows: ReadonlyArray<Row>
}

type Rounds<A> = ReadonlyArray<ReadonlyArray<A>>

const over = <A>(starts: Rounds<A>, f: (round: A) => number): Estimate =>
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
