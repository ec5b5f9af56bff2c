/** Faults of the handshake: which of them end the first attempt in `Failed`, and which are tried again. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Reason } from "../../src/ConnectionError.ts"
import { selfSigned } from "./certificate.ts"
import * as Proxy from "./proxy.ts"
import * as Replies from "./replies.ts"
import { call, eventsOf, failureOf, generationOf, only, type Options, type Rig, scenario, settled } from "./rig.ts"
import type { Reply, Server, What } from "./server.ts"

interface Row {
  readonly reply: Reply
  readonly reason: Reason["_tag"]
  readonly fields?: Readonly<Record<string, unknown>>
  readonly options?: Options
}

/** Healed by another attempt. */
const retried: Record<string, Row> = {
  "a reset before headers": {
    reply: Replies.drop("rst"),
    reason: "NetworkFailed",
    fields: { code: "ECONNRESET", phase: "exchange" }
  },
  "a connection that is hung up before headers": {
    reply: Replies.drop("fin"),
    reason: "NetworkFailed",
    fields: { phase: "exchange" }
  },
  "a reset in the middle of the body": {
    reply: Replies.halfJson("rst"),
    reason: "NetworkFailed",
    fields: { code: "ECONNRESET", phase: "exchange" }
  },
  "an event stream that is cut": { reply: Replies.stream("rst"), reason: "TransportClosed" },
  "an event stream that ends": { reply: Replies.stream("end"), reason: "TransportClosed" },
  "202 to initialize": { reply: Replies.status(202), reason: "TransportClosed" },
  "429": { reply: Replies.status(429), reason: "ServerUnavailable", fields: { status: 429 } },
  "502": { reply: Replies.status(502), reason: "ServerUnavailable", fields: { status: 502 } },
  "503": { reply: Replies.status(503), reason: "ServerUnavailable", fields: { status: 503 } },
  "504": { reply: Replies.status(504), reason: "ServerUnavailable", fields: { status: 504 } },
  "500": { reply: Replies.status(500), reason: "UnexpectedStatus", fields: { status: 500 } },
  "HTML with 200": { reply: Replies.body("text/html", Replies.html), reason: "MalformedResponse" },
  "bad JSON with 200": { reply: Replies.halfJson("end"), reason: "MalformedResponse" },
  "a server that hangs": { reply: Replies.hold, reason: "StartupTimeout", options: { startupTimeout: "400 millis" } },
  "an event stream that is silent": {
    reply: Replies.stream("open"),
    reason: "StartupTimeout",
    options: { startupTimeout: "400 millis" }
  }
}

/** Not healed by any attempt. */
const final: Record<string, Row> = {
  "404": { reply: Replies.status(404), reason: "UnexpectedStatus", fields: { status: 404 } },
  "405": { reply: Replies.status(405), reason: "UnexpectedStatus", fields: { status: 405 } },
  "410": { reply: Replies.status(410), reason: "UnexpectedStatus", fields: { status: 410 } },
  "401": { reply: Replies.status(401), reason: "Unauthorized", fields: { status: 401 } },
  "403": { reply: Replies.status(403), reason: "Unauthorized", fields: { status: 403 } },
  "a redirect loop": {
    reply: Replies.status(307, { location: "/mcp" }),
    reason: "UnexpectedStatus",
    fields: { status: 307 }
  },
  "a JSON-RPC error": {
    reply: Replies.rpcError(200, "own", { code: -32603, message: "out of order" }),
    reason: "HandshakeRejected",
    fields: { code: -32603 }
  },
  "a JSON-RPC error with 400": {
    reply: Replies.rpcError(400, "own", { code: -32602, message: "out of order" }),
    reason: "HandshakeRejected",
    fields: { code: -32602 }
  },
  "a version that nobody knows": {
    reply: Replies.body("application/json", (answer) =>
      JSON.stringify({
        jsonrpc: "2.0",
        id: answer.id,
        result: { protocolVersion: "1999-12-31", capabilities: {}, serverInfo: { name: "old", version: "0" } }
      })
    ),
    reason: "UnsupportedProtocol"
  }
}

const assertReason = (reason: Reason, row: Row): void => {
  assert.strictEqual(reason._tag, row.reason, reason.message)
  for (const [field, value] of Object.entries(row.fields ?? {}))
    assert.deepStrictEqual(Reflect.get(reason, field), value, `${field} of ${row.reason}`)
}

