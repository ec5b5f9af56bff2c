import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited, failure } from "@mcp-tether/testing/SimulatedServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Reasons from "../../src/ConnectionError.ts"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import { connect, everySecond } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const retryable: ReadonlyArray<Reasons.Reason> = [
  new Reasons.SpawnFailed({ command: "server", code: "EMFILE", description: "too many open files" }),
  new Reasons.ProcessExited({ exitCode: 1 }),
  new Reasons.TransportClosed({ description: "EPIPE" }),
  new Reasons.NetworkFailed({ code: "ECONNREFUSED", description: "refused" }),
  new Reasons.NetworkFailed({ code: "ECONNRESET", description: "reset" }),
  new Reasons.SessionExpired({ status: 404 }),
  new Reasons.ServerUnavailable({ status: 503 }),
  new Reasons.ServerUnavailable({ status: 502 }),
  new Reasons.StartupTimeout({ after: Duration.seconds(60) }),
  new Reasons.MalformedResponse({ description: "<html>" }),
  new Reasons.LivenessLost({ missed: 3, silentFor: Duration.seconds(60) })
]

const final: ReadonlyArray<Reasons.Reason> = [
  new Reasons.SpawnFailed({ command: "server", code: "ENOENT", description: "no such command" }),
  new Reasons.Unauthorized({ status: 401 }),
  new Reasons.HandshakeRejected({ code: -32602, description: "no" }),
  new Reasons.UnsupportedProtocol({ description: "no common version" })
]

describe("the table of DESIGN §5, as the supervisor follows it", () => {
  for (const reason of retryable) {
    it.effect(`${reason._tag} (${reason.message}): an attempt that fails with it is followed by another`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe({
          open: (attempt) => (attempt === 1 ? Effect.fail(failure(reason)) : Effect.void)
        })
        const connection = yield* connect(simulation)
        assert.deepInclude(yield* connection.state, { _tag: "Connecting", attempt: 2, nextAttemptAt: 1000 })
        yield* advance("1 second")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
        assert.deepStrictEqual(simulation.attempts, [0, 1000])
      })
    )

    it.effect(`${reason._tag} (${reason.message}): a session lost to it is replaced`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation)
        yield* simulation.current.lose(failure(reason))
        yield* settle
        assert.deepInclude(yield* connection.state, { _tag: "Reconnecting", nextAttemptAt: 1000, lostAt: 0 })
        yield* advance("1 second")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      })
    )
  }

  for (const reason of final) {
    it.effect(`${reason._tag}: an attempt that fails with it is the last`, () =>
      Effect.gen(function* () {
        const error = failure(reason)
        const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(error) })
        const connection = yield* connect(simulation)
        yield* advance("1 hour")
        assert.deepStrictEqual(simulation.attempts, [0])
        assert.deepStrictEqual(yield* connection.state, { _tag: "Failed", error, lostAt: undefined })
        const refused = yield* Effect.flip(connection.callTool({ name: "a" }))
        assert(refused._tag === "ConnectionUnavailable")
        assert.strictEqual(refused.because, "Failed")
        assert.strictEqual(refused.cause, error)
      })
    )

    it.effect(`${reason._tag}: a session lost to it is not replaced`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation)
        yield* advance("1 minute")
        yield* simulation.current.lose(failure(reason))
        yield* advance("1 hour")
        assert.strictEqual((yield* connection.state)._tag, "Failed")
        assert.deepStrictEqual(simulation.log, ["open 1", "close 1"])
      })
    )
  }

  it.effect("MalformedResponse is retried three times in a row, and no more", () =>
    Effect.gen(function* () {
      const malformed = failure(new Reasons.MalformedResponse({ description: "<html>" }))
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(malformed) })
      const connection = yield* connect(simulation)
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.attempts, [0, 1000, 2000, 3000])
      assert.deepStrictEqual(yield* connection.state, { _tag: "Failed", error: malformed, lostAt: undefined })
    })
  )

  it.effect("another failure in between starts the count of MalformedResponse anew", () =>
    Effect.gen(function* () {
      const malformed = failure(new Reasons.MalformedResponse({ description: "<html>" }))
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) => Effect.fail(attempt % 3 === 0 ? exited : malformed)
      })
      const connection = yield* connect(simulation)
      yield* advance("30 seconds")
      assert.lengthOf(simulation.attempts, 31)
      assert.strictEqual((yield* connection.state)._tag, "Connecting")
    })
  )

  it.effect("ServerUnavailable: the next attempt waits for Retry-After", () =>
    Effect.gen(function* () {
      const busy = failure(new Reasons.ServerUnavailable({ status: 503, retryAfter: Duration.seconds(45) }))
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) => (attempt === 1 ? Effect.fail(busy) : Effect.void)
      })
      yield* connect(simulation, { policy: ReconnectPolicy.default })
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.attempts, [0, 45_000])
    })
  )

  it.effect("SessionExpired on a proven session: the next attempt is at once", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      yield* connect(simulation, { policy: ReconnectPolicy.default })
      for (const _ of [1, 2, 3]) {
        yield* advance("10 seconds")
        yield* simulation.current.lose(failure(new Reasons.SessionExpired({ status: 404 })))
        yield* settle
      }
      assert.deepStrictEqual(simulation.attempts, [0, 10_000, 20_000, 30_000])
    })
  )
})

