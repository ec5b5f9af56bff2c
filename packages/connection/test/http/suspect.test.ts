/** A session that a request has put under suspicion: one question decides. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Reason } from "../../src/ConnectionError.ts"
import * as Replies from "./replies.ts"
import { call, failureOf, generationOf, only, runsOf, sameSession, scenario, toldBy, until } from "./rig.ts"
import type { Reply } from "./server.ts"

describe("a request that was reset, and the question whether the server lives", () => {
  scenario("is one ping; its answer ends the suspicion", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.ran(Replies.drop("rst")))
      assert.strictEqual(toldBy(yield* failureOf(call(connection, "write", "effect"))).error, "OutcomeUnknown")
      yield* sameSession(server, connection, events)
      assert.strictEqual(server.count("ping"), 1)
    })
  )

  scenario("has any answer: a JSON-RPC error is life", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.ran(Replies.drop("rst")))
      server.on("ping", "every", Replies.rpcError(200, "own", { code: -32601, message: "Method not found" }))
      assert.strictEqual(toldBy(yield* failureOf(call(connection, "write", "effect"))).error, "OutcomeUnknown")
      yield* sameSession(server, connection, events)
    })
  )

  const failures: Record<string, readonly [reply: Reply, reason: Reason["_tag"]]> = {
    "is reset too": [Replies.drop("rst"), "NetworkFailed"],
    "gets 502": [Replies.status(502), "ServerUnavailable"],
    "gets 503": [Replies.status(503), "ServerUnavailable"],
    "gets HTML": [Replies.status(200, { "content-type": "text/html" }, Replies.html), "MalformedResponse"],
    "gets 500": [Replies.status(500), "UnexpectedStatus"],
    "gets 202": [Replies.status(202), "TransportClosed"],
    "gets 404": [Replies.status(404), "SessionExpired"]
  }
  for (const [name, [reply, reason]] of Object.entries(failures)) {
    scenario(
      `that ${name} costs the session, with that as the cause; the call with an effect is not sent again`,
      (rig) =>
        Effect.gen(function* () {
          const { connection, events, server } = yield* rig.ready()
          server.on("call write", 1, Replies.ran(Replies.drop("rst")))
          server.on("ping", { first: 1 }, reply)
          assert.strictEqual(toldBy(yield* failureOf(call(connection, "write", "effect"))).error, "OutcomeUnknown")
          yield* until("the next session", () => only(events, "SessionReady").length === 1)
          assert.strictEqual(yield* call(connection, "write", "next"), "next")
          assert.deepStrictEqual(
            only(events, "SessionLost").map(({ error, generation }) => [generation, error.reason._tag]),
            [[1, reason]]
          )
          assert.strictEqual(yield* generationOf(connection), 2)
          assert.strictEqual(server.count("initialize"), 2)
          assert.deepStrictEqual(server.ledger, ["write effect", "write next"])
        })
    )

    scenario(`that ${name}: a read-only call is answered by the next session`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call read", 1, Replies.ran(Replies.drop("rst")))
        server.on("ping", { first: 1 }, reply)
        assert.strictEqual(yield* call(connection, "read", "look"), "look")
        assert.strictEqual(yield* generationOf(connection), 2)
        assert.strictEqual(runsOf(server, "look"), 2)
        assert.deepStrictEqual(
          only(events, "RequestReplayed").map(({ delivery, from, to }) => ({ delivery, from, to })),
          [{ delivery: "Unknown", from: 1, to: 2 }]
        )
      })
    )
  }

  scenario(
    "that is refused because the server has just died: the call may have run, whatever the question got",
    (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call write", 1, Replies.ran(Replies.hold))
        const pending = yield* Effect.forkChild(failureOf(call(connection, "write", "effect")))
        yield* until("the effect", () => server.ledger.length === 1)
        yield* server.stop
        yield* until("the loss", () => only(events, "SessionLost").length === 1)
        yield* server.start
        const told = toldBy(yield* Fiber.join(pending))
        assert.strictEqual(told.error, "OutcomeUnknown")
        assert.strictEqual(yield* call(connection, "write", "next"), "next")
        assert.deepStrictEqual(server.ledger, ["write effect", "write next"])
        assert.strictEqual(yield* generationOf(connection), 2)
      })
  )

  scenario(
    "that gets no answer: the session is lost within a bound, and the next one serves",
    (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready(
          {},
          { heartbeat: { interval: "1 hour", timeout: "500 millis", misses: 1, busyGrace: "1 hour" } }
        )
        server.on("call read", 1, Replies.ran(Replies.drop("rst")))
        server.on("ping", "every", Replies.hold)
        const pending = yield* Effect.forkChild(
          connection.callTool({ name: "read", arguments: { label: "look" } }, { wait: "25 seconds" })
        )
        yield* until("the question", () => server.count("ping") >= 1)
        // However long a question waits by default (10 s, DESIGN §8): no longer than three times that.
        for (const _ of [1, 2, 3])
          yield* until("the loss", () => only(events, "SessionLost").length > 0).pipe(
            Effect.catchDefect(() => Effect.void)
          )
        assert.lengthOf(only(events, "SessionLost"), 1)
        yield* Fiber.join(pending)
        assert.strictEqual(yield* generationOf(connection), 2)
      }),
    60_000
  )

  scenario("is asked again when another request fails afterwards", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", { first: 3 }, Replies.ran(Replies.drop("rst")))
      for (const label of ["one", "two", "three"])
        assert.strictEqual(toldBy(yield* failureOf(call(connection, "write", label))).error, "OutcomeUnknown")
      assert.deepStrictEqual(server.ledger, ["write one", "write two", "write three"])
      yield* sameSession(server, connection, events)
      // Whoever fails before the answer is there shares the question.
      assert.isAtLeast(server.count("ping"), 1)
      assert.isAtMost(server.count("ping"), 3)
    })
  )
})
