/** `mcp-tether status`: all configured servers at a glance. What to do about one that is not well, `doctor` tells. */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { homedir } from "node:os"
import { CommandFailed } from "../CommandFailed.ts"
import * as Output from "../commands/Output.ts"
import * as Progress from "../commands/Progress.ts"
import { durationFlag, json, quietly } from "../commands/Session.ts"
import * as Servers from "../commands/Servers.ts"
import * as Target from "../commands/Target.ts"
import { look, misconfigured, verdict } from "../doctor/diagnose.ts"
import { statusOf, table } from "./table.ts"

const flags = {
  names: Argument.String("name").pipe(
    Argument.withDescription("The names of configured servers. Default: all that are configured"),
    Argument.variadic({ min: 0 })
  ),
  ...Servers.flags,
  json,
  timeout: durationFlag("timeout", "How long a server may take, in all", "10 seconds")
}

export const status = Command.make(
  "status",
  flags,
  Effect.fnUntraced(function* ({ config, json, names, project, timeout }) {
    const { broken, servers } = yield* chosen(names, yield* Servers.some({ config, project }))
    const told = Effect.gen(function* () {
      const looked = yield* Progress.forEach(
        servers,
        ({ name }) => name,
        (server) =>
          Effect.map(look(Target.ofConfigured(server), { start: timeout, all: timeout }), (diagnosis) =>
            statusOf(diagnosis, server.file)
          ),
        { concurrency: "unbounded" }
      )
      const statuses = [...looked, ...broken.map((server) => statusOf(misconfigured(server), server.file))]
      const width = process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY
      yield* json
        ? Output.jsonLine(statuses)
        : Effect.forEach(table(statuses, { home: homedir(), width }), Output.line, { discard: true })
      return statuses
    })
    yield* Effect.flatMap(quietly(closedTogether(told)), verdict)
  })
).pipe(
  Command.withDescription("See at a glance which servers are there, what they speak, and what is wrong"),
  Command.withExamples([
    { command: "mcp-tether status", description: "All servers of your clients (Claude, Cursor, VS Code, Codex, …)" },
    { command: "mcp-tether status files search --config .mcp.json", description: "Two servers of a file" },
    {
      command: "mcp-tether status --json --timeout 5s | jq -r '.[] | select(.healthy | not).server'",
      description: "For programs: the names of those that are not well"
    }
  ])
)

/** Those that are named, or all. */
const chosen = (
  names: ReadonlyArray<string>,
  { broken, files, servers }: Servers.Configured
): Effect.Effect<Pick<Servers.Configured, "broken" | "servers">, CommandFailed> => {
  if (names.length === 0) return Effect.succeed({ broken, servers })
  const known = [...servers, ...broken].map(({ name }) => name)
  const unknown = names.filter((name) => !known.includes(name))
  const isNamed = ({ name }: { readonly name: string }): boolean => names.includes(name)
  return unknown.length === 0
    ? Effect.succeed({ broken: broken.filter(isNamed), servers: servers.filter(isNamed) })
    : Effect.fail(
        new CommandFailed({
          description: `no server ${unknown.join(", ")} in ${files.join(", ")}: there are ${known.join(", ")}`
        })
      )
}

/** A scope whose servers end at the same time: one that resists holds up no other. */
const closedTogether = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
  Effect.acquireUseRelease(
    Scope.make("parallel"),
    (scope) => Scope.provide(self, scope),
    (scope, exit) => Scope.close(scope, exit)
  )
