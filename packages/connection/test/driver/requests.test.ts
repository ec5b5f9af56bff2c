import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { RequestTicket } from "../../src/McpSession.ts"
import { filler } from "../fixtures/config.ts"
import { call, eventsOf, failureOf, kill, pidOf, scenario, timed, transportOf, until } from "./rig.ts"

describe("arguments that JSON cannot say", () => {
  const circular: Record<string, unknown> = {}
  circular["self"] = circular
  const cases: Record<string, Record<string, unknown>> = {
    "a BigInt": { count: 1n },
    "a circular structure": circular,
    "a toJSON that throws": {
      when: {
        toJSON: () => {
          throw new Error("no")
        }
      }
    }
  }
  for (const [what, parameters] of Object.entries(cases)) {
    scenario(`are an InvalidRequest; nothing is sent and the connection is fine: ${what}`, (rig) =>
      Effect.gen(function* () {
        const connection = yield* rig.connect()
        const events = yield* eventsOf(connection)
        const pid = yield* pidOf(connection)
        const error = yield* failureOf(connection.callTool({ name: "write", arguments: parameters }))
        assert(error._tag === "InvalidRequest", error.message)
        assert.strictEqual(error.tool, "write")
        assert.match(error.message, /^fixture: tools\/call write cannot be sent: [^\n]+$/)
        assert.strictEqual(yield* call(connection, "read"), "ok")
        assert.strictEqual(yield* pidOf(connection), pid)
        assert.deepStrictEqual(
          rig.journal().map(({ method, tool }) => tool ?? method),
          ["initialize", "notifications/initialized", "read"]
        )
        assert.deepStrictEqual(events, [])
      })
    )
  }
})

describe("a request that cannot be made into a message", () => {
  const untyped = undefined as unknown as { readonly name: string }

  scenario("is an InvalidRequest; the session stays, and a neighbour in flight gets its answer", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      const pid = yield* pidOf(connection)
      const neighbour = yield* Effect.forkChild(call(connection, "write", { effect: "ran", delayMillis: 300 }))
      yield* rig.untilCalled("write")
      const errors = [
        yield* failureOf(connection.request("tools/call", untyped, { wait: "none" })),
        yield* failureOf(connection.callTool(untyped, { wait: "none", replay: "always" }))
      ]
      for (const error of errors) {
        assert(error._tag === "InvalidRequest", error.message)
        assert.match(error.message, /^fixture: tools\/call cannot be sent: [^\n]+$/)
      }
      assert.strictEqual(yield* Fiber.join(neighbour), "ok")
      assert.strictEqual(yield* pidOf(connection), pid)
      assert.deepStrictEqual(events, [])
      assert.deepStrictEqual(rig.ledger(), ["ran"])
    })
  )

  scenario("is an InvalidRequest for a tool whose output schema, as listed, is broken: nothing is sent", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { brokenTool: true } })
      const events = yield* eventsOf(connection)
      const tools = yield* connection.listTools()
      assert.include(
        tools.map(({ name }) => name),
        "broken"
      )
      const error = yield* failureOf(call(connection, "broken", { effect: "ran" }))
      assert(error._tag === "InvalidRequest", error.message)
      assert.strictEqual(error.tool, "broken")
      assert.strictEqual(yield* call(connection, "read"), "ok")
      assert.deepStrictEqual(events, [])
      assert.deepStrictEqual(
        rig.journal().flatMap(({ tool }) => tool ?? []),
        ["read"]
      )
      assert.deepStrictEqual(rig.ledger(), [])
    })
  )
})

