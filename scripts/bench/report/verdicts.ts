/** Each target, and whether it was reached: what a reader wants to know first. */
import { type Row, type Suite, verdict } from "../measurement.ts"
import { compared } from "./table.ts"

const verdictOf = (row: Row): ReadonlyArray<string> => {
  if (row.target === undefined) return []
  const [median, interval] = compared(row.compared)
  const bound = `${row.target.at === "most" ? "at most" : "at least"} ${row.target.bound}`
  return [`${verdict(row.compared.estimate, row.target)}: ${row.what}: ${median} (${interval}), to be ${bound}`]
}

export const verdicts = (suites: ReadonlyArray<Suite>): string =>
  suites.flatMap(({ rows }) => rows.flatMap(verdictOf)).join("\n")
