/**
 * `pnpm bench`: what the connection costs, beside the raw client of the SDK, on this machine, in one run. Everything that is compared
 * is measured in turn, so it is the ratios that count, with their intervals. A target that is missed is printed as missed, and is no
 * failure; a measurement that could not be taken, or a wrong answer, is.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { fileURLToPath } from "node:url"
import { BenchFailed } from "./failed.ts"
import { kinds } from "./lightServer.ts"
import * as Machine from "./machine.ts"
import type { Suite } from "./measurement.ts"
import * as Peers from "./peers.ts"
import { seeded } from "./random.ts"
import { table } from "./report/table.ts"
import { verdicts } from "./report/verdicts.ts"
import * as Results from "./results.ts"
import * as ColdStart from "./suites/coldStart.ts"
import * as Large from "./suites/large.ts"
import * as Overhead from "./suites/overhead.ts"
import * as Recovery from "./suites/recovery.ts"
import * as Scale from "./suites/scale.ts"

const suites = ["overhead", "large", "recovery", "scale", "coldStart", "peers"] as const
type SuiteName = (typeof suites)[number]

const flags = {
  quick: Flag.Boolean("quick").pipe(
    Flag.withDescription("Fewer and shorter rounds: wider intervals, in under five minutes"),
    Flag.withDefault(false)
  ),
  only: Flag.String("only").pipe(
    Flag.withDescription(`Run these suites alone, with commas between: ${suites.join(", ")}`),
    Flag.optional
  ),
  out: Flag.String("out").pipe(
    Flag.withDescription(
      "Where the JSON and the plots go. Default: results/ beside this script for a full run of all, and a cache for others"
    ),
    Flag.optional
  ),
  transport: Flag.Literals("transport", ["all", ...kinds]).pipe(
    Flag.withDescription("Measure the overhead on this transport alone"),
    Flag.withDefault("all" as const)
  ),
  seed: Flag.Int("seed").pipe(Flag.withDescription("The seed of the order of the rounds"), Flag.withDefault(1))
}

/** What the README quotes comes from full runs alone. */
const kept = fileURLToPath(new URL("results", import.meta.url))
const passing = fileURLToPath(new URL("node_modules/.cache/results", import.meta.url))

const isWhole = ({ only, quick, transport }: Options): boolean => !quick && Option.isNone(only) && transport === "all"

type Options = Command.Command.Config.Infer<typeof flags>

const play = (
  name: Exclude<SuiteName, "peers">,
  { quick, seed, transport }: Options
): Effect.Effect<Suite, BenchFailed> => {
  const random = seeded(seed)
  const progress = Console.error
  switch (name) {
    case "overhead": {
      const plan = quick ? Overhead.quick : Overhead.full
      return Overhead.run(plan, random, transport === "all" ? kinds : [transport], progress)
    }
    case "large":
      return Large.run(quick ? Large.quick : Large.full, random, progress)
    case "recovery":
      return Recovery.run(quick ? Recovery.quick : Recovery.full, random, progress)
    case "scale":
      return Scale.run(quick ? Scale.quick : Scale.full, random, progress)
    case "coldStart":
      return ColdStart.run(quick ? ColdStart.quick : ColdStart.full, random, progress)
  }
}

const chosen = ({ only }: Options) =>
  Option.match(only, {
    onNone: () => Effect.succeed<ReadonlyArray<SuiteName>>(suites),
    onSome: (names) =>
      Effect.forEach(names.split(","), (name) => {
        const suite = suites.find((suite) => suite === name.trim())
        return suite === undefined
          ? Effect.fail(new BenchFailed({ description: `there is no suite "${name}": ${suites.join(", ")}` }))
          : Effect.succeed(suite)
      })
  })

const playPeers = Effect.fnUntraced(function* (quick: boolean) {
  if (Peers.isThere()) return yield* Peers.run(quick)
  yield* Console.log("peers: not there\n")
  return undefined
})

const run = Effect.fnUntraced(function* (options: Options) {
  const names = yield* chosen(options)
  const begin = yield* Clock.currentTimeMillis
  const before = Machine.load()
  const described = Machine.describe()
  const played: Array<Suite & { readonly seconds: number }> = []
  let peers: unknown
  for (const name of names) {
    if (name === "peers") {
      peers = yield* playPeers(options.quick)
      continue
    }
    const [took, suite] = yield* Effect.timed(play(name, options))
    const seconds = Math.round(Duration.toSeconds(took))
    played.push({ ...suite, seconds })
    yield* Console.log(`${table(suite)}\nin ${seconds} s\n`)
  }
  const machine = { ...described, load: { before, after: Machine.load() } }
  const minutes = ((yield* Clock.currentTimeMillis) - begin) / 60_000
  const { quick, seed } = options
  const out = Option.getOrElse(options.out, () => (isWhole(options) ? kept : passing))
  yield* Results.write(out, { quick, seed, minutes: Number(minutes.toFixed(1)), machine, suites: played, peers })
  yield* Console.log(
    `${verdicts(played)}\n\n${Machine.lines(machine).join("\n")}\nin ${minutes.toFixed(1)} minutes; ${out}`
  )
})

const bench = Command.make("bench", flags, run).pipe(
  Command.withDescription("Measure the connection beside the raw client of the SDK")
)

Command.runWith(bench, { version: "0.0.0" })(process.argv.slice(2)).pipe(
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
