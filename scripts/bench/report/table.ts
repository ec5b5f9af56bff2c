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

const cells = (row: Row): ReadonlyArray<string> => {
  const { estimate, how } = row.compared
  const shown = (value: number) => (how === "+" ? digits(value) : value.toFixed(3))
  return [
    row.what,
    Object.entries(row.values)
      .map(([name, value]) => `${name} ${digits(value)}`)
      .join(", "),
    row.unit,
    how === "+"
      ? `${estimate.median < 0 ? "−" : "+"}${digits(Math.abs(estimate.median))}`
      : `${shown(estimate.median)}×`,
    `${shown(estimate.low)} … ${shown(estimate.high)}`,
    row.target === undefined
      ? ""
      : `${row.target.at === "most" ? "≤" : "≥"} ${row.target.bound}: ${verdict(estimate, row.target)}`
  ]
}

export const table = ({ rows, suite }: Suite): string => {
  const lines = [["what", "medians", "unit", "compared", "95 % interval", "target"], ...rows.map(cells)]
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? []
  return [
    `${suite}`,
    ...lines.map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()
    )
  ].join("\n")
}
