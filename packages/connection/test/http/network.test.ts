/** No connection comes about, or something between client and server ends it. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Reason } from "../../src/ConnectionError.ts"
import * as Proxy from "./proxy.ts"
import * as Replies from "./replies.ts"
import {
  call,
  eventsOf,
  failureOf,
  generationOf,
  only,
  opened,
  type Options,
  type Rig,
  runsOf,
  sameSession,
  scenario,
  settled,
  timed,
  toldBy,
  until,
  untilState
} from "./rig.ts"

/** A session that serves, and a way to make its server unreachable, and reachable again. */
interface Outage {
  readonly options?: Options
  readonly code: ReadonlyArray<string>
}

const outages: Record<"refused" | "not resolved" | "too slow to connect", Outage> = {
  refused: { code: ["ECONNREFUSED"] },
  "not resolved": { code: ["ENOTFOUND"] },
  "too slow to connect": {
    // A connect timeout has many names.
    code: ["ETIMEDOUT", "UND_ERR_CONNECT_TIMEOUT"],
    options: { http: { connectTimeout: "300 millis" } }
  }
}

const named = Effect.fnUntraced(function* (rig: Rig, kind: keyof typeof outages) {
  const server = yield* rig.serve()
  const hostname = `${kind.replaceAll(" ", "-")}.test`
  const name = yield* rig.around(Proxy.name(hostname))
  const connection = yield* rig.connect({ url: `http://${hostname}:${server.port}/mcp` }, outages[kind].options)
  yield* opened(server)
  const events = yield* eventsOf(connection)
  return {
    server,
    connection,
    events,
    name,
    /** Ends what is connected, too. */
    down: Effect.gen(function* () {
      yield* server.stop
      if (kind !== "refused") yield* server.start
      name.resolves(kind === "not resolved" ? "ENOTFOUND" : kind === "refused" ? "127.0.0.1" : "hang")
      yield* until("the client to notice", () => Proxy.clientsOf(server.port) === 0)
    }),
    up: Effect.gen(function* () {
      name.resolves("127.0.0.1")
      if (kind === "refused") yield* server.start
    })
  }
})

const assertNetworkFailed = (reason: Reason, codes: ReadonlyArray<string>): void => {
  assert(reason._tag === "NetworkFailed", reason.message)
  assert.include(codes, reason.code)
  assert.strictEqual(reason.phase, "connect")
  assert.strictEqual(reason.delivery, "NotSent")
}

for (const [kind, { code }] of Object.entries(outages) as ReadonlyArray<[keyof typeof outages, Outage]>)
  describe(`a server whose connection is ${kind}`, () => {
    for (const tool of ["write", "read"] as const)
      scenario(`costs the session; the call is sent when the server is back, once: ${tool}`, (rig) =>
        Effect.gen(function* () {
          const { connection, down, events, server, up } = yield* named(rig, kind)
          yield* down
          const pending = yield* Effect.forkChild(call(connection, tool, "effect"))
          yield* until("the loss", () => only(events, "SessionLost").length === 1)
          const state = yield* connection.state
          assert.strictEqual(state._tag, "Reconnecting")
          yield* up
          assert.strictEqual(yield* Fiber.join(pending), "effect")
          assert.strictEqual(runsOf(server, "effect"), 1)
          assert.strictEqual(yield* generationOf(connection), 2)
          const [lost] = only(events, "SessionLost")
          assertNetworkFailed(lost?.error.reason ?? assert.fail(), code)
        })
      )

    scenario("and stays so: ConnectionUnavailable, NotSent, when `wait` is over", (rig) =>
      Effect.gen(function* () {
        const { connection, down, server } = yield* named(rig, kind)
        yield* down
        const told = toldBy(yield* failureOf(call(connection, "write", "effect", { wait: "800 millis" })))
        assert.deepStrictEqual(
          [told.error, told.because, told.delivery],
          ["ConnectionUnavailable", "WaitElapsed", "NotSent"]
        )
        assertNetworkFailed(told.reason, code)
        assert.strictEqual(server.count("call write"), 0)
      })
    )

    scenario("and a call that may not be sent again: ConnectionUnavailable, NotSent", (rig) =>
      Effect.gen(function* () {
        const { connection, down, server } = yield* named(rig, kind)
        yield* down
        const told = toldBy(yield* failureOf(call(connection, "write", "effect", { replay: "never" })))
        assert.deepStrictEqual(
          [told.error, told.because, told.delivery],
          ["ConnectionUnavailable", "NotReplayed", "NotSent"]
        )
        assertNetworkFailed(told.reason, code)
        assert.strictEqual(server.count("call write"), 0)
      })
    )

    scenario("under fifty callers: they wait for one next session, and each call runs once", (rig) =>
      Effect.gen(function* () {
        const { connection, down, events, server, up } = yield* named(rig, kind)
        yield* down
        const labels = Array.from({ length: 50 }, (_, index) => `call ${index}`)
        const pending = yield* Effect.forkChild(
          Effect.forEach(labels, (label) => call(connection, "write", label), { concurrency: "unbounded" })
        )
        yield* until("the loss", () => only(events, "SessionLost").length === 1)
        yield* up
        assert.deepStrictEqual(yield* Fiber.join(pending), labels)
        assert.deepStrictEqual(
          labels.filter((label) => runsOf(server, label) !== 1),
          []
        )
        assert.strictEqual(server.count("initialize"), 2)
        assert.lengthOf(only(events, "SessionLost"), 1)
      })
    )
  })

