/** One request fails on a session that serves: what its caller is told, and that the session goes on. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Reason } from "../../src/ConnectionError.ts"
import type { Delivery } from "../../src/Delivery.ts"
import * as Replies from "./replies.ts"
import { call, failureOf, only, runsOf, sameSession, scenario, settled, toldBy } from "./rig.ts"
import type { Options, Reply, Server, What } from "./server.ts"

/** A row of DESIGN §5 and of reference/mcp-sdk-facts.md §3. */
interface Row {
  readonly reply: Reply
  readonly reason: Reason["_tag"]
  readonly fields?: Readonly<Record<string, unknown>>
  readonly delivery: Exclude<Delivery, "NotSent">
  /** How often the tool runs in the sending that fails. Default: once when the delivery is unknown. */
  readonly runs?: 0 | 1
  readonly server?: Options
}

const unavailable = (status: number): Pick<Row, "reason" | "fields"> => ({
  reason: "ServerUnavailable",
  fields: { status }
})
const unexpected = (status: number): Pick<Row, "reason" | "fields" | "delivery"> => ({
  reason: "UnexpectedStatus",
  fields: { status },
  delivery: "Unknown"
})
const malformed = { reason: "MalformedResponse", delivery: "Unknown" } as const
const closed = { reason: "TransportClosed", delivery: "Unknown" } as const
const reset = {
  reason: "NetworkFailed",
  fields: { code: "ECONNRESET", phase: "exchange" },
  delivery: "Unknown"
} as const
const hungUp = { reason: "NetworkFailed", fields: { phase: "exchange" }, delivery: "Unknown" } as const

const rows: Record<string, Row> = {
  "reset before headers": { reply: Replies.ran(Replies.drop("rst")), ...reset },
  "hung up before headers": { reply: Replies.ran(Replies.drop("fin")), ...hungUp },
  "reset in the middle of a JSON body": { reply: Replies.halfJson("rst"), ...reset },
  "hung up in the middle of a JSON body": { reply: Replies.halfJson("fin"), ...hungUp },
  "half a JSON body that ends in good order": { reply: Replies.halfJson("end"), ...malformed },

  "an event stream that ends without the answer": { reply: Replies.stream("end"), ...closed },
  "an event stream that is hung up without the answer": { reply: Replies.stream("fin"), ...closed },
  "an event stream that is reset without the answer": { reply: Replies.stream("rst"), ...closed },
  "an event stream that is cut after a notification": {
    reply: Replies.stream("rst", {
      message: { jsonrpc: "2.0", method: "notifications/progress", params: { requestId: 1 } }
    }),
    ...closed
  },

  "202 to a request": { reply: Replies.ran(Replies.status(202)), ...closed },
  "HTML with 200": { reply: Replies.body("text/html", Replies.html), ...malformed },
  "HTML with 200 that says it is JSON": { reply: Replies.body("application/json", Replies.html), ...malformed },
  "plain text with 200": { reply: Replies.body("text/plain", "OK"), ...malformed },
  "JSON with 200 that is not JSON-RPC": { reply: Replies.body("application/json", '{"ok":true}'), ...malformed },
  "an empty body with 200 that says it is JSON": { reply: Replies.body("application/json", ""), ...malformed },

  "429": { reply: Replies.status(429), ...unavailable(429), delivery: "Refused" },
  "503": { reply: Replies.status(503, {}, "overloaded"), ...unavailable(503), delivery: "Refused" },
  "502": { reply: Replies.ran(Replies.status(502, {}, "bad gateway")), ...unavailable(502), delivery: "Unknown" },
  "504": { reply: Replies.ran(Replies.status(504, {}, "gateway timeout")), ...unavailable(504), delivery: "Unknown" },

  "500": { reply: Replies.ran(Replies.status(500, {}, "oops")), ...unexpected(500) },
  "400 that says nothing of a session": { reply: Replies.ran(Replies.status(400, {}, "what?")), ...unexpected(400) },
  "405": { reply: Replies.ran(Replies.status(405)), ...unexpected(405) },
  "410": { reply: Replies.ran(Replies.status(410)), ...unexpected(410) },
  "a redirect loop": {
    reply: Replies.status(307, { location: "/mcp" }),
    runs: 0,
    ...unexpected(307)
  },
  "a redirect that would make a GET of it": {
    reply: Replies.status(303, { location: "/elsewhere" }),
    runs: 0,
    ...unexpected(303)
  }
}

/** Answers the first request of a kind like this; a loop goes on until the client has noticed, and asks whether all is well. */
const arm = (server: Server, what: What, name: string, { reply }: Row): void => {
  if (!isLoop(name)) server.on(what, 1, reply)
  else
    server.on(what, "every", (exchange) => {
      if (server.count("ping") === 0) reply(exchange)
      else exchange.serve()
    })
}

