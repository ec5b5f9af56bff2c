/** What is told at the end: the figures, and the verdict. */
import { styleText } from "node:util"
import * as Output from "../commands/Output.ts"
import { type Figures, figuresOf, type Spread } from "./figures.ts"
import type { Run } from "./Run.ts"
import { type Check, holds, verdictOf } from "./verdict.ts"

/** All there is, for `--json` and for the page. */
export interface Document extends Run {
  readonly holds: boolean
  readonly verdict: ReadonlyArray<Check>
  readonly figures: Figures
}

export const documentOf = (run: Run): Document => {
  const verdict = verdictOf(run)
  return { holds: holds(verdict), verdict, figures: figuresOf(run), ...run }
}

/** In one sentence. */
export const headlineOf = ({ holds, interrupted, verdict }: Document): string => {
  const broken = verdict.filter((check) => !check.holds).length
  const early = interrupted ? ", as far as it went" : ""
  return holds
    ? `The verdict holds${early}`
    : `The verdict does not hold${early}: ${broken} of ${verdict.length} are broken`
}

export const millis = (value: number | null): string =>
  value === null
    ? "–"
    : value < 10
      ? `${value.toFixed(1)} ms`
      : value < 10_000
        ? `${Math.round(value)} ms`
        : `${(value / 1000).toFixed(1)} s`

const spread = ({ count, max, p50, p99 }: Spread): string =>
  count === 0 ? "–" : `p50 ${millis(p50)}, p99 ${millis(p99)}, max ${millis(max)} (${count})`

const tally = (counts: Readonly<Record<string, number | undefined>>): string => {
  const entries = Object.entries(counts)
  return entries.length === 0 ? "" : ` (${entries.map(([name, count]) => `${count} ${name}`).join(", ")})`
}

/** Names and values, for people. */
export const rowsOf = ({ figures }: Document): ReadonlyArray<readonly [name: string, value: string]> => [
  ["calls", String(figures.calls)],
  ["answered", `${figures.answered}${figures.replayed === 0 ? "" : ` (${figures.replayed} of them sent again)`}`],
  ["outcome unknown", String(figures.outcomeUnknown)],
  ["failed", `${figures.failed}${tally(figures.failedBy)}`],
  ...(figures.cutOff === 0 ? [] : [["cut off by the end", String(figures.cutOff)] as const]),
  ...(figures.pending === 0 ? [] : [["without an answer", String(figures.pending)] as const]),
  ["kills", `${figures.kills}${tally(figures.killsBy)}`],
  ["reconnects", String(figures.reconnects)],
  ["downtime", spread(figures.downtimeMillis)],
  ["latency", spread(figures.latencyMillis)],
  ["latency across outages", spread(figures.latencyAcrossMillis)],
  ...(figures.ledger === null
    ? []
    : [
        [
          "ledger",
          `${figures.ledger.charges} charges: ${figures.ledger.once} once, ${figures.ledger.never} never, ${figures.ledger.more} more than once`
        ] as const
      ])
]

/** What the verdict cannot tell. */
export const caveatOf = ({ server }: Document): string | undefined =>
  server.bundled ? undefined : "There is no ledger: whether a call with an effect ran twice, only the server can tell."

export const titleOf = ({ elapsedMillis, options, server }: Document): string =>
  `${server.label} (${server.name} ${server.version}, protocol ${server.protocolVersion}) over ${server.over === "http" ? "Streamable HTTP" : "stdio"}, ${(elapsedMillis / 1000).toFixed(1)} s, seed ${options.seed}`

/** `styleText` leaves the colour out when stdout is no terminal or `NO_COLOR` is set. */
const paint = (format: Parameters<typeof styleText>[0], text: string): string =>
  styleText(format, text, { stream: process.stdout })

export const linesOf = (document: Document): ReadonlyArray<string> => {
  const rows = rowsOf(document)
  const width = Math.max(...rows.map(([name]) => name.length))
  const caveat = caveatOf(document)
  return [
    paint("bold", Output.plain(titleOf(document))),
    `calls: ${Output.plain(document.server.calls)}`,
    "",
    ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    "",
    ...document.verdict.map(({ holds, text }) => (holds ? paint("green", `  ✓ ${text}`) : paint("red", `  ✗ ${text}`))),
    ...(caveat === undefined ? [] : [paint("dim", `  ${caveat}`)]),
    "",
    paint(document.holds ? "green" : "red", `${headlineOf(document)}.`)
  ]
}
