/** What the measurements say. */
import { type Trend, trendOf } from "./trend.ts"

/** `Unclear` is no pass: a soak that is too short or too noisy to tell has shown nothing. */
export type Verdict = "Flat" | "Grows" | "Differs" | "Unclear"

export interface Finding {
  readonly what: string
  readonly verdict: Verdict
  /** One sentence with the figures. */
  readonly text: string
  readonly trend?: Trend
}

export interface Limit {
  /** The largest growth for each turn that still counts as flat. */
  readonly perTurn: number
  readonly unit: string
  readonly turn: string
}

/** Judges what can only be weighed: the whole confidence interval of its slope has to be below the limit. */
export const judgeTrend = (
  what: string,
  points: ReadonlyArray<readonly [x: number, y: number]>,
  { perTurn, turn, unit }: Limit
): Finding => {
  const trend = trendOf(points)
  const { high, low, slope } = trend
  const verdict = high < perTurn ? "Flat" : low > 0 && slope >= perTurn ? "Grows" : "Unclear"
  const figures = `${signed(slope)} ${unit} per ${turn} (95 %: ${signed(low)} to ${signed(high)}; allowed: less than ${perTurn})`
  return { what, verdict, text: figures, trend }
}

/** Judges what can be weighed only a few times, after the first of them: the growth from each to the next, in the mean. */
export const judgeGrowth = (what: string, values: ReadonlyArray<number>, { perTurn, turn, unit }: Limit): Finding => {
  const [first, ...later] = values
  const last = later.at(-1)
  if (first === undefined || last === undefined) return { what, verdict: "Unclear", text: "it was weighed only once" }
  const growth = (last - first) / later.length
  const text = `${signed(growth)} ${unit} per ${turn} (${values.length} times; allowed: less than ${perTurn})`
  return { what, verdict: growth < perTurn ? "Flat" : "Grows", text }
}

/** Judges what can be counted: at rest it is always the same. */
export const judgeCounts = (
  what: string,
  rests: ReadonlyArray<{ readonly at: string; readonly count: Readonly<Record<string, number>> | number }>
): Finding => {
  const [first, ...later] = rests
  if (first === undefined) return { what, verdict: "Unclear", text: "it was never counted" }
  const other = later.find(({ count }) => print(count) !== print(first.count))
  if (other === undefined)
    return { what, verdict: "Flat", text: `${print(first.count)} at each of ${rests.length} rests` }
  const last = later.at(-1)
  const end = last === undefined || last === other ? "" : `, and ${print(last.count)} at ${last.at}`
  return {
    what,
    verdict: "Differs",
    text: `${print(first.count)} at ${first.at}, but ${print(other.count)} at ${other.at}${end}`
  }
}

const print = (count: Readonly<Record<string, number>> | number): string =>
  typeof count === "number"
    ? String(count)
    : Object.entries(count)
        .map(([kind, many]) => `${many} ${kind}`)
        .join(", ") || "none"

const signed = (value: number): string => {
  const digits = Math.abs(value) < 1 ? 4 : 1
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`
}
