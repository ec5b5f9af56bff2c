/** The measurements as a table for people. */
import { total } from "./census.ts"
import type * as Checkpoint from "./checkpoint.ts"
import type * as Crowd from "./crowd.ts"
import type * as Reconnects from "./reconnects.ts"
import type { Finding } from "./verdict.ts"

/** How many of the checkpoints are shown: the first, the last, and some between. */
const rows = 11

export const ofReconnects = (report: Reconnects.Report): string => {
  const { about, checkpoints, findings, millis, part, told, turns } = report
  const step = Math.max(1, (checkpoints.length - 1) / (rows - 1))
  const shown = new Set(Array.from({ length: rows }, (_, index) => Math.round(index * step)))
  return [
    `${part}: ${whole(turns)} turns in ${seconds(millis)} (${(millis / turns).toFixed(1)} ms each): ${about}`,
    `  the connection told of ${whole(told.SessionLost)} lost sessions, ${whole(told.SessionReady)} sessions, ${whole(told.RequestReplayed)} calls sent again (warm-up included)`,
    "",
    ...table(
      "turns",
      checkpoints
        .filter((_, index) => shown.has(index))
        .map((checkpoint) => ({ at: whole(checkpoint.turn), checkpoint }))
    ),
    "",
    ...findings.map(line)
  ].join("\n")
}

export const ofCrowd = ({ connections, findings, part, rounds }: Crowd.Report): string =>
  [
    `${part}: ${whole(connections)} connections at once, all lost and back at once, ${rounds.length} times`,
    ...rounds.map(
      ({ closed, heapPerConnection, opened, recovered }, index) =>
        `  round ${index + 1}: opened in ${seconds(opened)}, all back in ${seconds(recovered)}, closed in ${seconds(closed)}; heap per connection ${(heapPerConnection.open / 1024).toFixed(1)} KiB open, ${(heapPerConnection.again / 1024).toFixed(1)} KiB recovered`
    ),
    "",
    ...table(
      "round",
      rounds.flatMap(({ after, again, open }, index) => [
        { at: `${index + 1} open`, checkpoint: open },
        { at: `${index + 1} again`, checkpoint: again },
        { at: `${index + 1} closed`, checkpoint: after }
      ])
    ),
    "",
    ...findings.map(line)
  ].join("\n")

interface Row {
  readonly at: string
  readonly checkpoint: Checkpoint.Checkpoint
}

const table = (what: string, entries: ReadonlyArray<Row>): ReadonlyArray<string> => [
  row(
    [what, "heap KiB", "external", "RSS MiB", "server", "fds", "children", "listeners", "handles", "fibers"],
    ["fibers*", "clients*", "targets*"]
  ),
  ...entries.map(({ at, checkpoint: { counts, memory, objects, serverRss } }) =>
    row(
      [
        at,
        kib(memory.heap),
        kib(memory.external),
        kib(memory.rss / 1024),
        serverRss === 0 ? "" : kib(serverRss),
        total(counts.fds),
        counts.children,
        counts.listeners,
        total(counts.resources),
        counts.fibers
      ],
      objects === undefined ? ["", "", ""] : [objects.fibers, objects.clients, objects.targetListeners]
    )
  ),
  "  * objects in memory: fibers, clients of the SDK, listeners on EventTargets. external and server (its resident memory): KiB"
]

type Cell = string | number

const row = (cells: ReadonlyArray<Cell>, held: ReadonlyArray<Cell>): string =>
  `  ${[...cells, ...held].map((cell) => (typeof cell === "number" ? whole(cell) : cell).padStart(10)).join("")}`

const marks = { Flat: "✓", Grows: "✗", Differs: "✗", Unclear: "✗" } as const

const line = ({ text, verdict, what }: Finding): string =>
  `  ${marks[verdict]} ${what}: ${verdict === "Flat" ? "" : `${verdict.toLowerCase()}: `}${text}`

const whole = (value: number): string => value.toLocaleString("en-US", { maximumFractionDigits: 0 })
const kib = (bytes: number): string => whole(bytes / 1024)
const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`