const isLoop = (name: string): boolean => name === "a redirect loop"

const assertReason = (reason: Reason, row: Row): void => {
  assert.strictEqual(reason._tag, row.reason, reason.message)
  for (const [field, value] of Object.entries(row.fields ?? {}))
    assert.deepStrictEqual(Reflect.get(reason, field), value, `${field} of ${row.reason}`)
  assert.strictEqual(reason.delivery, row.delivery)
}

for (const [name, row] of Object.entries(rows)) {
  const runs = row.runs ?? (row.delivery === "Unknown" ? 1 : 0)

  describe(`${name}`, () => {
    if (row.delivery === "Unknown")
      scenario("under a call with an effect: OutcomeUnknown; it is not sent again, and the session goes on", (rig) =>
        Effect.gen(function* () {
          const { connection, events, server } = yield* rig.ready(row.server)
          arm(server, "call write", name, row)
          const error = yield* failureOf(call(connection, "write", "effect"))
          assert(error._tag === "OutcomeUnknown", error.message)
          assertReason(error.cause.reason, row)
          assert.strictEqual(error.generation, 1)
          assert.strictEqual(error.tool, "write")
          assert.strictEqual(error.requestId, server.seen.find(({ tool }) => tool === "write")?.id)
          assert.strictEqual(runsOf(server, "effect"), runs)
          if (!isLoop(name)) assert.strictEqual(server.count("call write"), 1)
          assert.lengthOf(only(events, "OutcomeUnknown"), 1)
          yield* sameSession(server, connection, events)
        })
      )
    else
      scenario("under a call with an effect: it is sent again on the same session, and runs once", (rig) =>
        Effect.gen(function* () {
          const { connection, events, server } = yield* rig.ready(row.server)
          arm(server, "call write", name, row)
          assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
          assert.strictEqual(runsOf(server, "effect"), 1)
          assert.strictEqual(server.count("call write"), 2)
          assert.deepStrictEqual(
            only(events, "RequestReplayed").map(({ delivery, from, to, tool }) => ({ delivery, from, to, tool })),
            [{ delivery: "Refused", from: 1, to: 1, tool: "write" }]
          )
          yield* sameSession(server, connection, events)
        })
      )

    scenario("under a read-only call: it is sent again on the same session, and answered", (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready(row.server)
        arm(server, "call read", name, row)
        assert.strictEqual(yield* call(connection, "read", "look"), "look")
        assert.strictEqual(runsOf(server, "look"), runs + 1)
        assert.deepStrictEqual(
          only(events, "RequestReplayed").map(({ delivery, from, to, tool }) => ({ delivery, from, to, tool })),
          [{ delivery: row.delivery, from: 1, to: 1, tool: "read" }]
        )
        yield* sameSession(server, connection, events)
      })
    )

    scenario(`under a list that may not be sent again: ${row.reason}, ${row.delivery}; the session goes on`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready(row.server)
        arm(server, "tools/list", name, row)
        const error = yield* failureOf(settled(connection.listTools({ replay: "never" })))
        const told = toldBy(error)
        assert.deepStrictEqual(
          { error: told.error, because: told.because, delivery: told.delivery },
          { error: "ConnectionUnavailable", because: "NotReplayed", delivery: row.delivery }
        )
        assertReason(told.reason, row)
        if (!isLoop(name)) assert.strictEqual(server.count("tools/list"), 1)
        server.heal()
        yield* sameSession(server, connection, events)
      })
    )

    scenario("under a call with an effect that may be sent twice: it is, and is answered on the same session", (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready(row.server)
        arm(server, "call write", name, row)
        assert.strictEqual(yield* call(connection, "write", "twice", { replay: "always" }), "twice")
        assert.strictEqual(runsOf(server, "twice"), runs + 1)
        yield* sameSession(server, connection, events)
      })
    )
  })
}

describe("an answer that never comes is told without waiting for the request timeout", () => {
  const strange: Record<string, Reply> = {
    "200 without a body": Replies.ran(Replies.status(200)),
    "204": Replies.ran(Replies.status(204)),
    "200 with the answer to another request": Replies.body("application/json", (answer) =>
      JSON.stringify({ ...answer, id: 987_654 })
    ),
    "200 with a notification only": Replies.body(
      "application/json",
      '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
    ),
    "an empty batch": Replies.body("application/json", "[]"),
    "an event that is not JSON, and the end": Replies.stream("end", { message: "<p>no</p>" }),
    "the answer to another request in the stream, and the end": Replies.stream("end", {
      message: { jsonrpc: "2.0", id: 987_654, result: {} }
    })
  }
  for (const [name, reply] of Object.entries(strange))
    scenario(`${name}: OutcomeUnknown for a call with an effect, and a read-only one is sent again`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call write", 1, reply)
        server.on("call read", 1, reply)
        const error = yield* failureOf(call(connection, "write", "effect"))
        assert(error._tag === "OutcomeUnknown", error.message)
        assert.include(["TransportClosed", "MalformedResponse"], error.cause.reason._tag)
        assert.strictEqual(runsOf(server, "effect"), 1)
        assert.strictEqual(yield* call(connection, "read", "look"), "look")
        yield* sameSession(server, connection, events)
      })
    )
})

