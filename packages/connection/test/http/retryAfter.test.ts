/** A server that asks to be left alone for a while. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import { idle } from "./proxy.ts"
import * as Replies from "./replies.ts"
import {
  call,
  failureOf,
  generationOf,
  only,
  runsOf,
  sameSession,
  scenario,
  settled,
  timed,
  toldBy,
  until
} from "./rig.ts"
import type { Reply, Server } from "./server.ts"

/** A policy keeps to Retry-After when it is made to; the default one is. */
const laddered = { policy: ReconnectPolicy.aggressive }

/** Timers and clocks round. */
const slack = 20

/** Answers with a date this far ahead, and notes it: HTTP dates have whole seconds. */
const dated = (status: number, millis: number) => {
  const noted = { at: Number.POSITIVE_INFINITY }
  const reply: Reply = (exchange) => {
    const date = new Date(Date.now() + millis).toUTCString()
    noted.at = Date.parse(date)
    Replies.status(status, { "retry-after": date })(exchange)
  }
  return { noted, reply }
}

const sendings = (server: Server, tool: string): ReadonlyArray<number> =>
  server.seen.filter((entry) => entry.tool === tool).map(({ at }) => at)

for (const status of [429, 503]) {
  describe(`${status} with Retry-After`, () => {
    for (const tool of ["write", "read"] as const)
      scenario(`in seconds: the call waits for it, and is answered by the same session: ${tool}`, (rig) =>
        Effect.gen(function* () {
          const { connection, events, server } = yield* rig.ready()
          server.on(`call ${tool}`, 1, Replies.status(status, { "retry-after": "1" }))
          assert.strictEqual(yield* call(connection, tool, "effect"), "effect")
          const [first = 0, second = 0, ...more] = sendings(server, tool)
          assert.isAtLeast(second - first, 1000 - slack)
          assert.deepStrictEqual(more, [])
          assert.strictEqual(runsOf(server, "effect"), 1)
          assert.deepStrictEqual(
            server.seen.filter(({ at, method }) => method === "ping" && at < first + 1000 - slack),
            [],
            "the question did not wait either"
          )
          yield* sameSession(server, connection, events)
        })
      )

    scenario("as a date: the call waits for it, and is answered by the same session", (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        const { noted, reply } = dated(status, 2500)
        server.on("call write", 1, reply)
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        const [, second = 0] = sendings(server, "write")
        assert.isAtLeast(second, noted.at - slack)
        assert.strictEqual(runsOf(server, "effect"), 1)
        yield* sameSession(server, connection, events)
      })
    )

    scenario("longer than `wait`: ConnectionUnavailable, Refused, without waiting for it; the session goes on", (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready({}, laddered)
        server.on("call write", 1, Replies.status(status, { "retry-after": "5" }))
        const [error, took] = yield* timed(failureOf(call(connection, "write", "effect", { wait: "300 millis" })))
        const told = toldBy(error)
        assert.deepStrictEqual(
          [told.error, told.because, told.delivery, told.reason._tag],
          ["ConnectionUnavailable", "WaitElapsed", "Refused", "ServerUnavailable"]
        )
        assert.isBelow(took, 4000)
        assert.strictEqual(server.count("call write"), 1)
        yield* sameSession(server, connection, events)
      })
    )

    scenario("of an hour: ConnectionUnavailable, Refused, after `wait`", (rig) =>
      Effect.gen(function* () {
        const { connection, server } = yield* rig.ready({}, laddered)
        server.on("call write", 1, Replies.status(status, { "retry-after": "3600" }))
        const told = toldBy(yield* failureOf(call(connection, "write", "effect", { wait: "300 millis" })))
        assert.deepStrictEqual(
          [told.error, told.because, told.delivery, told.reason._tag],
          ["ConnectionUnavailable", "WaitElapsed", "Refused", "ServerUnavailable"]
        )
        assert.strictEqual(server.count("call write"), 1)
      })
    )

    scenario("of an hour for one call does not close the connection for the others", (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready({}, laddered)
        server.on("call write", 1, Replies.status(status, { "retry-after": "3600" }))
        const error = yield* failureOf(call(connection, "write", "effect", { wait: "300 millis" }))
        assert.strictEqual(error._tag, "ConnectionUnavailable")
        const next = yield* Effect.result(call(connection, "read", "look", { wait: "1 second" }))
        assert(Result.isSuccess(next), Result.isFailure(next) ? next.failure.message : "")
        yield* sameSession(server, connection, events)
      })
    )

    scenario("of an hour is kept under a policy of one's own that knows nothing of it", (rig) =>
      Effect.gen(function* () {
        const { connection, server } = yield* rig.ready()
        server.on("call write", 1, Replies.status(status, { "retry-after": "3600" }))
        const outcome = yield* Effect.result(call(connection, "write", "effect", { wait: "500 millis" }))
        assert.strictEqual(server.count("call write"), 1, "it was sent again before")
        assert(Result.isFailure(outcome))
        assert.deepStrictEqual(
          [toldBy(outcome.failure).error, toldBy(outcome.failure).delivery],
          ["ConnectionUnavailable", "Refused"]
        )
      })
    )

    scenario("and `wait: none`: ConnectionUnavailable, Refused, at once", (rig) =>
      Effect.gen(function* () {
        const { connection, server } = yield* rig.ready()
        server.on("call write", 1, Replies.status(status, { "retry-after": "3600" }))
        const told = toldBy(yield* failureOf(call(connection, "write", "effect", { wait: "none" })))
        assert.deepStrictEqual([told.error, told.delivery], ["ConnectionUnavailable", "Refused"])
        assert.strictEqual(server.count("call write"), 1)
      })
    )

    scenario("and a call that may not be sent again: Refused at once, and it names the time", (rig) =>
      Effect.gen(function* () {
        const { connection, server } = yield* rig.ready()
        server.on("call write", 1, Replies.status(status, { "retry-after": "7" }))
        const error = yield* failureOf(call(connection, "write", "effect", { replay: "never" }))
        const told = toldBy(error)
        assert.deepStrictEqual(
          [told.error, told.because, told.delivery],
          ["ConnectionUnavailable", "NotReplayed", "Refused"]
        )
        assert(error._tag === "ConnectionUnavailable")
        const { retryAfter } = error.cause ?? assert.fail()
        assert(retryAfter !== undefined)
        assert.include(error.message, "7s")
        assert.strictEqual(server.count("call write"), 1)
      })
    )

    const strange: Record<string, string> = {
      nothing: "0",
      "a date in the past": "Wed, 21 Oct 2015 07:28:00 GMT",
      "no time at all": "soon",
      "a negative number": "-5"
    }
    for (const [name, header] of Object.entries(strange))
      scenario(`that is ${name}: the call is sent again soon`, (rig) =>
        Effect.gen(function* () {
          const { connection, events, server } = yield* rig.ready()
          server.on("call write", 1, Replies.status(status, { "retry-after": header }))
          assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
          assert.strictEqual(runsOf(server, "effect"), 1)
          yield* sameSession(server, connection, events)
        })
      )

    for (const header of ["99999999999", "9".repeat(400), "Fri, 31 Dec 9999 23:59:59 GMT"])
      scenario(`beyond all bounds neither breaks a timer nor hangs: ${header.slice(0, 40)}`, (rig) =>
        Effect.gen(function* () {
          const { connection, server } = yield* rig.ready({}, laddered)
          server.on("call write", 1, Replies.status(status, { "retry-after": header }))
          const told = toldBy(yield* failureOf(call(connection, "write", "effect", { wait: "500 millis" })))
          assert.deepStrictEqual([told.error, told.delivery], ["ConnectionUnavailable", "Refused"])
          // A timer that overflows fires at once.
          assert.deepStrictEqual([server.count("ping"), server.count("call write")], [0, 1])
        })
      )
  })
}

