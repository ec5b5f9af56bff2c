/**
 * `pnpm bench`: what the connection costs, beside the raw client of the SDK, on this machine, in one run. Everything that is compared
 * is measured in turn, so it is the ratios that count, with their intervals. A target that is missed is printed as missed, and is no
 * failure; a measurement that could not be taken, or a wrong answer, is.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { kinds } from "./lightServer.ts"
import { seeded } from "./random.ts"
import { table } from "./report/table.ts"
import * as Overhead from "./suites/overhead.ts"

const flags = {
  quick: Flag.Boolean("quick").pipe(
    Flag.withDescription("Fewer and shorter rounds: wider intervals, in under five minutes"),
    Flag.withDefault(false)
  ),
  transport: Flag.Literals("transport", ["all", ...kinds]).pipe(
    Flag.withDescription("Measure the overhead on this transport alone"),
    Flag.withDefault("all" as const)
  ),
  seed: Flag.Int("seed").pipe(Flag.withDescription("The seed of the order of the rounds"), Flag.withDefault(1))
}

const run = Effect.fnUntraced(function* ({ quick, seed, transport }: Command.Command.Config.Infer<typeof flags>) {
  const suite = yield* Overhead.run(
    quick ? Overhead.quick : Overhead.full,
    seeded(seed),
    transport === "all" ? kinds : [transport],
    Console.error
  )
  yield* Console.log(table(suite))
})

const bench = Command.make("bench", flags, run).pipe(
  Command.withDescription("Measure the connection beside the raw client of the SDK")
)

Command.runWith(bench, { version: "0.0.0" })(process.argv.slice(2)).pipe(
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
