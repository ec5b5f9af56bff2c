/** The official conformance suites, as they are installed: what scenarios they have for a client, and how one is run. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import legacy from "conformance-legacy/package.json" with { type: "json" }
import modern from "conformance-modern/package.json" with { type: "json" }
import * as path from "node:path"
import { fileURLToPath } from "node:url"

export class SuiteBroken extends Schema.TaggedError<SuiteBroken>()("SuiteBroken", { message: Schema.String }) {}

export interface Suite {
  /** Its version, which is also its name. */
  readonly version: string
  readonly about: string
  readonly program: string
  /** Which of its scenarios are ours, by what it says of the revisions that have them. */
  readonly has: (revisions: ReadonlyArray<string>) => boolean
  readonly args: ReadonlyArray<string>
}

export interface Outcome {
  readonly suite: Suite
  readonly scenario: string
  /** Why it is no pass. */
  readonly failures: ReadonlyArray<string>
  /** What was checked, and how much of it was right. */
  readonly checks: { readonly passed: number; readonly all: number }
  readonly millis: number
  readonly output: string
}

const programOf = (name: string): string =>
  path.join(path.dirname(fileURLToPath(import.meta.resolve(`${name}/package.json`))), "dist/index.js")

const revision = "2026-07-28"

export const suites: ReadonlyArray<Suite> = [
  {
    version: legacy.version,
    about: "all it has, up to 2025-11-25",
    program: programOf("conformance-legacy"),
    has: () => true,
    args: []
  },
  {
    version: modern.version,
    about: `what ${revision} has, and all extensions`,
    program: programOf("conformance-modern"),
    has: (revisions) => revisions.includes(revision) || revisions.includes("extension"),
    // Forced: extensions belong to no revision, and would be run in the one before.
    args: ["--spec-version", revision, "--force"]
  }
]

/** How long the suite waits for its client, which gives up by itself before; and how long we wait for the suite. */
const clientMillis = 25_000
const within = "40 seconds"

/** A program of a suite, with all that it says. It is a process group of its own, and ends with the scope. */
const run = Effect.fnUntraced(function* (suite: Suite, args: ReadonlyArray<string>) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const child = yield* spawner.spawn(
    ChildProcess.make(process.execPath, [suite.program, ...args], {
      cwd: import.meta.dirname,
      env: {
        // The suite starts its client by way of a shell.
        PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env["PATH"] ?? ""}`,
        NODE_COMPILE_CACHE: path.join(import.meta.dirname, "node_modules/.cache/compiled"),
        NO_COLOR: "1"
      },
      extendEnv: true,
      stdin: "ignore",
      forceKillAfter: "1 second"
    })
  )
  const output = yield* child.all.pipe(Stream.decodeText(), Stream.mkString)
  return { output, exitCode: yield* child.exitCode }
}, Effect.scoped)

/** The scenarios of a suite that are ours. */
export const scenariosOf = Effect.fnUntraced(function* (suite: Suite) {
  const { output } = yield* run(suite, ["list", "--client"])
  const scenarios = [...output.matchAll(/^ {2}- (\S+) \[(.*)\]$/gm)].flatMap(([, name = "", revisions = ""]) =>
    suite.has(revisions.split(",")) ? [name] : []
  )
  // What cannot be read must not look like a suite that has nothing against us.
  if (scenarios.length === 0) return yield* new SuiteBroken({ message: `no scenarios in: ${output}` })
  return scenarios
})

/** Has a suite try its scenario on our client. */
export const play = Effect.fnUntraced(function* (suite: Suite, scenario: string) {
  const command = ["client", "--command", "node client.ts", "--scenario", scenario, "--timeout", String(clientMillis)]
  const [took, { exitCode, output }] = yield* run(suite, [...command, ...suite.args]).pipe(
    Effect.timeoutOrElse({
      duration: within,
      orElse: () => Effect.succeed({ exitCode: undefined, output: `no end after ${within}` })
    }),
    Effect.timed
  )
  // eslint-disable-next-line no-control-regex
  const text = output.replaceAll(/\u001B\[\d+m/g, "")
  const [, passed = 0, all = 0] = (/^Passed: (\d+)\/(\d+),/m.exec(text) ?? []).map(Number)
  const failures = [
    ...[...text.matchAll(/^ {2}- (.+)$/gm)].map(([, failure = ""]) => failure),
    ...[...text.matchAll(/^⚠️ +(.+)$/gm)].map(([, failure = ""]) => failure)
  ]
  const outcome: Outcome = {
    suite,
    scenario,
    failures:
      exitCode !== 0
        ? failures.length === 0
          ? [`exit code ${exitCode ?? "none"}`]
          : failures
        : // A scenario that checked nothing has shown nothing.
          passed === 0
          ? ["nothing was checked"]
          : [],
    checks: { passed, all },
    millis: Duration.toMillis(took),
    output: text
  }
  return outcome
})
