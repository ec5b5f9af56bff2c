/** After a laptop's sleep the server is asked at once, and a loss then is nobody's fault (DESIGN §8). */
import { assert, describe, it } from "@effect/vitest"
import { JumpingClock, SimulatedServer } from "@mcp-tether/testing"
import { type Call } from "@mcp-tether/testing/SimulatedServer"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import type * as McpConnection from "../../src/McpConnection.ts"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

/** A server that never answers a probe, as long as `deaf` says so. */
const deafWhile =
  (deaf: () => boolean) =>
  (call: Call): ReturnType<SimulatedServer.Behavior["handle"]> =>
    Effect.suspend(() => (call.tool === undefined && deaf() ? Effect.never : call.run))

/** A connection with the default heartbeat, under a clock that can jump. */
const asleep = Effect.fnUntraced(function* (
  simulation: SimulatedServer.SimulatedServer,
  options: Partial<McpConnection.Options> = {}
) {
  const clock = yield* JumpingClock.make
  const connection = yield* connect(simulation, { heartbeat: {}, ...options }).pipe(
    Effect.provideService(Clock.Clock, clock.clock)
  )
  const events: Array<ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  return { ...clock, connection, events }
})

const methods = (simulation: SimulatedServer.SimulatedServer) => simulation.sent.map((sent) => sent.method)

/** How soon after a jump the probe has to be there. */
const atOnce = "2 seconds"

/** At once, then after a minute, then two …: who is charged nothing is back at once. */
const steep = Schedule.exponential("1 minute", 2).pipe((later) => Schedule.concat(Schedule.recurs(1), later))

