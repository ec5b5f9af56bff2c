/**
 * Where each request has a stream of its own, one that fails does not condemn the session: it is suspect, and a probe decides
 * (DESIGN §4, §5, §10).
 */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { type Call, exited, failure, tool } from "@mcp-tether/testing/SimulatedServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Reasons from "../../src/ConnectionError.ts"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import type * as McpConnection from "../../src/McpConnection.ts"
import type { SessionFailure } from "../../src/McpSession.ts"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import { ServerRejected } from "../../src/RequestError.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const reset = failure(
  new Reasons.NetworkFailed({ code: "ECONNRESET", description: "socket hang up", phase: "exchange" })
)
const refusedConnection = failure(
  new Reasons.NetworkFailed({ code: "ECONNREFUSED", description: "connection refused", phase: "connect" })
)
const cut = failure(new Reasons.TransportClosed({ description: "the stream ended without its reply" }))
const badGateway = failure(new Reasons.ServerUnavailable({ status: 502 }))
const busy = (seconds?: number, status = 503) =>
  failure(
    new Reasons.ServerUnavailable(
      seconds === undefined ? { status } : { status, retryAfter: Duration.seconds(seconds) }
    )
  )
const expired = failure(new Reasons.SessionExpired({ status: 404 }))
const unauthorized = failure(new Reasons.Unauthorized({ status: 401 }))
const notFound = failure(new Reasons.UnexpectedStatus({ status: 404, description: "no such page" }))

/** A server over HTTP: `read` does no harm twice, `pay` does. */
const http = (script: SimulatedServer.Options = {}) =>
  SimulatedServer.makeUnsafe({
    isolation: "perRequest",
    listed: () => [tool("pay"), tool("read", { readOnlyHint: true })],
    ...script
  })

/** The first `times` requests that match fail with `error`; all others are answered. */
const failing = (matches: (call: Call) => boolean, error: SessionFailure, times = 1) => {
  let left = times
  return (call: Call): Effect.Effect<unknown, SessionFailure> =>
    Effect.suspend(() => (matches(call) && left-- > 0 ? Effect.fail(error) : call.run))
}

const isCall = (call: Call) => call.tool !== undefined
const isPing = (call: Call) => call.ticket.method === "ping"
const named = (name: string) => (call: Call) => call.tool === name

const text = (text: string) => ({ content: [{ type: "text" as const, text }] })

const collect = Effect.fnUntraced(function* (connection: McpConnection.Shape) {
  const events: Array<ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* settle
  return events
})

const tagsOf = (events: ReadonlyArray<ConnectionEvent>) => events.map((event) => event._tag)
const lossesOf = (events: ReadonlyArray<ConnectionEvent>) =>
  events.flatMap((event) => (event._tag === "SessionLost" ? [event.error] : []))

/** What was sent, as `<generation> <method or tool>`. */
const wire = (simulation: SimulatedServer.SimulatedServer) =>
  simulation.sent.map(({ generation, method, tool }) => `${generation} ${tool ?? method}`)

const timed = (simulation: SimulatedServer.SimulatedServer) =>
  simulation.sent.map(({ at, method, tool }) => `${at} ${tool ?? method}`)

