/** The rows of a suite as a table for a terminal. */
import { type Row, type Suite, verdict } from "../measurement.ts"

const digits = (value: number): string =>
  !Number.isFinite(value)
    ? String(value)
    : Math.abs(value) >= 1_000
      ? Math.round(value).toLocaleString("en-US")
      : Math.abs(value) >= 100
        ? value.toFixed(0)
        : value.toFixed(Math.abs(value) >= 10 ? 1 : 2)

const ratioDigits = (value: number): string => (Math.abs(value) >= 10 ? digits(value) : value.toFixed(3))

/** The estimate and its interval, as its kind is written. */
export const compared = ({ estimate, how }: Row["compared"]): readonly [median: string, interval: string] => {
  const { high, low, median, rounds } = estimate
  const show = how === "×" ? ratioDigits : digits
  const sign = how === "+" && median >= 0 ? "+" : ""
  return [
    `${sign}${show(median)}${how === "×" ? "×" : ""}`,
    rounds === 0 ? "exact" : rounds === 1 ? "one round" : `${show(low)} … ${show(high)}`
  ]
}

const cells = (row: Row): ReadonlyArray<string> => [
  row.what,
  Object.entries(row.values)
    .map(([name, value]) => `${name} ${digits(value)}`)
    .join(", "),
  row.unit,
  ...compared(row.compared),
  row.target === undefined
    ? ""
    : `${row.target.at === "most" ? "≤" : "≥"} ${row.target.bound}: ${verdict(row.compared.estimate, row.target)}`
]

export const table = ({ about, rows, suite }: Suite): string => {
  const lines = [["what", "medians", "unit", "compared", "95 % interval", "target"], ...rows.map(cells)]
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? []
  return [
    `${suite}: ${about}`,
    ...lines.map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()
    )
  ].join("\n")
}
