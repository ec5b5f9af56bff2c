import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, PlatformError } from "effect"
import { ChildProcessSpawner } from "effect/process"
import { spawn } from "node:child_process"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { TestClock, TestConsole } from "effect/testing"
import { run } from "../src/cli.ts"

const bin = path.join(path.dirname(fileURLToPath(import.meta.url)), "../src/bin.ts")

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command line as a process of its own. */
const runProcess = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const { FORCE_COLOR: _f, NO_COLOR: _n, ...inherited } = process.env
    const child = spawn(process.execPath, [bin, ...args], {
      env: { ...inherited, ...env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let stdout = ""
    let stderr = ""
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()))
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()))
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, stdout, stderr }))
  })

interface Summary {
  readonly ok: boolean
  readonly calls: number
  readonly answered: number
  readonly outcomeUnknown: number
  readonly reconnects: number
  readonly downtimesMillis: ReadonlyArray<number>
  readonly steps: ReadonlyArray<{ readonly broken: ReadonlyArray<string> }>
}

const escape = String.fromCharCode(27)

describe("mcp-tether demo", () => {
  it.each([
    ["stdio", ["demo", "--json"]],
    ["http", ["demo", "--transport", "http", "--json"]]
  ])(
    "over %s: --json prints one object a line and ends with a summary of six steps that went as told",
    async (_, args) => {
      const { code, stderr, stdout } = await runProcess(args)
      const lines = stdout
        .trimEnd()
        .split("\n")
        .map((line): unknown => JSON.parse(line))
      const { summary } = lines.at(-1) as { readonly summary: Summary }
      assert.deepStrictEqual(
        summary.steps.flatMap(({ broken }) => broken),
        []
      )
      assert.strictEqual(code, 0, stderr)
      assert.isTrue(summary.ok)
      assert.lengthOf(summary.steps, 6)
      assert.strictEqual(summary.answered, summary.calls)
      assert.strictEqual(summary.outcomeUnknown, 1)
      assert.strictEqual(summary.reconnects, 8)
      assert.lengthOf(summary.downtimesMillis, 8)
    }
  )

  it("is plain where stdout is no terminal, and coloured where colour is forced", async () => {
    const [plain, coloured] = await Promise.all([runProcess(["demo"]), runProcess(["demo"], { FORCE_COLOR: "1" })])
    assert.strictEqual(plain.code, 0, plain.stderr)
    assert.notInclude(plain.stdout, escape)
    assert.include(plain.stdout, "Everything went as told")
    assert.include(coloured.stdout, escape)
  })

  it("exits with 1 and names the flag when a flag is wrong", async () => {
    const { code, stderr } = await runProcess(["demo", "--jsn"])
    assert.strictEqual(code, 1)
    assert.include(stderr, "--jsn")
  })

  it.effect("fails when a step does not go as told: here no process can be started at all", () =>
    Effect.gen(function* () {
      const running = yield* Effect.forkChild(Effect.flip(run(["demo", "--json"])), { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      const error = yield* Fiber.join(running)
      assert.strictEqual(error._tag, "DemoFailed")
      const lines = (yield* TestConsole.logLines).map(String)
      const { summary } = JSON.parse(lines.at(-1) ?? "") as { readonly summary: Summary }
      assert.isFalse(summary.ok)
      assert.isAbove(summary.steps[0]?.broken.length ?? 0, 0)
    }).pipe(
      Effect.provide(
        Layer.merge(
          NodeServices.layer,
          Layer.succeed(
            ChildProcessSpawner.ChildProcessSpawner,
            ChildProcessSpawner.make(() =>
              Effect.fail(
                PlatformError.systemError({ _tag: "PermissionDenied", module: "ChildProcess", method: "spawn" })
              )
            )
          )
        )
      )
    )
  )
})