describe("twenty callers that get 429 with Retry-After at once", () => {
  scenario("all wait, and are all answered by the same session, each once", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", { first: 20 }, Replies.together(20, Replies.status(429, { "retry-after": "1" })))
      const labels = Array.from({ length: 20 }, (_, index) => `call ${index}`)
      const answers = yield* Effect.forEach(labels, (label) => call(connection, "write", label), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(answers, labels)
      const times = sendings(server, "write")
      assert.lengthOf(times, 40)
      assert.isAtLeast(Math.min(...times.slice(20)) - Math.max(...times.slice(0, 20)), 1000 - slack)
      assert.deepStrictEqual(
        labels.filter((label) => runsOf(server, label) !== 1),
        []
      )
      yield* sameSession(server, connection, events)
    })
  )
})

describe("Retry-After of a call that fails while the session is suspect already", () => {
  scenario("because of a reset: is kept, whatever the question got", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      const question = Replies.later(Replies.healthy)
      server.on("ping", "every", question.reply)
      server.on("call read", 1, Replies.drop("rst"))
      server.on("call write", 1, Replies.status(429, { "retry-after": "2" }))
      const reset = yield* Effect.forkChild(call(connection, "read", "look"))
      yield* until("the question", () => question.waiting() === 1)
      const limited = yield* Effect.forkChild(call(connection, "write", "effect"))
      yield* until("the refusal", () => server.count("call write") === 1)
      yield* idle
      server.heal()
      question.now()
      assert.strictEqual(yield* Fiber.join(reset), "look")
      assert.strictEqual(yield* Fiber.join(limited), "effect")
      const [first = 0, second = 0] = sendings(server, "write")
      assert.isAtLeast(second - first, 2000 - slack)
      yield* sameSession(server, connection, events)
    })
  )

  scenario("because of a shorter Retry-After: is kept", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call again", 1, Replies.status(429, { "retry-after": "1" }))
      server.on("call write", 1, Replies.status(429, { "retry-after": "3" }))
      const [short, long] = yield* Effect.all([call(connection, "again", "short"), call(connection, "write", "long")], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual([short, long], ["short", "long"])
      const [first = 0, second = 0] = sendings(server, "write")
      assert.isAtLeast(second - first, 3000 - slack)
      yield* sameSession(server, connection, events)
    })
  )
})

