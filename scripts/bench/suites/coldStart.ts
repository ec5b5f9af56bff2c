/** How long a program takes to start with the library, and what it weighs, beside one that imports only Effect and the SDK. */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import * as path from "node:path"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"
import { BenchFailed } from "../failed.ts"
import * as Installed from "../installed.ts"
import { type Round, rounds } from "../interleave.ts"
import { exact, medianOf, ratio, type Row, type Suite } from "../measurement.ts"
import type { Random } from "../random.ts"

export interface Plan {
  readonly rounds: number
}

export const quick: Plan = { rounds: 5 }
export const full: Plan = { rounds: 40 }

/** What a program needs that calls a tool, one module each, as the library itself imports Effect. */
const floor = `
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
export default [Client, StreamableHTTPClientTransport, StdioClientTransport, Effect.runPromise, Layer.effect]
`

const library = `
import { McpConnection, McpTransport } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
export default [McpConnection.layer, McpTransport.stdio, McpTransport.streamableHttp, Effect.runPromise]
`

const barrels = `
import * as Client from "@modelcontextprotocol/client"
import * as Stdio from "@modelcontextprotocol/client/stdio"
import * as Everything from "effect"
export default [Client, Stdio, Everything]
`

const program = (source: string): ReadonlyArray<string> => ["--input-type=module", "--eval", source]

const cli = path.join(Installed.directory, "node_modules/mcp-tether/dist/bin.js")

const starts = {
  node: program(""),
  floor: program(floor),
  barrels: program(barrels),
  library: program(library),
  help: [cli, "--help"]
} as const

type Name = keyof typeof starts

/** From the start of a process to its end, in milliseconds. */
const timed = (name: Name): Effect.Effect<number, BenchFailed> =>
  Effect.callback((resume) => {
    const begin = performance.now()
    const child = spawn(process.execPath, starts[name], {
      cwd: Installed.directory,
      stdio: ["ignore", "ignore", "inherit"]
    })
    child.once("error", (error) => resume(Effect.fail(new BenchFailed({ description: `${name}: ${error.message}` }))))
    child.once("exit", (code) =>
      resume(
        code === 0
          ? Effect.succeed(performance.now() - begin)
          : Effect.fail(new BenchFailed({ description: `${name} ended with ${code}` }))
      )
    )
    return Effect.sync(() => child.kill())
  })

interface Size {
  readonly minified: number
  readonly gzipped: number
}

/** One file with all that the program needs, and nothing that it does not. */
const bundled = (source: string): Effect.Effect<Size, BenchFailed> =>
  Effect.tryPromise({
    try: async () => {
      const entry = "\0entry"
      const bundle = await rolldown({
        input: entry,
        cwd: Installed.directory,
        platform: "node",
        logLevel: "silent",
        plugins: [
          {
            name: "entry",
            resolveId: (id, importer) => {
              if (id === entry) return id
              return importer === entry ? undefined : null
            },
            load: (id) => (id === entry ? source : null)
          }
        ]
      })
      const { output } = await bundle.generate({ format: "esm", minify: true })
      await bundle.close()
      const code = output.flatMap((chunk) => (chunk.type === "chunk" ? [chunk.code] : [])).join("\n")
      return { minified: Buffer.byteLength(code), gzipped: gzipSync(code, { level: 9 }).length }
    },
    catch: (error) => new BenchFailed({ description: `the bundle was not made: ${String(error)}` })
  })

export const run = Effect.fnUntraced(function* (
  plan: Plan,
  random: Random,
  progress: (line: string) => Effect.Effect<void>
) {
  Installed.assemble()
  const names = Object.keys(starts) as Array<Name>
  const subjects = Object.fromEntries(names.map((name) => [name, timed(name)])) as Record<
    Name,
    ReturnType<typeof timed>
  >
  // The first round is for the file system's cache.
  const measured = [(yield* rounds(subjects, plan.rounds + 1, random)).slice(1)]
  yield* progress("coldStart: processes started")
  const small = yield* bundled(floor)
  const ours = yield* bundled(library)
  yield* progress("coldStart: bundles made")

  const time = (what: string, name: Name, other: Name): Row => {
    const over = (round: Round<Name, number>, name: Name) => round[name] - round.node
    return {
      what,
      unit: "ms above an empty program",
      values: {
        [name]: medianOf(measured, (round) => over(round, name)),
        [other]: medianOf(measured, (round) => over(round, other))
      },
      compared: ratio(
        measured,
        (round) => round[name],
        (round) => round[other]
      )
    }
  }
  const kib = (bytes: number) => bytes / 1_024
  const size = (what: string, read: (size: Size) => number): Row => ({
    what,
    unit: "KiB",
    values: { library: kib(read(ours)), floor: kib(read(small)) },
    compared: exact("×", read(ours) / read(small))
  })
  return {
    suite: "coldStart",
    about:
      "whole processes, from start to end, beside the modules of Effect and of the SDK that such a program needs (floor), and all of them (barrels)",
    rows: [
      time("import @mcp-tether/connection", "library", "floor"),
      time("import @mcp-tether/connection", "library", "barrels"),
      time("mcp-tether --help", "help", "floor"),
      size("bundle, tree-shaken and minified", ({ minified }) => minified),
      size("bundle, tree-shaken, minified and gzipped", ({ gzipped }) => gzipped)
    ]
  } satisfies Suite
})
