/** What holds for all commands: help with examples, JSON, exit codes, progress at a terminal, and an end on Ctrl-C that leaves nobody. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import * as CliOutput from "effect/cli/CliOutput"
import type * as HelpDoc from "effect/cli/HelpDoc"
import { TestConsole } from "effect/testing"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import * as AuthServer from "../../../packages/connection/test/http/authServer.ts"
import { TokenStore } from "../src/auth/TokenStore.ts"
import { root, run } from "../src/cli.ts"
import { type Case, cases, lockedUrl, type Stage } from "./support/cases.ts"
import * as Processes from "./support/processes.ts"
import * as Pty from "./support/pty.ts"
import { mute, small } from "./support/servers.ts"

const here = path.dirname(fileURLToPath(import.meta.url))
const names = root.subcommands.flatMap(({ commands }) => commands.map(({ name }) => name))
const all: ReadonlyArray<readonly [name: string, theirs: Case]> = Object.entries(cases)

const state = mkdtempSync(path.join(tmpdir(), "mcp-tether-every-"))
const secret = { SECRET: AuthServer.machine.secret }
const config = path.join(state, "mcp.json")

beforeAll(async () => {
  writeFileSync(config, JSON.stringify({ mcpServers: { small, mute: mute(path.join(state, "mute")) } }))
  Object.assign(process.env, secret, { HOME: state, XDG_STATE_HOME: state })
  // Another process, which is this one, renews the login that `logout` is about.
  const file = await Effect.runPromise(
    Effect.flatMap(TokenStore, (store) => store.pathOf(new URL(lockedUrl))).pipe(
      Effect.provide(Layer.provide(TokenStore.layer, NodeServices.layer))
    )
  )
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(file.replace(/\.json$/, ".lock"), String(process.pid))
})
afterAll(() => rmSync(state, { recursive: true, force: true }))

const onStage = <A, E, R>(use: (stage: Stage) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(AuthServer.make, ({ url }) => use({ config, url, clientId: AuthServer.machine.id }))

/** Runs a command in here; answers what it has printed. */
const printed = (args: ReadonlyArray<string>) =>
  Effect.andThen(run(args), TestConsole.logLines).pipe(
    Effect.map((lines) => lines.map(String)),
    Effect.provide(Layer.merge(TestConsole.layer, NodeServices.layer))
  )

const helpOf = Effect.fnUntraced(function* (name: string) {
  let help: HelpDoc.HelpDoc | undefined
  const presenter = CliOutput.layerPresenter({
    present: (event) =>
      Effect.sync(() => {
        if (event._tag === "Help") help = event.helpDoc
      })
  })
  yield* Effect.provide(printed([name, "--help"]), presenter)
  assert(help !== undefined)
  return help
})

