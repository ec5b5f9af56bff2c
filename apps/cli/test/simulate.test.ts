import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import type { Storm } from "@mcp-tether/testing"
import { Effect, FileSystem } from "effect"
import { TestConsole } from "effect/testing"
import { run } from "../src/cli.ts"

type Line = Storm.Report & { readonly policy: string; readonly fidelity: string }

const linesOf = Effect.map(TestConsole.logLines, (lines) => lines.map(String))

describe("mcp-tether simulate", () => {
  it.effect("--json prints the report of each policy as one object a line", () =>
    Effect.gen(function* () {
      const storm = ["--clients", "2000", "--outage", "20s", "--duration", "5m", "--capacity", "20", "--backlog", "10"]
      yield* run(["simulate", ...storm, "--json"])
      const reports = (yield* linesOf).map((line) => JSON.parse(line) as Line)
      assert.deepStrictEqual(
        reports.map(({ policy }) => policy),
        ["default", "no-jitter", "aggressive", "patient", "every-second"]
      )
      const of = (name: string) => reports.find(({ policy }) => policy === name)
      assert.strictEqual(of("default")?.recovered, 2_000)
      assert.strictEqual(of("no-jitter")?.peakAfterOutage, 2_000)
      assert.isBelow(of("default")?.peakLoad ?? Number.NaN, 10)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("draws a table, a line for each policy, and an SVG", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/storm.svg`
      const storm = ["--clients", "50", "--outage", "10s", "--duration", "5m", "--capacity", "5", "--backlog", "2"]
      yield* run(["simulate", ...storm, "--fidelity", "connection", "--svg", file])
      const [headline = "", ...lines] = (yield* linesOf).join("\n").split("\n")
      assert.include(headline, "50 connections, a server that is away for 10s")
      for (const name of ["default", "no-jitter", "aggressive", "patient", "every-second"]) {
        assert.lengthOf(
          lines.filter((line) => line.startsWith(`${name} `)),
          2
        )
      }
      const svg = yield* fs.readFileString(file)
      assert.match(svg, /^<svg [^]*<\/svg>\n$/)
      assert.notMatch(svg, /NaN|undefined|Infinity/)
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("says what is wrong with an option", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(run(["simulate", "--clients", "10", "--outage", "2h"]))
      assert.strictEqual(error._tag, "SimulateFailed")
      assert.include(error.message, "outage: expected less than the duration")
    }).pipe(Effect.provide(NodeServices.layer))
  )
})
