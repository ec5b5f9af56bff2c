/** Before a server over HTTP that nobody here wrote: a process, whose every answer is a stream of events that can be resumed. */
import { assert, it } from "@effect/vitest"
import { McpTransport } from "@mcp-tether/connection"
import { type Fault, Faults, FaultProxy } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { spawn } from "node:child_process"
import { type AddressInfo, createServer } from "node:net"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"
import { generation, inDir, marker, type Rig, rig, type Services, until } from "./rig.ts"

const freePort = Effect.callback<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** The server, and how to kill it. It ends after a minute whatever happens. */
const start = Effect.fnUntraced(function* (
  mark: string
): Effect.fn.Return<{ readonly url: string; readonly kill: () => void }, never, Scope.Scope> {
  const port = yield* freePort
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(
        process.execPath,
        [
          "--import",
          "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()",
          fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js")),
          "streamableHttp"
        ],
        { env: { ...process.env, PORT: String(port), [marker]: mark }, stdio: ["ignore", "ignore", "pipe"] }
      )
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  let said = ""
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString("utf8")))
  yield* until("its port", () => said.includes(`port ${port}`))
  return { url: `http://127.0.0.1:${port}/mcp`, kill: () => child.kill("SIGKILL") }
})

type EverythingRig = Rig<Fault.HttpFault> & { readonly kill: () => void }

const scenario = (
  name: string,
  faults: Faults.Script<Fault.HttpFault>,
  body: (rig: EverythingRig) => Effect.Effect<void, { readonly message: string }, Services>
): void =>
  it.live(name, () =>
    inDir((dir) =>
      Effect.gen(function* () {
        const server = yield* start(basename(dir))
        const proxy = yield* FaultProxy.http({ target: server.url, faults })
        yield* Effect.scoped(
          Effect.gen(function* () {
            const made = yield* rig(dir, proxy, McpTransport.streamableHttp({ url: proxy.url }), {})
            yield* body({ ...made, kill: server.kill })
          })
        )
        yield* until("the end of all sockets", () => proxy.connections() === 0)
      })
    )
  )

/** It only reads, so it is sent again unless its caller does not want that. */
const echo = ({ connection }: EverythingRig, message: string, replay: "safe" | "never" = "safe") =>
  connection.callTool({ name: "echo", arguments: { message } }, { replay, timeout: "1 second" }).pipe(
    Effect.map(({ content }) => content.map((part) => ("text" in part ? part.text : "")).join()),
    Effect.catch((error) =>
      Effect.succeed(error._tag === "OutcomeUnknown" ? `${error._tag} (${error.cause.reason._tag})` : error._tag)
    )
  )

const onEcho = (nth: number, fault: Fault.HttpFault) => Faults.on({ tool: "echo", nth }, fault)

scenario(
  "crashes at each moment of a call: it is answered on the session after, when it may be sent again",
  [
    onEcho(1, Faults.crash()),
    onEcho(3, Faults.crash({ when: "afterReceiving" })),
    onEcho(5, Faults.crash({ when: "afterEffect" })),
    onEcho(7, Faults.crash({ when: "afterReplying" })),
    onEcho(8, Faults.crash({ when: "afterEffect" }))
  ],
  (rig) =>
    Effect.gen(function* () {
      for (const [message, serving] of [
        ["a", 2],
        ["b", 3],
        ["c", 4]
      ] as const) {
        assert.strictEqual(yield* echo(rig, message), `Echo: ${message}`)
        assert.strictEqual(yield* generation(rig), serving)
      }
      assert.strictEqual(yield* echo(rig, "d"), "Echo: d")
      yield* until("the loss", () =>
        rig.events.some((event) => event._tag === "SessionReady" && event.generation === 5)
      )
      assert.strictEqual(yield* echo(rig, "e", "never"), "OutcomeUnknown (NetworkFailed)")
      assert.strictEqual(yield* echo(rig, "f"), "Echo: f")
    })
)

scenario(
  "messages that are struck: each call is answered or fails by itself, and the session stays",
  [
    onEcho(1, Faults.duplicate("reply")),
    onEcho(2, Faults.duplicate("request")),
    onEcho(3, Faults.corrupt),
    onEcho(4, Faults.drop("request")),
    onEcho(5, Faults.drop("reply")),
    onEcho(6, Faults.unavailable({ status: 503 }))
  ],
  (rig) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* echo(rig, "a"), "Echo: a")
      assert.strictEqual(yield* echo(rig, "b"), "Echo: b")
      assert.strictEqual(yield* echo(rig, "c", "never"), "OutcomeUnknown (MalformedResponse)")
      assert.strictEqual(yield* echo(rig, "d"), "RequestTimeout")
      assert.strictEqual(yield* echo(rig, "e"), "RequestTimeout")
      assert.strictEqual(yield* echo(rig, "f"), "Echo: f")
      assert.strictEqual(yield* generation(rig), 1)
    })
)

scenario(
  "progress of a call whose reply is struck comes all the same",
  [Faults.on({ tool: "trigger-long-running-operation" }, Faults.duplicate("reply"))],
  ({ connection }) =>
    Effect.gen(function* () {
      const steps = yield* connection
        .callToolStream({ name: "trigger-long-running-operation", arguments: { duration: 0.4, steps: 4 } })
        .pipe(Stream.runCollect)
      const tags = steps.map(({ _tag }) => _tag)
      assert.strictEqual(tags.at(-1), "Result")
      assert.isAtLeast(tags.filter((tag) => tag === "Progress").length, 3)
    })
)

scenario("the real server's own death is a reset, and not the proxy's", [], (rig) =>
  Effect.gen(function* () {
    assert.strictEqual(yield* echo(rig, "a"), "Echo: a")
    rig.kill()
    yield* until("the loss", () => rig.events.some(({ _tag }) => _tag === "SessionLost"))
    const [loss] = rig.events.flatMap((event) => (event._tag === "SessionLost" ? [event.error.reason._tag] : []))
    assert.strictEqual(loss, "NetworkFailed")
    assert.deepStrictEqual(rig.proxy.happened, [])
  })
)
