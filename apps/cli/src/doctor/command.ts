/** `mcp-tether doctor`: what is wrong with a server, and what to do about it. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import { CommandFailed } from "../CommandFailed.ts"
import * as Output from "../commands/Output.ts"
import { json, quietly, timeout, transportTo } from "../commands/Session.ts"
import * as Target from "../commands/Target.ts"
import { diagnose, type Diagnosis } from "./diagnose.ts"

/** How many servers are looked at at a time: starting them all at once would make each look slow. */
const atATime = 4

export const doctor = Command.make(
  "doctor",
  { server: Target.operands, json, timeout },
  Effect.fnUntraced(function* ({ json, server, timeout }) {
    const target = yield* Target.parse(server)
    const diagnoses = yield* Effect.gen(function* () {
      const patients = [{ name: Target.nameOf(target), way: wayOf(target), transport: yield* transportTo(target) }]
      return yield* Effect.forEach(patients, (patient) => diagnose(patient, timeout), { concurrency: atATime })
    }).pipe(Effect.scoped, quietly)
    yield* json
      ? Output.jsonLine(diagnoses)
      : Effect.forEach(diagnoses, (diagnosis) => Output.line(Output.plain(tell(diagnosis))), { discard: true })
    const sick = diagnoses.filter(({ healthy }) => !healthy).map(({ server }) => server)
    if (sick.length > 0)
      return yield* new CommandFailed({
        description: `${sick.length} of ${diagnoses.length} server${diagnoses.length === 1 ? "" : "s"} cannot be used: ${sick.join(", ")}`
      })
  })
).pipe(
  Command.withDescription(
    "Look at a server: is it found, does it start, what does it speak, and what to do about what is wrong"
  ),
  Command.withExamples([
    {
      command: "mcp-tether doctor -- npx -y @modelcontextprotocol/server-everything",
      description: "A server that is a command"
    },
    { command: "mcp-tether doctor https://example.com/mcp", description: "A server behind HTTP" }
  ])
)

const wayOf = (target: Target.Target) =>
  target._tag === "Url"
    ? ({ _tag: "Url", url: target.url.href } as const)
    : ({ _tag: "Command", command: target.command } as const)

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
