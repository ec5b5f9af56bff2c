import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { type Call, exited, failure, tool } from "@mcp-tether/testing/SimulatedServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Reasons from "../../src/ConnectionError.ts"
import type * as ConnectionEvent from "../../src/ConnectionEvent.ts"
import type { RequestOptions } from "../../src/McpConnection.ts"
import type { ReplayPolicy } from "../../src/ReplayPolicy.ts"
import * as RequestError from "../../src/RequestError.ts"
import { connect, everySecond } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const refused = failure(new Reasons.ServerUnavailable({ status: 503 }))
const text = (text: string) => ({ content: [{ type: "text" as const, text }] })

/** The server does the work, and dies before it answers, on the sessions `on`. */
const dieAfterRunning =
  (...on: ReadonlyArray<number>) =>
  (call: Call) =>
    call.tool !== undefined && on.includes(call.generation)
      ? Effect.andThen(call.run, Effect.andThen(call.session.lose(), Effect.never))
      : call.run

/** The server dies before a byte of a tool call leaves, on the sessions `on`. */
const dieBeforeSending =
  (...on: ReadonlyArray<number>) =>
  (call: Call) =>
    call.tool !== undefined && on.includes(call.generation)
      ? Effect.andThen(call.session.lose(), Effect.never)
      : Effect.void

describe("a request", () => {
  it.effect("is answered by the current session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ listed: () => [tool("a")] })
      const connection = yield* connect(simulation)
      assert.deepStrictEqual(yield* connection.callTool({ name: "a" }), text("a on 1"))
      assert.deepStrictEqual(yield* connection.listTools(), [tool("a")])
      assert.isUndefined(yield* connection.ping())
      assert.deepStrictEqual(yield* connection.request("x/custom", { n: 1 }), {})
      assert.deepStrictEqual(
        simulation.sent.map((sent) => sent.method),
        ["tools/call", "tools/list", "ping", "x/custom"]
      )
    })
  )

  it.effect("that a tool answers with isError has a result", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.succeed({ content: [], isError: true }) })
      const connection = yield* connect(simulation)
      assert.isTrue((yield* connection.callTool({ name: "a" })).isError)
    })
  )

  it.effect("that the server rejects fails with its error, and the session stays", () =>
    Effect.gen(function* () {
      const rejected = new RequestError.ServerRejected({
        server: "simulated",
        method: "tools/call",
        tool: "a",
        code: -32602,
        description: "no such tool",
        data: { hint: "b" }
      })
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.fail(rejected) })
      const connection = yield* connect(simulation)
      assert.strictEqual(yield* Effect.flip(connection.callTool({ name: "a" })), rejected)
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.log, ["open 1"])
      assert.lengthOf(simulation.sent, 1)
    })
  )

  it.effect("with an invalid result fails with InvalidResult, is not sent again, and the session stays", () =>
    Effect.gen(function* () {
      const invalid = new RequestError.InvalidResult({
        server: "simulated",
        method: "tools/list",
        description: "tools is missing"
      })
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.fail(invalid) })
      const connection = yield* connect(simulation)
      assert.strictEqual(yield* Effect.flip(connection.listTools()), invalid)
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.log, ["open 1"])
      assert.lengthOf(simulation.sent, 1)
    })
  )

  it.effect("that is interrupted is cancelled, and no other one with it", () =>
    Effect.gen(function* () {
      const answer = yield* Deferred.make<void>()
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => Effect.andThen(Deferred.await(answer), call.run)
      })
      const connection = yield* connect(simulation)
      const first = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      const second = yield* Effect.forkChild(connection.callTool({ name: "b" }))
      yield* settle
      yield* Fiber.interrupt(first)
      assert.deepStrictEqual(simulation.cancelled, ["1 tools/call"])
      yield* Deferred.succeed(answer, undefined)
      assert.deepStrictEqual(yield* Fiber.join(second), text("b on 1"))
      assert.deepStrictEqual(simulation.ran, ["b"])
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )
})