describe("a lost session", () => {
  it.effect("is closed when the next one had its chance to open", () =>
    Effect.gen(function* () {
      const happened: Array<string> = []
      const simulation = http()
      const { transport } = simulation
      const connection = yield* connect(simulation, {
        policy: Schedule.forever,
        transport: {
          ...transport,
          open: (context) =>
            Effect.gen(function* () {
              yield* Effect.sleep("20 millis")
              happened.push(`open ${context.generation}`)
              yield* Effect.addFinalizer(() => Effect.sync(() => happened.push(`close ${context.generation}`)))
              return yield* transport.open(context)
            })
        }
      })
      yield* advance("1 second")
      yield* simulation.current.lose(expired)
      yield* advance("1 second")
      assert.deepStrictEqual(happened, ["open 1", "open 2", "close 1"])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )
})

describe("one request that fails", () => {
  it.effect("leaves the 49 others in flight, and the session, alone", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) =>
          isPing(call) || call.ticket.method === "tools/list"
            ? call.run
            : Predicate.hasProperty(call.ticket.params, "arguments") &&
                Predicate.hasProperty(call.ticket.params.arguments, "key") &&
                call.ticket.params.arguments.key === "17"
              ? Effect.fail(cut)
              : Effect.delay(call.run, "5 seconds")
      })
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      const before = yield* connection.state
      const calls = yield* Effect.forEach(Array.from({ length: 50 }), (_, i) =>
        Effect.forkChild(Effect.exit(connection.callTool({ name: "pay", arguments: { key: `${i}` } })))
      )
      yield* advance("5 seconds")
      for (const [i, call] of calls.entries()) {
        const exit = yield* Fiber.join(call)
        if (i !== 17) assert.deepStrictEqual(exit, Exit.succeed(text(`${i} on 1`)))
        else assert.isTrue(Exit.isFailure(exit))
      }
      assert.strictEqual(yield* connection.state, before)
      assert.deepStrictEqual(simulation.cancelled, [])
      assert.deepStrictEqual(simulation.log, ["open 1"])
      assert.deepStrictEqual(tagsOf(events), ["OutcomeUnknown"])
    })
  )

  for (const [name, error] of Object.entries({ reset, cut, "502": badGateway })) {
    it.effect(
      `with Unknown delivery (${name}): the session is probed, the tool asked for, and the read sent again`,
      () =>
        Effect.gen(function* () {
          const simulation = http({ handle: failing(isCall, error) })
          const connection = yield* connect(simulation)
          const events = yield* collect(connection)
          assert.deepStrictEqual(yield* connection.callTool({ name: "read" }), text("read on 1"))
          assert.deepStrictEqual(wire(simulation), ["1 read", "1 ping", "1 tools/list", "1 read"])
          yield* settle
          assert.deepStrictEqual(simulation.log, ["open 1"])
          const replays = events.filter((event) => event._tag === "RequestReplayed")
          assert.lengthOf(replays, 1)
          assert.deepInclude(replays[0], { method: "tools/call", tool: "read", from: 1, to: 1, delivery: "Unknown" })
        })
    )

    it.effect(`with Unknown delivery (${name}): a call with an effect is not sent again: OutcomeUnknown`, () =>
      Effect.gen(function* () {
        const simulation = http({ handle: (call) => Effect.andThen(call.run, failing(isCall, error)(call)) })
        const connection = yield* connect(simulation)
        const outcome = yield* Effect.flip(connection.callTool({ name: "pay" }))
        assert.deepInclude(outcome, { _tag: "OutcomeUnknown", generation: 1, tool: "pay", requestId: 1 })
        assert(outcome._tag === "OutcomeUnknown")
        assert.strictEqual(outcome.cause, error)
        assert.deepStrictEqual(simulation.ran, ["pay"])
        assert.deepStrictEqual(simulation.log, ["open 1"])
        assert.strictEqual((yield* connection.state)._tag, "Ready")
      })
    )
  }

  it.effect(`with replay: "never" is told at once, while the probe is still under way`, () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (isPing(call) ? Effect.never : Effect.fail(cut)) })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" }, { replay: "never" })))
      const list = yield* Effect.forkChild(Effect.flip(connection.listTools({ replay: "never" })))
      yield* settle
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
      assert.deepInclude(yield* Fiber.join(list), {
        _tag: "ConnectionUnavailable",
        because: "NotReplayed",
        delivery: "Unknown"
      })
      assert.deepStrictEqual(simulation.generationsOf("ping"), [1])
    })
  )

  it.effect("is a ServerRejected or an InvalidResult: an answer, and no reason to probe", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: failing(
          isCall,
          new ServerRejected({ server: "simulated", method: "tools/call", code: -32_603, description: "500" })
        )
      })
      const connection = yield* connect(simulation)
      assert.strictEqual((yield* Effect.flip(connection.callTool({ name: "read" })))._tag, "ServerRejected")
      yield* advance("1 minute")
      assert.deepStrictEqual(wire(simulation), ["1 read"])
    })
  )

  it.effect("is sent again at most maxReplays times on a session that always answers its probe", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (isCall(call) ? Effect.fail(cut) : call.run) })
      const connection = yield* connect(simulation, { maxReplays: 3 })
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "read" })))
      yield* advance("30 seconds")
      assert.deepInclude(yield* Fiber.join(call), { _tag: "OutcomeUnknown", generation: 1 })
      assert.lengthOf(simulation.generationsOf("tools/call"), 4)
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("twenty at once share one probe", () =>
    Effect.gen(function* () {
      let calls = 0
      const simulation = http({
        handle: (call) =>
          isPing(call)
            ? Effect.delay(call.run, "100 millis")
            : Effect.suspend(() => (isCall(call) && (calls += 1) <= 20 ? Effect.fail(badGateway) : call.run))
      })
      const connection = yield* connect(simulation)
      const reads = yield* Effect.forEach(Array.from({ length: 20 }), (_, i) =>
        Effect.forkChild(connection.callTool({ name: "read", arguments: { key: `${i}` } }))
      )
      yield* advance("1 second")
      for (const [i, read] of reads.entries()) assert.deepStrictEqual(yield* Fiber.join(read), text(`${i} on 1`))
      assert.lengthOf(simulation.generationsOf("ping"), 1)
      assert.lengthOf(simulation.generationsOf("tools/list"), 1)
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("while a probe runs joins it; after the verdict there is a new one", () =>
    Effect.gen(function* () {
      const probed = yield* Deferred.make<void>()
      let pings = 0
      const failThrice = failing((call) => !isPing(call), cut, 3)
      const simulation = http({
        handle: (call) =>
          isPing(call)
            ? Effect.suspend(() => ((pings += 1) === 1 ? Effect.andThen(Deferred.await(probed), call.run) : call.run))
            : failThrice(call)
      })
      const connection = yield* connect(simulation)
      const first = yield* Effect.forkChild(connection.listPrompts())
      yield* advance("2 seconds")
      const second = yield* Effect.forkChild(connection.listPrompts())
      yield* advance("2 seconds")
      assert.strictEqual(pings, 1)
      yield* Deferred.succeed(probed, undefined)
      yield* advance("2 seconds")
      yield* Effect.forEach([first, second], (fiber) => Effect.exit(Fiber.join(fiber)))
      // The third failure was that of a replay.
      assert.strictEqual(pings, 2)
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )
})

describe("the probe", () => {
  it.effect("that fails loses the session with its own error; what may be sent again is, on the next one", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) =>
          call.generation > 1 ? call.run : isPing(call) ? Effect.fail(refusedConnection) : Effect.fail(reset)
      })
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      const list = yield* Effect.forkChild(connection.listTools())
      const read = yield* Effect.forkChild(connection.callTool({ name: "read" }))
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* settle
      assert.deepStrictEqual(lossesOf(events), [refusedConnection])
      yield* advance("1 second")
      assert.lengthOf(yield* Fiber.join(list), 2)
      assert.deepStrictEqual(yield* Fiber.join(read), text("read on 2"))
      const told = yield* Fiber.join(pay)
      assert(told._tag === "OutcomeUnknown")
      assert.deepInclude(told, { generation: 1 })
      // What failed the call is what its caller hears of, not what failed the probe.
      assert.strictEqual(told.cause, reset)
      assert.lengthOf(simulation.generationsOf("ping"), 1)
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )

  it.effect("that the server rejects was answered: the session stays", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) =>
          isPing(call)
            ? Effect.fail(
                new ServerRejected({
                  server: "simulated",
                  method: "ping",
                  code: -32_601,
                  description: "no such method"
                })
              )
            : failOnce(call)
      })
      const failOnce = failing(isCall, cut)
      const connection = yield* connect(simulation)
      assert.deepStrictEqual(yield* connection.callTool({ name: "read" }), text("read on 1"))
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  for (const [options, after] of [
    [{}, 10_000],
    [{ heartbeat: "off" as const }, 10_000],
    [{ heartbeat: { timeout: "3 seconds" } }, 3_000]
  ] as const) {
    it.effect(`that is not answered loses the session after the heartbeat's timeout: ${JSON.stringify(options)}`, () =>
      Effect.gen(function* () {
        const simulation = http({
          handle: (call) => (call.generation > 1 ? call.run : isPing(call) ? Effect.never : Effect.fail(cut))
        })
        const connection = yield* connect(simulation, { heartbeat: {}, ...options })
        const events = yield* collect(connection)
        const list = yield* Effect.forkChild(connection.listTools())
        yield* advance(after - 1)
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
        yield* advance(1)
        const [loss] = lossesOf(events)
        assert(loss?.reason._tag === "LivenessLost")
        assert.include(simulation.cancelled, "1 ping")
        yield* advance("1 second")
        assert.lengthOf(yield* Fiber.join(list), 2)
        assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
      })
    )
  }

  it.effect("that finds the session expired: a new one, with the error of the probe", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) => (call.generation > 1 ? call.run : isPing(call) ? Effect.fail(expired) : Effect.fail(cut))
      })
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("1 second")
      assert.lengthOf(yield* Fiber.join(list), 2)
      assert.deepStrictEqual(lossesOf(events), [expired])
    })
  )

  it.effect("that dies loses the session, too; nobody hangs", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) => (call.generation > 1 ? call.run : isPing(call) ? Effect.die("bug") : Effect.fail(cut))
      })
      const connection = yield* connect(simulation)
      const list = yield* Effect.forkChild(Effect.exit(connection.listTools()))
      yield* advance("40 seconds")
      assert.isDefined(list.pollUnsafe())
    })
  )

  it.effect("is overtaken by the session's loss: one SessionLost, and everybody is answered", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) => (call.generation > 1 ? call.run : isPing(call) ? Effect.never : Effect.fail(cut))
      })
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("1 second")
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.lengthOf(yield* Fiber.join(list), 2)
      yield* advance("1 minute")
      assert.deepStrictEqual(lossesOf(events), [exited])
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
    })
  )

  it.effect("goes on when the caller whose failure began it leaves: others wait for it", () =>
    Effect.gen(function* () {
      const probed = yield* Deferred.make<void>()
      const failTwice = failing((call) => call.ticket.method === "prompts/list", cut, 2)
      const simulation = http({
        handle: (call) => (isPing(call) ? Effect.andThen(Deferred.await(probed), call.run) : failTwice(call))
      })
      const connection = yield* connect(simulation)
      const first = yield* Effect.forkChild(connection.request("prompts/list"))
      yield* settle
      const second = yield* Effect.forkChild(connection.request("prompts/list"))
      yield* settle
      yield* Fiber.interrupt(first)
      assert.deepStrictEqual(simulation.cancelled, [])
      yield* Deferred.succeed(probed, undefined)
      yield* advance("1 second")
      yield* Fiber.join(second)
      assert.lengthOf(simulation.generationsOf("ping"), 1)
      assert.lengthOf(simulation.generationsOf("prompts/list"), 3)
    })
  )

  it.effect("goes on when nobody waits for it any more: a dead server is found out", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) => (call.generation > 1 ? call.run : isPing(call) ? Effect.never : Effect.fail(cut))
      })
      const connection = yield* connect(simulation)
      const list = yield* Effect.forkChild(connection.listTools())
      yield* settle
      yield* Fiber.interrupt(list)
      yield* advance("11 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )

  it.effect("a new request while it runs is sent, and fares by itself", () =>
    Effect.gen(function* () {
      const failOnce = failing((call) => call.ticket.method === "prompts/list", cut)
      const simulation = http({ handle: (call) => (isPing(call) ? Effect.never : failOnce(call)) })
      const connection = yield* connect(simulation)
      yield* Effect.forkScoped(Effect.ignore(connection.request("prompts/list")))
      yield* settle
      assert.deepStrictEqual(yield* connection.callTool({ name: "pay" }, { wait: "none" }), text("pay on 1"))
    })
  )

  it.effect("a caller gives up after `wait`, and is told how far its request got", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (isPing(call) ? Effect.never : Effect.fail(cut)) })
      const connection = yield* connect(simulation, { wait: "4 seconds" })
      const list = yield* Effect.forkChild(Effect.flip(connection.listTools()))
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* advance("3999 millis")
      assert.isUndefined(list.pollUnsafe())
      yield* advance("1 millis")
      assert.deepInclude(yield* Fiber.join(list), {
        _tag: "ConnectionUnavailable",
        because: "WaitElapsed",
        delivery: "Unknown"
      })
      assert.strictEqual((yield* Fiber.join(pay))._tag, "OutcomeUnknown")
    })
  )

  it.effect(`wait: "none": nobody waits for it`, () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (isPing(call) ? Effect.never : Effect.fail(cut)) })
      const connection = yield* connect(simulation, { wait: "none" })
      const list = yield* Effect.forkChild(Effect.flip(connection.listTools()))
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* settle
      assert.deepInclude(yield* Fiber.join(list), { _tag: "ConnectionUnavailable", because: "NotWaiting" })
      assert.strictEqual((yield* Fiber.join(pay))._tag, "OutcomeUnknown")
    })
  )

  it.effect("the connection closes under it: everybody has one answer, and nothing is left", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (isPing(call) ? Effect.never : Effect.fail(cut)) })
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation).pipe(Scope.provide(scope))
      const calls = yield* Effect.forEach(["read", "pay", "pay"], (name) =>
        Effect.forkChild(Effect.flip(connection.callTool({ name })))
      )
      const list = yield* Effect.forkChild(Effect.flip(connection.listTools()))
      yield* advance("1 second")
      for (const fiber of [...calls, list]) assert.isUndefined(fiber.pollUnsafe())
      yield* Scope.close(scope, Exit.void)
      yield* settle
      for (const error of yield* Fiber.joinAll(calls)) {
        assert.include(["OutcomeUnknown", "ConnectionClosed"], error._tag)
        if (error._tag === "ConnectionClosed") assert.strictEqual(error.delivery, "Unknown")
      }
      assert.deepInclude(yield* Fiber.join(list), { _tag: "ConnectionClosed", delivery: "Unknown" })
      assert.strictEqual(simulation.live, 0)
      const sent = simulation.sent.length
      yield* advance("1 hour")
      assert.lengthOf(simulation.sent, sent)
    })
  )
})