describe("losses", () => {
  it.effect("a session is unpublished before it is closed, and a slow close does not delay the next one", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        close: (generation) => (generation === 1 ? Effect.sleep("10 seconds") : Effect.void)
      })
      const connection = yield* connect(simulation)
      yield* simulation.current.lose()
      yield* settle
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
      const waiting = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(yield* Fiber.join(waiting), { content: [{ type: "text", text: "a on 2" }] })
      assert.strictEqual(simulation.live, 2)
      yield* advance("9 seconds")
      assert.strictEqual(simulation.live, 1)
    })
  )

  it.effect("in the very moment of publication is the loss of a session that served, and no failed attempt", () =>
    Effect.gen(function* () {
      // The first request of whoever waited kills it: that is before the attempt has told that it succeeded.
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.andThen(call.session.lose(), Effect.never) : call.run)
      })
      const connection = yield* connect(simulation, { start: "lazy" })
      const tags: Array<string> = []
      yield* connection.events.pipe(
        Stream.runForEach((event) => Effect.sync(() => tags.push(event._tag))),
        Effect.forkScoped({ startImmediately: true })
      )
      const call = yield* Effect.forkChild(connection.ping())
      yield* advance("1 second")
      yield* Fiber.join(call)
      assert.deepStrictEqual(tags, [
        "AttemptStarted",
        "SessionReady",
        "SessionLost",
        "AttemptScheduled",
        "AttemptStarted",
        "SessionReady",
        "RequestReplayed"
      ])
    })
  )

  it.effect("a loss that is reported of an old session is ignored", () =>
    Effect.gen(function* () {
      const late = yield* Deferred.make<void>()
      const simulation = SimulatedServer.makeUnsafe()
      // A driver whose request outlives its session, and fails long after.
      const transport = {
        ...simulation.transport,
        open: (context: Parameters<typeof simulation.transport.open>[0]) =>
          Effect.map(simulation.transport.open(context), (session) => ({
            ...session,
            request: () => Effect.andThen(Deferred.await(late), Effect.fail(exited))
          }))
      }
      const connection = yield* connect(simulation, { transport, replay: "never" })
      const call = yield* Effect.forkChild(Effect.flip(connection.ping()))
      yield* settle
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      yield* Deferred.succeed(late, undefined)
      yield* Fiber.join(call)
      yield* advance("1 minute")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
    })
  )

  it.effect("a thousand requests that fail at once cause one reconnect", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.fail(exited) : call.run)
      })
      const connection = yield* connect(simulation)
      const callers = yield* Effect.forEach(Array.from({ length: 1000 }), () => Effect.forkChild(connection.ping()))
      yield* advance("1 second")
      yield* Fiber.joinAll(callers)
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
    })
  )

  it.effect("a session that a request condemned is replaced, although it says nothing of a loss itself", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.fail(exited) : call.run)
      })
      const connection = yield* connect(simulation, { policy: ReconnectPolicy.default })
      yield* connection.ping()
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )

  it.effect("a handshake that hangs is cut off after startupTimeout, its session closed, and another is tried", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: (attempt) => (attempt === 1 ? Effect.never : Effect.void) })
      const connection = yield* connect(simulation, { startupTimeout: "20 seconds" })
      yield* advance("19 seconds")
      assert.strictEqual(simulation.live, 1)
      yield* advance("1 second")
      assert.strictEqual(simulation.live, 0)
      const state = yield* connection.state
      assert(state._tag === "Connecting")
      assert(state.cause?.reason._tag === "StartupTimeout")
      assert.deepStrictEqual(state.cause.reason.after, Duration.seconds(20))
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      assert.deepStrictEqual(simulation.attempts, [0, 21_000])
    })
  )

  it.effect("the error of a handshake that was cut off carries the last of the server's stderr", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: (_, context) => {
          context.setStderrTail(() => "waiting for the database")
          return Effect.never
        }
      })
      const connection = yield* connect(simulation, { startupTimeout: "20 seconds" })
      yield* advance("20 seconds")
      const state = yield* connection.state
      assert(state._tag === "Connecting")
      assert.include(state.cause?.message, "waiting for the database")
    })
  )
})

