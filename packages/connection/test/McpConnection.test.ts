import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited, failure } from "@mcp-tether/testing/SimulatedServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Reasons from "../src/ConnectionError.ts"
import type * as ConnectionEvent from "../src/ConnectionEvent.ts"
import * as ConnectionState from "../src/ConnectionState.ts"
import * as McpConnection from "../src/McpConnection.ts"
import { connect, everySecond } from "./support/connect.ts"
import { advance, settle } from "./support/time.ts"

const unauthorized = failure(new Reasons.Unauthorized({ status: 401 }))

describe(`start: "required"`, () => {
  it.effect("is the default: make returns when the session serves", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("3 seconds") })
      const made = yield* Effect.forkScoped(McpConnection.make({ transport: simulation.transport }))
      yield* advance("2 seconds")
      assert.isUndefined(made.pollUnsafe())
      yield* advance("1 second")
      const connection = yield* Fiber.join(made)
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1, since: 3000 })
    })
  )

  it.effect("waits through failures that another attempt can heal", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: (n) => (n < 4 ? Effect.fail(exited) : Effect.void) })
      const made = yield* Effect.forkScoped(
        McpConnection.make({ transport: simulation.transport, policy: everySecond })
      )
      yield* advance("3 seconds")
      assert.strictEqual((yield* (yield* Fiber.join(made)).state)._tag, "Ready")
    })
  )

  it.effect("fails at once with an error that reconnecting cannot heal, and leaves nothing", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(unauthorized) })
      const error = yield* Effect.flip(McpConnection.make({ transport: simulation.transport }))
      assert.strictEqual(error, unauthorized)
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.attempts, [0])
      assert.strictEqual(simulation.live, 0)
    })
  )

  it.effect("fails with the last error when the policy ends", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const policy = Schedule.upTo(everySecond, { times: 2 })
      const made = yield* Effect.forkChild(Effect.flip(McpConnection.make({ transport: simulation.transport, policy })))
      yield* advance("2 seconds")
      assert.strictEqual(yield* Fiber.join(made), exited)
      assert.lengthOf(simulation.attempts, 3)
    })
  )

  it.effect("fails with the last error after startWithin, and stops trying", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const made = yield* Effect.forkChild(
        Effect.flip(McpConnection.make({ transport: simulation.transport, policy: everySecond }))
      )
      yield* advance("59 seconds")
      assert.isUndefined(made.pollUnsafe())
      yield* advance("1 second")
      assert.strictEqual(yield* Fiber.join(made), exited)
      const { length } = simulation.attempts
      yield* advance("1 hour")
      assert.lengthOf(simulation.attempts, length)
    })
  )

  it.effect("fails with StartupTimeout after startWithin when the first handshake hangs, and closes it", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
      const made = yield* Effect.forkChild(
        Effect.flip(McpConnection.make({ transport: simulation.transport, startWithin: "5 seconds" }))
      )
      yield* advance("5 seconds")
      const error = yield* Fiber.join(made)
      assert(error._tag === "ConnectionError")
      assert.strictEqual(error.reason._tag, "StartupTimeout")
      assert.strictEqual(simulation.live, 0)
    })
  )

  it.effect("fails at once when its scope is closed meanwhile", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
      const scope = yield* Scope.make()
      const made = yield* McpConnection.make({ transport: simulation.transport }).pipe(
        Scope.provide(scope),
        Effect.flip,
        Effect.forkChild({ startImmediately: true })
      )
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* settle
      const error = made.pollUnsafe()
      assert(error !== undefined && Exit.isSuccess(error) && error.value._tag === "ConnectionError")
      assert.include(error.value.message, "closed before there was a session")
      assert.strictEqual(simulation.live, 0)
    })
  )

  it.effect.each([
    ["before startupTimeout", 20],
    ["at the same time as startupTimeout", 10]
  ] as const)("fails with the server's last words when startWithin ends %s", ([, seconds]) =>
    Effect.gen(function* () {
      let words = "nothing yet"
      const simulation = SimulatedServer.makeUnsafe({
        open: (_, { setStderrTail }) => {
          setStderrTail(() => words)
          return Effect.never
        }
      })
      const made = yield* McpConnection.make({
        transport: simulation.transport,
        startWithin: "10 seconds",
        startupTimeout: Duration.seconds(seconds)
      }).pipe(Effect.flip, Effect.forkScoped)
      yield* settle
      words = "waiting for the license server"
      yield* advance("10 seconds")
      const error = yield* Fiber.join(made)
      assert(error._tag === "ConnectionError")
      assert.strictEqual(error.reason._tag, "StartupTimeout")
      assert.strictEqual(error.stderrTail, words)
    })
  )

  it.effect("leaves nothing when make is interrupted", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
      const made = yield* Effect.forkChild(McpConnection.make({ transport: simulation.transport }).pipe(Effect.scoped))
      yield* settle
      assert.strictEqual(simulation.live, 1)
      yield* Fiber.interrupt(made)
      assert.strictEqual(simulation.live, 0)
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.attempts, [0])
    })
  )
})