describe("a name that is not found once", () => {
  scenario("costs the call nothing: it was not sent, and is sent again", (rig) =>
    Effect.gen(function* () {
      const { connection, down, events, name, server } = yield* named(rig, "not resolved")
      yield* down
      name.resolvesOnce("ENOTFOUND", "127.0.0.1")
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.strictEqual(runsOf(server, "effect"), 1)
      assert.strictEqual(server.count("ping"), 1)
      yield* sameSession(server, connection, events)
    })
  )
})

describe("a proxy that drops idle connections", () => {
  for (const how of ["fin", "rst"] as const)
    for (const tool of ["write", "read"] as const)
      scenario(`costs nothing when the client hears of it (${how}): ${tool}`, (rig) =>
        Effect.gen(function* () {
          const server = yield* rig.serve()
          const proxy = yield* rig.around(Proxy.make(server.port))
          const connection = yield* rig.connect(proxy)
          yield* opened(server)
          for (const label of ["one", "two", "three"]) {
            yield* Proxy.idle
            proxy.drop(how)
            yield* until("the end of its sockets", () => Proxy.clientsOf(proxy.port) === 0)
            // The kernel is ahead of the client.
            yield* Proxy.idle
            assert.strictEqual(yield* call(connection, tool, label), label)
          }
          assert.deepStrictEqual(
            server.ledger,
            ["one", "two", "three"].map((label) => `${tool} ${label}`)
          )
          assert.strictEqual(server.count("ping"), 0)
          assert.strictEqual(yield* generationOf(connection), 1)
        })
      )

  scenario("silently: a read-only call is answered by the same session", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const proxy = yield* rig.around(Proxy.make(server.port))
      const connection = yield* rig.connect(proxy)
      yield* opened(server)
      proxy.drop("silent")
      assert.strictEqual(yield* call(connection, "read", "look"), "look")
      assert.deepStrictEqual(server.ledger, ["read look"])
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("silently: a call with an effect that ran into it is OutcomeUnknown, since nobody can know", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const proxy = yield* rig.around(Proxy.make(server.port))
      const connection = yield* rig.connect(proxy)
      yield* opened(server)
      proxy.drop("silent")
      const outcome = yield* Effect.result(call(connection, "write", "effect"))
      // A client that opens a connection for it has not run into it.
      if (outcome._tag === "Success") assert.strictEqual(runsOf(server, "effect"), 1)
      else {
        assert.deepStrictEqual(
          [toldBy(outcome.failure).error, toldBy(outcome.failure).reason._tag],
          ["OutcomeUnknown", "NetworkFailed"]
        )
        assert.strictEqual(runsOf(server, "effect"), 0)
      }
      assert.strictEqual(yield* call(connection, "write", "next"), "next")
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  for (const how of ["fin", "rst"] as const)
    scenario(`under slow calls, too (${how}): told, and the session goes on`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        const proxy = yield* rig.around(Proxy.make(server.port))
        const connection = yield* rig.connect(proxy)
        const write = yield* Effect.forkChild(failureOf(call(connection, "write", { label: "effect", gate: "gate" })))
        const read = yield* Effect.forkChild(call(connection, "read", { label: "look", gate: "gate" }))
        yield* until("both calls", () => server.ledger.length === 2)
        proxy.drop(how)
        yield* until("the read-only call to be sent again", () => runsOf(server, "look") === 2)
        server.open("gate")
        assert.strictEqual(yield* Fiber.join(read), "look")
        const told = toldBy(yield* Fiber.join(write))
        assert.deepStrictEqual([told.error, told.reason._tag], ["OutcomeUnknown", "NetworkFailed"])
        assert.strictEqual(runsOf(server, "effect"), 1)
        assert.strictEqual(yield* generationOf(connection), 1)
        assert.strictEqual(server.count("initialize"), 1)
      })
    )
})

