/** `mcp-tether doctor`: what is wrong with a server, and what to do about it. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import { CommandFailed } from "../CommandFailed.ts"
import * as Output from "../commands/Output.ts"
import { json, quietly, timeout, transportTo } from "../commands/Session.ts"
import * as Servers from "../commands/Servers.ts"
import * as Target from "../commands/Target.ts"
import { diagnose, type Diagnosis } from "./diagnose.ts"

/** How many servers are looked at at a time: starting them all at once would make each look slow. */
const atATime = 4

export const doctor = Command.make(
  "doctor",
  { server: Target.optionalOperands, ...Servers.flags, json, timeout },
  Effect.fnUntraced(function* ({ config, json, project, server, timeout }) {
    const asked = { config, project }
    const { broken, notes, targets } = yield* server.length > 0
      ? Effect.map(Target.parse(server, asked), (target) => ({ targets: [target], broken: [], notes: [] }))
      : Effect.flatMap(Servers.read(asked), everyone)
    const looked = yield* Effect.forEach(
      targets,
      (target) =>
        Effect.scoped(
          Effect.flatMap(transportTo(target), (transport) =>
            diagnose({ name: Target.nameOf(target), way: Target.wayOf(target), transport }, timeout)
          )
        ),
      { concurrency: atATime }
    ).pipe(quietly)
    const diagnoses: ReadonlyArray<Diagnosis> = [
      ...looked,
      ...broken.map(({ name, problem }) => ({
        server: name,
        healthy: false as const,
        problem,
        reason: "InvalidConfig",
        advice: "correct the file"
      }))
    ]
    if (json) yield* Output.jsonLine(diagnoses)
    else {
      yield* Effect.forEach(diagnoses, (diagnosis) => Output.line(Output.plain(tell(diagnosis))), { discard: true })
      yield* Effect.forEach(notes, (note) => Output.line(Output.plain(`  ${note}`)), { discard: true })
    }
    const sick = diagnoses.filter(({ healthy }) => !healthy).map(({ server }) => server)
    if (sick.length > 0)
      return yield* new CommandFailed({
        description: `${sick.length} of ${diagnoses.length} server${diagnoses.length === 1 ? "" : "s"} cannot be used: ${sick.join(", ")}`
      })
  })
).pipe(
  Command.withDescription(
    "Look at servers: are they found, do they start, what do they speak, and what to do about what is wrong"
  ),
  Command.withExamples([
    { command: "mcp-tether doctor", description: "All servers of your clients (Claude, Cursor, VS Code, Codex, …)" },
    { command: "mcp-tether doctor --config .mcp.json", description: "The servers of a file" },
    {
      command: "mcp-tether doctor -- npx -y @modelcontextprotocol/server-everything",
      description: "A server that is a command"
    }
  ])
)

/** All that is configured. */
const everyone = ({
  broken,
  notes,
  servers
}: Servers.Configured): Effect.Effect<
  {
    readonly targets: ReadonlyArray<Target.Target>
    readonly broken: Servers.Configured["broken"]
    readonly notes: ReadonlyArray<string>
  },
  CommandFailed
> =>
  servers.length + broken.length > 0
    ? Effect.succeed({
        targets: servers.map((server) => ({ _tag: "Configured", server }) as const),
        broken,
        notes
      })
    : Effect.fail(
        new CommandFailed({
          description: ["no servers are configured: name a file with --config, or a server", ...notes].join("; ")
        })
      )

const tell = (diagnosis: Diagnosis): string => {
  if (diagnosis.healthy) {
    const { era, handshakeMillis, name, pingMillis, protocolVersion, server, tools, version } = diagnosis
    return [
      `✓ ${server}`,
      `    ${name} ${version}, protocol ${protocolVersion} (${era})`,
      `    handshake ${handshakeMillis} ms, ping ${pingMillis} ms, ${tools} tool${tools === 1 ? "" : "s"}`
    ].join("\n")
  }
  const { advice, problem, server, stderr } = diagnosis
  const said =
    stderr === undefined
      ? []
      : [
          "    it said:",
          ...stderr
            .split("\n")
            .slice(-5)
            .map((line) => `      ${line}`)
        ]
  return [`✗ ${server}`, `    ${problem}`, `    → ${advice}`, ...said].join("\n")
}
