/** What a process between a client and its server must not spoil, and must not leave behind. */
import { assert, it } from "@effect/vitest"
import type { McpTransport } from "@mcp-tether/connection"
import { type Fault, Faults, FaultProxy } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { spawn } from "node:child_process"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"
import {
  assertAtLeast,
  call,
  generation,
  inDir,
  marker,
  processes,
  type Rig,
  rig,
  type Services,
  stdio,
  timed,
  until
} from "./rig.ts"

const odd = fileURLToPath(new URL("../fixtures/oddServer.ts", import.meta.url))
const abandoner = fileURLToPath(new URL("../fixtures/abandoner.ts", import.meta.url))

/** A behaviour before the odd server. In the end no process of it may be left. */
const scenario = (
  name: string,
  args: ReadonlyArray<string>,
  faults: Faults.Script<Fault.StdioFault>,
  body: (
    rig: Rig<Fault.StdioFault> & { readonly alive: () => ReadonlyArray<string> }
  ) => Effect.Effect<void, { readonly message: string }, Services>
): void =>
  it.live(name, () =>
    inDir((dir) =>
      Effect.gen(function* () {
        const mark = basename(dir)
        const proxy = yield* FaultProxy.stdio({
          command: process.execPath,
          args: [odd, ...args],
          env: { [marker]: mark },
          closeGrace: "300 millis",
          faults
        })
        yield* body({ ...(yield* rig(dir, proxy, proxy.transport, {})), alive: () => processes(mark) })
      })
    )
  )

const ask = ({ connection }: Rig<Fault.StdioFault>, name: string) =>
  Effect.map(connection.callTool({ name }), ({ content }) =>
    content.map((part) => ("text" in part ? part.text : "")).join()
  )

/** Waits for the second session: what is asked before it may have been asked of the first. */
const second = ({ events }: Rig<Fault.StdioFault>): Effect.Effect<void> =>
  until("the second session", () => events.some((event) => event._tag === "SessionReady" && event.generation === 2))

const addressVariable = "MCP_TETHER_FAULT_PROXY"

const plain = (value: string | Redacted.Redacted<string>): string =>
  typeof value === "string" ? value : Redacted.value(value)

/** Runs the process in between as something that is no transport may. */
const spawnPlain = (
  { args = [], command, env = {} }: McpTransport.StdioOptions,
  more: Readonly<Record<string, string>>,
  detached: boolean
) =>
  spawn(command, args.map(plain), {
    detached,
    stdio: ["pipe", "pipe", "pipe"],
    env: {
      ...process.env,
      ...Object.fromEntries(Object.entries(env).map(([key, value]) => [key, plain(value)])),
      ...more
    }
  })

stdio("every character arrives, line separators among them, and 4 MiB of them", [], (rig) =>
  Effect.gen(function* () {
    const separators = "a\u2028b\u2029c\u0085d\r\ne\u{1f600}"
    assert.strictEqual(yield* call(rig, "read", separators), `read ${separators}`)
    const long = "é\u2028".repeat(1024 * 1024)
    assert.isTrue((yield* call(rig, "read", long)) === `read ${long}`)
  })
)

stdio(
  "messages on a slow link are late by the same time, not one after the other",
  [Faults.on({ method: "ping" }, Faults.slowLink({ latency: "400 millis", for: "1 minute" }))],
  (rig) =>
    Effect.gen(function* () {
      yield* rig.connection.ping()
      const reads = Array.from({ length: 10 }, (_, index) => call(rig, "read", String(index)))
      const [answers, millis] = yield* timed(Effect.all(reads, { concurrency: "unbounded" }))
      assert.lengthOf(new Set(answers), 10)
      assertAtLeast(millis, 800)
      assert.isBelow(millis, 3_500)
    })
)

scenario(
  "a server's last words arrive, however slowly, and its exit code after them",
  [],
  [Faults.on({ tool: "bye" }, Faults.slowLink({ latency: "600 millis", for: "1 minute" }))],
  (rig) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* ask(rig, "bye"), "bye 1")
      yield* until("the loss", () => rig.events.some(({ _tag }) => _tag === "SessionLost"))
      const [loss] = rig.events.flatMap((event) => (event._tag === "SessionLost" ? [event.error.reason] : []))
      assert.deepInclude(loss, { _tag: "ProcessExited", exitCode: 7 })
    })
)

scenario("a crash ends the server and all that it has started, also while it is frozen", ["stubborn"], [], (rig) =>
  Effect.gen(function* () {
    yield* generation(rig)
    yield* until("three processes", () => rig.alive().length === 3)
    const first = rig.alive()
    yield* rig.proxy.inject(Faults.freeze("1 minute"))
    yield* rig.proxy.inject(Faults.crash())
    yield* until("their end", () => rig.alive().every((pid) => !first.includes(pid)))
    yield* second(rig)
    assert.strictEqual(yield* ask(rig, "count"), "count 1")
  })
)

it.live("whoever kills the process in between alone has killed the server too, and all that it has started", () =>
  inDir(
    Effect.fnUntraced(function* (dir) {
      const mark = basename(dir)
      const proxy = yield* FaultProxy.stdio({ command: process.execPath, args: [odd, "stubborn"] })
      const child = yield* Effect.acquireRelease(
        Effect.sync(() => spawnPlain(proxy.options, { [marker]: mark }, true)),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      yield* until("three processes", () => processes(mark).length === 3)
      child.kill("SIGKILL")
      yield* until("the end of all processes", () => processes(mark).length === 0)
    })
  )
)

scenario("a stubborn server that is frozen is left behind by nobody", ["stubborn"], [], (rig) =>
  Effect.gen(function* () {
    yield* generation(rig)
    yield* rig.proxy.inject(Faults.freeze("1 minute"))
  })
)

it.live("a program that is killed leaves neither the process in between nor the server", () =>
  inDir(
    Effect.fnUntraced(function* (dir) {
      const mark = basename(dir)
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [abandoner, marker, mark, odd, "stubborn"], { stdio: ["ignore", "pipe", "inherit"] })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      let said = ""
      child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString("utf8")))
      yield* until("its session", () => said === "ready\n")
      yield* until("three processes", () => processes(mark).length === 3)
      child.kill("SIGKILL")
      yield* until("the end of all processes", () => processes(mark).length === 0)
    })
  )
)

it.live("the address of the director is not the server's to know, and strangers are not listened to", () =>
  inDir(
    Effect.fnUntraced(function* (dir) {
      const proxy = yield* FaultProxy.stdio({
        command: process.execPath,
        args: ["-e", "console.error(Object.keys(process.env).join()); process.exit(3)"],
        env: { [marker]: basename(dir), KEPT: "1" }
      })
      const run = (address: string | undefined) =>
        Effect.callback<{ readonly code: number | null; readonly said: string }>((resume) => {
          const child = spawnPlain(proxy.options, address === undefined ? {} : { [addressVariable]: address }, false)
          let said = ""
          child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString("utf8")))
          child.on("close", (code) => resume(Effect.succeed({ code, said })))
        })
      const told = yield* run(undefined)
      assert.strictEqual(told.code, 3)
      assert.include(told.said, "KEPT")
      assert.notInclude(told.said, addressVariable)
      const [port] = plain(proxy.options.env?.[addressVariable] ?? "").split(" ")
      assert.deepStrictEqual(yield* run(`${port} guess`), { code: 1, said: "" })
    })
  )
)
