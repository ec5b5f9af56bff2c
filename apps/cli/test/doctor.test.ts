/** What is wrong with a server, as a process: each is a real one, or a real lack of one. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { Diagnosis } from "../src/doctor/diagnose.ts"
import { operands } from "./support/everything.ts"
import * as Terminal from "./support/terminal.ts"

const bounded = ["--import", "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()"]

const doctor = (...args: ReadonlyArray<string>) =>
  Effect.scoped(
    Effect.flatMap(Terminal.make, (terminal) => terminal.run(["doctor", "--timeout", "5 seconds", ...args]))
  )

/** What is found out about a server that is a command. */
const command = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
  const { code, stdout } = yield* doctor("--json", "--", ...args)
  const [diagnosis] = JSON.parse(stdout) as ReadonlyArray<Diagnosis>
  assert(diagnosis !== undefined)
  return { code, diagnosis }
})

const script = (code: string) => [process.execPath, ...bounded, "-e", code]

describe("mcp-tether doctor", () => {
  it.live("a healthy server: what it speaks, how fast, and what it has", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* doctor(...operands)
      assert.strictEqual(code, 0, stderr)
      assert.match(
        stdout,
        /^✓ .*node\n {4}mcp-servers\/everything \S+, protocol \S+ \(legacy\)\n {4}handshake \d+ ms, ping \d+ ms, \d+ tools\n$/
      )
    })
  )

  it.live("a command that is not there", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* doctor("--", "mcp-server-that-is-not-there")
      assert.strictEqual(code, 1)
      assert.include(stdout, "✗ mcp-server-that-is-not-there")
      assert.include(stdout, "→ install mcp-server-that-is-not-there, or give its full path")
      assert.include(stderr, "1 of 1 server cannot be used: mcp-server-that-is-not-there")
    })
  )

  it.live("a server that ends at once: what it said, and that it should be started by hand", () =>
    Effect.gen(function* () {
      const { code, diagnosis } = yield* command(
        ...script("console.error('config.json: no such file'); process.exit(3)")
      )
      assert.strictEqual(code, 1)
      assert(!diagnosis.healthy)
      assert.deepInclude(diagnosis, { reason: "ProcessExited", stderr: "config.json: no such file" })
      assert.include(diagnosis.advice, "by hand")
    })
  )

  it.live("a command that says nothing is no MCP server, or still being installed", () =>
    Effect.gen(function* () {
      const { diagnosis } = yield* command(...script("process.stdin.resume()"))
      assert(!diagnosis.healthy)
      assert.strictEqual(diagnosis.reason, "StartupTimeout")
      assert.include(diagnosis.advice, "--timeout")
    })
  )

  it.live("a URL at which nobody listens, and one behind which is no MCP server", () =>
    Effect.gen(function* () {
      const server = yield* Effect.acquireRelease(
        Effect.callback<ReturnType<typeof createServer>>((resume) => {
          const server = createServer((_, response) => {
            response.writeHead(404).end("not here")
          })
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { port } = server.address() as AddressInfo
      const wrong = yield* doctor(`http://127.0.0.1:${port}/`)
      assert.strictEqual(wrong.code, 1)
      assert.include(wrong.stdout, "→ is the path right? Most MCP endpoints end in /mcp")
      yield* Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
      })
      const nobody = yield* doctor(`http://127.0.0.1:${port}/mcp`)
      assert.strictEqual(nobody.code, 1)
      assert.include(nobody.stdout, "→ nobody listens there: is the server running")
    })
  )
})
