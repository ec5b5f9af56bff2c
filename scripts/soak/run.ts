/**
 * `pnpm soak`: one connection that loses its session ten thousand times, and a thousand connections that lose theirs at once, over
 * stdio and over HTTP, on real processes and sockets. It fails when anything grows. `--short` does less of it, for CI.
 *
 * The script runs it without the engine's optimizing compilers: their code comes and goes, and weighs more than any leak looked for.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Crowd from "./crowd.ts"
import { counted } from "./fibers.ts"
import * as Plan from "./plan.ts"
import * as Reconnects from "./reconnects.ts"
import * as Report from "./report.ts"
import * as Subject from "./subject.ts"

const parts = ["stdio-reconnects", "http-reconnects", "stdio-crowd", "http-crowd"] as const

const positive = Flag.filter(
  (count: number) => count > 0,
  () => "a count above 0"
)

const flags = {
  short: Flag.Boolean("short").pipe(
    Flag.withDescription("Less of everything, in under a minute; what is weighed is judged less closely"),
    Flag.withDefault(false)
  ),
  part: Flag.Literals("part", ["all", ...parts]).pipe(
    Flag.withDescription("Run this part alone"),
    Flag.withDefault("all" as const)
  ),
  turns: Flag.Int("turns").pipe(
    Flag.withDescription("How often a session is lost, one after the other; rounded up to whole checkpoints"),
    positive,
    Flag.optional
  ),
  connections: Flag.Int("connections").pipe(
    Flag.withDescription("How many connections there are at once"),
    positive,
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON document with every measurement"),
    Flag.withDefault(false)
  )
}

const planOf = ({ connections, short, turns }: Command.Command.Config.Infer<typeof flags>): Plan.Plan => {
  const plan = short ? Plan.short : Plan.long
  const { every } = plan.reconnects
  const wanted = Option.getOrElse(turns, () => plan.reconnects.turns)
  return {
    ...plan,
    reconnects: { ...plan.reconnects, turns: Math.ceil(wanted / every) * every },
    crowd: { ...plan.crowd, connections: Option.getOrElse(connections, () => plan.crowd.connections) }
  }
}

const run = Effect.fnUntraced(function* (options: Command.Command.Config.Infer<typeof flags>) {
  if (process.platform !== "linux") {
    return yield* new Subject.SoakFailed({ description: "the soak reads /proc, which only Linux has" })
  }
  if (globalThis.gc === undefined) {
    return yield* new Subject.SoakFailed({ description: "the soak needs flags of Node's: start it as `pnpm soak`" })
  }
  const plan = planOf(options)
  const begin = yield* Clock.currentTimeMillis
  const reports = yield* play(plan, options).pipe(
    Effect.timeoutOrElse({
      duration: Duration.minutes(plan.within),
      orElse: () =>
        Effect.fail(new Subject.SoakFailed({ description: `it hangs: ${plan.within} minutes were not enough` }))
    })
  )
  const millis = (yield* Clock.currentTimeMillis) - begin
  const broken = reports.flatMap(({ findings, part }) =>
    findings.filter(({ verdict }) => verdict !== "Flat").map((finding) => ({ part, ...finding }))
  )
  const ok = broken.length === 0
  if (options.json) {
    const node = process.versions.node
    yield* Console.log(JSON.stringify({ ok, node, plan, millis, reports }))
  } else {
    yield* Console.log(
      ok ? `everything is flat, in ${took(millis)}` : `${broken.length} are not flat, in ${took(millis)}:`
    )
  }
  if (ok) return
  return yield* new Subject.SoakFailed({
    description: broken.map(({ part, text, verdict, what }) => `${part}: ${what} ${says[verdict]}: ${text}`).join("\n")
  })
})

const says = {
  Flat: "is flat",
  Grows: "grows",
  Differs: "is not the same",
  Unclear: "cannot be told to be flat"
} as const

const took = (millis: number): string => Duration.format(Duration.seconds(Math.round(millis / 1000)))

/** The parts one after the other; each is told when it is done. */
const play = Effect.fnUntraced(
  function* (plan: Plan.Plan, { json, part }: Command.Command.Config.Infer<typeof flags>) {
    const progress = (line: string) => Console.error(line)
    const reports: Array<Reconnects.Report | Crowd.Report> = []
    for (const name of part === "all" ? parts : [part]) {
      const report = yield* Effect.scoped(
        Effect.gen(function* () {
          const subject = yield* name.startsWith("stdio") ? Subject.stdio : Subject.http
          return yield* name.endsWith("crowd")
            ? Crowd.run(subject, plan.crowd, progress)
            : Reconnects.run(subject, plan.reconnects, progress)
        })
      )
      reports.push(report)
      if (!json) yield* Console.log(`${"rounds" in report ? Report.ofCrowd(report) : Report.ofReconnects(report)}\n`)
    }
    return reports
  },
  counted,
  // Each loss is worth a line to a user, and here nothing else happens.
  Effect.provideService(References.MinimumLogLevel, "None")
)

const soak = Command.make("soak", flags, run).pipe(
  Command.withDescription("Lose sessions by the thousand, and see whether anything is left behind")
)

Command.runWith(soak, { version: "0.0.0" })(process.argv.slice(2)).pipe(
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
