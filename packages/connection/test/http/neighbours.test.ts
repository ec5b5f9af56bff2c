/** One failed request does not condemn the session: its neighbours in flight are not touched. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { clientsOf, idle } from "./proxy.ts"
import * as Replies from "./replies.ts"
import { call, only, runsOf, sameSession, scenario, until } from "./rig.ts"
import type { Reply } from "./server.ts"

const faults: Record<string, readonly [reply: Reply, outcome: "OutcomeUnknown" | "answered"]> = {
  "is reset before headers": [Replies.ran(Replies.drop("rst")), "OutcomeUnknown"],
  "is hung up before headers": [Replies.ran(Replies.drop("fin")), "OutcomeUnknown"],
  "has its body cut": [Replies.halfJson("rst"), "OutcomeUnknown"],
  "has its event stream cut": [Replies.stream("rst"), "OutcomeUnknown"],
  "gets 202": [Replies.ran(Replies.status(202)), "OutcomeUnknown"],
  "gets 502": [Replies.ran(Replies.status(502)), "OutcomeUnknown"],
  "gets 504": [Replies.ran(Replies.status(504)), "OutcomeUnknown"],
  "gets 500": [Replies.ran(Replies.status(500)), "OutcomeUnknown"],
  "gets HTML": [Replies.body("text/html", Replies.html), "OutcomeUnknown"],
  "gets bad JSON": [Replies.halfJson("end"), "OutcomeUnknown"],
  "gets 503": [Replies.status(503), "answered"],
  "gets 429 with Retry-After": [Replies.status(429, { "retry-after": "1" }), "answered"]
}

const many = 50
const labels = Array.from({ length: many }, (_, index) => `call ${index}`)

for (const answers of ["json", "sse"] as const)
  describe(`with 50 calls in flight (${answers}), one that`, () => {
    for (const [name, [reply, expected]] of Object.entries(faults))
      scenario(`${name} takes none along: the other 49 are answered by the same session`, (rig) =>
        Effect.gen(function* () {
          const { connection, events, server } = yield* rig.ready({ answers })
          server.on("call write", 25, reply)
          const settledOnes: Array<string> = []
          const pending = yield* Effect.forkChild(
            Effect.forEach(
              labels,
              (label) =>
                call(connection, "write", { label, gate: "gate" }).pipe(
                  Effect.catch((error) => Effect.succeed(error._tag)),
                  Effect.tap(() => Effect.sync(() => settledOnes.push(label)))
                ),
              { concurrency: "unbounded" }
            )
          )
          // One is told, or was sent again and waits at the gate; the others wait there.
          if (expected === "OutcomeUnknown") yield* until("the failure", () => settledOnes.length === 1)
          yield* until("all calls", () => server.ledger.length === many)
          assert.lengthOf(settledOnes, expected === "OutcomeUnknown" ? 1 : 0)
          server.open("gate")
          const outcomes = yield* Fiber.join(pending)
          const failed = outcomes.filter((outcome, index) => outcome !== labels[index])
          assert.deepStrictEqual(failed, expected === "OutcomeUnknown" ? ["OutcomeUnknown"] : [])
          assert.deepStrictEqual(
            labels.filter((label) => runsOf(server, label) !== 1),
            [],
            "these did not run exactly once"
          )
          assert.lengthOf(only(events, "RequestReplayed"), expected === "answered" ? 1 : 0)
          yield* sameSession(server, connection, events)
        })
      )
  })

describe("with 50 calls in flight, ten that fail at once", () => {
  scenario("make one question for all, and take none of the other 40 along", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      const probe = Replies.later(Replies.healthy)
      server.on("ping", "every", probe.reply)
      server.on("call again", { first: 10 }, Replies.together(10, Replies.ran(Replies.drop("rst"))))
      const of = (tool: "again" | "write", from: number, to: number) =>
        Effect.forEach(labels.slice(from, to), (label) => call(connection, tool, { label, gate: "gate" }), {
          concurrency: "unbounded"
        })
      const pending = yield* Effect.forkChild(
        Effect.all([of("again", 0, 10), of("write", 10, many)], { concurrency: "unbounded" })
      )
      yield* until("the question", () => probe.waiting() === 1)
      yield* until("all calls", () => server.ledger.length === many)
      // The question is answered late, so that all ten have failed before.
      yield* until("the client to notice", () => clientsOf(server.port) === server.sockets())
      yield* idle
      assert.strictEqual(server.count("ping"), 1)
      assert.strictEqual(server.count("call again"), 10)
      probe.now()
      yield* until("the ten to be sent again", () => server.ledger.length === many + 10)
      server.open("gate")
      const [again, write] = yield* Fiber.join(pending)
      assert.deepStrictEqual([...again, ...write], labels)
      assert.strictEqual(server.count("ping"), 1)
      assert.deepStrictEqual(
        labels.filter((label, index) => runsOf(server, label) !== (index < 10 ? 2 : 1)),
        []
      )
      yield* sameSession(server, connection, events)
    })
  )
})

describe("a neighbour that is called while the session is suspect", () => {
  scenario("gets its answer", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      const probe = Replies.later(Replies.healthy)
      server.on("ping", "every", probe.reply)
      server.on("call write", 1, Replies.ran(Replies.drop("rst")))
      const failing = yield* Effect.forkChild(Effect.exit(call(connection, "write", "failing")))
      yield* until("the question", () => probe.waiting() === 1)
      const neighbour = yield* Effect.forkChild(call(connection, "write", "neighbour"), { startImmediately: true })
      probe.now()
      assert.strictEqual(yield* Fiber.join(neighbour), "neighbour")
      assert.strictEqual((yield* Fiber.join(failing))._tag, "Failure")
      assert.deepStrictEqual(server.ledger, ["write failing", "write neighbour"])
      yield* sameSession(server, connection, events)
    })
  )
})