describe("a session that is given up while its server lives", () => {
  // What is too large must fit into a pipe: nobody reads it any more, and the server shall live on.
  const maxMessageBytes = 10_000

  scenario("writes nothing more, even if nobody closes it: what was not sent never is", (rig) =>
    Effect.gen(function* () {
      const session = yield* transportOf(rig, {
        ...rig.stdio({ readPauseMillis: 10 }),
        maxMessageBytes
      }).open({
        server: "fixture",
        generation: 1,
        client: { name: "test", version: "1" },
        limits: { maxPages: 100, maxItems: 10_000 },
        host: { capabilities: {}, handlers: new Map(), onNotification: () => {}, logLevel: () => undefined },
        setStderrTail: () => {},
        onActivity: () => {},
        onSuspect: () => {},
        onGap: () => {}
      })
      const ask = Effect.fnUntraced(function* (effect: string, script: object) {
        const ticket = new RequestTicket("tools/call", { name: "write", arguments: { effect, ...script } })
        const failing = yield* Effect.forkChild(failureOf(session.request(ticket)), { startImmediately: true })
        return { failing, ticket }
      })
      const pid = session.info.pid ?? assert.fail("no pid")
      kill(pid, "SIGSTOP")
      const first = yield* ask("first", { bytes: 3 * maxMessageBytes })
      const large = yield* ask("large", { payload: "x".repeat(4_000_000) })
      yield* until("the large one to leave", () => large.ticket.sent)
      const queued = yield* Effect.forEach([1, 2, 3], () => ask("queued", {}))
      // It answers the first one, with too much, and then has the large one to read, which takes it a while.
      kill(pid, "SIGCONT")
      assert.strictEqual((yield* session.lost).reason._tag, "MalformedResponse")
      for (const { failing } of [first, large, ...queued]) {
        const error = yield* Fiber.join(failing)
        assert(error._tag === "ConnectionError", error.message)
      }
      // The scope is open. All that the server still hears is what had left, and the end.
      yield* until("the end", () => rig.ledger().includes("queued") || rig.processes().length === 0)
      assert.deepStrictEqual(rig.ledger(), ["first", "large"])
      assert.deepStrictEqual(
        [first, large, ...queued].map(({ ticket }) => ticket.sent),
        [true, true, false, false, false]
      )
    })
  )

  scenario("does not make calls run twice: each runs at most once over both servers", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ stdio: { maxMessageBytes } })
      const calls = Array.from({ length: 400 }, (_, index) => `call ${index}`)
      const outcomes = yield* Effect.forEach(
        calls,
        (effect, index) =>
          call(connection, "write", {
            effect,
            // Many batches, so that some are underway whenever the session is lost.
            payload: "x".repeat(10_000),
            ...(index === 20 ? { once: "too-large", bytes: 3 * maxMessageBytes } : {})
          }).pipe(
            Effect.map(() => "ok"),
            Effect.catch((error) => Effect.succeed(error._tag))
          ),
        { concurrency: "unbounded" }
      )
      const ledger = rig.ledger()
      assert.deepStrictEqual(
        calls.filter((effect) => ledger.filter((line) => line === effect).length > 1),
        [],
        "these ran twice"
      )
      assert.deepStrictEqual(
        calls.filter((effect, index) => outcomes[index] === "ok" && !ledger.includes(effect)),
        []
      )
      assert.strictEqual((yield* connection.awaitReady).generation, 2)
      rig.measured("of 400 calls", `${outcomes.filter((outcome) => outcome === "ok").length} answered`)
      for (const outcome of outcomes) assert.include(["ok", "OutcomeUnknown"], outcome)
    })
  )
})

describe("a large request", () => {
  scenario("reaches a server that reads slowly intact, and others behind it as well", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { readPauseMillis: 2 } })
      const digestOf = (payload: string) => `${payload.length} ${createHash("sha256").update(payload).digest("hex")}`
      const payloads = [
        filler(6_000_000),
        "é漢😀".repeat(100_000),
        ...Array.from({ length: 20 }, (_, n) => filler(n * 3_000))
      ]
      const [digests, took] = yield* timed(
        Effect.forEach(payloads, (payload) => call(connection, "read", { reply: "digest", payload }), {
          concurrency: "unbounded"
        })
      )
      rig.measured("requests of 7.5 MB to a server that reads slowly, ms", took)
      assert.deepStrictEqual(digests, payloads.map(digestOf))
    })
  )

  scenario("that the server died under is OutcomeUnknown, and those queued behind it are sent to the next one", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      kill(pid, "SIGSTOP")
      const large = yield* Effect.forkChild(
        failureOf(call(connection, "write", { effect: "large", payload: "x".repeat(4_000_000) }, { replay: "never" }))
      )
      yield* Effect.yieldNow
      const queued = yield* Effect.forkChild(call(connection, "write", { effect: "queued" }), {
        startImmediately: true
      })
      kill(pid, "SIGKILL")
      const error = yield* Fiber.join(large)
      assert.strictEqual(error._tag, "OutcomeUnknown")
      assert.strictEqual(yield* Fiber.join(queued), "ok")
      assert.deepStrictEqual(rig.ledger(), ["queued"])
    })
  )
})

