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

const columns: ReadonlyArray<{
  readonly title: string
  readonly cell: (status: Status, home: string) => string
  readonly right?: true
}> = [
  { title: "name", cell: ({ healthy, server }) => `${healthy ? "✓" : "✗"} ${server}` },
  { title: "state", cell: ({ state }) => state },
  { title: "server", cell: ({ name, version }) => (name === undefined ? "" : `${name} ${version}`) },
  { title: "protocol", cell: ({ era, protocolVersion }) => (era === undefined ? "" : `${protocolVersion} ${era}`) },
  { title: "tools", cell: (status) => (status.healthy ? String(status.tools) : ""), right: true },
  {
    title: "handshake",
    cell: ({ handshakeMillis }) => (handshakeMillis === undefined ? "" : `${handshakeMillis} ms`),
    right: true
  },
  {
    title: "configured in",
    cell: ({ file }, home) => (file.startsWith(`${home}/`) ? `~${file.slice(home.length)}` : file)
  },
  { title: "last error", cell: (status) => (status.healthy ? "" : inShort(status)) }
]

/** What went wrong, and the last that the server said of it. */
const inShort = ({ problem, stderr }: Extract<Status, { readonly healthy: false }>): string =>
  stderr === undefined ? problem : `${problem}: ${stderr.split("\n").at(-1)}`

/** A head, and a line for each server. Lines are cut at `width`, which is a terminal's. */
export const table = (
  statuses: ReadonlyArray<Status>,
  { home, width }: { readonly home: string; readonly width: number }
): ReadonlyArray<string> => {
  const rows = [
    columns.map(({ title }, index) => (index === 0 ? `  ${title}` : title)),
    ...statuses.map((status) => columns.map(({ cell }) => Output.oneLine(cell(status, home))))
  ]
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)))
  return rows.map((row) => {
    const line = row
      .map((text, index) =>
        columns[index]?.right ? text.padStart(widths[index] ?? 0) : text.padEnd(widths[index] ?? 0)
      )
      .join("  ")
      .trimEnd()
    return line.length > width ? `${line.slice(0, width - 1)}…` : line
  })
}
