/** Credentials that are refused, renewed, or rotated. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Replies from "./replies.ts"
import {
  call,
  eventsOf,
  failureOf,
  generationOf,
  only,
  runsOf,
  sameSession,
  scenario,
  settled,
  toldBy,
  until,
  untilState
} from "./rig.ts"
import type { Reply, Server } from "./server.ts"

/** Lets in who bears one of these tokens. */
const guard = (server: Server, accepted: { token: string }, status = 401): void =>
  server.on("any", "every", (exchange) => {
    if (exchange.seen.headers.authorization === `Bearer ${accepted.token}`) exchange.serve()
    else Replies.status(status, { "www-authenticate": 'Bearer realm="vault"' }, "who are you?")(exchange)
  })

const refusals: ReadonlyArray<readonly [status: 401 | 403, challenge: string | undefined]> = [
  [401, 'Bearer realm="vault", error="invalid_token"'],
  [403, undefined],
  [401, undefined],
  [403, 'Bearer error="insufficient_scope", scope="write"']
]

for (const [status, challenge] of refusals) {
  const refuse: Reply = Replies.status(
    status,
    challenge === undefined ? {} : { "www-authenticate": challenge },
    "no entry"
  )

  describe(`${status} ${challenge === undefined ? "without" : "with"} a challenge`, () => {
    for (const tool of ["write", "read"] as const)
      scenario(`under one call: it is told, not sent again, and the session goes on: ${tool}`, (rig) =>
        Effect.gen(function* () {
          const { connection, events, server } = yield* rig.ready()
          server.on(`call ${tool}`, 1, refuse)
          const told = toldBy(yield* failureOf(call(connection, tool, "effect")))
          assert.deepStrictEqual(
            [told.error, told.because, told.delivery],
            ["ConnectionUnavailable", "NotReplayed", "Refused"]
          )
          assert(told.reason._tag === "Unauthorized", told.reason.message)
          assert.strictEqual(told.reason.status, status)
          assert.strictEqual(told.reason.challenge, challenge)
          assert.strictEqual(runsOf(server, "effect"), 0)
          assert.strictEqual(server.count(`call ${tool}`), 1)
          yield* sameSession(server, connection, events)
        })
      )

    scenario("to everything: Failed, and whoever calls then is told at once", (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("any", "every", refuse)
        const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
        assert.deepStrictEqual([told.error, told.delivery], ["ConnectionUnavailable", "Refused"])
        assert.strictEqual(told.reason._tag, "Unauthorized")
        yield* until("the end", () => only(events, "GaveUp").length === 1)
        const state = yield* connection.state
        assert(state._tag === "Failed")
        assert(state.error.reason._tag === "Unauthorized")
        assert.strictEqual(state.error.reason.status, status)
        const posts = server.count("POST")
        const next = toldBy(yield* failureOf(call(connection, "read", "look")))
        assert.deepStrictEqual(
          [next.error, next.because, next.delivery],
          ["ConnectionUnavailable", "Failed", "NotSent"]
        )
        assert.strictEqual(server.count("POST"), posts)
        assert.deepStrictEqual(server.ledger, [])
      })
    )

    scenario("at the start: Unauthorized ends the first attempt, and there is no second one", (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        server.on("any", "every", refuse)
        const error = yield* failureOf(settled(rig.connect(server)))
        assert(error._tag === "ConnectionError", error.message)
        assert(error.reason._tag === "Unauthorized", error.message)
        assert.strictEqual(error.reason.status, status)
        assert.strictEqual(error.reason.challenge, challenge)
        assert.isAtMost(server.count("initialize"), 1)
        assert.isAtMost(server.count("server/discover"), 1)
      })
    )
  })
}

describe("credentials that are refused with 20 calls in flight", () => {
  scenario("leave none hanging, and make none run twice", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      const labels = Array.from({ length: 20 }, (_, index) => `call ${index}`)
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
      yield* until("all calls", () => server.ledger.length === 20)
      server.on("any", "every", Replies.status(401))
      assert.strictEqual(toldBy(yield* failureOf(call(connection, "write", "late"))).reason._tag, "Unauthorized")
      yield* untilState(connection, ({ _tag }) => _tag === "Failed")
      server.open("gate")
      for (const [index, outcome] of (yield* Fiber.join(pending)).entries())
        assert.include([labels[index], "OutcomeUnknown"], outcome)
      assert.deepStrictEqual(
        labels.filter((label) => runsOf(server, label) !== 1),
        []
      )
      assert.strictEqual(runsOf(server, "late"), 0)
    })
  )
})

describe("a connection that has failed for its credentials", () => {
  for (const revive of ["reconnect", "refresh"] as const)
    scenario(`is revived by ${revive} after a login, with headers asked for anew`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        const accepted = { token: "one" }
        const login = { token: "one", asked: 0 }
        guard(server, accepted)
        const connection = yield* rig.connect(server, {
          http: {
            headers: Effect.sync(() => {
              login.asked += 1
              return { Authorization: Redacted.make(`Bearer ${login.token}`) }
            })
          }
        })
        assert.strictEqual(yield* call(connection, "write", "before"), "before")
        assert.strictEqual(login.asked, 1)
        accepted.token = "two"
        assert.strictEqual(toldBy(yield* failureOf(call(connection, "write", "refused"))).reason._tag, "Unauthorized")
        yield* untilState(connection, ({ _tag }) => _tag === "Failed")
        login.token = "two"
        const ready = yield* settled(connection[revive])
        assert.strictEqual(ready.generation, 2)
        assert.strictEqual(login.asked, 2)
        assert.strictEqual(yield* call(connection, "write", "after"), "after")
        assert.deepStrictEqual(server.ledger, ["write before", "write after"])
      })
    )

  scenario("is not revived while the login is still bad", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      guard(server, { token: "good" })
      const connection = yield* rig.connect(server, {
        start: "background",
        http: { headers: { authorization: "Bearer bad" } }
      })
      yield* untilState(connection, ({ _tag }) => _tag === "Failed")
      const error = yield* failureOf(settled(connection.reconnect))
      assert(error._tag === "ConnectionUnavailable", error.message)
      assert.strictEqual(error.because, "Failed")
      assert.strictEqual(error.cause?.reason._tag, "Unauthorized")
    })
  )
})