describe("reconnect", () => {
  it.effect("drops the session, opens the next at once, and waits until it serves", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("2 seconds") })
      const connection = yield* connect(simulation)
      yield* advance("10 seconds")
      const reconnecting = yield* Effect.forkChild(connection.reconnect)
      yield* settle
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
      assert.isUndefined(reconnecting.pollUnsafe())
      yield* advance("2 seconds")
      assert.deepInclude(yield* Fiber.join(reconnecting), { _tag: "Ready", generation: 2, since: 12_000 })
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
    })
  )

  it.effect("a thousand at once cause one", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("2 seconds") })
      const connection = yield* connect(simulation)
      yield* advance("10 seconds")
      const callers = yield* Effect.forEach(Array.from({ length: 1000 }), () => Effect.forkChild(connection.reconnect))
      yield* advance("2 seconds")
      for (const ready of yield* Fiber.joinAll(callers)) assert.strictEqual(ready.generation, 2)
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
    })
  )

  it.effect("cuts a waiting backoff short, and a thousand of them do it once", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const connection = yield* connect(simulation, { policy: Schedule.spaced("1 hour") })
      yield* advance("1 minute")
      const callers = yield* Effect.forEach(Array.from({ length: 1000 }), () => Effect.forkChild(connection.reconnect))
      yield* settle
      assert.deepStrictEqual(simulation.attempts, [0, 60_000])
      simulation.behavior.open = () => Effect.void
      yield* advance("1 hour")
      assert.lengthOf(simulation.attempts, 3)
      for (const ready of yield* Fiber.joinAll(callers)) assert.strictEqual(ready.generation, 1)
    })
  )

  it.effect("revives a Failed connection, on a fresh ladder", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(exited) })
      const connection = yield* connect(simulation, { policy: Schedule.upTo(everySecond, { times: 2 }) })
      yield* advance("1 hour")
      assert.strictEqual((yield* connection.state)._tag, "Failed")
      assert.lengthOf(simulation.attempts, 3)

      const failing = yield* Effect.forkChild(Effect.flip(connection.reconnect))
      yield* advance("1 hour")
      const error = yield* Fiber.join(failing)
      assert(error._tag === "ConnectionUnavailable")
      assert.strictEqual(error.because, "Failed")
      assert.lengthOf(simulation.attempts, 6)

      simulation.behavior.open = () => Effect.void
      assert.deepInclude(yield* connection.reconnect, { _tag: "Ready", generation: 1 })
      assert.deepStrictEqual((yield* connection.callTool({ name: "a" })).content, [{ type: "text", text: "a on 1" }])
    })
  )

  it.effect("while an attempt runs, waits for that one", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("5 seconds") })
      const connection = yield* connect(simulation)
      yield* advance("2 seconds")
      const reconnecting = yield* Effect.forkChild(connection.reconnect)
      yield* advance("3 seconds")
      assert.strictEqual((yield* Fiber.join(reconnecting)).generation, 1)
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("while an attempt runs, shares its end: a failure that nothing can heal is the last word", () =>
    Effect.gen(function* () {
      const unauthorized = failure(new Reasons.Unauthorized({ status: 401 }))
      const simulation = SimulatedServer.makeUnsafe({
        open: () => Effect.andThen(Effect.sleep("1 second"), Effect.fail(unauthorized))
      })
      const connection = yield* connect(simulation)
      const reconnecting = yield* Effect.forkChild(Effect.flip(connection.reconnect))
      yield* advance("1 second")
      assert.deepInclude(yield* Fiber.join(reconnecting), { because: "Failed", cause: unauthorized })
      assert.strictEqual((yield* connection.state)._tag, "Failed")
      assert.deepStrictEqual(simulation.attempts, [0])
    })
  )

  it.effect("opens the first session of a lazy connection", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { start: "lazy" })
      assert.strictEqual((yield* connection.reconnect).generation, 1)
    })
  )

  it.effect("a caller that is interrupted does not stop it for the others", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) => (attempt === 1 ? Effect.void : Effect.sleep("5 seconds"))
      })
      const connection = yield* connect(simulation)
      const first = yield* Effect.forkChild(connection.reconnect)
      yield* settle
      const second = yield* Effect.forkChild(connection.reconnect)
      yield* advance("1 second")
      yield* Fiber.interrupt(first)
      yield* advance("4 seconds")
      assert.strictEqual((yield* Fiber.join(second)).generation, 2)
      assert.lengthOf(simulation.attempts, 2)
    })
  )

  it.effect("fails with ConnectionClosed on a closed connection", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const connection = yield* connect(SimulatedServer.makeUnsafe()).pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(connection.reconnect))._tag, "ConnectionClosed")
      assert.strictEqual((yield* Effect.flip(connection.awaitReady))._tag, "ConnectionClosed")
    })
  )
})