describe("every command", () => {
  it("is known here", () => {
    assert.deepStrictEqual(Object.keys(cases), names)
  })

  it.each(names)("%s is in the README of the package", (name) => {
    assert.include(readFileSync(path.join(here, "../README.md"), "utf8"), `\`mcp-tether ${name}\``)
  })

  it.live.each(names)("%s has help: a description of it and of its flags, and examples that are right", (name) =>
    Effect.gen(function* () {
      const { description, examples = [], flags, globalFlags = [] } = yield* helpOf(name)
      assert.notStrictEqual(description, "")
      const known = [...flags, ...globalFlags].map((flag) => `--${flag.name}`)
      assert.include(known, "--json")
      for (const flag of flags) assert.isTrue(Option.isSome(flag.description), `--${flag.name} has no description`)
      assert.isAbove(examples.length, 0)
      for (const { command, description = "" } of examples) {
        assert.match(command, new RegExp(`^mcp-tether ${name}( |$)`))
        assert.notStrictEqual(description, "")
        const [own = ""] = command.split(/ -- | \| /)
        for (const [flag] of own.matchAll(/(?<= )--[a-z-]+/g)) assert.include(known, flag, command)
      }
    })
  )

  it.live.each(all)("%s prints JSON with --json, and nothing else", ([, { well }]) =>
    Effect.gen(function* () {
      if (typeof well === "string") return assert.include(readFileSync(path.join(here, well), "utf8"), `"--json"`)
      const lines = yield* onStage((stage) => printed(well(stage)))
      assert.isAbove(lines.length, 0)
      for (const line of lines) JSON.parse(line)
    }).pipe(Effect.scoped)
  )

  it.live.each(all)("%s says in a sentence what is wrong", ([name, { fails }]) =>
    Effect.gen(function* () {
      const [args, says] = fails
      const errors = yield* Effect.flip(run(args)).pipe(
        Effect.flatMap((error) => Effect.map(TestConsole.errorLines, (lines) => [error.message, ...lines].join("\n"))),
        Effect.provide(Layer.merge(TestConsole.layer, NodeServices.layer))
      )
      assert.match(errors, says)
      const unknown = yield* Effect.exit(printed([name, "--no-such-flag"]))
      assert.strictEqual(unknown._tag, "Failure")
    })
  )

  const bin = path.join(here, "../src/bin.ts")
  const inTerminal = (args: ReadonlyArray<string>, home: string) =>
    Pty.run([process.execPath, ...args], { HOME: home, XDG_STATE_HOME: state, TMPDIR: state })

  // Most of what they do is to wait.
  const turns = Semaphore.makeUnsafe(3)
  for (const [name, { slow }] of all)
    it.live.skipIf(!Pty.isHere)(
      `${name} shows at a terminal what it is about, and ends on Ctrl-C without leaving a process`,
      () =>
        onStage((stage) =>
          Effect.gen(function* () {
            const home = path.join(state, name)
            const terminal = yield* inTerminal([bin, ...slow.args(stage)], home)
            yield* terminal.shows(slow.shows)
            const servers = Effect.sync(() =>
              Processes.at(home).filter((pid) => !Processes.withText(bin).includes(pid))
            )
            // Some of them kill their servers all the time, and start others.
            if (slow.hasServer) yield* untilAny(servers)
            else assert.deepStrictEqual(yield* servers, [])
            terminal.press("\u0003")
            const { code, shown } = yield* terminal.ended
            assert.strictEqual(code, slow.code ?? 130, shown)
            assert.notMatch(shown, /\n +at /)
            yield* noneLeft(home)
          })
        ).pipe(Effect.scoped, turns.withPermit),
      { concurrent: true }
    )

  for (const name of ["ping", "watch"])
    it.live.skipIf(!Pty.isHere)(`${name} leaves no process when the window is closed`, () =>
      onStage((stage) =>
        Effect.gen(function* () {
          const { slow } = cases[name] ?? assert.fail(name)
          const home = path.join(state, `${name}-closed`)
          const terminal = yield* inTerminal([bin, ...slow.args(stage)], home)
          yield* terminal.shows(slow.shows)
          terminal.close()
          yield* noneLeft(home, "10 seconds")
        })
      ).pipe(Effect.scoped)
    )

  it.live.skipIf(!Pty.isHere)("a Node that is too old gets a sentence", () =>
    Effect.gen(function* () {
      const old = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.20.2" } })`
      const preload = ["--import", `data:text/javascript,${encodeURIComponent(old)}`]
      const { code, shown } = yield* (yield* inTerminal([...preload, bin, "doctor"], state)).ended
      assert.strictEqual(code, 1)
      assert.match(shown, /^mcp-tether needs Node [\d.]+ or later, and this is Node 20\.20\.2: see \S+\s+$/)
    }).pipe(Effect.scoped)
  )
})

const untilAny = <A>(look: Effect.Effect<ReadonlyArray<A>>) =>
  look.pipe(
    Effect.repeat({ until: (pids) => pids.length > 0, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => Effect.die(new Error("it has no server")) })
  )

const noneLeft = (home: string, within: Duration.Input = "500 millis") =>
  Effect.gen(function* () {
    const look = Effect.sync(() => Processes.at(home))
    yield* look.pipe(
      Effect.repeat({ until: (left) => left.length === 0, schedule: Schedule.spaced("20 millis") }),
      Effect.timeoutOption(within)
    )
    assert.deepStrictEqual(yield* look, [])
  })