describe("a handshake with a server that cannot be reached", () => {
  const starts = Effect.fnUntraced(function* (rig: Rig, url: string, options?: Options) {
    const [error, took] = yield* timed(
      failureOf(settled(rig.connect({ url }, { startWithin: "1 second", ...options })))
    )
    assert(error._tag === "ConnectionError", error.message)
    assert.isBelow(took, 8000)
    return error.reason
  })

  scenario("refused: NetworkFailed, and tried again until `startWithin`", (rig) =>
    Effect.gen(function* () {
      const port = yield* rig.around(Proxy.nobody)
      assertNetworkFailed(yield* starts(rig, `http://127.0.0.1:${port}/mcp`), ["ECONNREFUSED"])
    })
  )

  scenario("a name that does not resolve: NetworkFailed", (rig) =>
    Effect.gen(function* () {
      const name = yield* rig.around(Proxy.name("gone.test"))
      name.resolves("ENOTFOUND")
      assertNetworkFailed(yield* starts(rig, "http://gone.test:1234/mcp"), ["ENOTFOUND"])
      assert.isAbove(name.asked(), 1)
    })
  )

  scenario("a name that really does not resolve: NetworkFailed", (rig) =>
    Effect.gen(function* () {
      const reason = yield* starts(rig, "http://mcp-tether.invalid/mcp")
      assertNetworkFailed(reason, ["ENOTFOUND", "EAI_AGAIN"])
    })
  )

  scenario("a TLS server that never says a word: NetworkFailed, after connectTimeout", (rig) =>
    Effect.gen(function* () {
      const silence = yield* rig.around(Proxy.silence)
      const reason = yield* starts(rig, `https://127.0.0.1:${silence.port}/mcp`, {
        http: { connectTimeout: "200 millis" }
      })
      assertNetworkFailed(reason, outages["too slow to connect"].code)
      yield* until("its sockets to be closed", () => silence.connections() === 0)
    })
  )

  scenario("refused at first: requests wait, and are answered when it is there", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      yield* server.stop
      const connection = yield* rig.connect(server, { start: "background" })
      const pending = yield* Effect.forkChild(call(connection, "write", "effect"))
      const cause = yield* untilState(connection, (state) => state._tag === "Connecting" && state.cause)
      assertNetworkFailed(cause.reason, ["ECONNREFUSED"])
      yield* server.start
      assert.strictEqual(yield* Fiber.join(pending), "effect")
      assert.strictEqual(yield* generationOf(connection), 1)
      assert.deepStrictEqual(server.ledger, ["write effect"])
    })
  )
})

describe("a call whose own connection is lost while its neighbour's stands", () => {
  scenario("does not cost the neighbour its answer", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      const neighbour = yield* Effect.forkChild(call(connection, "write", { label: "neighbour", gate: "gate" }))
      yield* until("the neighbour", () => server.ledger.length === 1)
      server.on("call write", 1, Replies.ran(Replies.drop("rst")))
      assert.strictEqual(toldBy(yield* failureOf(call(connection, "write", "effect"))).error, "OutcomeUnknown")
      server.open("gate")
      assert.strictEqual(yield* Fiber.join(neighbour), "neighbour")
      yield* sameSession(server, connection, events)
    })
  )
})