describe("waiting for a session", () => {
  it.effect("ends with the answer of the first session that serves", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("5 seconds") })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(call), text("a on 1"))
    })
  )

  it.effect("ends after `wait`, and says why there is no session and when the next attempt is due", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const connection = yield* connect(simulation, { policy: Schedule.spaced("50 seconds") })
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("29999 millis")
      assert.isUndefined(call.pollUnsafe())
      yield* advance("1 millis")
      const error = yield* Fiber.join(call)
      assert(error._tag === "ConnectionUnavailable")
      assert.deepInclude(error, { because: "WaitElapsed", state: "Connecting", retryAt: 50_000 })
      assert.strictEqual(error.cause, exited)
    })
  )

  it.effect("takes `wait` of the connection, and of the request before that", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
      const connection = yield* connect(simulation, { wait: "3 seconds" })
      const call = yield* Effect.forkChild(Effect.flip(connection.ping()))
      const patient = yield* Effect.forkChild(Effect.flip(connection.ping({ wait: "5 seconds" })))
      yield* advance("3 seconds")
      assert.strictEqual((yield* Fiber.join(call))._tag, "ConnectionUnavailable")
      assert.isUndefined(patient.pollUnsafe())
      yield* advance("2 seconds")
      assert.strictEqual((yield* Fiber.join(patient))._tag, "ConnectionUnavailable")
    })
  )

  it.effect(`does not happen with wait: "none"`, () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const connection = yield* connect(simulation, { policy: Schedule.spaced("50 seconds") })
      const error = yield* Effect.flip(connection.ping({ wait: "none" }))
      assert(error._tag === "ConnectionUnavailable")
      assert.deepInclude(error, { because: "NotWaiting", state: "Connecting", retryAt: 50_000 })
    })
  )

  it.effect("with wait: Infinity lasts until a session serves", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("10 hours") })
      const connection = yield* connect(simulation, { startupTimeout: "20 hours", wait: Duration.infinity })
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("10 hours")
      assert.deepStrictEqual(yield* Fiber.join(call), text("a on 1"))
    })
  )

  it.effect("ends at once when the connection gives up", () =>
    Effect.gen(function* () {
      const unauthorized = failure(new Reasons.Unauthorized({ status: 401 }))
      const simulation = SimulatedServer.makeUnsafe({
        open: () => Effect.andThen(Effect.sleep("1 second"), Effect.fail(unauthorized))
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.ping()))
      yield* advance("1 second")
      const error = yield* Fiber.join(call)
      assert(error._tag === "ConnectionUnavailable")
      assert.strictEqual(error.because, "Failed")
      assert.strictEqual(error.cause, unauthorized)
    })
  )

  it.effect(
    "is for at most maxWaiting requests at a time; one more fails at once, and a place is free when one leaves",
    () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
        const connection = yield* connect(simulation, { maxWaiting: 2 })
        const first = yield* Effect.forkChild(Effect.flip(connection.ping()))
        const second = yield* Effect.forkChild(Effect.flip(connection.ping()))
        yield* settle
        const third = yield* Effect.flip(connection.ping())
        assert(third._tag === "ConnectionUnavailable")
        assert.strictEqual(third.because, "TooManyWaiting")
        yield* Fiber.interrupt(first)
        const fourth = yield* Effect.forkChild(Effect.flip(connection.ping()))
        yield* settle
        assert.isUndefined(fourth.pollUnsafe())
        yield* advance("30 seconds")
        for (const error of yield* Fiber.joinAll([second, fourth])) {
          assert.deepInclude(error, { _tag: "ConnectionUnavailable", because: "WaitElapsed" })
        }
      })
  )

  it.effect("by awaitReady is not a request, and is not counted or refused", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("2 seconds") })
      const connection = yield* connect(simulation, { maxWaiting: 1 })
      const ready = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(connection.awaitReady))
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("2 seconds")
      for (const { generation } of yield* Fiber.joinAll(ready)) assert.strictEqual(generation, 1)
      assert.deepStrictEqual(yield* Fiber.join(call), text("a on 1"))
    })
  )

  it.effect("by awaitReady lasts as long as it takes", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const connection = yield* connect(simulation)
      const ready = yield* Effect.forkChild(connection.awaitReady)
      yield* advance("1 hour")
      assert.isUndefined(ready.pollUnsafe())
      simulation.behavior.open = () => Effect.void
      yield* advance("1 second")
      assert.deepInclude(yield* Fiber.join(ready), { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("is one bound over all sessions that a request waits for", () =>
    Effect.gen(function* () {
      // Each session dies under the call, and the next one takes 12 seconds to come.
      const simulation = SimulatedServer.makeUnsafe({ send: dieBeforeSending(1, 2, 3, 4, 5) })
      const connection = yield* connect(simulation, { policy: Schedule.spaced("12 seconds") })
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("29 seconds")
      assert.isUndefined(call.pollUnsafe())
      yield* advance("1 second")
      assert.deepInclude(yield* Fiber.join(call), { _tag: "ConnectionUnavailable", because: "WaitElapsed" })
      assert.lengthOf(simulation.sent, 0)
    })
  )

  it.effect("finds the session that is there, however late the request wakes up: a clock may jump", () =>
    Effect.gen(function* () {
      // The request is held up, unsent, for longer than `wait`, while its session is replaced.
      const simulation = SimulatedServer.makeUnsafe({
        send: (call) =>
          call.tool !== undefined && call.generation === 1
            ? Effect.uninterruptible(Effect.sleep("40 seconds"))
            : Effect.void
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* settle
      yield* connection.reconnect
      yield* advance("39 seconds")
      assert.isUndefined(call.pollUnsafe())
      yield* advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(call), text("a on 2"))
      assert.deepStrictEqual(simulation.ran, ["a"])
    })
  )

  it.effect("is not charged for the time that the request was with a session", () =>
    Effect.gen(function* () {
      // It waits 1 second for the first session and is with it for 40: of the 30 seconds of waiting, 29 are left.
      const simulation = SimulatedServer.makeUnsafe({
        open: () => Effect.sleep("1 second"),
        handle: (call) => (call.generation === 1 ? Effect.never : call.run)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(connection.listTools())
      yield* advance("41 seconds")
      yield* simulation.current.lose()
      yield* advance("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(call), [])
    })
  )

  it.effect("a waiting caller that is interrupted does not stop the reconnect that others wait for", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("5 seconds") })
      const connection = yield* connect(simulation, { start: "lazy" })
      const first = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* settle
      const second = yield* Effect.forkChild(connection.callTool({ name: "b" }))
      yield* advance("2 seconds")
      yield* Fiber.interrupt(first)
      yield* advance("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(second), text("b on 1"))
      assert.deepStrictEqual(simulation.attempts, [0])
      assert.deepStrictEqual(simulation.ran, ["b"])
    })
  )
})

describe("a request's timeout", () => {
  it.effect("says Unknown when the request was sent, and the request is cancelled", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.never })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("59999 millis")
      assert.isUndefined(call.pollUnsafe())
      yield* advance("1 millis")
      const error = yield* Fiber.join(call)
      assert(error._tag === "RequestTimeout")
      assert.deepInclude(error, { method: "tools/call", tool: "a", requestId: 1, delivery: "Unknown" })
      assert.deepStrictEqual(error.after, Duration.minutes(1))
      assert.deepStrictEqual(simulation.cancelled, ["1 tools/call"])
      assert.strictEqual(simulation.current.inFlight(), 0)
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("says NotSent when no byte of it left, and then none ever does", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ send: () => Effect.sleep("2 minutes") })
      const connection = yield* connect(simulation, { requestTimeout: "5 seconds" })
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("5 seconds")
      const error = yield* Fiber.join(call)
      assert.deepInclude(error, { _tag: "RequestTimeout", delivery: "NotSent", requestId: undefined })
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.ran, [])
    })
  )

  it.effect("is taken of the request before that of the connection", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.never })
      const connection = yield* connect(simulation, { requestTimeout: "5 seconds" })
      const call = yield* Effect.forkChild(Effect.flip(connection.ping({ timeout: "7 seconds" })))
      yield* advance("6 seconds")
      assert.isUndefined(call.pollUnsafe())
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(call))._tag, "RequestTimeout")
    })
  )

  it.effect("does not begin before there is a session, and begins anew on the next", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: () => Effect.sleep("20 seconds"),
        handle: (call) => (call.generation === 1 ? Effect.never : Effect.andThen(Effect.sleep("4 seconds"), call.run))
      })
      const connection = yield* connect(simulation, { requestTimeout: "5 seconds", wait: "1 hour" })
      const call = yield* Effect.forkChild(connection.listTools())
      yield* advance("24 seconds")
      yield* simulation.current.lose()
      yield* advance("25 seconds")
      assert.deepStrictEqual(yield* Fiber.join(call), [])
    })
  )

  it.effect("on the second session says Unknown when the first may have run it", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("a", { idempotentHint: true })],
        handle: dieAfterRunning(1),
        send: (call) => (call.tool !== undefined && call.generation === 2 ? Effect.never : Effect.void)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("2 minutes")
      assert.deepInclude(yield* Fiber.join(call), { _tag: "RequestTimeout", delivery: "Unknown" })
    })
  )
})

