/** `mcp-tether simulate`: what many clients do to one server that comes back, for each reconnect policy side by side. */
import { Storm } from "@mcp-tether/testing"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Progress from "../commands/Progress.ts"
import * as Charts from "./charts.ts"

export class SimulateFailed extends Schema.TaggedError<SimulateFailed>()("SimulateFailed", {
  description: Schema.String
}) {
  override get message(): string {
    return this.description
  }
  override get [CliError.userMessage](): string {
    return this.description
  }
}

const names = ["default", "no-jitter", "aggressive", "patient", "every-second"] as const

const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

/** A duration as people type it: `500ms`, `60s`, `5m`, `1h`. */
const durationFlag = (name: string, description: string, byDefault: Duration.Duration) =>
  Flag.String(name).pipe(
    Flag.withDescription(`${description}. Default: ${Duration.format(byDefault)}`),
    Flag.withMetavar("duration"),
    Flag.mapTryCatch(
      (text) => {
        const [, amount, unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? []
        const factor = units[unit]
        if (amount === undefined || factor === undefined) throw new Error("a duration looks like 500ms, 60s, 5m or 1h")
        return Duration.millis(Number(amount) * factor)
      },
      (error) => (error instanceof Error ? error.message : String(error))
    ),
    Flag.withDefault(byDefault)
  )

const flags = {
  clients: Flag.Int("clients").pipe(
    Flag.withDescription("How many clients there are. Default: 10000"),
    Flag.withDefault(10_000)
  ),
  outage: durationFlag("outage", "How long the server is away", Duration.seconds(60)),
  policy: Flag.Literals("policy", ["all", ...names]).pipe(
    Flag.withDescription("When the clients try again. Default: all"),
    Flag.withDefault("all" as const)
  ),
  capacity: Flag.Finite("capacity").pipe(
    Flag.withDescription("How many handshakes a second the server can serve when it is back. Default: 1000"),
    Flag.withDefault(1_000)
  ),
  backlog: Flag.Int("backlog").pipe(
    Flag.withDescription("How many handshakes may wait for their turn; more are refused. Default: 511"),
    Flag.withDefault(511)
  ),
  duration: durationFlag(
    "duration",
    "How long it is watched, from the beginning of the outage; nobody waits for it",
    Duration.hours(1)
  ),
  seed: Flag.String("seed").pipe(
    Flag.withDescription("Where the randomness comes from: the same seed, the same storm. Default: storm"),
    Flag.withDefault("storm")
  ),
  fidelity: Flag.Literals("fidelity", ["policy", "connection"]).pipe(
    Flag.withDescription(
      "What a client is: its policy alone, or a whole connection, which does the same at several times the cost. Default: policy"
    ),
    Flag.withDefault("policy" as const)
  ),
  svg: Flag.String("svg").pipe(Flag.withDescription("Draw the charts into this file"), Flag.optional),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON object a line: the report of each policy"),
    Flag.withDefault(false)
  )
}

const run = Effect.fnUntraced(
  function* ({ json, policy, svg, ...options }: Command.Command.Config.Infer<typeof flags>) {
    const rows: Array<Charts.Row> = []
    const policies = policy === "all" ? names : [policy]
    for (const name of policies) {
      const report = yield* Progress.during(
        // Who presses Ctrl-C does not wait until each of 100,000 clients has been told.
        Effect.flatMap(Effect.forkDetach(Storm.simulate({ ...options, policy: Storm.policies[name] })), Fiber.join),
        () => `${name}, ${rows.length + 1} of ${policies.length}`
      )
      rows.push([name, report])
      if (json) yield* Console.log(JSON.stringify({ policy: name, fidelity: options.fidelity, ...report }))
    }
    if (!json) {
      const { capacity, clients, fidelity, outage } = options
      const what = fidelity === "policy" ? "clients (their policies alone)" : "connections"
      yield* Console.log(
        `${clients.toLocaleString("en-US")} ${what}, a server that is away for ${Duration.format(outage)} and then serves ${capacity.toLocaleString("en-US")} handshakes a second\n`
      )
      yield* Console.log(Charts.terminal(rows))
    }
    if (Option.isSome(svg)) {
      const fs = yield* FileSystem.FileSystem
      yield* fs.writeFileString(svg.value, Charts.svg(rows))
    }
  },
  Effect.mapError(({ message }) => new SimulateFailed({ description: message }))
)

export const simulate = Command.make("simulate", flags, run).pipe(
  Command.withDescription("Watch many clients come back to one server after an outage, in virtual time"),
  Command.withExamples([
    { command: "mcp-tether simulate", description: "Ten thousand clients, each reconnect policy side by side" },
    {
      command: "mcp-tether simulate --clients 2000 --policy default --outage 5m --svg storm.svg",
      description: "One policy after a longer outage, and the charts as a picture"
    },
    {
      command: "mcp-tether simulate --fidelity connection --clients 500 --json",
      description: "Whole connections, for programs"
    }
  ])
)
