import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { filler } from "../fixtures/config.ts"
import { call, eventsOf, failureOf, isAlive, kill, pidOf, scenario, timed, until } from "./rig.ts"

describe("stderr", () => {
  scenario("is drained: 400 KB do not block the server, and an error holds the last 64 KiB in whole lines", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const [, took] = yield* timed(call(connection, "write", { stderrBytes: 400_000 }))
      rig.measured("a call that writes 400 KB to stderr, ms", took)
      const error = yield* failureOf(call(connection, "write", { reply: "die" }))
      assert(error._tag === "OutcomeUnknown", error.message)
      const tail = error.cause.stderrTail ?? ""
      assert.isAtMost(Buffer.byteLength(tail), 64 * 1024)
      assert.isAbove(Buffer.byteLength(tail), 64 * 1024 - 100)
      const lines = tail.trimEnd().split("\n")
      assert.deepStrictEqual(
        lines.map((line) => Number.parseInt(line, 10)),
        lines.map((_, index) => 4000 - lines.length + 1 + index)
      )
      assert.isBelow(error.message.length, 500)
    })
  )

  scenario("goes to the log, line by line, at level Debug and annotated with server and generation", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      yield* call(connection, "read", { stderr: "first line\nsecond line\n" })
      const lineWith = (text: string) => until(text, () => rig.logs.find((line) => line.includes(text)))
      const first = yield* lineWith("first line")
      const second = yield* lineWith("second line")
      assert.notStrictEqual(first, second)
      for (const line of [first, second]) {
        assert.match(line, /^Debug/)
        assert.include(line, '"server":"fixture"')
        assert.include(line, '"generation":1')
      }
    })
  )

  scenario("reaches the log to the last word, even without a line end", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      yield* failureOf(call(connection, "write", { stderr: "a line\nlast words", reply: "die" }))
      yield* until("the last words", () =>
        rig.logs.some((line) => line.startsWith("Debug") && line.includes("last words"))
      )
    })
  )

  scenario("belongs to its own session: the next one starts with an empty tail", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      yield* call(connection, "read", { stderr: "of the first\n" })
      yield* connection.reconnect
      const error = yield* failureOf(call(connection, "write", { stderr: "of the second\n", reply: "die" }))
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.stderrTail, "of the second\n")
    })
  )
})

describe("stdout", () => {
  const noise = [
    "Listening on stdio",
    '{"broken": ',
    "",
    "   ",
    "42",
    "null",
    '"text"',
    "true",
    "[]",
    "[1, null, []]",
    "{}",
    '{"hello":"world"}',
    '{"jsonrpc":"2.0"}',
    '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}',
    '{"jsonrpc":"2.0","id":987654,"result":{}}',
    '{"jsonrpc":"2.0","id":987654,"error":{"code":1,"message":"who?"}}',
    '{"jsonrpc":"2.0","method":"notifications/nobody/knows"}',
    '{"jsonrpc":"2.0","id":"s-1","method":"sampling/createMessage","params":{}}',
    '{"jsonrpc":"1.0","method":7}',
    "\u0000\u0001\ufffd"
  ]

  scenario(
    "may carry noise, invalid JSON and JSON that is no JSON-RPC: it is skipped, before and after the handshake",
    (rig) =>
      Effect.gen(function* () {
        const connection = yield* rig.connect({ server: { stdout: noise } })
        const pid = yield* pidOf(connection)
        assert.strictEqual(yield* call(connection, "read", { stdout: noise, text: "heard" }), "heard")
        assert.strictEqual(yield* pidOf(connection), pid)
      })
  )

  scenario("is quoted in the tail when a server prints its last words there", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const stdout = ["Error: port taken", '{"broken": ', "x".repeat(2000)]
      const error = yield* failureOf(call(connection, "write", { stdout, reply: "die" }))
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(
        error.cause.stderrTail,
        `[stdout] Error: port taken\n[stdout] {"broken": \n[stdout] ${"x".repeat(500)}\n`
      )
    })
  )

  scenario("is split into messages at line ends only, whatever characters are cut in two", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const text = "aé漢😀\u2028\u0085".repeat(8)
      assert.strictEqual(yield* call(connection, "read", { reply: "in-pieces", text }), text)
    })
  )

  scenario("carries a result of 64 MB intact", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const bytes = 64_000_000
      const [text, took] = yield* timed(call(connection, "read", { bytes }))
      rig.measured("a result of 64,000,000 bytes, ms", took)
      assert.isTrue(text === filler(bytes), "the text is not what was sent")
      assert.isBelow(took, 15_000)
    })
  )

  scenario("may not carry a message above maxMessageBytes: MalformedResponse, and the connection recovers", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ stdio: { maxMessageBytes: 1_000_000 } })
      assert.lengthOf(yield* call(connection, "read", { bytes: 999_000 }), 999_000)
      const pid = yield* pidOf(connection)
      const error = yield* failureOf(call(connection, "write", { effect: "ran", bytes: 3_000_000 }))
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.reason._tag, "MalformedResponse")
      assert.include(error.message, "the server sent a message of more than 1000000 bytes")
      assert.strictEqual(yield* call(connection, "read"), "ok")
      assert.deepStrictEqual(rig.ledger(), ["ran"])
      yield* until("the end of the old process", () => !isAlive(pid))
    })
  )
})