describe("the table of DESIGN §6: what happens to a request whose session is lost", () => {
  type Outcome = "sent again" | "OutcomeUnknown" | "ConnectionUnavailable"
  interface Row {
    readonly replay: ReplayPolicy
    readonly what: string
    readonly delivery: "NotSent" | "Refused" | "Unknown"
    readonly outcome: Outcome
  }
  const rows = (replay: ReplayPolicy, what: string, notSent: Outcome, unknown: Outcome): ReadonlyArray<Row> => [
    { replay, what, delivery: "NotSent", outcome: notSent },
    { replay, what, delivery: "Refused", outcome: notSent },
    { replay, what, delivery: "Unknown", outcome: unknown }
  ]
  const table = [
    ...rows("safe", "tools/list", "sent again", "sent again"),
    ...rows("safe", "ping", "sent again", "sent again"),
    ...rows("safe", "read-only tool", "sent again", "sent again"),
    ...rows("safe", "idempotent tool", "sent again", "sent again"),
    ...rows("safe", "plain tool", "sent again", "OutcomeUnknown"),
    ...rows("safe", "unlisted tool", "sent again", "OutcomeUnknown"),
    ...rows("safe", "x/custom", "sent again", "OutcomeUnknown"),
    ...rows("always", "tools/list", "sent again", "sent again"),
    ...rows("always", "plain tool", "sent again", "sent again"),
    ...rows("always", "x/custom", "sent again", "sent again"),
    ...rows("never", "read-only tool", "ConnectionUnavailable", "OutcomeUnknown"),
    ...rows("never", "plain tool", "ConnectionUnavailable", "OutcomeUnknown"),
    ...rows("never", "x/custom", "ConnectionUnavailable", "OutcomeUnknown")
  ]

  const tools = [
    tool("read-only tool", { readOnlyHint: true }),
    tool("idempotent tool", { idempotentHint: true }),
    tool("plain tool", { destructiveHint: false })
  ]

  const run = Effect.fnUntraced(function* ({ delivery, outcome, replay, what }: Row, per: "connection" | "call") {
    const concerned = (call: Call) => call.tool === what || call.ticket.method === what
    const fails = (call: Call) => call.generation === 1 && concerned(call)
    const simulation = SimulatedServer.makeUnsafe({
      listed: () => tools,
      send: (call) => (fails(call) && delivery === "NotSent" ? Effect.fail(exited) : Effect.void),
      handle: (call) => (fails(call) ? Effect.fail(delivery === "Refused" ? refused : exited) : call.run)
    })
    // What the other place says must not matter.
    const connection = yield* connect(simulation, {
      replay: per === "connection" ? replay : replay === "always" ? "never" : "always"
    })
    const options: RequestOptions = per === "connection" ? {} : { replay }
    const call: Effect.Effect<unknown, RequestError.RequestError> = what.endsWith("tool")
      ? connection.callTool({ name: what }, options)
      : connection.request(what, undefined, options)
    const fiber = yield* Effect.forkChild(Effect.result(call))
    yield* advance("1 second")
    const result = yield* Fiber.join(fiber)
    const reached = simulation.sent.filter((sent) => sent.tool === what || sent.method === what)
    const generations = reached.map((sent) => sent.generation)
    if (outcome === "sent again") {
      assert.strictEqual(result._tag, "Success")
      assert.deepStrictEqual(generations.slice(-1), [2])
    } else {
      assert(result._tag === "Failure")
      assert.strictEqual(result.failure._tag, outcome)
      assert.notInclude(generations, 2)
    }
  })

  for (const row of table) {
    const name = `replay ${row.replay}: ${row.what}, ${row.delivery} → ${row.outcome}`
    it.effect(`${name} (as the connection says)`, () => run(row, "connection"))
    it.effect(`${name} (as the call says)`, () => run(row, "call"))
  }
})