describe(`start: "background"`, () => {
  it.effect("make returns at once, and requests wait", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("3 seconds") })
      const connection = yield* McpConnection.make({ transport: simulation.transport, start: "background" })
      assert.include(["Idle", "Connecting"], (yield* connection.state)._tag)
      const call = yield* Effect.forkChild(connection.ping())
      yield* advance("3 seconds")
      yield* Fiber.join(call)
      assert.deepStrictEqual(simulation.attempts, [0])
    })
  )

  it.effect("make succeeds although the server can never be reached", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(unauthorized) })
      const connection = yield* McpConnection.make({ transport: simulation.transport, start: "background" })
      yield* settle
      assert.deepStrictEqual(
        yield* connection.state,
        ConnectionState.Failed({ error: unauthorized, lostAt: undefined })
      )
      assert.deepInclude(yield* Effect.flip(connection.awaitReady), { because: "Failed", cause: unauthorized })
    })
  )
})

describe(`start: "lazy"`, () => {
  it.effect("opens nothing before the first request", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* McpConnection.make({ transport: simulation.transport, start: "lazy" })
      yield* advance("1 hour")
      assert.deepStrictEqual(yield* connection.state, ConnectionState.Idle())
      assert.lengthOf(simulation.attempts, 0)
      yield* connection.ping()
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("a thousand first requests open one session, and all are answered", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("1 second") })
      const connection = yield* McpConnection.make({ transport: simulation.transport, start: "lazy" })
      const calls = yield* Effect.forEach(Array.from({ length: 1000 }), () =>
        Effect.forkChild(connection.callTool({ name: "a" }))
      )
      yield* advance("1 second")
      yield* Fiber.joinAll(calls)
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.log, ["open 1"])
      assert.lengthOf(simulation.ran, 1000)
    })
  )

  it.effect(`a request with wait: "none" fails at once and opens nothing`, () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* McpConnection.make({ transport: simulation.transport, start: "lazy" })
      const error = yield* Effect.flip(connection.ping({ wait: "none" }))
      assert.deepInclude(error, { _tag: "ConnectionUnavailable", because: "NotWaiting", state: "Idle" })
    })
  )
})

describe("layer", () => {
  it.effect("provides the connection for as long as it is built", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const program = Effect.gen(function* () {
        const connection = yield* McpConnection.McpConnection
        return yield* connection.callTool({ name: "a" })
      })
      const result = yield* program.pipe(Effect.provide(McpConnection.layer({ transport: simulation.transport })))
      assert.deepStrictEqual(result.content, [{ type: "text", text: "a on 1" }])
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1"])
    })
  )

  it.effect("fails with the ConnectionError when the server cannot be reached", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(unauthorized) })
      const error = yield* Layer.build(McpConnection.layer({ transport: simulation.transport })).pipe(Effect.flip)
      assert.strictEqual(error, unauthorized)
    })
  )
})