describe("a request that was refused", () => {
  for (const status of [429, 503]) {
    it.effect(`with ${status} and Retry-After: nothing is sent before, not even the probe; then it is sent again`, () =>
      Effect.gen(function* () {
        const simulation = http({ handle: failing(isCall, busy(5, status)) })
        const connection = yield* connect(simulation)
        const events = yield* collect(connection)
        const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
        yield* advance("4999 millis")
        assert.deepStrictEqual(timed(simulation), ["0 pay"])
        yield* advance("1 millis")
        assert.deepStrictEqual(timed(simulation), ["0 pay", "5000 ping", "5000 pay"])
        assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
        assert.deepStrictEqual(tagsOf(events), ["RequestReplayed"])
        assert.deepStrictEqual(simulation.log, ["open 1"])
      })
    )
  }

  it.effect("without Retry-After: the session is probed and the call, whatever it does, sent again", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(isCall, busy()) })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
      assert.deepStrictEqual(wire(simulation), ["1 pay", "1 ping", "1 pay"])
    })
  )

  it.effect("30 seconds are waited for on the session", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(isCall, busy(30)) })
      const connection = yield* connect(simulation, { wait: "1 minute" })
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("29999 millis")
      assert.lengthOf(simulation.sent, 1)
      yield* advance("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("for longer than it waits: it is told, and the session serves the others", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(isCall, busy(3600)) })
      const connection = yield* connect(simulation, { wait: "1 minute", policy: ReconnectPolicy.default })
      const events = yield* collect(connection)
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* advance("1 second")
      assert.deepStrictEqual(yield* connection.callTool({ name: "read" }), text("read on 1"))
      yield* advance("59 seconds")
      assert.deepInclude(yield* Fiber.join(pay), {
        _tag: "ConnectionUnavailable",
        because: "WaitElapsed",
        delivery: "Refused"
      })
      assert.deepStrictEqual(timed(simulation), ["0 pay", "1000 read"])
      assert.deepStrictEqual(lossesOf(events), [])
    })
  )

  it.effect("does not keep the session from being asked when something else fails", () =>
    Effect.gen(function* () {
      const refuse = failing(named("pay"), busy(3600))
      const cutOnce = failing(named("read"), cut)
      const simulation = http({ handle: (call) => (call.tool === "pay" ? refuse(call) : cutOnce(call)) })
      const connection = yield* connect(simulation, { wait: "1 minute" })
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* advance("1 second")
      assert.deepStrictEqual(yield* connection.callTool({ name: "read" }), text("read on 1"))
      yield* advance("1 minute")
      assert.deepInclude(yield* Fiber.join(pay), { _tag: "ConnectionUnavailable", delivery: "Refused" })
      assert.deepStrictEqual(
        timed(simulation).filter((sent) => !sent.includes("tools/list")),
        ["0 pay", "1000 read", "1000 ping", "1000 read"]
      )
    })
  )

  it.effect("for a minute: who waits that long is answered then, and the session stays", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(isCall, busy(60)) })
      const connection = yield* connect(simulation, { wait: "2 minutes", heartbeat: {} })
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      const brief = yield* Effect.forkChild(connection.listPrompts({ wait: "1 second" }))
      for (let i = 0; i < 59; i += 1) yield* advance("1 second")
      assert.lengthOf(simulation.generationsOf("tools/call"), 1)
      // It is asked whether it lives, all the same: an hour's Retry-After must not make a dead server Ready for an hour.
      assert.isAtLeast(simulation.generationsOf("ping").length, 1)
      assert.isAtLeast(simulation.sent.find(({ method }) => method === "ping")?.at ?? 0, 30_000)
      yield* advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
      assert.isDefined(brief.pollUnsafe())
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("the caller's `wait` ends first: Refused, it did not run", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(isCall, busy(20)) })
      const connection = yield* connect(simulation, { wait: "5 seconds" })
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* advance("5 seconds")
      assert.deepInclude(yield* Fiber.join(pay), {
        _tag: "ConnectionUnavailable",
        because: "WaitElapsed",
        delivery: "Refused"
      })
      assert.deepStrictEqual(simulation.ran, [])
      // The session is still asked at its time, and stays.
      yield* advance("15 seconds")
      assert.deepStrictEqual(timed(simulation), ["0 pay", "20000 ping"])
      assert.strictEqual((yield* connection.state)._tag, "Ready")
    })
  )

  it.effect("each waits as long as it was asked to: one that was asked for less does not wait for the others", () =>
    Effect.gen(function* () {
      let n = 0
      const pauses = [20, 5, 10]
      const simulation = http({
        handle: (call) =>
          Effect.suspend(() => {
            const pause = isCall(call) ? pauses[n++] : undefined
            return pause === undefined ? call.run : Effect.fail(busy(pause))
          })
      })
      const connection = yield* connect(simulation)
      const pay = (key: string) =>
        Effect.forkChild(connection.callTool({ name: "pay", arguments: { key } })).pipe(Effect.tap(settle))
      const calls = [yield* pay("20"), yield* pay("5"), yield* pay("10")]
      for (let i = 0; i < 20; i += 1) yield* advance("1 second")
      yield* Fiber.joinAll(calls)
      assert.deepStrictEqual(simulation.ran, ["5", "10", "20"])
      assert.deepStrictEqual(timed(simulation), [
        "0 pay",
        "0 pay",
        "0 pay",
        "5000 ping",
        "5000 pay",
        "10000 pay",
        "20000 pay"
      ])
    })
  )

  it.effect("is no alibi: another failure without Retry-After has the session probed at once", () =>
    Effect.gen(function* () {
      const failOnce = failing((call) => call.ticket.method === "prompts/list", cut)
      const refuseOnce = failing(isCall, busy(20))
      const simulation = http({ handle: (call) => (isCall(call) ? refuseOnce(call) : failOnce(call)) })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("2 seconds")
      const list = yield* Effect.forkChild(connection.listPrompts())
      yield* settle
      assert.deepStrictEqual(timed(simulation), ["0 pay", "2000 prompts/list", "2000 ping", "2000 prompts/list"])
      yield* Effect.exit(Fiber.join(list))
      yield* advance("17999 millis")
      assert.isUndefined(pay.pollUnsafe())
      yield* advance("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
      assert.lengthOf(simulation.generationsOf("tools/call"), 2)
    })
  )

  it.effect("that joins while the probe is under way is not sent again before its Retry-After has passed", () =>
    Effect.gen(function* () {
      const failOnce = failing((call) => call.ticket.method === "prompts/list", cut)
      const refuseOnce = failing(isCall, busy(10))
      const simulation = http({
        handle: (call) =>
          isPing(call) ? Effect.delay(call.run, "2 seconds") : isCall(call) ? refuseOnce(call) : failOnce(call)
      })
      const connection = yield* connect(simulation)
      yield* Effect.forkScoped(Effect.ignore(connection.request("prompts/list")))
      yield* advance("1 second")
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("9999 millis")
      assert.deepStrictEqual(timed(simulation), ["0 prompts/list", "0 ping", "1000 pay", "2000 prompts/list"])
      yield* advance("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("a probe that is refused with Retry-After: the session is lost, and the reconnect waits for it", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) => (call.generation > 1 ? call.run : Effect.fail(isPing(call) ? busy(7) : cut))
      })
      const connection = yield* connect(simulation, { policy: ReconnectPolicy.default })
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("6999 millis")
      assert.isUndefined(list.pollUnsafe())
      assert.deepStrictEqual(simulation.attempts, [0])
      yield* advance("1 second")
      assert.lengthOf(yield* Fiber.join(list), 2)
    })
  )
})