describe("a tool call that may have run", () => {
  it.effect("carries what is needed to find out: tool, request id, generation, era, elapsed time and cause", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) =>
          call.tool === undefined
            ? call.run
            : call.run.pipe(
                Effect.andThen(Effect.sleep("3 seconds")),
                Effect.andThen(call.session.lose()),
                Effect.andThen(Effect.never)
              )
      })
      const connection = yield* connect(simulation)
      yield* connection.ping()
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* advance("10 seconds")
      const error = yield* Fiber.join(call)
      assert(error._tag === "OutcomeUnknown")
      assert.deepInclude(error, {
        server: "simulated",
        method: "tools/call",
        tool: "pay",
        requestId: 2,
        generation: 1,
        era: "legacy"
      })
      assert.isAtLeast(Duration.toMillis(error.elapsed), 3000)
      assert.isAtMost(Duration.toMillis(error.elapsed), 4000)
      assert.strictEqual(error.cause, exited)
      assert.include(error.message, "pay may have run")
      assert.deepStrictEqual(simulation.ran, ["pay"])
    })
  )

  it.effect("is replayed when the tool promises on the next session that it does no harm", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: (generation) => [tool("a", generation === 1 ? {} : { idempotentHint: true })],
        handle: dieAfterRunning(1)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(call), text("a on 2"))
      assert.deepStrictEqual(simulation.generationsOf("tools/list"), [2])
    })
  )

  it.effect("is not replayed when the upgraded server withdrew the promise", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: (generation) => [tool("a", generation === 1 ? { readOnlyHint: true } : {})],
        handle: dieAfterRunning(1)
      })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
      assert.deepStrictEqual(simulation.ran, ["a"])
      assert.deepStrictEqual(simulation.generationsOf("tools/list"), [1, 2])
    })
  )

  it.effect("is not replayed when the tool is gone from the next session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: (generation) => (generation === 1 ? [tool("a", { readOnlyHint: true })] : []),
        handle: dieAfterRunning(1)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
    })
  )

  it.effect(
    "fails at once, without waiting for a session, when the tool was listed as unsafe on the session it was sent on",
    () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe({
          open: (attempt) => (attempt === 1 ? Effect.void : Effect.never),
          listed: () => [tool("pay")],
          handle: dieAfterRunning(1)
        })
        const connection = yield* connect(simulation)
        yield* connection.listTools()
        const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
        yield* settle
        assert.strictEqual(call.pollUnsafe()?._tag, "Success")
        const error = yield* Fiber.join(call)
        assert(error._tag === "OutcomeUnknown")
        assert.strictEqual(Duration.toMillis(error.elapsed), 0)
      })
  )

  it.effect("has an unknown outcome when no next session comes within `wait`, and when the connection gives up", () =>
    Effect.gen(function* () {
      for (const error of [exited, failure(new Reasons.Unauthorized({ status: 401 }))]) {
        const simulation = SimulatedServer.makeUnsafe({
          open: (attempt) => (attempt === 1 ? Effect.void : Effect.fail(error)),
          handle: dieAfterRunning(1)
        })
        const connection = yield* connect(simulation)
        const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
        yield* advance("30 seconds")
        const outcome = yield* Fiber.join(call)
        assert(outcome._tag === "OutcomeUnknown")
        assert.strictEqual(outcome.cause, exited)
        assert.strictEqual(outcome.generation, 1)
      }
    })
  )

  it.effect(`has an unknown outcome at once with wait: "none"`, () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: dieAfterRunning(1),
        listed: () => [tool("a", { readOnlyHint: true })]
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" }, { wait: "none" })))
      yield* settle
      assert.strictEqual(call.pollUnsafe()?._tag, "Success")
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
    })
  )

  it.effect("the tools of the next session are listed once, however many calls ask", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("a", { readOnlyHint: true })],
        handle: (call) =>
          call.tool === undefined
            ? Effect.andThen(Effect.sleep("1 second"), call.run)
            : call.generation === 1
              ? Effect.never
              : call.run
      })
      const connection = yield* connect(simulation)
      const calls = yield* Effect.forEach(Array.from({ length: 100 }), () =>
        Effect.forkChild(connection.callTool({ name: "a" }))
      )
      yield* settle
      yield* simulation.current.lose()
      yield* advance("2 seconds")
      for (const result of yield* Fiber.joinAll(calls)) assert.deepStrictEqual(result, text("a on 2"))
      assert.deepStrictEqual(simulation.generationsOf("tools/list"), [2])
    })
  )

  it.effect("the one whose listing it is may be interrupted; the others are answered", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("a", { readOnlyHint: true })],
        handle: (call) =>
          call.tool !== undefined
            ? call.generation === 1
              ? Effect.never
              : call.run
            : Effect.andThen(Effect.sleep("1 second"), call.run)
      })
      const connection = yield* connect(simulation)
      const first = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* settle
      const second = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* settle
      yield* simulation.current.lose()
      yield* advance("1500 millis")
      yield* Fiber.interrupt(first)
      yield* advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(second), text("a on 2"))
    })
  )

  it.effect(
    "has an unknown outcome, for each of many calls within one timeout, when the next session does not list its tools",
    () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe({
          handle: (call) => (call.generation === 1 || call.ticket.method === "tools/list" ? Effect.never : call.run)
        })
        const connection = yield* connect(simulation, { requestTimeout: "10 seconds" })
        const calls = yield* Effect.forEach(Array.from({ length: 5 }), () =>
          Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
        )
        yield* settle
        yield* simulation.current.lose()
        yield* advance("11 seconds")
        for (const call of calls) assert.strictEqual(call.pollUnsafe()?._tag, "Success")
        for (const error of yield* Fiber.joinAll(calls)) assert.strictEqual(error._tag, "OutcomeUnknown")
      })
  )

  it.effect("is bound by its own timeout when it shares the listing of a more patient call", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 || call.ticket.method === "tools/list" ? Effect.never : call.run)
      })
      const connection = yield* connect(simulation)
      yield* Effect.forkScoped(Effect.ignore(connection.callTool({ name: "a" }, { timeout: "1 hour" })))
      yield* settle
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" }, { timeout: "5 seconds" })))
      yield* settle
      yield* simulation.current.lose()
      yield* advance("6 seconds")
      assert.strictEqual(call.pollUnsafe()?._tag, "Success")
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
    })
  )

  it.effect("has an unknown outcome when the next session refuses to list its tools", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) =>
          call.ticket.method === "tools/list"
            ? Effect.fail(
                new RequestError.ServerRejected({
                  server: "simulated",
                  method: "tools/list",
                  code: -32601,
                  description: "no tools"
                })
              )
            : dieAfterRunning(1)(call)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
    })
  )

  it.effect("asks the session after the next when the next one is lost while it lists its tools", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("a", { readOnlyHint: true })],
        handle: (call) =>
          call.ticket.method === "tools/list" && call.generation === 2
            ? Effect.andThen(call.session.lose(), Effect.never)
            : dieAfterRunning(1)(call)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(call), text("a on 3"))
    })
  )
})

