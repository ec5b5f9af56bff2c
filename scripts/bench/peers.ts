/** The benchmarks beside other clients: a program of their own, run as a child, whose last line on stdout is its report. */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { BenchFailed } from "./failed.ts"

const program = fileURLToPath(new URL("peers/run.ts", import.meta.url))

export const isThere = (): boolean => existsSync(program)

/** What the last line says, if it is a report. */
export const reportOf = (stdout: string): unknown => {
  try {
    const report: unknown = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "")
    return typeof report === "object" && report !== null && "suite" in report && report.suite === "peers"
      ? report
      : undefined
  } catch {
    return undefined
  }
}

export const run = (quick: boolean): Effect.Effect<unknown, BenchFailed> =>
  Effect.callback((resume) => {
    const args = ["--disable-warning=ExperimentalWarning", program, "--json", ...(quick ? ["--quick"] : [])]
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
    let stdout = ""
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk))
    const failed = (description: string) => resume(Effect.fail(new BenchFailed({ description })))
    child.once("error", (error) => failed(`peers: ${error.message}`))
    child.once("close", (code, signal) => {
      const report = reportOf(stdout)
      if (code !== 0) failed(`peers: ended with ${signal ?? code}`)
      else if (report === undefined) failed("peers: the last line is no report")
      else resume(Effect.succeed(report))
    })
    return Effect.sync(() => child.kill())
  })
