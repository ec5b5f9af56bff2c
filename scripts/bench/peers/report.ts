/** The verdicts as tables for a terminal: one row for each client, one column for each scenario. */
import type { Scenario } from "./scenarios.ts"
import type { Share, Spread, Verdict } from "./verdict.ts"

export interface Row {
  readonly client: string
  readonly scenario: string
  readonly transport: Scenario["transport"]
  readonly verdict: Verdict
}

const mark = ({ of, yes }: Share): string => (yes === of ? "✓" : yes === 0 ? "✗" : `${yes}/${of}`)

const digits = (value: number): string => (value >= 10 ? value.toFixed(0) : value.toFixed(value >= 1 ? 1 : 2))

const range = ({ high, low, median }: Spread): string =>
  low === high ? digits(median) : `${digits(median)} (${digits(low)}–${digits(high)})`

const counts = ({ high, low }: Spread): string => (low === high ? String(low) : `${low}–${high}`)

const effectsOf = ({ effects }: Verdict): ReadonlyArray<string> =>
  effects === undefined ? [] : [`paid ${counts(effects)}${effects.high > 1 ? " !" : ""}`]

/** What a cell says, in one line. */
export const cell = (scenario: Pick<Scenario, "name">, verdict: Verdict): string => {
  const { broken, early, first, hangs, later, left, recovery } = verdict
  const [sort] = broken
  if (sort !== undefined && broken.length === first.of) return sort === "unfit" ? "–" : sort
  if (scenario.name === "close") return `${left ?? "?"} left`
  return [
    `${mark(first)}/${mark(later)}`,
    ...(recovery === undefined ? [] : [`${range(recovery)}×`]),
    ...effectsOf(verdict),
    ...(early === undefined || early === 0 ? [] : [`${early} early`]),
    ...(hangs === 0 ? [] : ["hangs"]),
    ...(left === undefined || left === 0 ? [] : [`${left} left`]),
    ...broken
  ].join(" ")
}

export const table = (
  scenarios: ReadonlyArray<Scenario>,
  clients: ReadonlyArray<{ readonly name: string; readonly version: string }>,
  rows: ReadonlyArray<Row>
): string =>
  columns([
    ["", ...scenarios.map(({ name }) => name)],
    ...clients.map(({ name, version }) => [
      `${name} ${version}`,
      ...scenarios.map((scenario) => {
        const row = rows.find((row) => row.client === name && row.scenario === scenario.name)
        return row === undefined ? "not measured" : cell(scenario, row.verdict)
      })
    ])
  ])

export const columns = (lines: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? []
  return lines
    .map((line) =>
      line
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

/** Beyond the cells: calls lost in all, effects that happened twice, processes left, over all scenarios. */
export const totals = (
  clients: ReadonlyArray<{ readonly name: string; readonly version: string; readonly option: string }>,
  rows: ReadonlyArray<Row>
): string =>
  columns([
    ["", "first answered", "later answered", "calls lost", "paid twice", "left", "switched on"],
    ...clients.map(({ name, option, version }) => {
      const own = rows.filter(({ client, verdict }) => client === name && !verdict.broken.includes("unfit"))
      const share = (of: (verdict: Verdict) => Share) => {
        const shares = own.filter(({ scenario }) => scenario !== "close").map(({ verdict }) => of(verdict))
        return `${shares.reduce((sum, { yes }) => sum + yes, 0)} of ${shares.reduce((sum, { of }) => sum + of, 0)}`
      }
      return [
        `${name} ${version}`,
        share(({ first }) => first),
        share(({ later }) => later),
        share(({ lost }) => lost),
        String(own.reduce((sum, { verdict }) => sum + verdict.duplicated, 0)),
        leftOf(own.map(({ verdict }) => verdict)),
        option
      ]
    })
  ])

/** Over HTTP nobody starts a server. */
const leftOf = (verdicts: ReadonlyArray<Verdict>): string => {
  const left = verdicts.flatMap(({ left }) => (left === undefined ? [] : [left]))
  return left.length === 0 ? "–" : String(Math.max(...left))
}

/** What the clients said that was no answer, each sentence once; or that of rounds alone that came to no end. */
export const words = (rows: ReadonlyArray<Row>, which: "all" | "broken"): string => {
  const said = new Map<string, Array<string>>()
  for (const { client, scenario, verdict } of rows) {
    if (verdict.broken.includes("unfit")) continue
    if (which === "broken" && verdict.broken.length === 0 && scenario !== "close") continue
    for (const error of verdict.errors) {
      const key = `${client}: ${error.replaceAll(/(?<=127\.0\.0\.1:)\d+/g, "…")}`
      said.set(key, [...(said.get(key) ?? []), scenario])
    }
  }
  return [...said].map(([text, scenarios]) => `${text} (${[...new Set(scenarios)].join(", ")})`).join("\n")
}