describe("the number of replays", () => {
  const readOnly = () => [tool("a", { readOnlyHint: true })]

  it.effect("is one: what fails twice after it was sent is not sent a third time", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ listed: readOnly, handle: dieAfterRunning(1, 2, 3, 4) })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("10 seconds")
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
      assert.deepStrictEqual(simulation.generationsOf("tools/call"), [1, 2])
    })
  )

  it.effect("is one for what the server refused, too", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.fail(refused) })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("10 seconds")
      const error = yield* Fiber.join(call)
      assert.deepInclude(error, { _tag: "ConnectionUnavailable", because: "NotReplayed" })
      assert.deepStrictEqual(simulation.generationsOf("tools/call"), [1, 2])
    })
  )

  it.effect("is what maxReplays says", () =>
    Effect.gen(function* () {
      for (const [maxReplays, generations] of [
        [0, [1]],
        [3, [1, 2, 3, 4]]
      ] as const) {
        const simulation = SimulatedServer.makeUnsafe({ listed: readOnly, handle: dieAfterRunning(1, 2, 3, 4, 5, 6) })
        const connection = yield* connect(simulation, { maxReplays })
        const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
        yield* advance("20 seconds")
        assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
        assert.deepStrictEqual(simulation.generationsOf("tools/call"), generations)
      }
    })
  )

  it.effect("does not count what was never sent", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ send: dieBeforeSending(1, 2, 3, 4, 5) })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(call), text("pay on 6"))
      assert.deepStrictEqual(simulation.ran, ["pay"])
    })
  )

  it.effect("does not count what was never sent after a replay either", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: readOnly,
        handle: dieAfterRunning(1),
        send: dieBeforeSending(2, 3)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(call), text("a on 4"))
      assert.deepStrictEqual(simulation.generationsOf("tools/call"), [1, 4])
    })
  )

  it.effect("a plain tool call that was refused and then may have run is not sent a third time", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.fail(refused) : dieAfterRunning(2, 3)(call))
      })
      const connection = yield* connect(simulation, { maxReplays: 5 })
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* advance("10 seconds")
      const error = yield* Fiber.join(call)
      assert(error._tag === "OutcomeUnknown")
      assert.strictEqual(error.generation, 2)
      assert.deepStrictEqual(simulation.ran, ["pay"])
    })
  )
})

