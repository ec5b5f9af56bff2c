/** Attempts per second over time, for each policy: as lines of blocks for a terminal, and as an SVG. Both are logarithmic. */
import type { Storm } from "@mcp-tether/testing"

/** The name of a policy, and what the server saw of it. */
export type Row = readonly [name: string, report: Storm.Report]

const columns = 60
const blocks = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]

/** How much of the report is drawn, in seconds: the outage and four times as long after it. */
const windowOf = ({ durationMillis, outageMillis }: Storm.Report): number =>
  Math.max(1, Math.ceil(Math.min(durationMillis, Math.max(5 * outageMillis, 60_000)) / 1000))

/** The most attempts in a second of each column. */
const peaksOf = (report: Storm.Report): ReadonlyArray<number> => {
  const width = windowOf(report) / columns
  return Array.from({ length: columns }, (_, column) =>
    Math.max(
      0,
      ...report.attemptsPerSecond.slice(
        Math.floor(column * width),
        Math.max(Math.floor(column * width) + 1, Math.floor((column + 1) * width))
      )
    )
  )
}

/** 0 for nothing, 1 for the most there is. */
const height = (count: number, most: number): number =>
  count === 0 ? 0 : (1 + Math.log(count)) / (1 + Math.log(Math.max(1, most)))

const mostOf = (rows: ReadonlyArray<Row>): number => Math.max(1, ...rows.flatMap(([, report]) => peaksOf(report)))

const number = (value: number): string => Math.round(value).toLocaleString("en-US")
const seconds = (millis: number | undefined): string =>
  millis === undefined ? "never" : `${number(Math.max(0, millis) / 1000)} s`

/** A table, and below it a line for each policy. */
export const terminal = (rows: ReadonlyArray<Row>): string => {
  const most = mostOf(rows)
  const table = [
    ["policy", "attempts", "peak/s", "× capacity", "half back", "99 % back", "all back", "recovered"],
    ...rows.map(([name, report]) => [
      name,
      number(report.attempts),
      number(report.peakAfterOutage),
      report.peakLoad.toFixed(1),
      seconds(report.recovery.p50),
      seconds(report.recovery.p99),
      seconds(report.recovery.max),
      number(report.recovered)
    ])
  ]
  const widths = table[0]?.map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0))) ?? []
  const lines = table.map((line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
  )
  const charts = rows.map(([name, report]) => {
    const bars = peaksOf(report).map((peak) => blocks[Math.ceil(height(peak, most) * (blocks.length - 1))] ?? " ")
    return `${name.padEnd(widths[0] ?? 0)}  ${bars.join("")}`
  })
  const [first] = rows
  const back = first === undefined ? 0 : Math.round(first[1].outageMillis / 1000 / (windowOf(first[1]) / columns))
  const axis = `${" ".repeat((widths[0] ?? 0) + 2 + Math.min(columns, back))}↑ the server is back`
  return [...lines, "", ...charts, axis].join("\n")
}

const rowHeight = 90
const chartWidth = 720
const left = 110

/** One chart below the other, on one scale, with a line at the server's capacity. */
export const svg = (rows: ReadonlyArray<Row>): string => {
  const most = mostOf(rows)
  const charts = rows.map(([name, report], index) => {
    const base = (index + 1) * rowHeight
    const span = windowOf(report)
    const x = (second: number): string => (left + (second / span) * chartWidth).toFixed(1)
    const y = (count: number): string => (base - height(count, most) * (rowHeight - 20)).toFixed(1)
    const outline = report.attemptsPerSecond.slice(0, span).map((count, second) => `V${y(count)}H${x(second + 1)}`)
    const back = x(report.outageMillis / 1000)
    return [
      `<text x="8" y="${base - 30}">${name}</text>`,
      `<text x="8" y="${base - 14}" fill="#777">peak ${number(report.peakAfterOutage)}/s</text>`,
      `<path d="M${left},${base}${outline.join("")}V${base}Z" fill="#4477aa"/>`,
      `<path d="M${left},${y(report.capacity)}H${left + chartWidth}" stroke="#cc3311" stroke-dasharray="4 3"/>`,
      `<path d="M${back},${base}V${base - rowHeight + 20}" stroke="#228833"/>`
    ].join("\n")
  })
  const size = `${left + chartWidth + 10} ${rows.length * rowHeight + 30}`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    ...charts,
    `<text x="${left}" y="${rows.length * rowHeight + 20}" fill="#777">attempts per second (logarithmic); green: the server is back; red: its capacity</text>`,
    "</svg>\n"
  ].join("\n")
}
