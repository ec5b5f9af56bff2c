/** The dashboard: what it knows, how it looks, and as people have it, in a real terminal. */
import { assert, describe, it } from "@effect/vitest"
import { ConnectionError, ConnectionEvent, ConnectionState } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import * as Board from "../src/watch/board.ts"
import { frame, span, sparkline } from "../src/watch/frame.ts"
import { operands } from "./support/everything.ts"
import * as Terminal from "./support/terminal.ts"
import * as Tmux from "./support/tmux.ts"

const server = {
  era: "legacy",
  protocolVersion: "2025-11-25",
  name: "files",
  version: "1.0.0",
  capabilities: {}
} as const
const ready = (generation: number, since: number) => ConnectionState.Ready({ generation, since, server })
const died = new ConnectionError.ConnectionError({
  server: "files",
  reason: new ConnectionError.ProcessExited({ exitCode: 3 }),
  stderrTail: "starting\nconfig.json: no such file\n"
})
const lost = ConnectionEvent.SessionLost({ at: 5000, generation: 1, error: died, proven: false })

describe("what a dashboard knows", () => {
  it("counts outages and downtime, and keeps the last trouble with the server's last words", () => {
    let board = Board.withState(new Map(), "files", ready(1, 1000))
    board = Board.withEvent(board, { _tag: "ServerEvent", connection: 1, server: "files", event: lost })
    board = Board.withEvent(board, {
      _tag: "ServerEvent",
      connection: 1,
      server: "files",
      event: ConnectionEvent.SessionReady({ at: 7500, generation: 2, server, downtimeMillis: 2500 })
    })
    board = Board.withState(board, "files", ready(2, 7500))
    assert.deepInclude(board.get("files"), {
      generation: 2,
      outages: 1,
      downMillis: 2500,
      trouble: { at: 5000, text: "the server process exited with code 3", stderr: "config.json: no such file" }
    })
    assert.strictEqual(Board.withEvent(board, { _tag: "ServerChanged", server: "files", change: "removed" }).size, 0)
  })

  it("keeps the last thirty pings", () => {
    let board = Board.withState(new Map(), "files", ready(1, 0))
    for (let ping = 0; ping < 40; ping += 1) board = Board.withPing(board, "files", ping)
    assert.deepStrictEqual(
      board.get("files")?.pings,
      Array.from({ length: 30 }, (_, i) => i + 10)
    )
  })
})

describe("how it looks", () => {
  const view = { width: 100, now: 65_000, selected: "files", colour: false }

  it("a line for each server; of one that is not there, why, its last words, and when it is tried again", () => {
    let board = Board.withState(new Map(), "files", ready(1, 1000))
    board = Board.withPing(Board.withPing(board, "files", 4), "files", 8)
    board = Board.withState(board, "search", ready(1, 1000))
    board = Board.withEvent(board, { _tag: "ServerEvent", connection: 1, server: "search", event: lost })
    board = Board.withState(
      board,
      "search",
      ConnectionState.Reconnecting({ attempt: 3, cause: died, lostAt: 5000, nextAttemptAt: 69_000 })
    )
    assert.deepStrictEqual(frame(board, view), [
      "  server  state           gen       up  outages     down  ping",
      "› files    ● Ready           1     64 s        0           ▅█ 8 ms",
      "  search   ◌ Reconnecting    1                 1     60 s  ",
      "    the server process exited with code 3",
      "    it said: config.json: no such file",
      "    attempt 3 in 4.0 s",
      "",
      "↑ ↓ choose   r reconnect   f refresh   q quit"
    ])
  })

  it("no line is wider than the terminal, and a server's words move no cursor", () => {
    const loud = new ConnectionError.ConnectionError({
      server: "x",
      reason: new ConnectionError.TransportClosed({ description: `\u001B[2J${"long ".repeat(50)}` })
    })
    let board = Board.withState(new Map(), "x", ConnectionState.Failed({ error: loud, lostAt: undefined }))
    board = Board.withEvent(board, {
      _tag: "ServerEvent",
      connection: 1,
      server: "x",
      event: ConnectionEvent.GaveUp({ at: 0, error: loud })
    })
    for (const line of frame(board, { ...view, width: 60 })) {
      assert.isAtMost(line.length, 60)
      assert.notInclude(line, "\u001B")
    }
  })

  it("pings beside the slowest of them; one without an answer is a cross", () => {
    assert.strictEqual(sparkline([1, 5, 10, undefined]), "▁▅█× no answer")
    assert.strictEqual(sparkline([]), "")
  })

  it("spans in a few characters", () => {
    assert.deepStrictEqual([400, 59_900, 600_000, 10_800_000, 259_200_000].map(span), [
      "0.4 s",
      "59 s",
      "10 min",
      "3 h",
      "3 d"
    ])
  })
})

describe("mcp-tether watch", () => {
  it.live("--json prints each state of a server as a line, until it is told to stop", () =>
    Effect.gen(function* () {
      const terminal = yield* Terminal.make
      const running = yield* terminal.start(["watch", "--json", ...operands])
      yield* running.says(/"_tag":"Ready"/)
      running.child.kill("SIGINT")
      const { stdout } = yield* running.ended
      const tags = stdout
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as { readonly state: { readonly _tag: string } }).state._tag)
      assert.deepStrictEqual([...new Set(tags)].slice(-2), ["Connecting", "Ready"])
    }).pipe(Effect.scoped)
  )

  it.live("without a terminal says what to do", () =>
    Effect.gen(function* () {
      const terminal = yield* Terminal.make
      const { code, stderr } = yield* terminal.run(["watch", ...operands])
      assert.strictEqual(code, 1)
      assert.include(stderr, "there is none: use --json")
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(!Tmux.isHere)(
    "in a terminal is drawn, reconnects when it is told to, and leaves nothing when it quits",
    () =>
      Effect.gen(function* () {
        const bin = path.join(path.dirname(fileURLToPath(import.meta.url)), "../src/bin.ts")
        const quoted = [process.execPath, bin, "watch", ...operands].map((part) => `'${part}'`).join(" ")
        const { state: folder } = yield* Terminal.make
        const { press, shows } = yield* Tmux.make({ folder, width: 100, height: 20, command: `${quoted}; sleep 20` })
        yield* shows(/› node\s+● Ready\s+1 .* ms$/m)
        press("r")
        yield* shows(/› node\s+● Ready\s+2 .* 1 /m)
        press("f")
        yield* shows(/› node\s+● Ready\s+3/m)
        press("q")
        // The screen is as it was before.
        yield* shows(/^\s*$/)
      }).pipe(Effect.scoped)
  )
})