describe("the worst delivery over all sendings", () => {
  it.effect(
    "is what the caller is told: sent on session 1, unsent on session 2, is an unknown outcome of session 1",
    () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe({
          open: (attempt) => (attempt <= 2 ? Effect.void : Effect.fail(exited)),
          listed: () => [tool("a", { idempotentHint: true })],
          handle: dieAfterRunning(1),
          send: dieBeforeSending(2)
        })
        const connection = yield* connect(simulation)
        const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
        yield* advance("1 minute")
        const error = yield* Fiber.join(call)
        assert(error._tag === "OutcomeUnknown")
        // "The session it was sent on", and "the JSON-RPC id it was sent with".
        assert.deepInclude(error, { generation: 1, requestId: 1 })
      })
  )

  it.effect("is what ConnectionUnavailable tells of a read: Unknown, although it does no harm", () =>
    Effect.gen(function* () {
      const options: ReadonlyArray<readonly [RequestOptions, RequestError.ConnectionUnavailable["because"]]> = [
        [{ replay: "never" }, "NotReplayed"],
        [{ wait: "none" }, "NotWaiting"],
        [{ wait: "3 seconds" }, "WaitElapsed"]
      ]
      for (const [option, because] of options) {
        const simulation = SimulatedServer.makeUnsafe({
          open: (n) => (n === 1 ? Effect.void : Effect.never),
          handle: (call) => Effect.andThen(call.session.lose(), Effect.never)
        })
        const connection = yield* connect(simulation)
        const read = yield* Effect.forkChild(Effect.flip(connection.listTools(option)))
        yield* advance("5 seconds")
        const error = yield* Fiber.join(read)
        assert(error._tag === "ConnectionUnavailable", error.message)
        assert.deepInclude(error, { because, delivery: "Unknown", cause: exited })
        assert.include(error.message, "delivery: Unknown")
      }
    })
  )

  it.effect("is NotSent in ConnectionUnavailable when no session was found, and when none was sent on", () =>
    Effect.gen(function* () {
      const never = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const unreachable = yield* connect(never)
      const waited = yield* Effect.forkChild(Effect.flip(unreachable.listTools({ wait: "3 seconds" })))
      yield* advance("3 seconds")
      const dying = SimulatedServer.makeUnsafe({
        open: (n) => (n === 1 ? Effect.void : Effect.never),
        send: dieBeforeSending(1)
      })
      const unsent = yield* connect(dying)
      const failed = yield* Effect.forkChild(Effect.flip(unsent.callTool({ name: "pay" }, { wait: "3 seconds" })))
      yield* advance("3 seconds")
      for (const error of [
        yield* Fiber.join(waited),
        yield* Effect.flip(unreachable.callTool({ name: "pay" }, { wait: "none" })),
        yield* Fiber.join(failed)
      ]) {
        assert(error._tag === "ConnectionUnavailable", error.message)
        assert.strictEqual(error.delivery, "NotSent")
      }
    })
  )

  it.effect("sent on session 1, refused on session 2, is an unknown outcome", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("a", { idempotentHint: true })],
        handle: (call) =>
          call.tool !== undefined && call.generation === 2 ? Effect.fail(refused) : dieAfterRunning(1)(call)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("1 minute")
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
    })
  )

  it.effect("a promise is asked for again on each session that a call is sent on after it may have run", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: (generation) => [tool("a", generation <= 2 ? { idempotentHint: true } : {})],
        handle: dieAfterRunning(1),
        send: dieBeforeSending(2)
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* advance("1 minute")
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
      assert.deepStrictEqual(simulation.ran, ["a"])
    })
  )
})

