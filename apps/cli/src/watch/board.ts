/** What a dashboard knows of the servers of a fleet: the fold of what happened. It draws nothing, and knows no clock. */
import type { ConnectionError, ConnectionState, McpFleet } from "@mcp-tether/connection"

/** One server. Times are milliseconds since the epoch. */
export interface Row {
  readonly server: string
  readonly state: ConnectionState.ConnectionState
  readonly generation: number
  /** How often a session was lost, and how long there was none, in all. */
  readonly outages: number
  readonly downMillis: number
  /** The last thing that went wrong. */
  readonly trouble: { readonly at: number; readonly text: string; readonly stderr: string | undefined } | undefined
  /** How long the last pings took, in milliseconds; `undefined`: one was not answered. */
  readonly pings: ReadonlyArray<number | undefined>
}

export type Board = ReadonlyMap<string, Row>

const mostPings = 30

const empty = (server: string, state: ConnectionState.ConnectionState): Row => ({
  server,
  state,
  generation: 0,
  outages: 0,
  downMillis: 0,
  trouble: undefined,
  pings: []
})

/** The state of a server is another one. */
export const withState = (board: Board, server: string, state: ConnectionState.ConnectionState): Board => {
  const row = board.get(server) ?? empty(server, state)
  const generation = state._tag === "Ready" ? state.generation : row.generation
  return new Map(board).set(server, { ...row, state, generation })
}

/** Something happened to a server. */
export const withEvent = (board: Board, event: McpFleet.FleetEvent): Board => {
  if (event._tag === "ServerChanged") {
    if (event.change !== "removed") return board
    const left = new Map(board)
    left.delete(event.server)
    return left
  }
  if (event._tag !== "ServerEvent") return board
  const row = board.get(event.server)
  if (row === undefined) return board
  const changed = (changes: Partial<Row>): Board => new Map(board).set(event.server, { ...row, ...changes })
  const what = event.event
  switch (what._tag) {
    case "SessionLost":
      return changed({ outages: row.outages + 1, trouble: troubleOf(what.at, what.error) })
    case "AttemptFailed":
    case "GaveUp":
    case "RefreshFailed":
      return changed({ trouble: troubleOf(what.at, what.error) })
    case "SessionReady":
      return changed({ downMillis: row.downMillis + (what.downtimeMillis ?? 0) })
    case "OutcomeUnknown":
      return changed({
        trouble: {
          at: what.at,
          text: `${what.tool ?? what.method} may have run: its outcome is unknown`,
          stderr: undefined
        }
      })
    default:
      return board
  }
}

/** A ping was answered after so long, or not. */
export const withPing = (board: Board, server: string, millis: number | undefined): Board => {
  const row = board.get(server)
  return row === undefined
    ? board
    : new Map(board).set(server, { ...row, pings: [...row.pings, millis].slice(-mostPings) })
}

const troubleOf = (
  at: number,
  { reason, stderrTail }: ConnectionError.ConnectionError
): NonNullable<Row["trouble"]> => ({
  at,
  text: reason.message,
  stderr: stderrTail?.trimEnd().split("\n").at(-1)
})
