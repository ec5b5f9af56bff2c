/** `mcp-tether watch`: the servers of a fleet, live. */
import { McpFleet } from "@mcp-tether/connection"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { CommandFailed } from "../CommandFailed.ts"
import { durationFlag, quietly, transportTo } from "../commands/Session.ts"
import * as Servers from "../commands/Servers.ts"
import * as Target from "../commands/Target.ts"
import * as Board from "./board.ts"
import { frame } from "./frame.ts"

const flags = {
  server: Target.optionalOperands,
  ...Servers.flags,
  ping: durationFlag("ping", "How often each server is asked for a sign of life", "2 seconds"),
  for: durationFlag("for", "How long to watch", "365 days"),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print each change as a line of JSON, for programs"),
    Flag.withDefault(false)
  )
}

export const watch = Command.make(
  "watch",
  flags,
  Effect.fnUntraced(function* ({ config, for: duration, json, ping, project, server }) {
    const asked = { config, project }
    const targets: ReadonlyArray<Target.Target> =
      server.length > 0
        ? [yield* Target.parse(server, asked)]
        : (yield* Servers.read(asked)).servers.map(Target.ofConfigured)
    if (targets.length === 0)
      return yield* new CommandFailed({
        description: "no servers are configured: name a file with --config, or a server; mcp-tether doctor tells more"
      })
    yield* Effect.gen(function* () {
      const servers = yield* Effect.forEach(targets, (target) =>
        Effect.map(
          transportTo(target),
          (transport) => [nameFor(target), { transport, tools: Target.filterOf(target) }] as const
        )
      )
      const fleet = yield* McpFleet.make(Object.fromEntries(servers)).pipe(
        Effect.mapError((error) => new CommandFailed({ description: error.message }))
      )
      yield* Effect.timeoutOption(json ? printed(fleet) : drawn(fleet, ping), duration)
    }).pipe(Effect.scoped, quietly)
  })
).pipe(
  Command.withDescription(
    "Watch servers live: state, generation, outages and latency; keys reconnect and refresh them"
  ),
  Command.withExamples([
    { command: "mcp-tether watch", description: "All servers of your clients (Claude, Cursor, VS Code, Codex, …)" },
    {
      command: "mcp-tether watch -- npx -y @modelcontextprotocol/server-everything",
      description: "A server that is a command"
    },
    { command: "mcp-tether watch https://example.com/mcp --json --for '1 minute'", description: "For programs" }
  ])
)

/** The name of a server in a fleet, out of whatever it is called: of a command its last part. */
const nameFor = (target: Target.Target): string => {
  const name = Target.nameOf(target)
  if (target._tag === "Configured") return name
  const short = target._tag === "Url" ? name.replace(/^https?:\/\//, "") : (name.split(/[\\/]/).at(-1) ?? name)
  return short.replaceAll(/[^A-Za-z0-9_.-]+/g, "-").slice(0, 48)
}

/** A line of JSON for each change of a state. */
const printed = <R>(fleet: McpFleet.Shape<R>): Effect.Effect<void> =>
  Stream.runForEach(fleet.changes, ({ server, state }) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) => Console.log(JSON.stringify({ at, server, state })))
  )

const drawn = <R>(fleet: McpFleet.Shape<R>, every: Duration.Duration) =>
  Effect.gen(function* () {
    const terminal = yield* Terminal.Terminal
    if (process.stdout.isTTY !== true)
      return yield* new CommandFailed({ description: "watch draws on a terminal, and there is none: use --json" })
    const board = yield* Ref.make<Board.Board>(new Map())
    const selected = yield* Ref.make(0)
    const done = yield* Deferred.make<void>()

    const draw = Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const rows = yield* Ref.get(board)
      const width = yield* terminal.columns
      const chosen = [...rows.keys()][yield* Ref.get(selected)]
      const lines = frame(rows, { width, now, selected: chosen, colour: process.env["NO_COLOR"] === undefined })
      yield* Effect.orDie(terminal.display(`${home}${lines.map((line) => `${line}${untilEnd}`).join("\n")}${below}`))
    })
    const change = (next: (board: Board.Board) => Board.Board) => Effect.andThen(Ref.update(board, next), draw)

    yield* Effect.acquireRelease(Effect.orDie(terminal.display(alternate)), () =>
      Effect.ignore(terminal.display(normal))
    )
    yield* fleet.changes.pipe(
      Stream.runForEach(({ server, state }) => change((board) => Board.withState(board, server, state))),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* fleet.events.pipe(
      Stream.runForEach((event) => change((board) => Board.withEvent(board, event))),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* Effect.forkScoped(Effect.repeat(draw, Schedule.spaced("250 millis")))
    yield* Effect.forkScoped(
      Effect.repeat(
        Effect.flatMap(fleet.connections, (connections) =>
          Effect.forEach(
            connections,
            ([name, connection]) =>
              Effect.gen(function* () {
                const before = yield* Clock.currentTimeMillis
                const exit = yield* Effect.exit(connection.ping({ wait: "none", timeout: every }))
                const after = yield* Clock.currentTimeMillis
                yield* change((board) => Board.withPing(board, name, Exit.isSuccess(exit) ? after - before : undefined))
              }),
            { concurrency: "unbounded", discard: true }
          )
        ),
        Schedule.spaced(every)
      )
    )

    /** What a key does. Reconnecting goes on while the board is watched. */
    const pressed = (key: string) =>
      Effect.gen(function* () {
        const connections = [...(yield* fleet.connections).values()]
        const index = yield* Ref.get(selected)
        const connection = connections[index]
        if (key === "q") yield* Deferred.succeed(done, undefined)
        else if (key === "up") yield* Ref.set(selected, Math.max(0, index - 1))
        else if (key === "down") yield* Ref.set(selected, Math.min(connections.length - 1, index + 1))
        else if (key === "r" && connection !== undefined) yield* Effect.forkScoped(Effect.ignore(connection.reconnect))
        else if (key === "f" && connection !== undefined) yield* Effect.forkScoped(Effect.ignore(connection.refresh))
        yield* draw
      })
    const keys = yield* terminal.readInput
    yield* Effect.forkScoped(
      Effect.forever(
        Effect.flatMap(Queue.take(keys), ({ key }) => pressed(key.ctrl && key.name === "c" ? "q" : key.name))
      ).pipe(Effect.ensuring(Deferred.succeed(done, undefined)))
    )
    yield* Deferred.await(done)
  }).pipe(Effect.scoped)

const alternate = "\u001B[?1049h\u001B[?25l"
const normal = "\u001B[?25h\u001B[?1049l"
const home = "\u001B[H"
const untilEnd = "\u001B[K"
const below = "\u001B[J"