describe("closing", () => {
  /** A connection whose scope the test closes. */
  const closable = Effect.fnUntraced(function* (
    simulation: SimulatedServer.SimulatedServer,
    options: Partial<McpConnection.Options> = {}
  ) {
    const scope = yield* Scope.make()
    const connection = yield* connect(simulation, options).pipe(Scope.provide(scope))
    return { connection, close: Scope.close(scope, Exit.void) }
  })

  const afterwards = Effect.fnUntraced(function* (
    connection: McpConnection.Shape,
    simulation: SimulatedServer.SimulatedServer
  ) {
    assert.deepStrictEqual(yield* connection.state, ConnectionState.Closed())
    assert.strictEqual(simulation.live, 0)
    const late = yield* Effect.flip(connection.callTool({ name: "late" }))
    assert.deepInclude(late, { _tag: "ConnectionClosed", delivery: "NotSent" })
    const { length } = simulation.attempts
    yield* advance("1 hour")
    assert.lengthOf(simulation.attempts, length)
    assert.deepStrictEqual(yield* connection.state, ConnectionState.Closed())
  })

  it.effect("while Idle", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const { close, connection } = yield* closable(simulation, { start: "lazy" })
      yield* close
      yield* afterwards(connection, simulation)
      assert.lengthOf(simulation.attempts, 0)
    })
  )

  it.effect("while a handshake hangs: it is interrupted, and whoever waits gets ConnectionClosed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
      const { close, connection } = yield* closable(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      const ready = yield* Effect.forkChild(Effect.flip(connection.awaitReady))
      const reconnect = yield* Effect.forkChild(Effect.flip(connection.reconnect))
      yield* settle
      yield* close
      for (const error of yield* Fiber.joinAll([call, ready, reconnect])) {
        assert.deepInclude(error, { _tag: "ConnectionClosed", delivery: "NotSent" })
      }
      yield* afterwards(connection, simulation)
    })
  )

  it.effect("while a backoff is waited for", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const { close, connection } = yield* closable(simulation, { policy: Schedule.spaced("1 minute") })
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* settle
      yield* close
      assert.deepInclude(yield* Fiber.join(call), { _tag: "ConnectionClosed", delivery: "NotSent" })
      yield* afterwards(connection, simulation)
    })
  )

  it.effect("while Ready with calls in flight: each gets ConnectionClosed that says how far it got", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        send: (call) => (call.tool === "unsent" ? Effect.never : Effect.void),
        handle: () => Effect.never
      })
      const { close, connection } = yield* closable(simulation)
      const sent = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "sent" })))
      const unsent = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "unsent" })))
      const list = yield* Effect.forkChild(Effect.flip(connection.listTools()))
      yield* settle
      yield* close
      assert.deepInclude(yield* Fiber.join(sent), { _tag: "ConnectionClosed", delivery: "Unknown" })
      assert.deepInclude(yield* Fiber.join(unsent), { _tag: "ConnectionClosed", delivery: "NotSent" })
      assert.deepInclude(yield* Fiber.join(list), { _tag: "ConnectionClosed", delivery: "Unknown" })
      yield* afterwards(connection, simulation)
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1"])
    })
  )

  it.effect("while a call that may have run waits to be sent again: ConnectionClosed, delivery Unknown", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: (n) => (n === 1 ? Effect.void : Effect.never),
        handle: () => Effect.never
      })
      const { close, connection } = yield* closable(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* settle
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.isUndefined(call.pollUnsafe())
      yield* close
      assert.deepInclude(yield* Fiber.join(call), { _tag: "ConnectionClosed", delivery: "Unknown" })
      yield* afterwards(connection, simulation)
    })
  )

  it.effect("while Failed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(unauthorized) })
      const { close, connection } = yield* closable(simulation)
      yield* close
      yield* afterwards(connection, simulation)
    })
  )

  it.effect("while a dead session closes slowly: it is waited for", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        close: (n) => (n === 1 ? Effect.sleep("5 seconds") : Effect.void)
      })
      const { close, connection } = yield* closable(simulation)
      yield* simulation.current.lose()
      yield* advance("2 seconds")
      const closed = yield* Effect.forkChild(close)
      yield* advance("2 seconds")
      assert.isUndefined(closed.pollUnsafe())
      assert.deepStrictEqual(yield* connection.state, ConnectionState.Closed())
      yield* advance("1 second")
      yield* Fiber.join(closed)
      yield* afterwards(connection, simulation)
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2", "close 2"])
    })
  )

  it.effect("callers are not kept waiting by a session that closes slowly", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: () => Effect.never,
        close: () => Effect.sleep("10 seconds")
      })
      const { close, connection } = yield* closable(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
      yield* settle
      const closed = yield* Effect.forkChild(close)
      yield* settle
      assert.strictEqual((yield* Fiber.join(call))._tag, "ConnectionClosed")
      yield* advance("10 seconds")
      yield* Fiber.join(closed)
    })
  )

  it.effect("abandons after closeTimeout what does not let go: a finalizer that hangs", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ close: () => Effect.never })
      const { close, connection } = yield* closable(simulation, { closeTimeout: "5 seconds" })
      yield* simulation.current.lose()
      yield* advance("1 second")
      const closed = yield* Effect.forkChild(close)
      yield* advance("4 seconds")
      assert.isUndefined(closed.pollUnsafe())
      yield* advance("1 second")
      yield* Fiber.join(closed)
      assert.deepStrictEqual(yield* connection.state, ConnectionState.Closed())
    })
  )

  it.effect("takes as long as the transport says it can take, unless closeTimeout is given, and else 15 seconds", () =>
    Effect.gen(function* () {
      const minute = { closeWithin: () => Duration.minutes(1) }
      for (const [transport, options, seconds] of [
        [minute, {}, 60],
        [minute, { closeTimeout: undefined }, 60],
        [minute, { closeTimeout: "5 seconds" }, 5],
        [{}, {}, 15]
      ] as const) {
        const simulation = SimulatedServer.makeUnsafe({ close: () => Effect.never })
        const { close } = yield* closable(simulation, {
          ...options,
          transport: { ...simulation.transport, ...transport }
        })
        const closed = yield* Effect.forkChild(close)
        yield* advance(Duration.millis(seconds * 1000 - 1))
        assert.isUndefined(closed.pollUnsafe())
        yield* advance("1 millis")
        assert.strictEqual(closed.pollUnsafe()?._tag, "Success")
      }
    })
  )

  it.effect(
    "abandons after closeTimeout, in all, a handshake that cannot be interrupted and a finalizer that hangs",
    () =>
      Effect.gen(function* () {
        const released = yield* Deferred.make<void>()
        const simulation = SimulatedServer.makeUnsafe({
          open: (n) => (n === 1 ? Effect.void : Effect.uninterruptible(Deferred.await(released))),
          close: (n) => (n === 1 ? Effect.never : Effect.void)
        })
        const { close, connection } = yield* closable(simulation, { closeTimeout: "5 seconds" })
        yield* simulation.current.lose()
        yield* advance("1 second")
        const closed = yield* Effect.forkChild(close)
        yield* advance("5 seconds")
        assert.strictEqual(closed.pollUnsafe()?._tag, "Success")
        // When the handshake comes to an end after all, its session is not left open, and nobody is handed it.
        yield* Deferred.succeed(released, undefined)
        yield* settle
        assert.strictEqual(simulation.live, 1, "only the session whose finalizer hangs")
        assert.deepStrictEqual(yield* connection.state, ConnectionState.Closed())
        assert.strictEqual((yield* Effect.flip(connection.ping()))._tag, "ConnectionClosed")
      })
  )

  it.effect("is not stopped by a finalizer that dies", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ close: () => Effect.die(new Error("bug")) })
      const { close, connection } = yield* closable(simulation)
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* close
      yield* afterwards(connection, simulation)
    })
  )

  it.effect("leaves no fiber", () =>
    Effect.gen(function* () {
      let fibers = 0
      const counting = Effect.provideService(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => {
          fibers += 1
        },
        recordFiberEnd: () => {
          fibers -= 1
        }
      })
      for (const end of ["ready", "untold", "sleeping", "hanging", "failed"] as const) {
        const simulation = SimulatedServer.makeUnsafe({
          open: (n) =>
            n === 1 || end === "ready" || end === "untold"
              ? Effect.void
              : end === "sleeping"
                ? Effect.fail(exited)
                : end === "failed"
                  ? Effect.fail(unauthorized)
                  : Effect.never,
          handle: (call) => (call.tool === "hang" ? Effect.never : call.run),
          lost: (session) => (end === "untold" ? Effect.never : session.lost)
        })
        const before = fibers
        yield* Effect.gen(function* () {
          const { close, connection } = yield* closable(simulation, { heartbeat: {} })
          yield* Effect.forkDetach(connection.callTool({ name: "hang" }))
          yield* Effect.forkDetach(Stream.runDrain(connection.changes))
          yield* Effect.forkDetach(Stream.runDrain(connection.events))
          yield* advance("20 seconds")
          yield* simulation.current.lose()
          yield* advance("1500 millis")
          yield* Effect.forkDetach(connection.awaitReady)
          yield* settle
          assert.isAbove(fibers, before)
          yield* close
          yield* settle
        }).pipe(counting)
        assert.strictEqual(fibers, before, end)
        assert.strictEqual(simulation.live, 0)
      }
    })
  )
})

