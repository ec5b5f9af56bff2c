/** `mcp-tether doctor`: what is wrong with a server, and what to do about it. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Output from "../commands/Output.ts"
import * as Progress from "../commands/Progress.ts"
import { json, quietly, timeout } from "../commands/Session.ts"
import * as Servers from "../commands/Servers.ts"
import * as Target from "../commands/Target.ts"
import { diagnose, type Diagnosis, misconfigured, verdict } from "./diagnose.ts"

/** How many servers are looked at at a time: starting them all at once would make each look slow. */
const atATime = 4

export const doctor = Command.make(
  "doctor",
  { server: Target.optionalOperands, ...Servers.flags, json, timeout },
  Effect.fnUntraced(function* ({ config, json, project, server, timeout }) {
    const asked = { config, project }
    const { broken, notes, targets } = yield* server.length > 0
      ? Effect.map(Target.parse(server, asked), (target) => ({ targets: [target], broken: [], notes: [] }))
      : Effect.map(Servers.some(asked), (found) => ({ ...found, targets: found.servers.map(Target.ofConfigured) }))
    // One for the start, and one for each of the two answers.
    const bounds = { start: timeout, all: Duration.times(timeout, 3) }
    const looked = yield* Progress.forEach(targets, Target.nameOf, (target) => diagnose(target, bounds), {
      concurrency: atATime
    }).pipe(quietly)
    const diagnoses = [...looked, ...broken.map(misconfigured)]
    if (json) yield* Output.jsonLine(diagnoses)
    else {
      yield* Effect.forEach(diagnoses, (diagnosis) => Output.line(Output.plain(tell(diagnosis))), { discard: true })
      yield* Effect.forEach(notes, (note) => Output.line(Output.plain(`  ${note}`)), { discard: true })
    }
    yield* verdict(diagnoses)
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
