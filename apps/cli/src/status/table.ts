/** The state of servers as a table: a line for each, whatever they say of themselves. */
import * as Output from "../commands/Output.ts"
import type { Diagnosis } from "../doctor/diagnose.ts"

/**
 * - `Ready`: a session was opened, and everything was answered.
 * - `Failing`: a session was opened, and something was not.
 * - `Failed`: no session could be opened.
 * - `Invalid`: nothing was tried, since the configuration cannot be used.
 */
export type State = "Ready" | "Failing" | "Failed" | "Invalid"

/** One server, as `--json` prints it. */
export type Status = Diagnosis & {
  readonly state: State
  /** Where it is configured. */
  readonly file: string
}

export const statusOf = (diagnosis: Diagnosis, file: string): Status => ({
  ...diagnosis,
  state: stateOf(diagnosis),
  file
})

const stateOf = (diagnosis: Diagnosis): State =>
  diagnosis.healthy
    ? "Ready"
    : diagnosis.reason === "InvalidConfig"
      ? "Invalid"
      : diagnosis.handshakeMillis === undefined
        ? "Failed"
        : "Failing"

interface Cell {
  readonly text: string
  readonly right?: boolean
}

const head: ReadonlyArray<Cell> = [
  { text: "  name" },
  { text: "state" },
  { text: "configured in" },
  { text: "server" },
  { text: "protocol" },
  { text: "tools", right: true },
  { text: "handshake", right: true },
  { text: "last error" }
]

/** Of a server that has not said who it is, the error takes the place of that: a line has to fit into a terminal. */
const cellsOf = (status: Status, home: string): ReadonlyArray<Cell> => {
  const { era, file, handshakeMillis, healthy, name, protocolVersion, server, state, version } = status
  const error = status.healthy ? [] : [{ text: inShort(status) }]
  return [
    { text: `${healthy ? "✓" : "✗"} ${Output.oneLine(server)}` },
    { text: state },
    { text: file.startsWith(`${home}/`) ? `~${file.slice(home.length)}` : file },
    ...(name === undefined
      ? error
      : [
          { text: Output.oneLine(`${name} ${version}`) },
          { text: `${protocolVersion} ${era}` },
          { text: status.healthy ? String(status.tools) : "", right: true },
          { text: `${handshakeMillis} ms`, right: true },
          ...error
        ])
  ]
}

/** What went wrong, and the last that the server said of it. */
const inShort = ({ problem, stderr }: Extract<Status, { readonly healthy: false }>): string =>
  Output.oneLine(stderr === undefined ? problem : `${problem}: ${stderr.split("\n").at(-1)}`)

/** A head, and a line for each server. Lines are cut at `width`, which is a terminal's. */
export const table = (
  statuses: ReadonlyArray<Status>,
  { home, width }: { readonly home: string; readonly width: number }
): ReadonlyArray<string> => {
  const rows = [head, ...statuses.map((status) => cellsOf(status, home))]
  // The last of a line may be as long as it likes.
  const widths = head.map((_, index) =>
    Math.max(...rows.map((row) => (index === row.length - 1 ? 0 : (row[index]?.text.length ?? 0))))
  )
  return rows.map((row) => {
    const line = row
      .map(({ right, text }, index) => text[right === true ? "padStart" : "padEnd"](widths[index] ?? 0))
      .join("  ")
      .trimEnd()
    return line.length > width ? `${line.slice(0, width - 1)}…` : line
  })
}
