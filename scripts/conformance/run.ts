/**
 * `pnpm conformance`: has the official conformance suites test the client beside this file. Fails when a scenario fails that is not
 * among the expected failures, and when one of those passes.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { availableParallelism } from "node:os"
import expected from "./expected-failures.json" with { type: "json" }
import { type Outcome, play, scenariosOf, type Suite, suites } from "./suites.ts"

class Nonconformant extends Schema.TaggedError<Nonconformant>()("Nonconformant", { message: Schema.String }) {
  override get [CliError.userMessage](): string {
    return this.message
  }
}

type Verdict =
  | { readonly _tag: "Passed" }
  | { readonly _tag: "Failed"; readonly why: ReadonlyArray<string> }
  | { readonly _tag: "ExpectedFailure"; readonly reason: string }

const judge = ({ failures, scenario, suite }: Outcome): Verdict => {
  const known = expected.find((entry) => entry.suite === suite.version && entry.scenario === scenario)
  if (known === undefined) return failures.length === 0 ? { _tag: "Passed" } : { _tag: "Failed", why: failures }
  return failures.length === 0
    ? { _tag: "Failed", why: ["it passes: take it out of expected-failures.json"] }
    : { _tag: "ExpectedFailure", reason: known.reason }
}

const marks = { Passed: "✓", Failed: "✗", ExpectedFailure: "·" } as const

const row = (outcome: Outcome, verdict: Verdict): string => {
  const { checks, millis, scenario } = outcome
  const notes =
    verdict._tag === "Failed" ? verdict.why : verdict._tag === "ExpectedFailure" ? [`expected: ${verdict.reason}`] : []
  const head = `  ${marks[verdict._tag]} ${scenario.padEnd(44)} ${`${checks.passed}/${checks.all}`.padStart(7)} ${(millis / 1000).toFixed(1).padStart(6)} s`
  return [head, ...notes.map((note) => `      ${note}`)].join("\n")
}

const report = Effect.fnUntraced(function* (suite: Suite, outcomes: ReadonlyArray<Outcome>) {
  yield* Console.log(`\nconformance ${suite.version}: ${suite.about}`)
  const verdicts = outcomes.map((outcome) => ({ outcome, verdict: judge(outcome) }))
  for (const { outcome, verdict } of verdicts) yield* Console.log(row(outcome, verdict))
  return verdicts.map(({ verdict }) => verdict)
})

const all = Effect.fnUntraced(function* (only: string | undefined) {
  const scenes = yield* Effect.forEach(suites, (suite) =>
    Effect.map(scenariosOf(suite), (scenarios) =>
      scenarios.filter((name) => only === undefined || name === only).map((scenario) => ({ suite, scenario }))
    )
  ).pipe(Effect.map((listed) => listed.flat()))
  if (scenes.length === 0) return yield* new Nonconformant({ message: `no suite has a scenario ${only}` })
  const outcomes = yield* Effect.forEach(scenes, ({ scenario, suite }) => play(suite, scenario), {
    concurrency: availableParallelism()
  })
  if (only !== undefined) yield* Effect.forEach(outcomes, ({ output }) => Console.log(output))
  const verdicts = yield* Effect.forEach(suites, (suite) => {
    const ofSuite = outcomes.filter((outcome) => outcome.suite === suite)
    return ofSuite.length === 0 ? Effect.succeed([]) : report(suite, ofSuite)
  }).pipe(Effect.map((listed) => listed.flat()))

  const unknown =
    only === undefined
      ? expected.filter(
          (entry) => !scenes.some(({ scenario, suite }) => suite.version === entry.suite && scenario === entry.scenario)
        )
      : []
  for (const { scenario, suite } of unknown)
    yield* Console.log(`\n  ✗ expected-failures.json names ${scenario} of ${suite}, which there is not`)
  const count = (tag: Verdict["_tag"]) => verdicts.filter((verdict) => verdict._tag === tag).length
  const failed = count("Failed") + unknown.length
  const summary = `${count("Passed")} passed, ${failed} failed, ${count("ExpectedFailure")} expected failures`
  yield* Console.log(`\n${summary}`)
  return failed === 0
})

const conformance = Command.make(
  "conformance",
  {
    scenario: Flag.String("scenario").pipe(
      Flag.withDescription("Run this scenario alone, in each suite that has it, and print what the suite says"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ scenario }) {
    const ok = yield* all(Option.getOrUndefined(scenario))
    if (!ok) process.exitCode = 1
  })
).pipe(Command.withDescription("Have the official conformance suites test a client built on McpConnection"))

Command.runWith(conformance, { version: "0.0.0" })(process.argv.slice(2)).pipe(
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