/** A connection that starts in the background, and what happens to it from the start. */
const observed = Effect.fnUntraced(function* (rig: Rig, server: Server, options?: Options) {
  const connection = yield* rig.connect(server, { ...options, start: "lazy" })
  return { connection, events: yield* eventsOf(connection) }
})

describe("a fault of initialize that another attempt can heal", () => {
  for (const [name, row] of Object.entries(retried)) {
    scenario(`${name}: ${row.reason}, and the next attempt serves; the call runs once`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        server.on("initialize", 1, row.reply)
        const { connection, events } = yield* observed(rig, server, row.options)
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        assert.deepStrictEqual(
          only(events, "AttemptFailed").map(({ attempt }) => attempt),
          [1]
        )
        assertReason(only(events, "AttemptFailed")[0]?.error.reason ?? assert.fail(), row)
        assert.strictEqual(yield* generationOf(connection), 1)
        assert.strictEqual(server.count("initialize"), 2)
        assert.deepStrictEqual(server.ledger, ["write effect"])
      })
    )

    scenario(`${name}, to every request of the first attempt: tried again, typed`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        const { connection, events } = yield* observed(rig, server, row.options)
        server.on("any", "every", (exchange) => {
          if (only(events, "AttemptFailed").length === 0) row.reply(exchange)
          else exchange.serve()
        })
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        assertReason(only(events, "AttemptFailed")[0]?.error.reason ?? assert.fail(), row)
        assert.deepStrictEqual(server.ledger, ["write effect"])
      })
    )

    scenario(`${name}, when a session was lost: tried again, and callers get the next session`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready({}, row.options)
        server.forget()
        server.on("initialize", 1, row.reply)
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        assertReason(only(events, "AttemptFailed")[0]?.error.reason ?? assert.fail(), row)
        assert.strictEqual(yield* generationOf(connection), 2)
        assert.deepStrictEqual(server.ledger, ["write effect"])
      })
    )
  }

  for (const [name, reply] of Object.entries({
    "HTML with 200": Replies.body("text/html", Replies.html),
    "bad JSON with 200": Replies.halfJson("end")
  }))
    scenario(`${name} is tried again three times in a row, and then it is the end`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        server.on("any", "every", reply)
        const { connection, events } = yield* observed(rig, server)
        const error = yield* failureOf(call(connection, "write", "effect"))
        assert(error._tag === "ConnectionUnavailable", error.message)
        assert.deepStrictEqual([error.because, error.delivery], ["Failed", "NotSent"])
        assert.strictEqual(error.cause?.reason._tag, "MalformedResponse")
        assert.lengthOf(only(events, "AttemptFailed"), 4)
        assert.lengthOf(only(events, "GaveUp"), 1)
      })
    )
})

describe("a fault of the handshake that no attempt heals", () => {
  for (const [name, row] of Object.entries(final))
    for (const what of ["any", "initialize"] as ReadonlyArray<What>) {
      scenario(`${name}, to ${what}: ${row.reason}, Failed after one attempt`, (rig) =>
        Effect.gen(function* () {
          const server = yield* rig.serve()
          server.on(what, "every", row.reply)
          const { connection, events } = yield* observed(rig, server, row.options)
          const error = yield* failureOf(call(connection, "write", "effect"))
          assert(error._tag === "ConnectionUnavailable", error.message)
          assert.deepStrictEqual([error.because, error.delivery], ["Failed", "NotSent"])
          assertReason(error.cause?.reason ?? assert.fail(), row)
          assert.lengthOf(only(events, "AttemptStarted"), 1)
          const state = yield* connection.state
          assert.strictEqual(state._tag, "Failed")
          assert.deepStrictEqual(server.ledger, [])
        })
      )
    }

  scenario("is what `start: required` fails with, at once", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      server.on("any", "every", Replies.status(404))
      const error = yield* failureOf(settled(rig.connect(server)))
      assert(error._tag === "ConnectionError", error.message)
      assert.strictEqual(error.reason._tag, "UnexpectedStatus")
    })
  )

  for (const status of [404, 405, 410])
    scenario(`is tried again when a session has served before: ${status}`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.forget()
        server.on("initialize", { first: 2 }, Replies.status(status))
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        // An initialize that is refused may make the transport ask for the era anew, and shake hands again in the same attempt.
        assert.deepStrictEqual(
          [...new Set(only(events, "AttemptFailed").map(({ error }) => error.reason._tag))],
          ["UnexpectedStatus"]
        )
        assert.strictEqual(yield* generationOf(connection), 2)
        assert.deepStrictEqual(server.ledger, ["write effect"])
      })
    )

  scenario("a redirect to another origin: UnexpectedStatus, and the other origin hears nothing", (rig) =>
    Effect.gen(function* () {
      const other = yield* rig.serve()
      const server = yield* rig.serve()
      server.on("any", "every", Replies.status(308, { location: other.url }))
      const error = yield* failureOf(settled(rig.connect(server, { http: { headers: { authorization: "Bearer x" } } })))
      assert(error._tag === "ConnectionError", error.message)
      assert.strictEqual(error.reason._tag, "UnexpectedStatus")
      assert.deepStrictEqual(other.seen, [])
    })
  )
})