describe("events of requests", () => {
  it.effect("a replay and an unknown outcome are told, without arguments", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("read", { readOnlyHint: true }), tool("pay")],
        handle: dieAfterRunning(1, 3)
      })
      const connection = yield* connect(simulation, { policy: everySecond })
      const events: Array<ConnectionEvent.ConnectionEvent> = []
      yield* connection.events.pipe(
        Stream.runForEach((event) => Effect.sync(() => events.push(event))),
        Effect.forkScoped({ startImmediately: true })
      )
      const read = yield* Effect.forkChild(connection.callTool({ name: "read", arguments: { path: "/hush" } }))
      yield* advance("1 second")
      yield* Fiber.join(read)
      yield* connection.reconnect
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay", arguments: { to: "/hush" } })))
      yield* advance("1 second")
      const error = yield* Fiber.join(pay)
      assert(error._tag === "OutcomeUnknown")
      yield* settle
      const replayed = events.filter((event) => event._tag === "RequestReplayed")
      assert.lengthOf(replayed, 1)
      assert.deepInclude(replayed[0], { method: "tools/call", tool: "read", from: 1, to: 2, delivery: "Unknown" })
      const unknown = events.filter((event) => event._tag === "OutcomeUnknown")
      assert.lengthOf(unknown, 1)
      assert.deepInclude(unknown[0], { tool: "pay", generation: 3, requestId: error.requestId })
      assert.notInclude(JSON.stringify(events), "hush")
    })
  )
})