/** JSON that is nested so deep that going down into it, as most code does, overflows the stack. */
const deep = `${"[".repeat(20_000)}"hunter"${"]".repeat(20_000)}`

describe("JSON that is nested 20,000 deep", () => {
  const kinds = { "with nothing to hide": {}, "with something to hide": { TOKEN: Redacted.make("hunter") } }
  for (const [kind, env] of Object.entries(kinds)) {
    scenario(`is the data of a ServerRejected like any other, ${kind}`, (rig) =>
      Effect.gen(function* () {
        const unhandled: Array<unknown> = []
        const note = (reason: unknown) => unhandled.push(reason)
        process.on("unhandledRejection", note)
        yield* Effect.addFinalizer(() => Effect.sync(() => process.off("unhandledRejection", note)))
        const connection = yield* rig.connect({ stdio: { env } })
        const pid = yield* pidOf(connection)
        const raw = `{"jsonrpc":"2.0","id":$id,"error":{"code":-32050,"message":"no","data":${deep}}}`
        const error = yield* failureOf(call(connection, "write", { raw }, { timeout: "3 seconds" }))
        assert(error._tag === "ServerRejected", error.message)
        assert.strictEqual(error.code, -32050)
        let depth = 0
        let data = error.data
        for (; Array.isArray(data); depth += 1) data = data[0]
        if (kind === "with nothing to hide") assert.deepStrictEqual([depth, data], [20_000, "hunter"])
        else assert.strictEqual(data, "<redacted>")
        assert.strictEqual(yield* call(connection, "read"), "ok")
        assert.strictEqual(yield* pidOf(connection), pid)
        assert.lengthOf(unhandled, 0)
      })
    )
  }

  scenario("is a MalformedResponse where nobody asked for it, and the connection recovers", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      const stdout = [`{"jsonrpc":"2.0","junk":${deep}}`]
      const error = yield* failureOf(call(connection, "write", { stdout, delayMillis: 500 }, { timeout: "3 seconds" }))
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.reason._tag, "MalformedResponse")
      assert.include(error.message, "the server sent a message that could not be read")
      assert.strictEqual(yield* call(connection, "read"), "ok")
      assert.notStrictEqual(yield* pidOf(connection), pid)
      yield* until("the end of the old process", () => !isAlive(pid))
    })
  )
})

describe("a server that answers with ids as strings", () => {
  scenario("is understood: results, JSON-RPC errors and replies that are none", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { stringIds: true, pages: 3 } })
      const events = yield* eventsOf(connection)
      assert.lengthOf(yield* connection.listTools(), 4)
      assert.strictEqual(yield* call(connection, "read"), "ok")
      const rejected = yield* failureOf(call(connection, "write", { reply: "reject" }))
      assert(rejected._tag === "ServerRejected", rejected.message)
      assert.strictEqual(rejected.code, -32050)
      const raw = '{"jsonrpc":"2.0","id":$id}'
      const invalid = yield* failureOf(call(connection, "write", { raw }, { timeout: "3 seconds" }))
      assert.strictEqual(invalid._tag, "InvalidResult")
      assert.deepStrictEqual(events, [])
    })
  )
})

describe("a server without tools", () => {
  scenario("lists none, and that is not said on this program's stdout", (rig) =>
    Effect.gen(function* () {
      const said: Array<unknown> = []
      const methods = ["debug", "log", "info", "warn", "error"] as const
      const usual = methods.map((method) => [method, console[method]] as const)
      const { write } = process.stdout
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          for (const method of methods) console[method] = (...args) => void said.push(args)
          process.stdout.write = (chunk) => said.push(chunk) > 0
        }),
        () =>
          Effect.sync(() => {
            for (const [method, original] of usual) console[method] = original
            process.stdout.write = write
          })
      )
      const connection = yield* rig.connect({ server: { withoutTools: true } })
      assert.deepStrictEqual(yield* connection.listTools(), [])
      assert.deepStrictEqual((yield* connection.request("tools/list")).tools, [])
      assert.deepStrictEqual(said, [])
    })
  )
})

