/** A fleet is what its files say, whatever is done to them: real files, watched by the real file system. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import {
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync
} from "node:fs"
import { dirname, join } from "node:path"
import { setTimeout } from "node:timers/promises"
import * as McpFleet from "../../src/McpFleet.ts"
import { isAlive, pidOf, scenario } from "../driver/rig.ts"
import * as Follow from "./followRig.ts"

const { config } = Follow

describe("a fleet that follows a file", () => {
  scenario("starts, drains and refreshes what has changed in it, and touches nothing else", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ kept: "1", moved: "1", gone: "1" }))
      const { changes, fleet, left, next, ready } = yield* files.follow()
      for (const name of ["kept", "moved", "gone"]) yield* ready(name)
      files.write(config({ added: "1", kept: "1", moved: "2" }))
      assert.deepStrictEqual((yield* next("FileTaken")).broken, [])
      assert.deepStrictEqual(yield* changes(3), { added: "added", gone: "removed", moved: "refreshed" })
      assert.deepStrictEqual(yield* fleet.names, ["added", "kept", "moved"])
      yield* ready("added")
      assert.deepStrictEqual(
        ["kept", "moved", "gone"].map((name) => files.server(name).sessions.length),
        [1, 2, 1]
      )
      assert.strictEqual(files.server("gone").live, 0)
      assert.deepStrictEqual(yield* left, [])
    })
  )

  scenario("stays as it is while the file is gone, and says so; the file comes back", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1" }))
      const { changes, fleet, next, ready } = yield* files.follow()
      yield* ready("a")
      unlinkSync(files.file)
      Follow.assertRejected(yield* next("FileRejected"), files.file, "no file of that name")
      assert.deepStrictEqual(yield* fleet.names, ["a"])
      const [status] = yield* fleet.files
      assert.include(status?.error?.message, "no file of that name")
      files.write(config({ a: "1", b: "1" }))
      assert.deepStrictEqual(yield* changes(1), { b: "added" })
      assert.isUndefined((yield* fleet.files)[0]?.error)
      assert.lengthOf(files.server("a").sessions, 1)
    })
  )

  scenario("also with its whole folder, which is made anew", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1" }))
      const { changes, next } = yield* files.follow()
      rmSync(dirname(files.file), { recursive: true })
      yield* next("FileRejected")
      files.write(config({ b: "1" }))
      assert.deepStrictEqual(yield* changes(2), { a: "removed", b: "added" })
      // The new folder is watched, not the old one.
      files.write(config({ c: "1" }))
      assert.deepStrictEqual(yield* changes(2), { b: "removed", c: "added" })
    })
  )

  scenario("and is replaced, as editors save: the new file is followed", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1" }))
      const { changes, left } = yield* files.follow()
      for (const version of ["2", "3"]) {
        files.write(config({ a: version }), `${files.file}.tmp`)
        renameSync(`${files.file}.tmp`, files.file)
        assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
      }
      assert.notInclude(yield* left, "FileRejected")
    })
  )

  scenario("in a folder of a folder that another one takes the place of, as deployments do", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      const [app, next] = [join(rig.dir, "app"), join(rig.dir, "next")]
      const file = join(app, "config", "mcp.json")
      files.write(config({ a: "1" }), file)
      const { changes } = yield* files.follow({ files: file })
      files.write(config({ a: "2" }), join(next, "config", "mcp.json"))
      renameSync(app, join(rig.dir, "old"))
      renameSync(next, app)
      assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
    })
  )

  scenario("through links that are swapped, as in a config map of Kubernetes", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      const folder = dirname(files.file)
      files.write(config({ a: "1" }), join(folder, "..1", "mcp.json"))
      symlinkSync("..1", join(folder, "..data"))
      symlinkSync(join("..data", "mcp.json"), files.file)
      const { changes, left } = yield* files.follow()
      for (const version of ["2", "3"]) {
        files.write(config({ a: version }), join(folder, `..${version}`, "mcp.json"))
        symlinkSync(`..${version}`, join(folder, "..data_tmp"))
        renameSync(join(folder, "..data_tmp"), join(folder, "..data"))
        // It deletes the old one, sooner or later.
        if (version === "3") rmSync(join(folder, "..2"), { recursive: true })
        assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
      }
      assert.notInclude(yield* left, "FileRejected")
    })
  )

  scenario(
    "through a link to another folder, as dotfiles are: its target is written, and the link is another one",
    (rig) =>
      Effect.gen(function* () {
        const files = Follow.make(rig)
        const targets = ["dotfiles", "others"].map((folder) => join(rig.dir, folder, "mcp.json"))
        targets.forEach((target) => files.write(config({ a: "1" }), target))
        mkdirSync(dirname(files.file))
        symlinkSync(targets[0] ?? "", files.file)
        const { changes, next } = yield* files.follow()
        files.write(config({ a: "2" }), targets[0])
        assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
        files.write(config({ a: "3" }), targets[1])
        symlinkSync(targets[1] ?? "", `${files.file}.tmp`)
        renameSync(`${files.file}.tmp`, files.file)
        assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
        files.write(config({ a: "4" }), targets[1])
        assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
        unlinkSync(targets[1] ?? "")
        yield* next("FileRejected")
        files.write(config({ a: "5" }), targets[1])
        assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
      })
  )

  scenario("that is written through another hard link, or a mount: its folder does not tell", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1" }))
      const other = join(rig.dir, "elsewhere.json")
      linkSync(files.file, other)
      const { changes } = yield* files.follow()
      writeFileSync(other, config({ a: "2" }))
      assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
    })
  )

  scenario("written twice within 10 ms: the last one is taken, once", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1" }))
      const { changes, left, next, ready } = yield* files.follow({ settle: "200 millis" })
      yield* ready("a")
      files.write(config({ a: "2", b: "1" }))
      yield* Effect.promise(async () => setTimeout(5))
      files.write(config({ a: "3" }))
      yield* next("FileTaken")
      assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
      assert.lengthOf(files.server("a").sessions, 2)
      assert.lengthOf(files.server("b").attempts, 0)
      // Whatever else would have come of it has come before what is written now.
      files.write(config({}))
      assert.deepStrictEqual(yield* changes(1), { a: "removed" })
      assert.deepStrictEqual(yield* left, [])
    })
  )

  scenario("written again and again without end: it is read all the same", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1" }))
      const { next } = yield* files.follow({ settle: "200 millis" })
      yield* Effect.forkScoped(
        Effect.forever(
          Effect.promise(async () => {
            files.write(config({ a: "2" }))
            await setTimeout(5)
          })
        )
      )
      yield* next("FileTaken")
    })
  )

  scenario(
    "that is half written: it is told of with its place, and without what is in it, and read when it is whole",
    (rig) =>
      Effect.gen(function* () {
        const files = Follow.make(rig)
        files.write(config({ a: "1" }))
        const { changes, fleet, next } = yield* files.follow()
        const whole = config({ a: { command: "a", args: ["2"], env: { TOKEN: "s3cret-in-the-file" } } })
        files.write(whole.slice(0, whole.indexOf("in-the-file")))
        const rejected = yield* next("FileRejected")
        Follow.assertRejected(rejected, "line 9, column 18")
        assert.notInclude(JSON.stringify(rejected), "s3cret")
        assert.deepStrictEqual(yield* fleet.names, ["a"])
        const warnings = rig.logs.filter((line) => line.startsWith("Warn"))
        assert.lengthOf(warnings, 1)
        assert.include(warnings[0], "an mcp configuration is not taken; its servers stay as they are")
        assert.include(warnings[0], "line 9, column 18")
        truncateSync(files.file)
        Follow.assertRejected(yield* next("FileRejected"), files.file)
        files.write(whole)
        assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
        assert.notInclude(rig.logs.join("\n"), "s3cret")
      })
  )

  scenario("with one server that is wrong in it: that one stays as it was, and the others change", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1", b: "1", c: "1" }))
      const { changes, fleet, next, ready } = yield* files.follow({ env: {} })
      yield* ready("b")
      files.write(
        config({ a: "2", b: { command: "b", env: { TOKEN: "${NOT_SET}", OTHER: "s3cret" } }, c: "1", d: { cmd: "d" } })
      )
      const { broken } = yield* next("FileTaken")
      assert.deepStrictEqual(
        broken.map(({ server }) => server),
        ["b", "d"]
      )
      assert.include(broken[0]?.error.message, "mcpServers.b.env.TOKEN (line 12, column 18)")
      assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
      assert.deepStrictEqual(yield* fleet.names, ["a", "b", "c"])
      assert.lengthOf(files.server("b").sessions, 1)
      assert.deepStrictEqual(
        (yield* fleet.files)[0]?.broken.map(({ server }) => server),
        ["b", "d"]
      )
      const warnings = () => rig.logs.filter((line) => line.startsWith("Warn") && line.includes("is not taken"))
      assert.lengthOf(warnings(), 2)
      // The same mistake is told once, and one that was turned off is gone.
      files.write(
        config({ a: "2", b: { command: "b", env: { TOKEN: "${NOT_SET}" }, disabled: true }, d: { cmd: "d" } })
      )
      assert.deepStrictEqual(yield* changes(2), { b: "removed", c: "removed" })
      assert.notInclude(rig.logs.join("\n"), "s3cret")
    })
  )

  scenario("that is touched, or written with what it says already, is left alone", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      const second = join(rig.dir, "second.json")
      files.write(config({ a: "1" }))
      files.write(config({ b: "1" }), second)
      const { changes, left, next } = yield* files.follow({ files: [files.file, second] })
      files.write(config({ a: "1" }))
      chmodSync(files.file, 0o600)
      // What changes with it is looked at after it.
      files.write(config({ b: "2" }), second)
      assert.strictEqual((yield* next("FileTaken")).file, second)
      assert.deepStrictEqual(yield* changes(1), { b: "refreshed" })
      assert.deepStrictEqual(yield* left, [])
    })
  )

  scenario("changed while a reload is running: what was begun does not hold it up", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1", b: "1" }))
      const { changes, fleet, next, ready } = yield* files.follow()
      yield* ready("a")
      yield* ready("b")
      const { behavior } = files.server("a")
      const { open } = behavior
      behavior.open = () => Effect.never
      files.write(config({ a: "2", b: "1" }))
      yield* next("FileTaken")
      files.write(config({ a: "2", b: "2" }))
      assert.deepStrictEqual(yield* changes(1), { b: "refreshed" })
      behavior.open = open
      files.write(config({ a: "3", b: "2" }))
      assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
      assert.deepStrictEqual(yield* fleet.names, ["a", "b"])
    })
  )

  scenario("does so as long as its scope, and leaves nothing that watches", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      files.write(config({ a: "1" }))
      const watching = () => process.getActiveResourcesInfo().filter((name) => name === "FSEventWrap").length
      const scope = yield* Scope.make()
      yield* Scope.provide(files.follow(), scope)
      assert.isAbove(watching(), 0)
      yield* Scope.close(scope, Exit.void)
      yield* Effect.promise(async () => setTimeout(0))
      assert.strictEqual(watching(), 0)
    })
  )
})

describe("a fleet that follows several files", () => {
  scenario("takes of servers of one name that of the first; each file is followed", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      const second = join(rig.dir, "second", "mcp.json")
      files.write(config({ a: "first" }))
      files.write(config({ a: "second", b: "1" }), second)
      const { changes, fleet, next, ready } = yield* files.follow({ files: [files.file, second] })
      assert.deepStrictEqual(yield* fleet.names, ["a", "b"])
      yield* ready("a")
      files.write(config({ a: "third", b: "2" }), second)
      assert.deepStrictEqual(yield* changes(1), { b: "refreshed" })
      assert.lengthOf(files.server("a").sessions, 1)
      // What is gone keeps its servers, also before those of the others.
      unlinkSync(files.file)
      yield* next("FileRejected")
      files.write(config({}))
      assert.deepStrictEqual(yield* changes(1), { a: "refreshed" })
    })
  )

  scenario("does not start without one of them, unless it may: then the file is waited for", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      const late = join(rig.dir, "not", "yet", "there", "mcp.json")
      files.write(config({ a: "1" }))
      const error = yield* Effect.flip(files.follow({ files: [files.file, late] }))
      assert.strictEqual(error._tag, "InvalidConfig")
      assert.include(error.message, "no file of that name")
      yield* Effect.promise(async () => setTimeout(0))
      assert.deepStrictEqual(
        process.getActiveResourcesInfo().filter((name) => name === "FSEventWrap"),
        []
      )
      const { changes, fleet } = yield* files.follow({ files: [late, files.file], start: "background" })
      assert.deepStrictEqual(yield* fleet.names, ["a"])
      assert.include((yield* fleet.files)[0]?.error?.message, "no file of that name")
      files.write(config({ b: "1" }), late)
      assert.deepStrictEqual(yield* changes(1), { b: "added" })
    })
  )
})

describe("a fleet of real processes that follows a file", () => {
  scenario("starts a new one with the new environment, and ends what is gone", (rig) =>
    Effect.gen(function* () {
      const files = Follow.make(rig)
      const { args, command, env } = rig.stdio()
      const entry = (version: string) => ({ command, args, env: { ...env, VERSION: version } })
      files.write(config({ kept: entry("1"), moved: entry("1"), gone: entry("1") }))
      const fleet = yield* McpFleet.fromFiles({ files: files.file, settle: "50 millis" })
      const pids = Effect.forEach(["kept", "moved"], (name) => Effect.flatMap(fleet.connection(name), pidOf))
      const before = yield* pids
      const gone = yield* Effect.flatMap(fleet.connection("gone"), pidOf)
      const { changes } = yield* Follow.hear(fleet)
      files.write(config({ kept: entry("1"), moved: entry("2") }))
      assert.deepStrictEqual(yield* changes(2), { moved: "refreshed", gone: "removed" })
      const after = yield* pids
      assert.strictEqual(after[0], before[0])
      assert.notStrictEqual(after[1], before[1])
      assert.isFalse(isAlive(gone))
    })
  )
})