describe("credentials that rotate", () => {
  scenario("are taken over by refresh without a gap: headers are asked for once per session", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const login = { asked: 0 }
      const connection = yield* rig.connect(server, {
        http: {
          headers: Effect.sync(() => {
            login.asked += 1
            return { "x-token": Redacted.make(`token ${login.asked}`) }
          })
        }
      })
      for (const label of ["one", "two"]) assert.strictEqual(yield* call(connection, "write", label), label)
      yield* settled(connection.refresh)
      assert.strictEqual(yield* call(connection, "write", "three"), "three")
      assert.strictEqual(login.asked, 2)
      assert.deepStrictEqual(
        server.seen.filter(({ tool }) => tool !== undefined).map(({ headers }) => headers["x-token"]),
        ["token 1", "token 1", "token 2"]
      )
    })
  )

  scenario("that cannot be had fail the attempt, typed, and the next attempt asks again", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const login = { asked: 0 }
      const connection = yield* rig.connect(server, {
        start: "lazy",
        http: {
          headers: Effect.suspend(() => {
            login.asked += 1
            return login.asked < 3
              ? Effect.fail({ message: "the vault is locked" })
              : Effect.succeed({ "x-token": "yes" })
          })
        }
      })
      const events = yield* eventsOf(connection)
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.deepStrictEqual(
        only(events, "AttemptFailed").map(({ error }) => error.reason._tag),
        ["HeadersFailed", "HeadersFailed"]
      )
      assert.strictEqual(login.asked, 3)
      assert.isTrue(server.seen.every(({ headers }) => headers["x-token"] === "yes"))
    })
  )
})

describe("an auth provider", () => {
  const provider = (server: Server, renewable = true) => {
    const accepted = { token: "one" }
    const wallet = { token: "one", turns: 0 }
    guard(server, accepted)
    return {
      accepted,
      wallet,
      authProvider: {
        token: () => Promise.resolve(wallet.token),
        onUnauthorized: () => {
          wallet.turns += 1
          if (renewable) wallet.token = accepted.token
          return Promise.resolve()
        }
      }
    }
  }

  scenario("has one turn when its token is refused; the call is answered, once, by the same session", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const { accepted, authProvider, wallet } = provider(server)
      const connection = yield* rig.connect(server, { http: { authProvider } })
      accepted.token = "two"
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.deepStrictEqual(server.ledger, ["write effect"])
      assert.strictEqual(wallet.turns, 1)
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("has one turn for twenty callers at once: all are answered, each once", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const { accepted, authProvider, wallet } = provider(server)
      const connection = yield* rig.connect(server, { http: { authProvider } })
      accepted.token = "two"
      server.heal()
      server.on("call write", { first: 20 }, Replies.together(20, Replies.status(401)))
      guard(server, accepted)
      const labels = Array.from({ length: 20 }, (_, index) => `call ${index}`)
      const answers = yield* Effect.forEach(labels, (label) => call(connection, "write", label), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(answers, labels)
      assert.deepStrictEqual(
        labels.filter((label) => runsOf(server, label) !== 1),
        []
      )
      assert.strictEqual(wallet.turns, 1)
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("whose turn did not help: Unauthorized, then Failed", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const { accepted, authProvider } = provider(server, false)
      const connection = yield* rig.connect(server, { http: { authProvider } })
      accepted.token = "two"
      const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
      assert.deepStrictEqual(
        [told.error, told.delivery, told.reason._tag],
        ["ConnectionUnavailable", "Refused", "Unauthorized"]
      )
      yield* untilState(connection, ({ _tag }) => _tag === "Failed")
      assert.deepStrictEqual(server.ledger, [])
    })
  )

  scenario("that hangs in its turn does not hang the call", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const { accepted, authProvider } = provider(server)
      const connection = yield* rig.connect(server, {
        http: { authProvider: { ...authProvider, onUnauthorized: () => new Promise<void>(() => {}) } }
      })
      accepted.token = "two"
      const error = yield* failureOf(call(connection, "write", "effect", { timeout: "700 millis" }))
      assert(error._tag === "RequestTimeout", error.message)
      assert.deepStrictEqual(server.ledger, [])
    })
  )

  scenario("that throws in its turn is told as Unauthorized", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const { accepted, authProvider } = provider(server)
      const connection = yield* rig.connect(server, {
        http: {
          authProvider: { ...authProvider, onUnauthorized: () => Promise.reject(new Error("the vault is locked")) }
        }
      })
      accepted.token = "two"
      const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
      assert.deepStrictEqual(
        [told.error, told.delivery, told.reason._tag],
        ["ConnectionUnavailable", "Refused", "Unauthorized"]
      )
      assert.deepStrictEqual(server.ledger, [])
    })
  )

  scenario("without a turn: Unauthorized", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const { accepted, wallet } = provider(server)
      const connection = yield* rig.connect(server, {
        http: { authProvider: { token: () => Promise.resolve(wallet.token) } }
      })
      accepted.token = "two"
      const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
      assert.deepStrictEqual(
        [told.error, told.delivery, told.reason._tag],
        ["ConnectionUnavailable", "Refused", "Unauthorized"]
      )
    })
  )
})