describe("when the clock jumps", () => {
  it.effect("a server that answers is probed at once, and stays: no event, no new state", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const { connection, events, jump } = yield* asleep(simulation)
      const before = yield* connection.state
      yield* advance("5 seconds")
      yield* jump("1 hour")
      assert.deepStrictEqual(methods(simulation), [])
      yield* advance(atOnce)
      assert.deepStrictEqual(methods(simulation), ["ping"])
      assert.strictEqual(yield* connection.state, before)
      assert.deepStrictEqual(events, [])
      // It is probed as usual from then on.
      yield* advance("28 seconds")
      assert.lengthOf(simulation.sent, 1)
      yield* advance("1 second")
      assert.lengthOf(simulation.sent, 2)
    })
  )

  it.effect("each time again, also after a probe was answered", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const { jump } = yield* asleep(simulation)
      yield* advance("30 seconds")
      assert.lengthOf(simulation.sent, 1)
      for (const night of [2, 3, 4]) {
        yield* advance("5 seconds")
        yield* jump("8 hours")
        yield* advance(atOnce)
        assert.lengthOf(simulation.sent, night)
      }
    })
  )

  it.effect("a server with a request in flight is probed at once too", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.tool === undefined ? call.run : Effect.never)
      })
      const { clock, connection, jump } = yield* asleep(simulation, { requestTimeout: "1 day" })
      yield* connection
        .callTool({ name: "slow" })
        .pipe(Effect.ignore, Effect.provideService(Clock.Clock, clock), Effect.forkScoped)
      yield* advance("40 seconds")
      // Less than busyGrace.
      yield* jump("1 minute")
      yield* advance(atOnce)
      assert.deepStrictEqual(methods(simulation), ["tools/call", "ping"])
    })
  )

  it.effect("a small drift is no jump: nothing is probed before its time", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const { jump } = yield* asleep(simulation)
      for (let i = 0; i < 4; i += 1) {
        yield* advance("2 seconds")
        yield* jump("3 seconds")
        yield* advance("1 second")
        yield* jump("2 seconds", "back")
      }
      assert.deepStrictEqual(methods(simulation), [])
    })
  )

  it.effect("a dead server is given up after as many probes as ever, and the first attempt comes at once", () =>
    Effect.gen(function* () {
      let dead = false
      const simulation = SimulatedServer.makeUnsafe({ handle: deafWhile(() => dead) })
      const { connection, events, jump } = yield* asleep(simulation, { policy: steep, stableAfter: "1 day" })
      // Two losses of young sessions: the third would wait for two minutes.
      for (const delay of [0, "1 minute"] as const) {
        yield* simulation.current.lose()
        yield* advance(delay)
      }
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 3 })
      dead = true
      yield* jump("1 hour")
      yield* advance(atOnce)
      assert.deepStrictEqual(methods(simulation), ["ping"])
      yield* advance("29 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 3 })
      dead = false
      yield* advance("1 second")
      const lost = events.findLast((event) => event._tag === "SessionLost")
      assert(lost?._tag === "SessionLost" && lost.error.reason._tag === "LivenessLost")
      assert.strictEqual(lost.error.reason.missed, 3)
      assert.isFalse(lost.proven)
      const scheduled = events.findLast((event) => event._tag === "AttemptScheduled")
      assert(scheduled?._tag === "AttemptScheduled")
      assert.strictEqual(scheduled.delayMillis, 0)
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 4 })
    })
  )

  it.effect("a session that breaks as the machine wakes, before anyone looked, is charged to nobody either", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const { connection, jump } = yield* asleep(simulation, { policy: steep, stableAfter: "1 day" })
      for (const delay of [0, "1 minute"] as const) {
        yield* simulation.current.lose()
        yield* advance(delay)
      }
      yield* advance("3 seconds")
      yield* jump("1 hour")
      yield* simulation.current.lose()
      yield* settle
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 4 })
    })
  )

  it.effect("only the loss after the jump is forgiven: once the server was heard, the ladder counts again", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const { connection, jump } = yield* asleep(simulation, { policy: steep, stableAfter: "1 day" })
      yield* simulation.current.lose()
      yield* settle
      yield* jump("1 hour")
      yield* advance(atOnce)
      assert.deepStrictEqual(methods(simulation), ["ping"])
      yield* advance("5 seconds")
      yield* simulation.current.lose()
      yield* settle
      const state = yield* connection.state
      assert(state._tag === "Reconnecting")
      assert.strictEqual((state.nextAttemptAt ?? 0) - state.lostAt, 60_000)
    })
  )

  it.effect("a probe the machine slept through is no miss", () =>
    Effect.gen(function* () {
      let dead = true
      const simulation = SimulatedServer.makeUnsafe({ handle: deafWhile(() => dead) })
      const { connection, jump } = yield* asleep(simulation, { heartbeat: { misses: 1 } })
      yield* advance("35 seconds")
      assert.deepStrictEqual(methods(simulation), ["ping"])
      yield* jump("1 hour")
      dead = false
      yield* advance("5 seconds")
      assert.deepStrictEqual(methods(simulation), ["ping", "ping"])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("misses of before the sleep do not count after it", () =>
    Effect.gen(function* () {
      let dead = true
      const simulation = SimulatedServer.makeUnsafe({ handle: deafWhile(() => dead) })
      const { connection, jump } = yield* asleep(simulation)
      // Two misses, and the third probe is under way.
      yield* advance("55 seconds")
      yield* jump("1 hour")
      yield* advance("5 seconds")
      yield* advance("19 seconds")
      dead = false
      yield* advance("1 second")
      yield* advance("20 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("back: the server is probed at once, its answer is life, and its silence is noticed", () =>
    Effect.gen(function* () {
      let dead = false
      const simulation = SimulatedServer.makeUnsafe({ handle: deafWhile(() => dead) })
      const { connection, jump } = yield* asleep(simulation, { heartbeat: { misses: 1 } })
      yield* advance("5 seconds")
      yield* jump(Duration.hours(1), "back")
      yield* advance(atOnce)
      assert.deepStrictEqual(methods(simulation), ["ping"])
      yield* advance("10 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      dead = true
      yield* advance("29500 millis")
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
    })
  )

  it.effect("the default policy makes no caller wait after a night", () =>
    Effect.gen(function* () {
      let dead = false
      const simulation = SimulatedServer.makeUnsafe({ handle: deafWhile(() => dead) })
      const { connection, jump } = yield* asleep(simulation, { policy: ReconnectPolicy.default, stableAfter: "1 day" })
      for (let i = 0; i < 6; i += 1) {
        yield* simulation.current.lose()
        yield* advance("1 minute")
      }
      dead = true
      yield* jump("8 hours")
      yield* advance("31 seconds")
      dead = false
      yield* advance(atOnce)
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 8 })
    })
  )
})