describe("a reply that is none", () => {
  const replies = {
    "neither result nor error": '{"jsonrpc":"2.0","id":$id}',
    "a result that is null": '{"jsonrpc":"2.0","id":$id,"result":null}',
    "a result that is a string": '{"jsonrpc":"2.0","id":$id,"result":"ok"}',
    "a result that is no tool result": '{"jsonrpc":"2.0","id":$id,"result":{"content":42}}',
    "an error that is null": '{"jsonrpc":"2.0","id":$id,"error":null}',
    "an error without a code": '{"jsonrpc":"2.0","id":$id,"error":{"message":"no"}}',
    "no protocol version": '{"id":$id,"result":{"content":[]}}'
  }
  for (const [what, raw] of Object.entries(replies)) {
    scenario(`is an InvalidResult at once: ${what}`, (rig) =>
      Effect.gen(function* () {
        const connection = yield* rig.connect()
        const pid = yield* pidOf(connection)
        const [error, took] = yield* timed(failureOf(call(connection, "write", { raw }, { timeout: "3 seconds" })))
        assert(error._tag === "InvalidResult", error.message)
        assert.strictEqual(error.method, "tools/call")
        assert.strictEqual(error.tool, "write")
        assert.match(error.message, /^fixture: tools\/call write got an invalid result: [^\n]+$/)
        assert.isBelow(took, 1000)
        assert.strictEqual(yield* call(connection, "read"), "ok")
        assert.strictEqual(yield* pidOf(connection), pid)
      })
    )
  }

  scenario("is a ServerRejected with code and data for a JSON-RPC error, and no reason to reconnect", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      const pid = yield* pidOf(connection)
      const error = yield* failureOf(call(connection, "write", { effect: "ran", reply: "reject" }))
      assert(error._tag === "ServerRejected", error.message)
      assert.strictEqual(error.code, -32050)
      assert.deepStrictEqual(error.data, { until: "tomorrow" })
      assert.strictEqual(error.message, "fixture: tools/call write was rejected: not today (-32050)")
      const unknown = yield* failureOf(connection.request("fixture/nothing", { a: 1 }))
      assert(unknown._tag === "ServerRejected", unknown.message)
      assert.strictEqual(unknown.code, -32601)
      assert.strictEqual(yield* pidOf(connection), pid)
      assert.deepStrictEqual(events, [])
      assert.deepStrictEqual(rig.ledger(), ["ran"])
    })
  )

  scenario("is an InvalidResult when structuredContent breaks the output schema that was listed", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      yield* connection.listTools()
      const error = yield* failureOf(call(connection, "strict", { reply: "unstructured" }))
      assert(error._tag === "InvalidResult", error.message)
      assert.strictEqual(error.tool, "strict")
      const missing = yield* failureOf(call(connection, "strict"))
      assert.strictEqual(missing._tag, "InvalidResult")
      assert.strictEqual(yield* call(connection, "strict", { reply: "structured" }), "ok")
      assert.deepStrictEqual(events, [])
    })
  )
})

describe("a pipe that breaks while the server lives", () => {
  scenario("stdin: TransportClosed, a new session, and the end of the old process", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { ignoreEof: true }, stdio: { closeGrace: "200 millis" } })
      const pid = yield* pidOf(connection)
      assert.strictEqual(yield* call(connection, "read", { close: "stdin" }), "ok")
      assert.isTrue(isAlive(pid))
      const error = yield* failureOf(call(connection, "write", { effect: "ran" }, { replay: "never" }))
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.reason._tag, "TransportClosed")
      assert.include(error.message, "the server closed its stdin")
      assert.strictEqual(yield* call(connection, "read"), "ok")
      assert.notStrictEqual(yield* pidOf(connection), pid)
      yield* until("the end of the old process", () => !isAlive(pid))
      assert.deepStrictEqual(rig.ledger(), [])
    })
  )

  scenario("stdin: a read-only call is answered by the next session", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { ignoreEof: true }, stdio: { closeGrace: "200 millis" } })
      yield* call(connection, "read", { close: "stdin" })
      assert.strictEqual(yield* call(connection, "read", { text: "again" }), "again")
    })
  )

  scenario("stdout: pending calls settle, a new session, and the end of the old process", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { ignoreEof: true }, stdio: { closeGrace: "200 millis" } })
      const pid = yield* pidOf(connection)
      const [error, took] = yield* timed(
        failureOf(call(connection, "write", { effect: "ran", close: "stdout", reply: "hang" }, { replay: "never" }))
      )
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.reason._tag, "TransportClosed")
      assert.include(error.message, "the server closed its stdout")
      rig.measured("stdout closed by a living server, to failure of the pending call, ms", took)
      assert.isBelow(took, 2000)
      assert.strictEqual(yield* call(connection, "read"), "ok")
      yield* until("the end of the old process", () => !isAlive(pid))
      assert.deepStrictEqual(rig.ledger(), ["ran"])
    })
  )

  scenario("an exit is the better explanation of a broken pipe", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(
        failureOf(call(connection, "write", { close: "stdout", delayMillis: 100, reply: "die", exitCode: 7 }))
      )
      const error = yield* Fiber.join(pending)
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.exitCode, 7)
      kill(pid, "SIGKILL")
    })
  )
})