describe("a session that expired", () => {
  it.effect("is replaced without a probe, and the call is sent again, whatever it does", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (call.generation === 1 ? Effect.fail(expired) : call.run) })
      const connection = yield* connect(simulation, { policy: ReconnectPolicy.default })
      const events = yield* collect(connection)
      yield* advance("10 seconds")
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* settle
      // A session that lived: no backoff.
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 2"))
      assert.deepStrictEqual(simulation.attempts, [0, 10_000])
      assert.deepStrictEqual(wire(simulation), ["1 pay", "2 pay"])
      assert.deepStrictEqual(lossesOf(events), [expired])
      assert.deepStrictEqual(simulation.ran, ["pay"])
    })
  )

  it.effect("young: at most 250 ms later", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (call.generation === 1 ? Effect.fail(expired) : call.run) })
      const connection = yield* connect(simulation, { policy: ReconnectPolicy.default })
      yield* advance("1 second")
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("250 millis")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 2"))
    })
  )

  it.effect("under twenty calls: one new session, and each call runs once", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (call.generation === 1 ? Effect.fail(expired) : call.run) })
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      const calls = yield* Effect.forEach(Array.from({ length: 20 }), (_, i) =>
        Effect.forkChild(connection.callTool({ name: "pay", arguments: { key: `${i}` } }))
      )
      yield* advance("1 second")
      for (const [i, call] of calls.entries()) assert.deepStrictEqual(yield* Fiber.join(call), text(`${i} on 2`))
      assert.lengthOf(new Set(simulation.ran), 20)
      assert.lengthOf(simulation.ran, 20)
      assert.lengthOf(lossesOf(events), 1)
      assert.deepStrictEqual(simulation.attempts, [0, 1000])
    })
  )

  it.effect("neighbours in flight end on it; it closes when the last has", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) =>
          call.generation > 1
            ? call.run
            : call.tool === "pay"
              ? Effect.delay(call.run, "5 seconds")
              : Effect.fail(expired)
      })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* settle
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("1 second")
      assert.lengthOf(yield* Fiber.join(list), 2)
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.isUndefined(pay.pollUnsafe())
      assert.deepStrictEqual(simulation.log, ["open 1", "open 2"])
      yield* advance("4 seconds")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
      yield* advance("1 second")
      assert.deepStrictEqual(simulation.log, ["open 1", "open 2", "close 1"])
      assert.deepStrictEqual(simulation.ran, ["pay"])
    })
  )

  it.effect("neighbours that take longer than drainTimeout fare as on a lost session", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) =>
          call.generation > 1
            ? call.run
            : call.tool === undefined
              ? Effect.fail(expired)
              : Effect.andThen(call.run, Effect.never)
      })
      const connection = yield* connect(simulation, { drainTimeout: "3 seconds" })
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      const read = yield* Effect.forkChild(connection.callTool({ name: "read" }))
      yield* settle
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("1 second")
      yield* Fiber.join(list)
      assert.isUndefined(pay.pollUnsafe())
      yield* advance("3 seconds")
      assert.strictEqual((yield* Fiber.join(pay))._tag, "OutcomeUnknown")
      assert.deepStrictEqual(yield* Fiber.join(read), text("read on 2"))
      assert.strictEqual(simulation.live, 1)
    })
  )

  it.effect("closing the connection does not wait for what drains", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) =>
          call.generation > 1 ? call.run : call.tool === undefined ? Effect.fail(expired) : Effect.never
      })
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation).pipe(Scope.provide(scope))
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* settle
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("1 second")
      yield* Fiber.join(list)
      yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle
      assert.strictEqual(simulation.live, 0)
      assert.include(["OutcomeUnknown", "ConnectionClosed"], (yield* Fiber.join(pay))._tag)
    })
  )

  it.effect("that nobody replaces (the policy ends): whoever drains may still end", () =>
    Effect.gen(function* () {
      const simulation = http({
        open: (attempt) => (attempt === 1 ? Effect.void : Effect.fail(unauthorized)),
        handle: (call) => (call.tool === "pay" ? Effect.delay(call.run, "5 seconds") : Effect.fail(expired))
      })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* settle
      const list = yield* Effect.forkChild(Effect.flip(connection.listTools()))
      yield* advance("1 second")
      assert.deepInclude(yield* Fiber.join(list), { _tag: "ConnectionUnavailable", because: "Failed" })
      assert.strictEqual((yield* connection.state)._tag, "Failed")
      yield* advance("4 seconds")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
      yield* advance("1 minute")
      assert.strictEqual(simulation.live, 0)
    })
  )
})