describe("listing tools", () => {
  scenario("walks all pages", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { pages: 5, extraTools: 3 } })
      const tools = yield* connection.listTools()
      const extra = [1, 2, 3, 4, 5].flatMap((page) => [0, 1, 2].map((index) => `extra-${page}-${index}`))
      assert.deepStrictEqual(
        tools.map(({ name }) => name).toSorted(),
        ["again", "read", "strict", "write", ...extra].toSorted()
      )
      const page = yield* connection.request("tools/list", { cursor: "2" })
      assert.deepStrictEqual(
        page.tools.map(({ name }) => name),
        ["extra-2-0", "extra-2-1", "extra-2-2"]
      )
      assert.strictEqual(page.nextCursor, "3")
    })
  )

  scenario("asks again each time: the server may have changed its mind", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      yield* connection.listTools()
      yield* connection.listTools()
      assert.lengthOf(
        rig.journal().filter(({ method }) => method === "tools/list"),
        2
      )
    })
  )

  scenario("is bounded when the cursor never ends: InvalidResult after 100 pages", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { pages: "endless" } })
      const error = yield* failureOf(connection.listTools())
      assert(error._tag === "InvalidResult", error.message)
      assert.strictEqual(error.method, "tools/list")
      assert.lengthOf(
        rig.journal().filter(({ method }) => method === "tools/list"),
        100
      )
      assert.strictEqual(yield* call(connection, "read"), "ok")
    })
  )

  scenario("is bounded when there are too many tools: InvalidResult", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { pages: 10, extraTools: 1_001 } })
      const error = yield* failureOf(connection.listTools())
      assert(error._tag === "InvalidResult", error.message)
      assert.include(error.message, "10000 tools")
    })
  )
})

describe("what the process is given", () => {
  scenario("only the safe variables are inherited, and the given ones come on top", (rig) =>
    Effect.gen(function* () {
      process.env["MCP_TETHER_PLANTED"] = "a secret of this program"
      yield* Effect.addFinalizer(() => Effect.sync(() => delete process.env["MCP_TETHER_PLANTED"]))
      const connection = yield* rig.connect({ stdio: { env: { GIVEN: "1", TERM: "given" } } })
      const environment = JSON.parse(yield* call(connection, "read", { reply: "environment" })) as Record<
        string,
        string
      >
      const safe = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]
      assert.deepStrictEqual(
        Object.keys(environment)
          .filter((name) => !safe.includes(name))
          .toSorted(),
        ["GIVEN", "MCP_TETHER_TEST"]
      )
      assert.strictEqual(environment["GIVEN"], "1")
      assert.strictEqual(environment["TERM"], "given")
      assert.strictEqual(environment["PATH"], process.env["PATH"])
    })
  )

  scenario("redacted arguments and variables arrive as they are", (rig) =>
    Effect.gen(function* () {
      const { args = [] } = rig.stdio()
      const connection = yield* rig.connect({
        stdio: { args: [...args, Redacted.make("--token=hunter2")], env: { TOKEN: Redacted.make("hunter3") } }
      })
      const environment = JSON.parse(yield* call(connection, "read", { reply: "environment" })) as Record<
        string,
        string
      >
      assert.strictEqual(environment["TOKEN"], "hunter3")
      const commandLine = readFileSync(`/proc/${yield* pidOf(connection)}/cmdline`, "utf8").split("\0")
      assert.include(commandLine, "--token=hunter2")
    })
  )

  scenario("a process group of its own", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
      assert.strictEqual(fields[2], String(pid))
    })
  )
})

describe("interrupting a call", () => {
  scenario("tells the server to cancel it", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pending = yield* Effect.forkChild(call(connection, "write", { reply: "hang" }))
      const { id } = yield* rig.untilCalled("write")
      yield* Fiber.interrupt(pending)
      yield* until("the cancellation", () =>
        rig.journal().some(({ cancels, method }) => method === "notifications/cancelled" && cancels === id)
      )
      assert.strictEqual(yield* call(connection, "read"), "ok")
    })
  )

  scenario("is the same as a timeout to the server, and a late reply harms nobody", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const error = yield* failureOf(call(connection, "write", { delayMillis: 300 }, { timeout: "100 millis" }))
      assert.strictEqual(error._tag, "RequestTimeout")
      const { id } = yield* rig.untilCalled("write")
      yield* until("the cancellation", () => rig.journal().some(({ cancels }) => cancels === id))
      assert.strictEqual(yield* call(connection, "read", { delayMillis: 400 }), "ok")
      assert.strictEqual((yield* connection.awaitReady).generation, 1)
    })
  )
})
