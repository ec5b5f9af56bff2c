/** All servers at a glance: how it looks, and as a process among servers that are not well. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync, writeFileSync } from "node:fs"
import * as path from "node:path"
import type { Diagnosis } from "../src/doctor/diagnose.ts"
import { type Status, statusOf, table } from "../src/status/table.ts"
import { everything } from "./support/everything.ts"
import * as Processes from "./support/processes.ts"
import { licensed, mute, secretive } from "./support/servers.ts"
import * as Terminal from "./support/terminal.ts"

const introduction = {
  name: "files",
  version: "1.0.0",
  era: "modern",
  protocolVersion: "2026-07-28",
  handshakeMillis: 12
} as const
const sick = { healthy: false, problem: "the server process exited with code 7", advice: "" } as const
const diagnoses: ReadonlyArray<Diagnosis> = [
  { ...introduction, server: "files", healthy: true, pingMillis: 1, tools: 3 },
  { ...introduction, ...sick, server: "failing", reason: "RequestTimeout", problem: "no\nanswer\u001B[2J" },
  { ...sick, server: "dead", reason: "ProcessExited", stderr: "starting\nno licence" },
  { ...sick, server: "wrong", reason: "InvalidConfig" }
]
const statuses = diagnoses.map((diagnosis) => statusOf(diagnosis, "/home/a/.cursor/mcp.json"))

describe("servers at a glance", () => {
  it("are a line each, whatever they say", () => {
    assert.deepStrictEqual(table(statuses, { home: "/home/a", width: 200 }), [
      "  name     state    configured in       server       protocol           tools  handshake  last error",
      "✓ files    Ready    ~/.cursor/mcp.json  files 1.0.0  2026-07-28 modern      3      12 ms",
      "✗ failing  Failing  ~/.cursor/mcp.json  files 1.0.0  2026-07-28 modern             12 ms  no answer [2J",
      "✗ dead     Failed   ~/.cursor/mcp.json  the server process exited with code 7: no licence",
      "✗ wrong    Invalid  ~/.cursor/mcp.json  the server process exited with code 7"
    ])
  })

  it("do not wrap in a narrow terminal", () => {
    for (const line of table(statuses, { home: "/", width: 40 })) assert.isAtMost(line.length, 40)
  })
})

/** How far apart the four servers that write into this file have done this, in milliseconds. */
const spread = (file: string, what: string): number => {
  const at = [...readFileSync(file, "utf8").matchAll(new RegExp(`^${what} (\\d+)$`, "gm"))].map(([, at]) => Number(at))
  assert.lengthOf(at, 4)
  return Math.max(...at) - Math.min(...at)
}

/** A terminal, a file with servers, and a mark that is on the command lines of those that do not go by themselves. */
const scenario = (
  name: string,
  body: (stage: {
    readonly mark: string
    readonly start: (...args: ReadonlyArray<string>) => Effect.Effect<Terminal.Running>
  }) => Effect.Effect<void>
) =>
  it.live(name, () =>
    Effect.gen(function* () {
      const terminal = yield* Terminal.make
      const mark = `${terminal.state}/clinging`
      const config = path.join(terminal.state, "mcp.json")
      const mcpServers = {
        everything,
        licensed,
        mute: mute(mark),
        mute2: mute(mark),
        secretive: secretive(mark),
        secretive2: secretive(mark),
        secret: { command: "x", env: { TOKEN: "${NOT_SET_ANYWHERE}" } }
      }
      writeFileSync(config, JSON.stringify({ mcpServers }))
      yield* body({ mark, start: (...args) => terminal.start(["status", "--config", config, ...args]) })
    }).pipe(Effect.scoped)
  )

describe("mcp-tether status", () => {
  scenario("looks at all at once, and lets nobody wait for those that say nothing or do not go", ({ mark, start }) =>
    Effect.gen(function* () {
      const running = yield* start("--timeout", "6s", "--json")
      const line = yield* running.says(/^\[.*\]$/m)
      // It is said before they have gone.
      assert.lengthOf(Processes.withText(mark), 4)
      const statuses = JSON.parse(line) as ReadonlyArray<Status>
      assert.deepStrictEqual(
        statuses.map((status) => [status.server, status.state, status.healthy ? "" : status.reason]),
        [
          ["everything", "Ready", ""],
          ["licensed", "Failed", "ProcessExited"],
          ["mute", "Failed", "StartupTimeout"],
          ["mute2", "Failed", "StartupTimeout"],
          ["secretive", "Failing", "RequestTimeout"],
          ["secretive2", "Failing", "RequestTimeout"],
          ["secret", "Invalid", "InvalidConfig"]
        ]
      )
      for (const { file } of statuses) assert.match(file, /mcp\.json$/)
      assert.deepInclude(statuses[0], { name: "mcp-servers/everything", era: "legacy", tools: 13 })
      assert.isAbove(statuses[4]?.handshakeMillis ?? 0, 0)
      const { code, stderr } = yield* running.ended
      assert.strictEqual(code, 1)
      assert.include(stderr, "6 of 7 servers cannot be used: licensed, mute, mute2, secretive, secretive2, secret")
      assert.deepStrictEqual(Processes.withText(mark), [])
      // One after the other they would begin 6 seconds apart, and end 2 seconds apart.
      assert.isBelow(spread(mark, "begin"), 5000)
      assert.isBelow(spread(mark, "end"), 1500)
    })
  )

  scenario("of those that are named exits with 0 when they are well; a name that is not there is told", ({ start }) =>
    Effect.gen(function* () {
      const well = yield* Effect.flatMap(start("everything"), ({ ended }) => ended)
      assert.strictEqual(well.code, 0, well.stderr)
      const [head, line, ...more] = well.stdout.trimEnd().split("\n")
      assert.match(head ?? "", /^ {2}name +state +configured in +server +protocol +tools +handshake +last error$/)
      assert.match(
        line ?? "",
        /^✓ everything +Ready +\S+mcp\.json +mcp-servers\/everything \S+ +\S+ legacy +13 +\d+ ms$/
      )
      assert.deepStrictEqual(more, [])
      const unknown = yield* Effect.flatMap(start("evrything", "secret"), ({ ended }) => ended)
      assert.deepStrictEqual([unknown.code, unknown.stdout], [1, ""])
      assert.match(unknown.stderr, /no server evrything in \S+mcp\.json: there are everything, licensed/)
    })
  )
})
