/** `refresh` replaces the session without a gap (DESIGN §4.6). */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited, failure, tool } from "@mcp-tether/testing/SimulatedServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Reasons from "../../src/ConnectionError.ts"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import type { ConnectionState } from "../../src/ConnectionState.ts"
import type * as McpConnection from "../../src/McpConnection.ts"
import type { RequestError } from "../../src/RequestError.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const collect = Effect.fnUntraced(function* (connection: McpConnection.Shape) {
  const events: Array<ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  const states: Array<ConnectionState> = []
  yield* connection.changes.pipe(
    Stream.runForEach((state) => Effect.sync(() => states.push(state))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* settle
  return { events, states }
})

const eventOf = <Tag extends ConnectionEvent["_tag"]>(events: ReadonlyArray<ConnectionEvent>, tag: Tag) =>
  events.filter((event): event is Extract<ConnectionEvent, { readonly _tag: Tag }> => event._tag === tag)

const unauthorized = failure(new Reasons.Unauthorized({ status: 401 }))

/** The first session opens at once, the others take two seconds. */
const slowSecond = (attempt: number) => (attempt === 1 ? Effect.void : Effect.sleep("2 seconds"))

describe("refresh", () => {
  it.effect("the old session serves until the swap, the new one from then on; the state stays Ready", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: slowSecond })
      const connection = yield* connect(simulation)
      const { events, states } = yield* collect(connection)
      yield* advance("10 seconds")
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* advance("1 second")
      assert.isUndefined(refreshing.pollUnsafe())
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1, since: 0 })
      yield* connection.callTool({ name: "a" }, { wait: "none" })
      yield* advance("1 second")
      assert.deepInclude(yield* Fiber.join(refreshing), { _tag: "Ready", generation: 2, since: 12_000 })
      yield* connection.callTool({ name: "a" }, { wait: "none" })
      assert.deepStrictEqual(simulation.generationsOf("tools/call"), [1, 2])
      yield* settle
      assert.deepStrictEqual(simulation.log, ["open 1", "open 2", "close 1"])
      assert.deepStrictEqual(
        states.map((state) => state._tag),
        ["Ready", "Ready"]
      )
      assert.deepStrictEqual(
        events.map((event) => event._tag),
        ["SessionReady"]
      )
      assert.isUndefined(eventOf(events, "SessionReady")[0]?.downtimeMillis)
      yield* advance("1 minute")
      assert.strictEqual(simulation.live, 1)
    })
  )

  it.effect("the new session is restored before the swap, and only then anyone uses it", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const told: Array<unknown> = []
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, {
        onSession: (_, context) =>
          Effect.andThen(
            Effect.sync(() => told.push(context)),
            context.generation === 1 ? Effect.void : Deferred.await(hold)
          )
      })
      yield* connection.setLogLevel("debug")
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* settle
      yield* connection.setLogLevel("error")
      yield* connection.ping()
      assert.deepStrictEqual(
        simulation.sent.map(({ generation, method }) => `${generation} ${method}`),
        ["1 logging/setLevel", "2 logging/setLevel", "1 logging/setLevel", "1 ping"]
      )
      yield* Deferred.succeed(hold, undefined)
      yield* settle
      yield* Fiber.join(refreshing)
      assert.deepStrictEqual(simulation.sent[4]?.params, { level: "error" })
      assert.deepInclude(simulation.sent[4]?.state, { _tag: "Ready", generation: 1 })
      assert.deepStrictEqual(told, [
        { generation: 1, previous: undefined },
        { generation: 2, previous: 1 }
      ])
    })
  )

  it.effect("requests in flight on the old session finish there, and it closes when the last has", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => Effect.tap(call.run, () => Effect.sleep("20 seconds"))
      })
      const connection = yield* connect(simulation)
      const early = yield* Effect.forkChild(connection.callTool({ name: "early" }))
      yield* advance("5 seconds")
      const later = yield* Effect.forkChild(connection.callTool({ name: "later" }))
      yield* settle
      yield* connection.refresh
      const fresh = yield* Effect.forkChild(connection.callTool({ name: "fresh" }))
      yield* advance("15 seconds")
      yield* Fiber.join(early)
      assert.strictEqual(simulation.live, 2)
      yield* advance("6 seconds")
      yield* Fiber.join(later)
      yield* Fiber.join(fresh)
      assert.deepStrictEqual(simulation.log, ["open 1", "open 2", "close 1"])
      assert.deepStrictEqual(simulation.ran, ["early", "later", "fresh"])
      assert.deepStrictEqual(simulation.generationsOf("tools/call"), [1, 1, 2])
      assert.deepStrictEqual(simulation.cancelled, [])
    })
  )

  it.effect("at drainTimeout what is still in flight fares as on a lost session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("pay"), tool("look", { readOnlyHint: true })],
        handle: (call) => (call.generation === 1 ? Effect.andThen(call.run, Effect.never) : call.run)
      })
      const connection = yield* connect(simulation, { drainTimeout: "10 seconds" })
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      const look = yield* Effect.forkChild(connection.callTool({ name: "look" }))
      const ping = yield* Effect.forkChild(connection.ping())
      yield* settle
      yield* connection.refresh
      yield* advance("9900 millis")
      for (const fiber of [pay, look, ping]) assert.isUndefined(fiber.pollUnsafe())
      yield* advance("200 millis")
      const error = yield* Fiber.join(pay)
      assert(error._tag === "OutcomeUnknown")
      assert.strictEqual(error.generation, 1)
      assert.deepStrictEqual((yield* Fiber.join(look)).content, [{ type: "text", text: "look on 2" }])
      yield* Fiber.join(ping)
      assert.deepStrictEqual(simulation.ran, ["pay", "look", "look"])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.strictEqual(simulation.live, 1)
    })
  )

  for (const replay of ["safe", "never"] as const) {
    it.effect(`1,000 calls in flight and incoming: none is lost, failed or duplicated (replay ${replay})`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe({
          open: (attempt) => (attempt === 1 ? Effect.void : Effect.sleep("777 millis")),
          send: (call) => Effect.sleep(Number(call.tool ?? 0) % 7),
          handle: (call) => Effect.tap(call.run, () => Effect.sleep(Number(call.tool ?? 0) % 900))
        })
        const connection = yield* connect(simulation, { replay })
        const { events, states } = yield* collect(connection)
        const calls = yield* Effect.forEach(Array.from({ length: 1000 }), (_, i) =>
          connection.callTool({ name: String(i) }).pipe(Effect.delay(i * 3), Effect.forkChild)
        )
        const refreshes = yield* Effect.forEach([100, 1000, 1001, 2000], (at) =>
          connection.refresh.pipe(Effect.delay(at), Effect.forkChild)
        )
        for (let i = 0; i < 50; i += 1) yield* advance(100)
        const results = yield* Fiber.joinAll(calls)
        yield* Fiber.joinAll(refreshes)
        results.forEach(({ content }, i) => {
          const [first] = content
          assert(first?.type === "text")
          assert.match(first.text, new RegExp(`^${i} on `))
        })
        assert.lengthOf(simulation.ran, 1000)
        assert.lengthOf(new Set(simulation.ran), 1000)
        assert.strictEqual(new Set(simulation.generationsOf("tools/call")).size, 4)
        assert.deepStrictEqual(eventOf(events, "RequestReplayed"), [])
        assert.deepStrictEqual([...new Set(states.map((state) => state._tag))], ["Ready"])
        assert.strictEqual(simulation.mostOpening, 1)
        assert.strictEqual(simulation.live, 1)
      })
    )
  }

  it.effect("calls that come in the very moment of the swap are served, on one session or the other", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) => (attempt === 1 ? Effect.void : Deferred.await(hold))
      })
      const connection = yield* connect(simulation, { replay: "never", maxReplays: 0 })
      const { events } = yield* collect(connection)
      yield* Effect.forkChild(connection.refresh)
      yield* settle
      // One call at each turn of the scheduler, some before and some after the swap.
      const calls: Array<Fiber.Fiber<unknown, RequestError>> = []
      for (let i = 0; i < 200; i += 1) {
        if (i === 20) yield* Deferred.succeed(hold, undefined)
        calls.push(yield* Effect.forkChild(connection.callTool({ name: String(i) }), { startImmediately: true }))
        yield* Effect.yieldNow
      }
      yield* advance("1 second")
      yield* Fiber.joinAll(calls)
      assert.lengthOf(new Set(simulation.ran), 200)
      assert.lengthOf(simulation.ran, 200)
      assert.deepStrictEqual([...new Set(simulation.generationsOf("tools/call"))], [1, 2])
      assert.deepStrictEqual(eventOf(events, "RequestReplayed"), [])
    })
  )

  const broken: Record<string, SimulatedServer.Options> = {
    "an error that can heal": { open: (attempt) => (attempt === 1 ? Effect.void : Effect.fail(exited)) },
    "an error that cannot": { open: (attempt) => (attempt === 1 ? Effect.void : Effect.fail(unauthorized)) },
    "a handshake that hangs": { open: (attempt) => (attempt === 1 ? Effect.void : Effect.never) },
    "a defect": { open: (attempt) => (attempt === 1 ? Effect.void : Effect.die(new Error("bug"))) }
  }
  for (const [how, script] of Object.entries(broken)) {
    it.effect(`that fails with ${how} leaves the old session serving, and tells its caller`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe(script)
        const connection = yield* connect(simulation, { startupTimeout: "3 seconds" })
        const { events, states } = yield* collect(connection)
        const refreshing = yield* Effect.forkChild(Effect.flip(connection.refresh))
        yield* advance("3 seconds")
        const error = yield* Fiber.join(refreshing)
        assert(error._tag === "ConnectionUnavailable")
        assert.strictEqual(error.because, "RefreshFailed")
        assert.strictEqual(error.state, "Ready")
        const [failed, ...more] = eventOf(events, "RefreshFailed")
        assert.deepStrictEqual(more, [])
        assert.strictEqual(failed?.generation, 1)
        assert.strictEqual(failed?.error, error.cause)
        if (how === "an error that cannot") assert.strictEqual(error.cause, unauthorized)
        yield* connection.callTool({ name: "a" }, { wait: "none" })
        assert.deepStrictEqual(simulation.generationsOf("tools/call"), [1])
        assert.lengthOf(states, 1)
        assert.strictEqual(simulation.live, 1)
        yield* advance("1 minute")
        assert.lengthOf(simulation.attempts, 2)

        // And another one may succeed.
        simulation.behavior.open = () => Effect.void
        assert.strictEqual((yield* connection.refresh).generation, 2)
      })
    )
  }

  it.effect("that cannot be restored has failed, too", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, {
        onSession: (_, { generation }) => (generation === 1 ? Effect.void : Effect.fail({ message: "no sandbox" }))
      })
      const error = yield* Effect.flip(connection.refresh)
      assert(error._tag === "ConnectionUnavailable")
      assert.strictEqual(error.because, "RefreshFailed")
      assert.include(error.message, "no sandbox")
      assert.strictEqual(simulation.live, 1)
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("the old session dies while the new one is being opened: callers wait for that, and downtime is told", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: slowSecond })
      const connection = yield* connect(simulation)
      const { events, states } = yield* collect(connection)
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* advance("500 millis")
      yield* simulation.current.lose()
      yield* settle
      assert.deepInclude(yield* connection.state, { _tag: "Reconnecting", lostAt: 500 })
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("1500 millis")
      assert.strictEqual((yield* Fiber.join(refreshing)).generation, 2)
      assert.deepStrictEqual((yield* Fiber.join(call)).content, [{ type: "text", text: "a on 2" }])
      assert.deepStrictEqual(simulation.attempts, [0, 0])
      assert.strictEqual(eventOf(events, "SessionReady")[0]?.downtimeMillis, 1500)
      assert.deepStrictEqual(
        states.map((state) => state._tag),
        ["Ready", "Reconnecting", "Ready"]
      )
      assert.deepStrictEqual(eventOf(events, "RefreshFailed"), [])
    })
  )

  it.effect("the old session dies, then the new one cannot be opened: the policy goes on", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) =>
          attempt === 2 ? Effect.andThen(Effect.sleep("2 seconds"), Effect.fail(exited)) : Effect.void
      })
      const connection = yield* connect(simulation)
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* advance("500 millis")
      yield* simulation.current.lose()
      yield* advance("1500 millis")
      assert.deepInclude(yield* connection.state, { _tag: "Reconnecting", lostAt: 500, nextAttemptAt: 3000 })
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(refreshing)).generation, 2)
      assert.deepStrictEqual(simulation.attempts, [0, 0, 3000])
    })
  )

  // The loss and the end of the attempt, a few turns of the scheduler apart: neither may be overlooked.
  for (const fails of [false, true]) {
    for (const order of ["loss first", "attempt first"]) {
      it.effect(`the old session dies as the attempt ${fails ? "fails" : "succeeds"} (${order})`, () =>
        Effect.gen(function* () {
          for (let turns = 0; turns < 12; turns += 1) {
            const hold = yield* Deferred.make<void>()
            const simulation = SimulatedServer.makeUnsafe({
              open: (attempt) =>
                attempt === 2
                  ? Effect.andThen(Deferred.await(hold), fails ? Effect.fail(exited) : Effect.void)
                  : Effect.void
            })
            const connection = yield* connect(simulation)
            const refreshing = yield* Effect.forkChild(Effect.exit(connection.refresh))
            yield* settle
            const old = simulation.current
            const wait = Effect.forEach(Array.from({ length: turns }), () => Effect.yieldNow)
            if (order === "loss first") yield* Effect.andThen(old.lose(), wait)
            yield* Deferred.succeed(hold, undefined)
            if (order !== "loss first") yield* Effect.andThen(wait, old.lose())
            yield* advance("1 second")
            yield* advance("1 second")
            assert.isDefined(refreshing.pollUnsafe(), `${turns} turns`)
            assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 }, `${turns} turns`)
            yield* connection.callTool({ name: "a" }, { wait: "none" })
            assert.deepStrictEqual(simulation.generationsOf("tools/call"), [2])
            yield* advance("1 minute")
            assert.strictEqual(simulation.live, 1, `${turns} turns`)
          }
        })
      )
    }
  }

  it.effect("a thousand at once open one session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: slowSecond })
      const connection = yield* connect(simulation)
      const callers = yield* Effect.forEach(Array.from({ length: 1000 }), (_, i) =>
        connection.refresh.pipe(Effect.delay(i), Effect.forkChild)
      )
      for (let i = 0; i < 30; i += 1) yield* advance(100)
      for (const ready of yield* Fiber.joinAll(callers)) assert.strictEqual(ready.generation, 2)
      assert.deepStrictEqual(simulation.log, ["open 1", "open 2", "close 1"])
    })
  )

  it.effect("a thousand at once share a failure", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) => (attempt === 1 ? Effect.void : Effect.andThen(Effect.sleep("1 second"), Effect.fail(exited)))
      })
      const connection = yield* connect(simulation)
      const callers = yield* Effect.forEach(Array.from({ length: 1000 }), () =>
        Effect.forkChild(Effect.flip(connection.refresh))
      )
      yield* advance("1 second")
      for (const error of yield* Fiber.joinAll(callers)) {
        assert(error._tag === "ConnectionUnavailable")
        assert.strictEqual(error.because, "RefreshFailed")
      }
      yield* advance("1 minute")
      assert.lengthOf(simulation.attempts, 2)
    })
  )

  it.effect("one after the other opens one after the other", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      for (const generation of [2, 3, 4]) assert.strictEqual((yield* connection.refresh).generation, generation)
      yield* advance("1 minute")
      assert.strictEqual(simulation.live, 1)
    })
  )

  it.effect("asked immediately after awaitReady, or after a reconnect, it is not lost", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("1 second") })
      const connection = yield* connect(simulation)
      const first = yield* Effect.forkChild(Effect.andThen(connection.awaitReady, connection.refresh))
      const second = yield* Effect.forkChild(Effect.andThen(connection.reconnect, connection.refresh))
      yield* advance("1 second")
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(first)).generation, 2)
      assert.strictEqual((yield* Fiber.join(second)).generation, 2)
      const third = yield* Effect.forkChild(Effect.andThen(connection.reconnect, connection.refresh))
      yield* advance("1 second")
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(third)).generation, 4)
    })
  )

  it.effect("asked again right after a failure, it tries again", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) => (attempt === 2 ? Effect.fail(exited) : Effect.void)
      })
      const connection = yield* connect(simulation)
      const ready = yield* Effect.catch(connection.refresh, () => connection.refresh)
      assert.strictEqual(ready.generation, 2)
    })
  )

  it.effect("while Idle it opens the first session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { start: "lazy" })
      assert.strictEqual((yield* connection.refresh).generation, 1)
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("while Failed it revives the connection, on a fresh ladder, and fails when that fails", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.fail(unauthorized) })
      const connection = yield* connect(simulation)
      assert.strictEqual((yield* connection.state)._tag, "Failed")
      const error = yield* Effect.flip(connection.refresh)
      assert(error._tag === "ConnectionUnavailable")
      assert.strictEqual(error.because, "Failed")
      simulation.behavior.open = () => Effect.void
      assert.strictEqual((yield* connection.refresh).generation, 1)
      assert.lengthOf(simulation.attempts, 3)
    })
  )

  it.effect("while Reconnecting it cuts the backoff short; while an attempt runs it shares its end", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: slowSecond })
      const connection = yield* connect(simulation, { policy: Schedule.spaced("1 hour") })
      yield* simulation.current.lose()
      yield* advance("1 minute")
      const first = yield* Effect.forkChild(connection.refresh)
      yield* advance("1 second")
      const second = yield* Effect.forkChild(connection.refresh)
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(first)).generation, 2)
      assert.strictEqual((yield* Fiber.join(second)).generation, 2)
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.attempts, [0, 60_000])
    })
  )

  it.effect("reconnect during a refresh drops the old session at once, and both get the new one", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: slowSecond })
      const connection = yield* connect(simulation)
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* advance("500 millis")
      const reconnecting = yield* Effect.forkChild(connection.reconnect)
      yield* settle
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
      assert.include(simulation.log, "close 1")
      yield* advance("2 seconds")
      assert.strictEqual((yield* Fiber.join(refreshing)).generation, 2)
      assert.strictEqual((yield* Fiber.join(reconnecting)).generation, 2)
      yield* advance("1 minute")
      assert.strictEqual(simulation.live, 1)
      assert.strictEqual(simulation.mostOpening, 1)
      assert.lengthOf(simulation.attempts, 2)
    })
  )

  it.effect("a caller that leaves does not keep the others from their new session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: slowSecond })
      const connection = yield* connect(simulation)
      const leaving = yield* Effect.forkChild(connection.refresh)
      const staying = yield* Effect.forkChild(connection.refresh)
      yield* advance("1 second")
      yield* Fiber.interrupt(leaving)
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(staying)).generation, 2)
    })
  )

  it.effect("the old session dies while it drains: its requests fare as on a lost session, the new one serves on", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.andThen(call.run, Effect.never) : call.run)
      })
      const connection = yield* connect(simulation)
      const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* settle
      const old = simulation.current
      yield* connection.refresh
      yield* old.lose()
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(pay))._tag, "OutcomeUnknown")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.strictEqual(simulation.live, 1)
      assert.lengthOf(simulation.attempts, 2)
    })
  )

  for (const when of ["while the new session is being opened", "during a drain"]) {
    it.effect(`close ${when} leaves nothing`, () =>
      Effect.gen(function* () {
        const opening = when !== "during a drain"
        const simulation = SimulatedServer.makeUnsafe({
          handle: () => Effect.never,
          open: (attempt) => (attempt === 1 || !opening ? Effect.void : Effect.never)
        })
        const scope = yield* Scope.make()
        const connection = yield* connect(simulation).pipe(Scope.provide(scope))
        const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" })))
        yield* settle
        const refreshing = yield* Effect.forkChild(Effect.exit(connection.refresh))
        yield* settle
        assert.strictEqual(simulation.live, 2)
        yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* settle
        assert.strictEqual(simulation.live, 0)
        const error = yield* Fiber.join(call)
        assert(error._tag === "ConnectionClosed")
        assert.strictEqual(error.delivery, "Unknown")
        const exit = yield* Fiber.join(refreshing)
        if (opening) assert.strictEqual((yield* Effect.flip(exit))._tag, "ConnectionClosed")
        assert.strictEqual((yield* Effect.flip(connection.refresh))._tag, "ConnectionClosed")
      })
    )
  }

  it.effect("a replaced session whose close hangs holds nobody up", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        close: (generation) => (generation === 1 ? Effect.sleep("1 hour") : Effect.void)
      })
      const connection = yield* connect(simulation)
      yield* connection.refresh
      assert.strictEqual((yield* connection.refresh).generation, 3)
      yield* connection.ping()
      yield* advance("1 hour")
      assert.strictEqual(simulation.live, 1)
    })
  )

  it.effect("thousands who ask in the very moment in which an attempt fails share its end: there is no other", () =>
    Effect.gen(function* () {
      const asked: Array<Fiber.Fiber<unknown, RequestError>> = []
      let ask: Effect.Effect<unknown, RequestError> = Effect.void
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) =>
          attempt === 1
            ? Effect.void
            : Effect.suspend(() =>
                attempt > 2
                  ? Effect.fail(exited)
                  : Effect.andThen(
                      Effect.forEach(
                        Array.from({ length: 5000 }),
                        () =>
                          Effect.map(Effect.forkDetach(ask, { startImmediately: true }), (fiber) => asked.push(fiber)),
                        { discard: true }
                      ),
                      Effect.fail(exited)
                    )
              )
      })
      const connection = yield* connect(simulation)
      ask = connection.refresh
      yield* Effect.flip(connection.refresh)
      yield* settle
      assert.strictEqual(simulation.attempts.length, 2)
      assert.lengthOf(asked, 5000)
      for (const fiber of asked) assert.isDefined(fiber.pollUnsafe(), "one waits for ever")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )
})
