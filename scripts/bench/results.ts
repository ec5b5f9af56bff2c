/** What a run leaves behind: one JSON document and the plots, in a directory that holds nothing else. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { BenchFailed } from "./failed.ts"
import * as Machine from "./machine.ts"
import type { Suite } from "./measurement.ts"
import { plots } from "./report/plots.ts"

export interface Results {
  readonly quick: boolean
  readonly seed: number
  readonly minutes: number
  readonly machine: Machine.Machine
  readonly suites: ReadonlyArray<Suite>
  /** What the benchmarks of other clients said, if they are there. */
  readonly peers: unknown
}

export const write = Effect.fnUntraced(
  function* (directory: string, results: Results) {
    const files = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    yield* files.makeDirectory(directory, { recursive: true })
    yield* files.writeFileString(path.join(directory, "results.json"), `${JSON.stringify(results, null, 2)}\n`)
    const [where, what] = Machine.lines(results.machine)
    const subtitle = [where, `${what}${results.quick ? "; a quick run" : ""}`]
    for (const suite of results.suites) {
      const drawn = yield* Effect.tryPromise({
        try: () => plots(suite, subtitle),
        catch: (error) => new BenchFailed({ description: `the plots of ${suite.suite}: ${String(error)}` })
      })
      for (const { name, svg } of drawn) yield* files.writeFileString(path.join(directory, `${name}.svg`), svg)
    }
  },
  Effect.catchTag("PlatformError", (error) =>
    Effect.fail(new BenchFailed({ description: `the results could not be written: ${error.message}` }))
  )
)
