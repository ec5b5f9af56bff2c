/**
 * A session as a person has it: `doctor`, `status`, `watch` and `chaos` in a real terminal, over four real servers: one is well, one is
 * behind HTTP, one ends itself again and again, and one does not start.
 *
 * It is recorded: `RECORD=1` writes `recordings/session.cast` and `recordings/session.txt` anew.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { left } from "../src/chaos/processes.ts"
import * as HttpHost from "../src/demo/HttpHost.ts"
import * as Asciicast from "./support/asciicast.ts"
import { bounded, program as everything } from "./support/everything.ts"
import * as Processes from "./support/processes.ts"
import { answering } from "./support/servers.ts"
import * as Tmux from "./support/tmux.ts"

const here = path.dirname(fileURLToPath(import.meta.url))
const recordings = path.join(here, "../recordings")

const wide = { width: 116, height: 30 }
const narrow = { width: 60, height: 24 }

/** Ends itself some seconds after it has been there for somebody. */
const flapping = `${answering({ "tools/list": { tools: [] } })}
  process.stdin.once("data", () =>
    setTimeout(() => {
      console.error("the database has gone away")
      process.exit(3)
    }, 4000)
  )`

/** A home with the servers and the command line as programs, and their configuration. */
const furnish = (home: string, url: string): void => {
  const node = (...args: ReadonlyArray<string>) => `#!/bin/sh\nexec '${process.execPath}' ${args.join(" ")}\n`
  const programs = {
    // Nobody is left when this test is killed.
    "mcp-tether": node(
      `'${bounded.join("' '").replace("60000", "180000")}'`,
      `'${path.join(here, "../src/bin.ts")}'`,
      '"$@"'
    ),
    "everything-server": node(`'${everything}'`, "stdio"),
    "flapping-server": `#!${process.execPath}\n${flapping}\n`,
    "licensed-server": "#!/bin/sh\necho 'no licence' >&2\nexit 7\n"
  }
  mkdirSync(path.join(home, "bin"))
  for (const [name, text] of Object.entries(programs)) {
    const file = path.join(home, "bin", name)
    writeFileSync(file, text)
    chmodSync(file, 0o755)
  }
  const mcpServers = {
    everything: { command: "everything-server" },
    web: { url },
    flapping: { command: "flapping-server" },
    licensed: { command: "licensed-server" }
  }
  writeFileSync(path.join(home, "mcp.json"), JSON.stringify({ mcpServers }, undefined, 2))
  writeFileSync(path.join(home, "inputrc"), "set enable-bracketed-paste off\n")
  // The prompt shows how the last command has ended; and the shell ends by itself.
  writeFileSync(path.join(home, "bashrc"), "PS1='$? $ '\nTMOUT=100\n")
}