describe("a request with refused credentials", () => {
  it.effect("is told at once and never sent again; a probe that is refused, too, ends in Failed", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (isPing(call) ? Effect.never : Effect.fail(unauthorized)) })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" }, { replay: "always" })))
      const list = yield* Effect.forkChild(Effect.flip(connection.listTools()))
      yield* settle
      for (const error of yield* Fiber.joinAll([pay, list])) {
        assert.deepInclude(error, { _tag: "ConnectionUnavailable", because: "NotReplayed", delivery: "Refused" })
        assert(error._tag === "ConnectionUnavailable")
        assert.strictEqual(error.cause, unauthorized)
      }
      assert.strictEqual((yield* connection.state)._tag, "Ready")
    })
  )

  it.effect("a probe that confirms it ends in Failed; reconnect revives the connection", () =>
    Effect.gen(function* () {
      let allowed = false
      const simulation = http({ handle: (call) => (allowed ? call.run : Effect.fail(unauthorized)) })
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      yield* Effect.flip(connection.callTool({ name: "pay" }))
      yield* settle
      const state = yield* connection.state
      assert(state._tag === "Failed")
      assert.strictEqual(state.error, unauthorized)
      assert.deepStrictEqual(wire(simulation), ["1 pay", "1 ping"])
      assert.deepStrictEqual(lossesOf(events), [unauthorized])
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.attempts, [0])
      assert.strictEqual(simulation.live, 0)
      allowed = true
      assert.deepInclude(yield* connection.reconnect, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(yield* connection.callTool({ name: "pay" }), text("pay on 2"))
    })
  )

  it.effect("a probe that is answered: the one request was refused, the session serves on", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(named("pay"), unauthorized, 100) })
      const connection = yield* connect(simulation)
      yield* Effect.flip(connection.callTool({ name: "pay" }))
      yield* settle
      assert.deepStrictEqual(wire(simulation), ["1 pay", "1 ping"])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      assert.deepStrictEqual(yield* connection.callTool({ name: "read" }), text("read on 1"))
    })
  )

  it.effect("others who wait for the same probe hear of Failed", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) => (isPing(call) ? Effect.fail(unauthorized) : Effect.fail(cut))
      })
      const connection = yield* connect(simulation)
      const list = yield* Effect.forkChild(Effect.flip(connection.listTools()))
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* advance("1 second")
      assert.deepInclude(yield* Fiber.join(list), { _tag: "ConnectionUnavailable", because: "Failed" })
      assert.strictEqual((yield* Fiber.join(pay))._tag, "OutcomeUnknown")
    })
  )
})