describe("a status with a JSON-RPC error that bears the request's own id", () => {
  for (const code of [400, 422, 500])
    scenario(`is an answer: ${code} is ServerRejected, and nothing else happens`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call write", 1, Replies.rpcError(code, "own", { code: -32602, message: "no such account" }))
        const error = yield* failureOf(call(connection, "write", "effect"))
        assert(error._tag === "ServerRejected", error.message)
        assert.strictEqual(error.code, -32602)
        assert.include(error.description, "no such account")
        assert.strictEqual(server.count("call write"), 1)
        assert.strictEqual(server.count("ping"), 0)
        assert.deepStrictEqual(events, [])
        yield* sameSession(server, connection, events)
      })
    )

  scenario("is no answer without that id: 400 is UnexpectedStatus", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.rpcError(400, "null", { code: -32700, message: "Parse error" }))
      const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
      assert.strictEqual(told.error, "OutcomeUnknown")
      assert.strictEqual(told.reason._tag, "UnexpectedStatus")
      yield* sameSession(server, connection, events)
    })
  )
})

describe("an answer that is larger than maxMessageBytes", () => {
  scenario("is MalformedResponse; smaller ones are answered", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready({}, { http: { maxMessageBytes: 20_000 } })
      assert.lengthOf(yield* call(connection, "read", { label: "fits", bytes: 15_000 }), 15_000)
      const told = toldBy(yield* failureOf(call(connection, "write", { label: "large", bytes: 60_000 })))
      assert.strictEqual(told.error, "OutcomeUnknown")
      assert.strictEqual(told.reason._tag, "MalformedResponse")
      assert.strictEqual(runsOf(server, "large"), 1)
      yield* sameSession(server, connection, events)
    })
  )
})

describe("redirects", () => {
  scenario("within the origin that keep the method are followed: the call is answered, once", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.status(307, { location: "/moved" }))
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.deepStrictEqual(server.ledger, ["write effect"])
      assert.deepStrictEqual(
        server.seen.filter(({ tool }) => tool === "write").map(({ path }) => path),
        ["/mcp", "/moved"]
      )
      yield* sameSession(server, connection, events)
    })
  )

  scenario("to another origin are not followed: UnexpectedStatus, and the other origin hears nothing", (rig) =>
    Effect.gen(function* () {
      const other = yield* rig.serve()
      const { connection, events, server } = yield* rig.ready({}, { http: { headers: { authorization: "Bearer x" } } })
      server.on("call write", "every", Replies.ran(Replies.status(307, { location: other.url })))
      const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
      assert.strictEqual(told.error, "OutcomeUnknown")
      assert.strictEqual(told.reason._tag, "UnexpectedStatus")
      assert.strictEqual(runsOf(server, "effect"), 1)
      assert.deepStrictEqual(other.seen, [])
      yield* sameSession(server, connection, events)
    })
  )
})

describe("a request that fails again after it was sent again", () => {
  scenario("refused twice: ConnectionUnavailable, Refused; nothing ran, and the session goes on", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", "every", Replies.status(503))
      const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
      assert.deepStrictEqual(
        [told.error, told.because, told.delivery],
        ["ConnectionUnavailable", "NotReplayed", "Refused"]
      )
      assert.strictEqual(server.count("call write"), 2)
      assert.strictEqual(runsOf(server, "effect"), 0)
      yield* sameSession(server, connection, events)
    })
  )

  scenario("refused, and then reset: OutcomeUnknown", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.status(503))
      server.on("call write", 2, Replies.ran(Replies.drop("rst")))
      const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
      assert.deepStrictEqual([told.error, told.reason._tag], ["OutcomeUnknown", "NetworkFailed"])
      assert.strictEqual(runsOf(server, "effect"), 1)
      assert.strictEqual(server.count("call write"), 2)
      yield* sameSession(server, connection, events)
    })
  )

  scenario("reset, and then refused: a read-only call is told that it may have run", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call read", 1, Replies.ran(Replies.drop("rst")))
      server.on("call read", 2, Replies.status(429))
      const told = toldBy(yield* failureOf(call(connection, "read", "look")))
      assert.deepStrictEqual([told.error, told.reason._tag], ["OutcomeUnknown", "NetworkFailed"])
      assert.strictEqual(server.count("call read"), 2)
      yield* sameSession(server, connection, events)
    })
  )
})