/** Plays the session, and checks what the screen shows. Answers the screens worth keeping, the recording, and all process groups. */
const play = Effect.fnUntraced(function* (home: string) {
  const web = yield* HttpHost.make({ args: [everything, "streamableHttp"] })
  furnish(home, web.url)
  const env = {
    HOME: home,
    XDG_STATE_HOME: home,
    TMPDIR: home,
    INPUTRC: path.join(home, "inputrc"),
    PATH: `${home}/bin:${process.env["PATH"] ?? ""}`
  }
  const command = `cd '${home}' && read -r begin && exec bash --noprofile --rcfile bashrc`
  const terminal = yield* Tmux.make({ folder: home, ...wide, command, env })
  const { press, shows, tell, type } = terminal
  const raw = path.join(home, "raw.jsonl")
  const groups = new Set<number>([web.pid() ?? 0])
  const screens: Array<string> = []
  const resizes: Array<readonly [at: number, size: string]> = []

  /** Waits for this, and keeps the screen. */
  const kept = (what: RegExp) =>
    Effect.map(shows(what), (screen) => {
      for (const group of Processes.groupsAt(home)) groups.add(group)
      screens.push(screen.trimEnd())
      return screen
    })
  /** Types a command on an empty screen. */
  const enter = (line: string): void => {
    press("C-l")
    type(line)
    press("Enter")
  }
  const resize = ({ height, width }: typeof wide): void => {
    tell("resize-window", "-x", String(width), "-y", String(height))
    resizes.push([Date.now(), `${width}x${height}`])
  }

  tell("pipe-pane", "-o", Asciicast.recorder(raw))
  press("Enter")
  yield* shows(/^0 \$ *$/m)

  enter("mcp-tether doctor --config mcp.json")
  const doctor = yield* kept(/\n1 \$ *\n*$/)
  assert.match(doctor, /✓ everything\n +mcp-servers\/everything \S+, protocol \S+ \(legacy\)\n +handshake \d+ ms/)
  assert.match(doctor, /✓ web\n/)
  assert.match(doctor, /✓ flapping\n +small 1\.0\.0/)
  assert.match(doctor, /✗ licensed\n +the server process exited with code 7\n +→ start licensed-server by hand/)
  assert.match(doctor, /it said:\n +no licence/)
  assert.include(doctor, "1 of 4 servers cannot be used: licensed")

  enter("mcp-tether status --config mcp.json")
  const status = yield* kept(/\n1 \$ *\n*$/)
  assert.match(status, /^✓ everything +Ready +mcp\.json +mcp-servers\/everything \S+ +\S+ legacy +13 +\d+ ms$/m)
  assert.match(status, /^✓ web +Ready /m)
  assert.match(status, /^✗ licensed +Failed +mcp\.json +the server process exited with code 7: no licence$/m)

  enter("mcp-tether watch --config mcp.json")
  yield* shows(/^› everything +● Ready +1 /m)
  yield* shows(/^ {2}web +● Ready +1 .* ms$/m)
  yield* shows(/^ {2}licensed +◌ \w+ing[^]* +the server process exited with code 7\n +it said: no licence/m)
  // It has come back by itself, more than once.
  yield* kept(/^ {2}flapping +● Ready +[2-9] /m)
  press("r")
  yield* shows(/^› everything +● Ready +2 /m)
  press("f")
  yield* shows(/^› everything +● Ready +3 /m)
  press("Down")
  yield* shows(/^› web /m)
  press("r")
  yield* kept(/^› web +● Ready +2 /m)
  resize(narrow)
  const small = yield* kept(/^ {2}server .*…$/m)
  for (const name of ["server", "everything", "web", "flapping", "licensed"])
    assert.lengthOf(small.match(new RegExp(`^[ ›] ${name} `, "gm")) ?? [], 1, small)
  resize(wide)
  yield* shows(/^ {2}server .* ping$/m)
  press("q")
  // The screen is as it was before.
  yield* shows(/watch --config mcp\.json\n0 \$ *\n*$/)

  enter("mcp-tether chaos everything --config mcp.json --for 4s --kill-every 1s --seed 7")
  const chaos = yield* kept(/\n\d+ \$ *\n*$/)
  assert.match(chaos, /\nThe verdict holds\.\n0 \$ *\n*$/)
  assert.match(chaos, /^ +kills +[1-9]/m)
  assert.include(chaos, "✓ no process is left")

  const [recorder] = Processes.withText(raw)
  type("exit")
  press("Enter")
  yield* left([Number(recorder)], "10 seconds")
  const cast = Asciicast.compose(raw, resizes, {
    ...wide,
    title: "mcp-tether: doctor, status, watch, chaos",
    idle_time_limit: 2
  })
  return { cast: Asciicast.print(cast), groups: [...groups], screens }
})

/** What every recording of the session has in it. */
const isRecording = (text: string): void => {
  const { events, problems } = Asciicast.parse(text)
  assert.deepStrictEqual(problems, [])
  assert.isAbove(events.length, 50)
  assert.deepStrictEqual(
    events.flatMap(([, code, data]) => (code === "r" ? [data] : [])),
    [narrow, wide].map(({ height, width }) => `${width}x${height}`)
  )
  const printed = events.flatMap(([, code, data]) => (code === "o" ? [data] : [])).join("")
  for (const what of ["1 of 4 servers cannot be used: licensed", "● Ready", "The verdict holds.", "no licence"])
    assert.include(printed, what)
  // It is about nobody's machine.
  assert.notMatch(printed, /\/(?:home|root|tmp|work)\//)
}

describe("a session in a terminal", () => {
  it.live.skipIf(!Tmux.isHere)("of doctor, status, watch and chaos shows what there is, and leaves nobody", () =>
    Effect.gen(function* () {
      const home = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(path.join(tmpdir(), "mcp-tether-session-"))),
        (home) => Effect.sync(() => rmSync(home, { recursive: true, force: true }))
      )
      const { cast, groups, screens } = yield* Effect.scoped(play(home))
      assert.deepStrictEqual(yield* left(groups, "5 seconds"), [])
      assert.deepStrictEqual(Processes.at(home), [])

      isRecording(cast)
      const folder = process.env["RECORD"] === undefined ? home : recordings
      mkdirSync(folder, { recursive: true })
      writeFileSync(path.join(folder, "session.cast"), cast)
      writeFileSync(path.join(folder, "session.txt"), `${screens.join("\n\n")}\n`)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it("is recorded in the repository", () => {
    isRecording(readFileSync(path.join(recordings, "session.cast"), "utf8"))
    assert.include(readFileSync(path.join(recordings, "session.txt"), "utf8"), "The verdict holds.")
  })
})