describe("a request that was not sent", () => {
  it.effect("although the server answers its probes is sent again after growing pauses, until `wait` ends", () =>
    Effect.gen(function* () {
      const tried: Array<number> = []
      const simulation = http({
        send: (call) =>
          isCall(call)
            ? Effect.andThen(
                Effect.clockWith((clock) => Effect.sync(() => tried.push(clock.currentTimeMillisUnsafe()))),
                Effect.fail(refusedConnection)
              )
            : Effect.void
      })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      for (let i = 0; i < 300; i += 1) yield* advance("100 millis")
      assert.deepInclude(yield* Fiber.join(pay), {
        _tag: "ConnectionUnavailable",
        because: "WaitElapsed",
        delivery: "NotSent"
      })
      const pauses = tried.slice(1).map((at, i) => at - (tried[i] ?? 0))
      assert.isAtLeast(tried.length, 3)
      assert.isAtMost(tried.length, 60, "that is a storm")
      assert.isAbove(pauses.at(-2) ?? 0, pauses[0] ?? 0)
      assert.isAtMost(tried.at(-1) ?? 0, 30_000)
      assert.deepStrictEqual(simulation.log, ["open 1"])
      assert.deepStrictEqual(simulation.ran, [])
    })
  )

  it.effect("is sent again as soon as the network is back, and runs once", () =>
    Effect.gen(function* () {
      let down = true
      const simulation = http({ send: (call) => (isCall(call) && down ? Effect.fail(refusedConnection) : Effect.void) })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("3 seconds")
      down = false
      for (let i = 0; i < 10; i += 1) yield* advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
      assert.deepStrictEqual(simulation.ran, ["pay"])
    })
  )

  it.effect("the error says NotSent although a byte may have been handed over: that counts", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(named("pay"), refusedConnection) })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
    })
  )
})

describe("a pause between two sendings", () => {
  /** A call that is never sent, and whose next sending is due in a while. */
  const pausing = Effect.fnUntraced(function* (options: Partial<McpConnection.Options> = {}) {
    let down = true
    const simulation = http({
      send: (call) => (isCall(call) && call.generation === 1 && down ? Effect.fail(refusedConnection) : Effect.void)
    })
    const connection = yield* connect(simulation, options)
    const pay = yield* Effect.forkChild(Effect.exit(connection.callTool({ name: "pay" })))
    // Sent at 0, 0, 250, 750, 1750, 3750 and 7750 ms: the next is due at 15750 ms.
    yield* advance("1 second")
    yield* advance("1 second")
    yield* advance("2 seconds")
    yield* advance("4 seconds")
    assert.isUndefined(pay.pollUnsafe())
    return { simulation, connection, pay, up: () => void (down = false) }
  })

  it.effect("ends when the connection closes", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { pay } = yield* pausing().pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      yield* settle
      const exit = yield* Effect.flatten(Fiber.join(pay)).pipe(Effect.flip)
      assert.deepInclude(exit, { _tag: "ConnectionClosed", delivery: "NotSent" })
    })
  )

  it.effect("ends when there is a new session", () =>
    Effect.gen(function* () {
      const { connection, pay, simulation } = yield* pausing()
      yield* connection.refresh
      yield* settle
      assert.deepStrictEqual(pay.pollUnsafe() && (yield* Effect.flatten(Fiber.join(pay))), text("pay on 2"))
      assert.deepStrictEqual(simulation.generationsOf("tools/call"), [2])
    })
  )

  it.effect("that the session does not outlive: the call goes on with the next one", () =>
    Effect.gen(function* () {
      const { pay, simulation } = yield* pausing()
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(pay.pollUnsafe() && (yield* Effect.flatten(Fiber.join(pay))), text("pay on 2"))
    })
  )

  it.effect("counts for maxWaiting, like all waiting", () =>
    Effect.gen(function* () {
      const { connection } = yield* pausing({ maxWaiting: 1 })
      assert.strictEqual((yield* connection.health).waiting, 1)
    })
  )
})

