/** A dashboard as lines of text, for a terminal of a certain size. */
import type { Board, Row } from "./board.ts"

export interface View {
  readonly width: number
  readonly now: number
  /** The server that keys are about. */
  readonly selected: string | undefined
  /** Whether lines may have colours. */
  readonly colour: boolean
}

const marks = {
  Idle: "·",
  Connecting: "◌",
  Ready: "●",
  Reconnecting: "◌",
  Failed: "✗",
  Closed: "·"
} as const

const colours = { Idle: 90, Connecting: 33, Ready: 32, Reconnecting: 33, Failed: 31, Closed: 90 } as const

export const frame = (board: Board, view: View): ReadonlyArray<string> => {
  const rows = [...board.values()]
  const name = Math.max(6, ...rows.map(({ server }) => server.length))
  const head = `  ${"server".padEnd(name)}  ${"state".padEnd(14)} ${"gen".padStart(4)} ${"up".padStart(8)} ${"outages".padStart(8)} ${"down".padStart(8)}  ping`
  return [
    cut(head, view.width),
    ...rows.flatMap((row) => linesOf(row, name, view)),
    "",
    cut("↑ ↓ choose   r reconnect   f refresh   q quit", view.width)
  ]
}

const linesOf = (row: Row, name: number, view: View): ReadonlyArray<string> => {
  const { downMillis, generation, outages, server, state, trouble } = row
  const tag = state._tag
  const up = tag === "Ready" ? span(view.now - state.since) : ""
  const down = downMillis + (tag === "Reconnecting" ? view.now - state.lostAt : 0)
  const cells = [
    server.padEnd(name),
    " ",
    paint(`${marks[tag]} ${tag}`.padEnd(14), colours[tag], view.colour),
    generation === 0 ? "    " : String(generation).padStart(4),
    up.padStart(8),
    String(outages).padStart(8),
    (down === 0 ? "" : span(down)).padStart(8),
    ` ${sparkline(row.pings)}`
  ]
  const line = `${view.selected === server ? "›" : " "} ${cells.join(" ")}`
  const due =
    (state._tag === "Reconnecting" || state._tag === "Connecting") && state.nextAttemptAt !== undefined
      ? [`    attempt ${state.attempt} in ${span(Math.max(0, state.nextAttemptAt - view.now))}`]
      : []
  const details = [
    ...(tag !== "Ready" && trouble !== undefined ? [`    ${trouble.text}`] : []),
    ...(tag !== "Ready" && trouble?.stderr !== undefined ? [`    it said: ${trouble.stderr}`] : []),
    ...due
  ]
  return [cut(line, view.width + (view.colour ? colourLength : 0)), ...details.map((detail) => cut(detail, view.width))]
}

const blocks = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]

/** The pings from the oldest to the newest, each beside the slowest of them, and how long the last one took. */
export const sparkline = (pings: ReadonlyArray<number | undefined>): string => {
  if (pings.length === 0) return ""
  const most = Math.max(1, ...pings.map((ping) => ping ?? 0))
  const line = pings.map((ping) =>
    ping === undefined ? "×" : (blocks[Math.min(blocks.length - 1, Math.floor((ping / most) * blocks.length))] ?? "█")
  )
  const last = pings.at(-1)
  return `${line.join("")} ${last === undefined ? "no answer" : `${Math.round(last)} ms`}`
}

/** A span of time in at most six characters. */
export const span = (millis: number): string => {
  const seconds = millis / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.floor(seconds)} s`
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

const paint = (text: string, colour: number, isColoured: boolean): string =>
  isColoured ? `\u001B[${colour}m${text}\u001B[0m` : text

/** What `paint` adds to a line: a code of two digits, and the end of it. */
const colourLength = 9

/** Control characters of a server must not move the cursor, and lines must not wrap. */
const cut = (line: string, width: number): string => {
  const plain = line.replaceAll(/[\p{Cc}](?!\[\d+m)/gu, "�")
  return plain.length > width ? `${plain.slice(0, Math.max(0, width - 1))}…` : plain
}
