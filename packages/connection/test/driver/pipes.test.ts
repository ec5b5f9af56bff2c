import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { spawn } from "node:child_process"
import { PassThrough } from "node:stream"
import { call, failureOf, kill, pidOf, scenario, until } from "./rig.ts"

/** The same processes, created by others than the fiber that asks for them: they cannot be told from anybody's. */
const elsewhere = Effect.map(ChildProcessSpawner.ChildProcessSpawner, (spawner) =>
  ChildProcessSpawner.make((command) =>
    Effect.flatMap(Effect.forkDetach(spawner.spawn(command), { startImmediately: true }), Fiber.join)
  )
)

/** Spawners that also hide what Node would tell: the pipes are nowhere to be found. */
const hidden = Effect.map(ChildProcessSpawner.ChildProcessSpawner, (spawner) =>
  ChildProcessSpawner.make((command) =>
    Effect.map(spawner.spawn(command), (child) =>
      ChildProcessSpawner.makeHandle({ ...child, pid: ChildProcessSpawner.ProcessId(-Number(child.pid)) })
    )
  )
)

describe("the pipes of a server", () => {
  for (const [name, make] of Object.entries({ elsewhere, hidden })) {
    scenario(`work the long way when its process is ${name}`, (rig) =>
      Effect.gen(function* () {
        const connection = yield* Effect.provideServiceEffect(
          rig.connect(),
          ChildProcessSpawner.ChildProcessSpawner,
          make
        )
        const texts = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, index) => `text ${index}`),
          (text) => call(connection, "read", { text }),
          { concurrency: 10 }
        )
        assert.deepStrictEqual(
          texts,
          Array.from({ length: 50 }, (_, index) => `text ${index}`)
        )
        const large = "x".repeat(3_000_000)
        assert.strictEqual(yield* call(connection, "read", { text: large }), large)
        const pending = yield* Effect.forkChild(failureOf(call(connection, "write", { effect: "once", reply: "hang" })))
        yield* until("the effect", () => rig.ledger().length === 1)
        kill(Math.abs(yield* pidOf(connection)), "SIGKILL")
        assert.strictEqual((yield* Fiber.join(pending))._tag, "OutcomeUnknown")
        assert.strictEqual(yield* call(connection, "read", { text: "again" }), "again")
      })
    )
  }

  scenario("of other processes, created meanwhile, are left alone", (rig) =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const others: Array<Promise<void>> = []
      const other = (): void => {
        const child = spawn(process.execPath, ["-e", "console.log('said'); process.stdin.resume()"], { stdio: "pipe" })
        others.push(
          new Promise((resolve) => {
            const through = new PassThrough().on("data", (chunk: Buffer) => lines.push(chunk.toString()))
            child.once("spawn", () => child.stdout.pipe(through))
            child.once("close", () => resolve())
          })
        )
        child.stdin.end()
      }
      const beside = Effect.map(ChildProcessSpawner.ChildProcessSpawner, (spawner) =>
        ChildProcessSpawner.make((command) => {
          other()
          return Effect.tap(spawner.spawn(command), () => Effect.sync(other))
        })
      )
      const connection = yield* Effect.provideServiceEffect(
        rig.connect(),
        ChildProcessSpawner.ChildProcessSpawner,
        beside
      )
      assert.strictEqual(yield* call(connection, "read", { text: "mine" }), "mine")
      yield* Effect.promise(() => Promise.all(others))
      assert.deepStrictEqual(lines, ["said\n", "said\n"])
    })
  )
})