describe("what a server that may have been restarted promises", () => {
  it.effect("after a NetworkFailed that the probe cleared the lists are read again, and a change is told", () =>
    Effect.gen(function* () {
      const simulation = http()
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const events = yield* collect(connection)
      simulation.behavior.handle = failing(isCall, reset)
      simulation.behavior.listed = () => [tool("pay"), tool("read", { readOnlyHint: true }), tool("new")]
      simulation.sent.splice(0)
      yield* connection.callTool({ name: "read" })
      yield* advance("3 seconds")
      assert.include(tagsOf(events), "CatalogChanged")
      assert.lengthOf((yield* connection.catalog).tools?.items ?? [], 3)
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("a tool whose hint was taken away is not sent again", () =>
    Effect.gen(function* () {
      const simulation = http()
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      simulation.behavior.listed = () => [tool("pay"), tool("read")]
      simulation.behavior.handle = failing(isCall, cut)
      assert.strictEqual((yield* Effect.flip(connection.callTool({ name: "read" })))._tag, "OutcomeUnknown")
      assert.lengthOf(simulation.generationsOf("tools/call"), 1)
    })
  )

  it.effect("a tool that is gone is not sent again", () =>
    Effect.gen(function* () {
      const simulation = http()
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      simulation.behavior.listed = () => []
      simulation.behavior.handle = failing(isCall, reset)
      assert.strictEqual((yield* Effect.flip(connection.callTool({ name: "read" })))._tag, "OutcomeUnknown")
    })
  )

  it.effect("nobody has ever asked for the list, and it was only read to replay: it is no promise the next time", () =>
    Effect.gen(function* () {
      const failTwice = failing(isCall, cut)
      const simulation = http({ handle: failTwice })
      const connection = yield* connect(simulation)
      yield* connection.callTool({ name: "read" })
      simulation.behavior.listed = () => [tool("read")]
      simulation.behavior.handle = failing(isCall, cut)
      assert.strictEqual((yield* Effect.flip(connection.callTool({ name: "read" })))._tag, "OutcomeUnknown")
    })
  )

  it.effect("also when the failure joined a suspicion that says nothing of a restart", () =>
    Effect.gen(function* () {
      const failOnce = failing(named("read"), reset)
      const simulation = http({ handle: (call) => (call.tool === "pay" ? Effect.fail(busy(2, 429)) : failOnce(call)) })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* Effect.forkScoped(Effect.ignore(connection.callTool({ name: "pay" })))
      yield* settle
      simulation.behavior.listed = () => [tool("read")]
      const read = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "read" })))
      yield* advance("2 seconds")
      assert.strictEqual((yield* Fiber.join(read))._tag, "OutcomeUnknown")
    })
  )

  it.effect("a server that is busy (429) was not restarted: its lists are not read again", () =>
    Effect.gen(function* () {
      const simulation = http()
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      simulation.behavior.handle = failing(isCall, busy(1, 429))
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("5 seconds")
      yield* Fiber.join(pay)
      assert.lengthOf(simulation.generationsOf("tools/list"), 1)
    })
  )

  it.effect("a list that was asked for before the failure, and comes after it, is no promise", () =>
    Effect.gen(function* () {
      const listed = yield* Deferred.make<void>()
      let lists = 0
      const failOnce = failing(isCall, cut)
      const simulation = http({
        handle: (call) =>
          call.ticket.method !== "tools/list"
            ? failOnce(call)
            : Effect.suspend(() =>
                (lists += 1) === 1
                  ? // The old server's answer is slow, the new one's is not.
                    Effect.as(Deferred.await(listed), { tools: [tool("read", { readOnlyHint: true })] })
                  : Effect.as(Deferred.await(listed), { tools: [tool("read")] })
              )
      })
      const connection = yield* connect(simulation)
      const early = yield* Effect.forkChild(connection.listTools())
      yield* settle
      const read = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "read" })))
      yield* settle
      yield* Deferred.succeed(listed, undefined)
      yield* settle
      yield* Fiber.join(early)
      assert.strictEqual((yield* Fiber.join(read))._tag, "OutcomeUnknown")
      assert.strictEqual(lists, 2)
    })
  )
})

describe("UnexpectedStatus", () => {
  it.effect("404 on the first attempt: the URL is wrong: Failed", () =>
    Effect.gen(function* () {
      const simulation = http({ open: () => Effect.fail(notFound) })
      const connection = yield* connect(simulation)
      const state = yield* connection.state
      assert(state._tag === "Failed")
      assert.strictEqual(state.error, notFound)
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.attempts, [0])
    })
  )

  it.effect("404 once a session has served: a deployment: tried again", () =>
    Effect.gen(function* () {
      const simulation = http({ open: (n) => (n === 1 || n > 3 ? Effect.void : Effect.fail(notFound)) })
      const connection = yield* connect(simulation)
      yield* simulation.current.lose()
      yield* advance("3 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.lengthOf(simulation.attempts, 4)
    })
  )

  it.effect("404 of the second attempt, when none has served yet: Failed", () =>
    Effect.gen(function* () {
      const simulation = http({ open: (n) => Effect.fail(n === 1 ? refusedConnection : notFound) })
      const connection = yield* connect(simulation)
      yield* advance("1 second")
      assert.strictEqual((yield* connection.state)._tag, "Failed")
    })
  )

  it.effect("404 of a request and of the probe: the session is lost, and a new one tried", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (call.generation > 1 ? call.run : Effect.fail(notFound)) })
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      const list = yield* Effect.forkChild(Effect.exit(connection.listTools()))
      yield* advance("2 seconds")
      assert.deepStrictEqual(lossesOf(events), [notFound])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.isDefined(list.pollUnsafe())
    })
  )
})

