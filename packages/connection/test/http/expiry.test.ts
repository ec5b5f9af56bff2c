/** The server has forgotten the session. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { clientsOf, idle } from "./proxy.ts"
import * as Replies from "./replies.ts"
import { call, failureOf, generationOf, only, type Rig, runsOf, scenario, settled, toldBy, until } from "./rig.ts"
import type { Server } from "./server.ts"

const counting = (many: number): ReadonlyArray<string> => Array.from({ length: many }, (_, index) => `call ${index}`)

const assertOnce = (server: Server, labels: ReadonlyArray<string>): void => {
  assert.deepStrictEqual(
    labels.filter((label) => runsOf(server, label) !== 1),
    [],
    "these did not run exactly once"
  )
}

/** Restarts a server, and waits until the client has seen the end of its idle sockets: what is sent on those may have run. */
const restarted = (server: Server) =>
  Effect.andThen(
    server.restart,
    until("the client to notice", () => clientsOf(server.port) === 0)
  )

for (const unknownSession of [404, 400] as const)
  describe(`a server that has forgotten the session and says ${unknownSession}`, () => {
    const forgotten = (rig: Rig) =>
      Effect.tap(rig.ready({ unknownSession }), ({ server }) => Effect.sync(() => server.forget()))

    for (const tool of ["write", "read"] as const)
      scenario(`gets a new handshake at once, and the call again, once: ${tool}`, (rig) =>
        Effect.gen(function* () {
          const { connection, events, server } = yield* forgotten(rig)
          assert.strictEqual(yield* call(connection, tool, "effect"), "effect")
          assertOnce(server, ["effect"])
          assert.strictEqual(yield* generationOf(connection), 2)
          assert.strictEqual(server.count("initialize"), 2)
          assert.deepStrictEqual(
            only(events, "SessionLost").map(({ error }) => error.reason._tag),
            ["SessionExpired"]
          )
          const [lost] = only(events, "SessionLost")
          assert(lost?.error.reason._tag === "SessionExpired")
          assert.strictEqual(lost.error.reason.status, unknownSession)
          assert.deepStrictEqual(
            only(events, "RequestReplayed").map(({ delivery, from, to }) => ({ delivery, from, to })),
            [{ delivery: "Refused", from: 1, to: 2 }]
          )
        })
      )

    scenario("refuses a call that may not be sent again: ConnectionUnavailable, Refused; it did not run", (rig) =>
      Effect.gen(function* () {
        const { connection, server } = yield* forgotten(rig)
        const told = toldBy(yield* failureOf(call(connection, "write", "effect", { replay: "never" })))
        assert.deepStrictEqual(
          [told.error, told.because, told.delivery, told.reason._tag],
          ["ConnectionUnavailable", "NotReplayed", "Refused", "SessionExpired"]
        )
        assert.strictEqual(yield* call(connection, "write", "next"), "next")
        assert.strictEqual(yield* generationOf(connection), 2)
        assert.deepStrictEqual(server.ledger, ["write next"])
      })
    )

    scenario("under twenty callers at once, gets exactly one new handshake, and each call once", (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready({ unknownSession })
        server.on("call write", { first: 20 }, Replies.together(20, Replies.healthy))
        server.forget()
        const labels = counting(20)
        const answers = yield* Effect.forEach(labels, (label) => call(connection, "write", label), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(answers, labels)
        assertOnce(server, labels)
        assert.strictEqual(server.count("initialize"), 2)
        assert.strictEqual(yield* generationOf(connection), 2)
        assert.lengthOf(only(events, "SessionLost"), 1)
        assert.lengthOf(only(events, "AttemptStarted"), 1)
        assert.lengthOf(only(events, "RequestReplayed"), 20)
      })
    )
  })

describe("a session that expires with 50 calls in flight", () => {
  scenario("runs no call with an effect twice, and leaves none hanging", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      const labels = counting(50)
      const pending = yield* Effect.forkChild(
        Effect.forEach(
          labels,
          (label) =>
            call(connection, "write", { label, gate: "gate" }).pipe(
              Effect.catch((error) => Effect.succeed(error._tag))
            ),
          { concurrency: "unbounded" }
        )
      )
      yield* until("all calls", () => server.ledger.length === 50)
      server.forget()
      assert.strictEqual(yield* call(connection, "write", "late"), "late")
      assert.strictEqual(yield* generationOf(connection), 2)
      server.open("gate")
      const outcomes = yield* Fiber.join(pending)
      for (const [index, outcome] of outcomes.entries()) assert.include([labels[index], "OutcomeUnknown"], outcome)
      assertOnce(server, [...labels, "late"])
      assert.strictEqual(server.count("initialize"), 2)
    })
  )

  scenario("answers every read-only call", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      const labels = counting(50)
      const pending = yield* Effect.forkChild(
        Effect.forEach(labels, (label) => call(connection, "read", { label, gate: "gate" }), {
          concurrency: "unbounded"
        })
      )
      yield* until("all calls", () => server.ledger.length === 50)
      server.forget()
      assert.strictEqual(yield* call(connection, "write", "late"), "late")
      server.open("gate")
      assert.deepStrictEqual(yield* Fiber.join(pending), labels)
      assert.strictEqual(server.count("initialize"), 2)
      assert.strictEqual(runsOf(server, "late"), 1)
    })
  )

  scenario("half of them with 404 and half running: the refused ones run once, the others not again", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      const labels = counting(50)
      const refused = Replies.later(Replies.healthy)
      server.on("call again", { first: 25 }, refused.reply)
      const outcomes = yield* Effect.forkChild(
        Effect.forEach(
          labels,
          (label, index) =>
            call(connection, index % 2 === 0 ? "write" : "again", {
              label,
              gate: index % 2 === 0 ? "gate" : "open"
            }).pipe(Effect.catch((error) => Effect.succeed(error._tag))),
          { concurrency: "unbounded" }
        )
      )
      yield* until("all calls", () => server.ledger.length === 25 && refused.waiting() === 25)
      server.open("open")
      server.forget()
      refused.now()
      yield* until("the next session", () => server.count("initialize") === 2)
      server.open("gate")
      for (const [index, outcome] of (yield* Fiber.join(outcomes)).entries())
        if (index % 2 === 0) assert.include([labels[index], "OutcomeUnknown"], outcome)
        else assert.strictEqual(outcome, labels[index])
      assertOnce(server, labels)
      assert.strictEqual(server.count("initialize"), 2)
    })
  )
})