describe("a notifications/initialized that fails", () => {
  for (const [name, reply] of Object.entries({
    "is reset": Replies.drop("rst"),
    "gets 502": Replies.status(502),
    "gets 500": Replies.status(500),
    "gets 404, as the session is lost already": Replies.status(404)
  }))
    scenario(`${name}: the connection heals, and the call runs once`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        server.on("notifications/initialized", 1, reply)
        const connection = yield* settled(rig.connect(server))
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        assert.deepStrictEqual(server.ledger, ["write effect"])
      })
    )

  scenario("hangs: it is bounded", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      server.on("notifications/initialized", 1, Replies.hold)
      const connection = yield* settled(rig.connect(server, { startupTimeout: "500 millis" }))
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.deepStrictEqual(server.ledger, ["write effect"])
    })
  )
})

describe("TLS", () => {
  const starts = Effect.fnUntraced(function* (rig: Rig, url: string) {
    const error = yield* failureOf(settled(rig.connect({ url })))
    assert(error._tag === "ConnectionError", error.message)
    return error
  })

  scenario("with a certificate that nobody signed: TlsFailed, Failed at once, NotSent", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ tls: selfSigned() })
      const error = yield* starts(rig, server.url)
      assert(error.reason._tag === "TlsFailed", error.message)
      assert.strictEqual(error.reason.code, "DEPTH_ZERO_SELF_SIGNED_CERT")
      assert.isFalse(error.isRetryable)
      assert.strictEqual(error.delivery, "NotSent")
      assert.deepStrictEqual(server.seen, [])
    })
  )

  scenario("with a certificate that nobody signed: one attempt, and callers are told", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ tls: selfSigned() })
      const { connection, events } = yield* observed(rig, server)
      const error = yield* failureOf(call(connection, "write", "effect"))
      assert(error._tag === "ConnectionUnavailable", error.message)
      assert.deepStrictEqual(
        [error.because, error.delivery, error.cause?.reason._tag],
        ["Failed", "NotSent", "TlsFailed"]
      )
      assert.lengthOf(only(events, "AttemptStarted"), 1)
    })
  )

  scenario("to a port that speaks plain HTTP: TlsFailed", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const error = yield* starts(rig, server.url.replace("http:", "https:"))
      assert(error.reason._tag === "TlsFailed", error.message)
      assert.deepStrictEqual(server.seen, [])
    })
  )

  scenario("at a port that is spoken to in plain HTTP: a typed error, and nobody hangs", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ tls: selfSigned() })
      const error = yield* failureOf(
        settled(rig.connect({ url: server.url.replace("https:", "http:") }, { startWithin: "1 second" }))
      )
      assert(error._tag === "ConnectionError", error.message)
      assert.include(["NetworkFailed", "UnexpectedStatus", "TransportClosed"], error.reason._tag)
    })
  )

  scenario("at a port where nobody listens: NetworkFailed, and tried again", (rig) =>
    Effect.gen(function* () {
      const port = yield* rig.around(Proxy.nobody)
      const error = yield* failureOf(
        settled(rig.connect({ url: `https://127.0.0.1:${port}/mcp` }, { startWithin: "500 millis" }))
      )
      assert(error._tag === "ConnectionError", error.message)
      assert.strictEqual(error.reason._tag, "NetworkFailed")
      assert.isTrue(error.isRetryable)
    })
  )
})