describe("changes and events", () => {
  const collect = <A>(stream: Stream.Stream<A>) =>
    Effect.gen(function* () {
      const seen: Array<A> = []
      const fiber = yield* stream.pipe(
        Stream.runForEach((a) => Effect.sync(() => seen.push(a))),
        Effect.forkScoped({ startImmediately: true })
      )
      return { seen, fiber }
    })

  const story = Effect.fnUntraced(function* (
    simulation: SimulatedServer.SimulatedServer,
    connection: McpConnection.Shape
  ) {
    const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
    yield* settle
    yield* Fiber.join(call)
    yield* advance("20 seconds")
    simulation.behavior.open = (attempt) => (attempt < 4 ? Effect.fail(exited) : Effect.sleep("100 millis"))
    yield* simulation.current.lose()
    yield* advance("5 seconds")
    yield* Effect.forkScoped(Effect.ignore(connection.reconnect))
    yield* advance("5 seconds")
    simulation.behavior.open = () => Effect.fail(unauthorized)
    yield* simulation.current.lose()
    yield* advance("5 seconds")
  })

  it.effect("changes tells the state now, then every change, none twice, and ends with Closed", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { start: "lazy" }).pipe(Scope.provide(scope))
      const { fiber, seen } = yield* collect(connection.changes)
      yield* story(simulation, connection)
      const late = yield* collect(connection.changes)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(fiber)
      yield* Fiber.join(late.fiber)

      assert.deepStrictEqual(
        seen.map((state) => state._tag),
        [
          "Idle",
          "Connecting", // attempt 1
          "Ready",
          "Reconnecting", // lost
          "Reconnecting", // attempt 1 is due in a second
          "Reconnecting", // it runs, and fails
          "Reconnecting", // attempt 2 is due in a second
          "Reconnecting", // it runs, and fails
          "Reconnecting", // attempt 3 is due in a second
          "Reconnecting", // it runs, and succeeds
          "Ready",
          "Reconnecting", // reconnect
          "Reconnecting", // at once
          "Reconnecting", // it runs
          "Ready",
          "Reconnecting", // lost
          "Reconnecting", // due
          "Reconnecting", // it runs, and fails for good
          "Failed",
          "Closed"
        ]
      )
      seen.slice(1).forEach((state, i) => assert.notDeepEqual(state, seen[i]))
      assert.deepStrictEqual(
        late.seen.map((state) => state._tag),
        ["Failed", "Closed"]
      )
      assert.deepStrictEqual(yield* Stream.runCollect(connection.changes), [ConnectionState.Closed()])
      assert.deepStrictEqual(yield* Stream.runCollect(connection.events), [])
    })
  )

  it.effect("the state is the fold of the events, which come in order", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { start: "lazy" }).pipe(Scope.provide(scope))
      const events = yield* collect(connection.events)
      const states = yield* collect(connection.changes)
      yield* story(simulation, connection)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(events.fiber)
      yield* Fiber.join(states.fiber)

      const failed = ["AttemptScheduled", "AttemptStarted", "AttemptFailed"] as const
      const opened = ["AttemptScheduled", "AttemptStarted", "SessionReady"] as const
      let state = ConnectionState.initial
      const folded = [state]
      for (const event of events.seen) {
        const next = ConnectionState.transition(state, event)
        if (next !== state) folded.push(next)
        state = next
      }
      assert.deepStrictEqual(folded, states.seen)
      events.seen.slice(1).forEach((event, i) => assert.isAtLeast(event.at, events.seen[i]?.at ?? 0))
      assert.deepStrictEqual(
        events.seen.map((event) => event._tag),
        [
          "AttemptStarted",
          "SessionReady",
          "SessionLost",
          ...failed,
          ...failed,
          ...opened,
          "SessionLost",
          ...opened,
          "SessionLost",
          ...failed,
          "GaveUp",
          "Closed"
        ] satisfies ReadonlyArray<ConnectionEvent.ConnectionEvent["_tag"]>
      )
    })
  )

  it.effect("events tell of the session's life: when it came, whether it was proven, how long there was none", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { start: "lazy" })
      const { seen } = yield* collect(connection.events)
      yield* connection.ping()
      yield* advance("9 seconds")
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* advance("10 seconds")
      yield* simulation.current.lose()
      yield* settle
      assert.containSubset(
        seen.filter((event) => event._tag === "SessionReady" || event._tag === "SessionLost"),
        [
          { _tag: "SessionReady", at: 0, generation: 1, downtimeMillis: undefined },
          { _tag: "SessionLost", at: 9000, generation: 1, proven: false, error: exited },
          { _tag: "SessionReady", at: 10_000, generation: 2, downtimeMillis: 1000 },
          { _tag: "SessionLost", at: 20_000, generation: 2, proven: true, error: exited }
        ]
      )
      assert.deepInclude(seen.at(-1), { _tag: "AttemptScheduled", attempt: 1, delayMillis: 1000, dueAt: 21_000 })
    })
  )

  it.effect("a reader who does not read holds nothing up", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { policy: Schedule.spaced("1 millis") })
      const neverRead = <A>(stream: Stream.Stream<A>) =>
        stream.pipe(
          Stream.runForEach(() => Effect.never),
          Effect.forkScoped({ startImmediately: true })
        )
      yield* neverRead(connection.changes)
      yield* neverRead(connection.events)
      for (let i = 0; i < 400; i += 1) {
        yield* simulation.current.lose()
        yield* advance("1 millis")
      }
      assert.isAtLeast(simulation.sessions.length, 400)
      assert.strictEqual((yield* connection.state)._tag, "Ready")
    })
  )
})