describe("news of an expired session that come late", () => {
  scenario("do not cost the next session", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      const late = Replies.later(Replies.healthy)
      server.on("call write", 1, late.reply)
      const first = yield* Effect.forkChild(
        call(connection, "write", "first").pipe(Effect.catch((error) => Effect.succeed(error._tag)))
      )
      yield* until("the first call", () => late.waiting() === 1)
      server.forget()
      assert.strictEqual(yield* call(connection, "write", "second"), "second")
      assert.strictEqual(yield* generationOf(connection), 2)
      late.now()
      // Whether it is heard of the 404 or was given up before: it did not run in the first sending, and not twice.
      const outcome = yield* settled(Fiber.join(first))
      assert.include(["first", "OutcomeUnknown"], outcome)
      assert.strictEqual(runsOf(server, "first"), outcome === "first" ? 1 : 0)
      assert.strictEqual(yield* call(connection, "write", "third"), "third")
      assert.strictEqual(yield* generationOf(connection), 2)
      assert.lengthOf(only(events, "SessionLost"), 1)
      assert.strictEqual(server.count("initialize"), 2)
    })
  )
})

describe("a server that is restarted on the same port", () => {
  for (const stream of [false, true])
    scenario(`while nobody calls, costs the next call nothing: ${stream ? "with" : "without"} a stream`, (rig) =>
      Effect.gen(function* () {
        const { connection, server } = yield* rig.ready({ stream })
        assert.strictEqual(yield* call(connection, "write", "before"), "before")
        // A stream is asked for again at once; what is idle has ended before that.
        if (stream) yield* server.restart
        else yield* restarted(server)
        assert.strictEqual(yield* call(connection, "write", "after"), "after")
        assert.deepStrictEqual(server.ledger, ["write before", "write after"])
        assert.strictEqual(yield* generationOf(connection), 2)
        assert.strictEqual(server.count("initialize"), 2)
      })
    )

  scenario("under calls: read-only ones are answered by the next session, the others may have run", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      const all = (tool: "read" | "write") =>
        Effect.forEach(
          counting(10),
          (label) =>
            call(connection, tool, { label: `${tool} ${label}`, gate: "gate" }).pipe(
              Effect.catch((error) => Effect.succeed(error._tag))
            ),
          { concurrency: "unbounded" }
        )
      const pending = yield* Effect.forkChild(Effect.all([all("read"), all("write")], { concurrency: 2 }))
      yield* until("all calls", () => server.ledger.length === 20)
      yield* server.restart
      yield* until("the calls to be sent again", () => server.ledger.length === 30)
      server.open("gate")
      const [reads, writes] = yield* Fiber.join(pending)
      assert.deepStrictEqual(
        reads,
        counting(10).map((label) => `read ${label}`)
      )
      assert.deepStrictEqual(
        writes,
        counting(10).map(() => "OutcomeUnknown")
      )
      assert.deepStrictEqual(
        counting(10).filter((label) => server.ledger.filter((line) => line === `write write ${label}`).length !== 1),
        []
      )
      assert.strictEqual(yield* generationOf(connection), 2)
      assert.strictEqual(server.count("initialize"), 2)
    })
  )

  scenario("five times, between the calls of ten callers: every call runs once and is answered", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      for (const round of [1, 2, 3, 4, 5]) {
        yield* restarted(server)
        const labels = counting(10).map((label) => `${round} ${label}`)
        const before = server.count("GET")
        const answers = yield* Effect.forEach(labels, (label) => call(connection, "write", label), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(answers, labels)
        assertOnce(server, labels)
        // The new session asks for a stream: its refusal shall not be cut by the next restart.
        yield* until("the request for a stream", () => server.count("GET") > before)
        yield* idle
      }
      assert.strictEqual(server.count("initialize"), 6)
      assert.strictEqual(yield* generationOf(connection), 6)
    })
  )
})

describe("the era of a server", () => {
  scenario("that is known to be legacy is not asked for again", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      const asked = server.count("server/discover")
      assert.isAtMost(asked, 1)
      for (const label of ["one", "two"]) {
        server.forget()
        assert.strictEqual(yield* call(connection, "write", label), label)
      }
      assert.strictEqual(server.count("server/discover"), asked)
      assert.strictEqual(server.count("initialize"), 3)
    })
  )
})
