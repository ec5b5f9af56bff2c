/** The servers that people have configured, on the command line. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import type { Diagnosis } from "../src/doctor/diagnose.ts"
import { everything } from "./support/everything.ts"
import * as Terminal from "./support/terminal.ts"

const servers = {
  everything,
  broken: { command: process.execPath, args: ["-e", "console.error('no licence'); process.exit(7)"] },
  missing: { command: "mcp-server-that-is-not-there" },
  secret: { command: "x", env: { TOKEN: "${NOT_SET_ANYWHERE}" } },
  off: { command: "y", disabled: true }
}

/** A home, a folder of a project in it, and a terminal there. */
const scenario = <A, E>(
  name: string,
  body: (stage: {
    readonly home: string
    readonly file: string
    readonly start: (...args: ReadonlyArray<string>) => Effect.Effect<Terminal.Running>
    readonly run: (...args: ReadonlyArray<string>) => Effect.Effect<Terminal.Ended>
  }) => Effect.Effect<A, E>
): void =>
  it.live(name, () =>
    Effect.gen(function* () {
      const terminal = yield* Terminal.make
      const home = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(path.join(tmpdir(), "mcp-tether-config-"))),
        (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
      )
      const file = path.join(home, "servers.json")
      writeFileSync(file, JSON.stringify({ mcpServers: servers }))
      const env = { HOME: home, XDG_CONFIG_HOME: "" }
      return yield* body({
        home,
        file,
        start: (...args) => terminal.start(args, env),
        run: (...args) => terminal.run(args, env)
      })
    }).pipe(Effect.scoped)
  )

describe("a configured server", () => {
  scenario("is called by its name", ({ file, run }) =>
    Effect.gen(function* () {
      const call = yield* run("call", "everything", "echo", "--arg", "message=hi", "--config", file)
      assert.deepStrictEqual([call.code, call.stdout], [0, "Echo: hi\n"], call.stderr)
      const tools = yield* run("tools", "everything", "--config", file)
      assert.match(tools.stdout, /^echo /m)
    })
  )

  scenario("offers the tools that its file says, and says why it does not call another one", ({ home, run }) =>
    Effect.gen(function* () {
      const file = path.join(home, "some.json")
      const some = { ...everything, enabled_tools: ["echo", "get-sum"], disabled_tools: ["get-sum"] }
      writeFileSync(file, JSON.stringify({ mcpServers: { some } }))
      const tools = yield* run("tools", "some", "--config", file, "--json")
      assert.deepStrictEqual(
        (JSON.parse(tools.stdout) as ReadonlyArray<{ readonly name: string }>).map(({ name }) => name),
        ["echo"]
      )
      const call = yield* run("call", "some", "get-sum", "--arg", "a=1", "--arg", "b=2", "--config", file)
      assert.deepStrictEqual([call.code, call.stdout], [1, ""])
      assert.include(call.stderr, "some does not offer get-sum: it is turned off (tools.except; disabled_tools")
    })
  )

  scenario("that is not there, or cannot be used, is told of with what is", ({ file, run }) =>
    Effect.gen(function* () {
      const unknown = yield* run("ping", "evrything", "--config", file)
      assert.strictEqual(unknown.code, 1)
      assert.include(unknown.stderr, `${file} has no server evrything; it has everything, broken, missing`)
      const secret = yield* run("ping", "secret", "--config", file)
      assert.strictEqual(secret.code, 1)
      assert.include(secret.stderr, "mcpServers.secret.env.TOKEN")
      const none = yield* run("ping", "everything", "--config", `${file}.gone`)
      assert.strictEqual(none.code, 1)
      assert.include(none.stderr, `${file}.gone`)
    })
  )
})

describe("mcp-tether doctor", () => {
  scenario("looks at all that are configured, and says of each what to do", ({ file, run }) =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* run("doctor", "--config", file, "--timeout", "10 seconds", "--json")
      assert.strictEqual(code, 1)
      assert.include(stderr, "3 of 4 servers cannot be used: broken, missing, secret")
      const diagnoses = JSON.parse(stdout) as ReadonlyArray<Diagnosis>
      assert.deepStrictEqual(
        diagnoses.map((diagnosis) => [diagnosis.server, diagnosis.healthy ? "healthy" : diagnosis.reason]),
        [
          ["everything", "healthy"],
          ["broken", "ProcessExited"],
          ["missing", "SpawnFailed"],
          ["secret", "InvalidConfig"]
        ]
      )
    })
  )

  scenario(
    "finds the servers of the user's clients, and leaves those of a folder alone until it is told to",
    ({ home, run }) =>
      Effect.gen(function* () {
        const none = yield* run("doctor")
        assert.strictEqual(none.code, 1)
        assert.include(none.stderr, "no servers are configured: name a file with --config, or a server")
        mkdirSync(path.join(home, ".cursor"))
        writeFileSync(path.join(home, ".cursor/mcp.json"), JSON.stringify({ mcpServers: { everything } }))
        const found = yield* run("doctor")
        assert.strictEqual(found.code, 0, found.stderr)
        assert.match(found.stdout, /^✓ everything\n/)
      })
  )
})

describe("mcp-tether watch", () => {
  scenario("watches all that are configured, each for itself, until it is told to stop", ({ file, start }) =>
    Effect.gen(function* () {
      const running = yield* start("watch", "--config", file, "--json")
      yield* running.says(/"server":"everything","state":[^\n]*"_tag":"Ready"/)
      yield* running.says(/"server":"missing","state":[^\n]*"_tag":"Failed"/)
      yield* running.says(/"server":"broken","state":[^\n]*"exitCode":7/)
      running.child.kill("SIGINT")
      const { signal, stdout } = yield* running.ended
      assert.isNull(signal)
      assert.notInclude(stdout, `"server":"off"`)
    })
  )
})