describe("502 and 504 with Retry-After", () => {
  for (const status of [502, 504])
    scenario(`${status}: a read-only call is not sent again before`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call read", 1, Replies.ran(Replies.status(status, { "retry-after": "1" })))
        assert.strictEqual(yield* call(connection, "read", "look"), "look")
        const [first = 0, second = 0] = sendings(server, "read")
        assert.isAtLeast(second - first, 1000 - slack)
        yield* sameSession(server, connection, events)
      })
    )
})

describe("a handshake that gets Retry-After", () => {
  for (const [name, reply] of Object.entries({
    "429, in seconds": () => ({ reply: Replies.status(429, { "retry-after": "2" }), noted: undefined }),
    "503, in seconds": () => ({ reply: Replies.status(503, { "retry-after": "2" }), noted: undefined }),
    "503, as a date": () => dated(503, 3500)
  })) {
    scenario(`is not tried again before: ${name}, to the first request of the connection`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        const fault = reply()
        server.on("POST", 1, fault.reply)
        const connection = yield* settled(rig.connect(server, laddered))
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        const [first, second] = server.seen.filter(({ http }) => http === "POST")
        assert(first !== undefined && second !== undefined)
        assert.isAtLeast(second.at, (fault.noted?.at ?? first.at + 2000) - slack)
      })
    )

    scenario(`is not tried again before: ${name}, to initialize`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        const fault = reply()
        server.on("initialize", 1, fault.reply)
        const connection = yield* settled(rig.connect(server, laddered))
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        const first = server.seen.findIndex(({ method }) => method === "initialize")
        const [refused, next] = server.seen.slice(first)
        assert(refused !== undefined && next !== undefined)
        assert.isAtLeast(next.at, (fault.noted?.at ?? refused.at + 2000) - slack)
      })
    )
  }

  scenario("after a loss: callers wait for it, and are answered by the next session", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready({}, laddered)
      server.forget()
      server.on("initialize", 1, Replies.status(503, { "retry-after": "1" }))
      const pending = yield* Effect.forkChild(call(connection, "write", "effect"))
      yield* until("the refusal", () => only(events, "AttemptFailed").length === 1)
      const [scheduled] = only(events, "AttemptScheduled").slice(-1)
      assert.isAtLeast(scheduled?.delayMillis ?? 0, 1000)
      assert.strictEqual(yield* Fiber.join(pending), "effect")
      assert.strictEqual(runsOf(server, "effect"), 1)
      assert.strictEqual(yield* generationOf(connection), 2)
    })
  )
})