describe("other signs of trouble", () => {
  it.effect("a heartbeat that fails with a ConnectionError: the session is probed, and stays when it answers", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(isPing, badGateway) })
      const connection = yield* connect(simulation, { heartbeat: {} })
      yield* advance("31 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.log, ["open 1"])
      assert.isAtMost(simulation.sent.length, 5)
    })
  )

  it.effect("a heartbeat that fails with a ConnectionError, and so does the probe: the session is lost", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (call.generation === 1 ? Effect.fail(badGateway) : call.run) })
      const connection = yield* connect(simulation, { heartbeat: {} })
      const events = yield* collect(connection)
      yield* advance("32 seconds")
      assert.deepStrictEqual(lossesOf(events), [badGateway])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )

  it.effect("a heartbeat that finds the session expired: a new one, at once", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (call.generation === 1 ? Effect.fail(expired) : call.run) })
      const connection = yield* connect(simulation, { heartbeat: {}, policy: ReconnectPolicy.default })
      const events = yield* collect(connection)
      yield* advance("30 seconds")
      assert.deepStrictEqual(lossesOf(events), [expired])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2, since: 30_000 })
    })
  )

  it.effect("what the transport tells of (onSuspect): a probe decides", () =>
    Effect.gen(function* () {
      const simulation = http()
      const connection = yield* connect(simulation)
      yield* simulation.current.suspect(cut)
      yield* simulation.current.suspect(cut)
      yield* settle
      assert.deepStrictEqual(wire(simulation), ["1 ping"])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      simulation.behavior.handle = (call) => (call.generation === 1 ? Effect.fail(badGateway) : call.run)
      const events = yield* collect(connection)
      yield* simulation.current.suspect(cut)
      yield* advance("1 second")
      assert.deepStrictEqual(lossesOf(events), [badGateway])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )

  it.effect("onSuspect of SessionExpired needs no probe", () =>
    Effect.gen(function* () {
      const simulation = http()
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      yield* simulation.current.suspect(expired)
      yield* advance("1 second")
      assert.deepStrictEqual(simulation.sent, [])
      assert.deepStrictEqual(lossesOf(events), [expired])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )

  it.effect("onSuspect while the session is being restored publishes nothing early, and loses nothing later", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const simulation = http()
      const connection = yield* connect(simulation, { onSession: () => Deferred.await(hold) })
      yield* simulation.current.suspect(cut)
      yield* advance("1 second")
      assert.deepStrictEqual(simulation.sent, [])
      assert.strictEqual((yield* connection.state)._tag, "Connecting")
      yield* Deferred.succeed(hold, undefined)
      yield* advance("10 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("a setting that fails on a session that stays is made again: the level is what was wished", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing((call) => call.ticket.method === "logging/setLevel", reset) })
      const connection = yield* connect(simulation)
      yield* connection.setLogLevel("debug")
      assert.deepStrictEqual(wire(simulation), ["1 logging/setLevel", "1 ping", "1 logging/setLevel"])
    })
  )

  it.effect("a setting that cannot be made on a session that stays: its caller is told", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: failing((call) => call.ticket.method === "logging/setLevel", reset, 100)
      })
      const connection = yield* connect(simulation)
      const setting = yield* Effect.forkChild(Effect.flip(connection.setLogLevel("debug")))
      yield* advance("30 seconds")
      assert.strictEqual((yield* Fiber.join(setting))._tag, "ConnectionUnavailable")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("a setting under which the session is lost is no failure: the next one has it", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: (call) => (call.generation === 1 ? Effect.fail(cut) : call.run) })
      const connection = yield* connect(simulation)
      const setting = yield* Effect.forkChild(connection.setLogLevel("debug"))
      yield* advance("1 second")
      yield* Fiber.join(setting)
      assert.include(wire(simulation), "2 logging/setLevel")
    })
  )

  it.effect("a subscription (legacy) that fails on a session that stays is made again", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing((call) => call.ticket.method === "resources/subscribe", busy(2)) })
      const connection = yield* connect(simulation)
      const reading = yield* Effect.forkDetach(Stream.runDrain(connection.resourceUpdates("file:///a")))
      yield* advance("3 seconds")
      assert.isUndefined(reading.pollUnsafe())
      assert.deepStrictEqual(timed(simulation), ["0 resources/subscribe", "2000 ping", "2000 resources/subscribe"])
      yield* Fiber.interrupt(reading)
    })
  )

  it.effect("an unsubscription that fails on a session that stays is made again", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing((call) => call.ticket.method === "resources/unsubscribe", cut) })
      const connection = yield* connect(simulation)
      const reading = yield* Effect.forkDetach(Stream.runDrain(connection.resourceUpdates("file:///a")))
      yield* settle
      yield* Fiber.interrupt(reading)
      yield* advance("1 second")
      assert.lengthOf(simulation.generationsOf("resources/unsubscribe"), 2)
    })
  )

  it.effect("lists that cannot be read again on a session that is good are asked for after growing pauses", () =>
    Effect.gen(function* () {
      const simulation = http()
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      simulation.behavior.handle = failing((call) => call.ticket.method === "tools/list", reset, 1000)
      simulation.sent.splice(0)
      yield* simulation.current.tell({ method: "notifications/tools/list_changed", params: undefined })
      yield* advance("10 minutes")
      assert.isAtLeast(simulation.generationsOf("tools/list").length, 10)
      assert.isAtMost(simulation.generationsOf("tools/list").length, 40, "that is a storm")
      assert.deepStrictEqual(simulation.log, ["open 1"])
      simulation.behavior.handle = (call) => call.run
      yield* advance("31 seconds")
      assert.isFalse((yield* connection.catalog).tools?.stale)
    })
  )

  it.effect("the server is left alone until Retry-After has passed: by heartbeats, too", () =>
    Effect.gen(function* () {
      const simulation = http({ handle: failing(isCall, busy(20)) })
      const connection = yield* connect(simulation, { heartbeat: { interval: "2 seconds", timeout: "1 second" } })
      const pay = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* advance("19999 millis")
      assert.deepStrictEqual(timed(simulation), ["0 pay"])
      yield* advance("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(pay), text("pay on 1"))
    })
  )

  it.effect(
    "refresh during a suspicion: who waits goes on with the new session, and the old one's verdict is nothing",
    () =>
      Effect.gen(function* () {
        const simulation = http({
          handle: (call) => (call.generation > 1 ? call.run : isPing(call) ? Effect.never : Effect.fail(cut))
        })
        const connection = yield* connect(simulation)
        const events = yield* collect(connection)
        const list = yield* Effect.forkChild(connection.listTools())
        yield* advance("1 second")
        assert.deepInclude(yield* connection.refresh, { _tag: "Ready", generation: 2 })
        yield* settle
        assert.lengthOf(yield* Fiber.join(list), 2)
        yield* advance("5 minutes")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
        assert.notInclude(tagsOf(events), "SessionLost")
        assert.strictEqual(simulation.live, 1)
      })
  )

  it.effect("the session is lost while refresh opens its successor: nobody is asked twice", () =>
    Effect.gen(function* () {
      const simulation = http({
        open: (n) => (n === 1 ? Effect.void : Effect.sleep("2 seconds")),
        handle: (call) => (call.generation > 1 ? call.run : isPing(call) ? Effect.fail(reset) : Effect.fail(cut))
      })
      const connection = yield* connect(simulation)
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* advance("1 second")
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("1 second")
      assert.deepInclude(yield* Fiber.join(refreshing), { _tag: "Ready", generation: 2 })
      assert.lengthOf(yield* Fiber.join(list), 2)
      assert.strictEqual(simulation.mostOpening, 1)
    })
  )

  it.effect("a request that fails on a draining session goes to the one that serves, which is not suspect", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) =>
          call.generation === 1 && isCall(call) ? Effect.andThen(Effect.sleep("5 seconds"), Effect.fail(cut)) : call.run
      })
      const connection = yield* connect(simulation)
      const read = yield* Effect.forkChild(connection.callTool({ name: "read" }))
      yield* settle
      yield* connection.refresh
      yield* advance("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(read), text("read on 2"))
      assert.deepStrictEqual(wire(simulation), ["1 read", "2 tools/list", "2 read"])
    })
  )

  it.effect("onSuspect of a draining or closed session is nothing", () =>
    Effect.gen(function* () {
      const simulation = http({
        handle: (call) => (isCall(call) ? Effect.never : isPing(call) ? Effect.fail(reset) : call.run)
      })
      const connection = yield* connect(simulation)
      const first = simulation.current
      yield* Effect.forkScoped(Effect.ignore(connection.callTool({ name: "pay" })))
      yield* settle
      yield* connection.refresh
      yield* first.suspect(reset)
      yield* first.suspect(expired)
      yield* advance("40 seconds")
      yield* first.suspect(reset)
      yield* first.suspect(expired)
      yield* advance("1 minute")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(simulation.generationsOf("ping"), [])
    })
  )

  it.effect("over a shared channel one failed request is still the loss of the session", () =>
    Effect.gen(function* () {
      const simulation = http({
        isolation: "shared",
        handle: (call) => (call.generation === 1 ? Effect.fail(cut) : call.run)
      })
      const connection = yield* connect(simulation)
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("1 second")
      assert.lengthOf(yield* Fiber.join(list), 2)
      assert.deepStrictEqual(simulation.generationsOf("ping"), [])
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
    })
  )
})
