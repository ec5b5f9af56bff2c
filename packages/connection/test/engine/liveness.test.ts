import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { type Call } from "@mcp-tether/testing/SimulatedServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as McpConnection from "../../src/McpConnection.ts"
import { ServerRejected } from "../../src/RequestError.ts"
import { connect, everySecond } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

/** A server that never answers a probe. Only tool calls are answered. */
const deaf = (call: Call) => (call.tool === undefined ? Effect.never : call.run)

/** A connection with the default heartbeat: probed after 30 s of silence, 10 s a probe, lost with the third miss. */
const alive = (simulation: SimulatedServer.SimulatedServer, options: Partial<McpConnection.Options> = {}) =>
  connect(simulation, { heartbeat: {}, ...options })

const methods = (simulation: SimulatedServer.SimulatedServer) =>
  simulation.sent.map((sent) => `${sent.at} ${sent.method}`)

describe("heartbeat", () => {
  it.effect("a silent server is pinged after 30 seconds, and as long as it answers the session stays", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      yield* alive(simulation)
      yield* advance("29999 millis")
      assert.lengthOf(simulation.sent, 0)
      yield* advance("1 millis")
      assert.deepStrictEqual(methods(simulation), ["30000 ping"])
      yield* advance("61 seconds")
      assert.deepStrictEqual(methods(simulation), ["30000 ping", "60000 ping", "90000 ping"])
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("any byte is life: a server that talks is not probed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      yield* alive(simulation)
      for (let i = 0; i < 20; i += 1) {
        yield* advance("29 seconds")
        yield* simulation.current.hear
      }
      assert.lengthOf(simulation.sent, 0)
      yield* advance("30 seconds")
      assert.lengthOf(simulation.sent, 1)
    })
  )

  it.effect("a server that knows no ping (-32601) is alive", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: () =>
          Effect.fail(
            new ServerRejected({ server: "simulated", method: "ping", code: -32601, description: "Method not found" })
          )
      })
      yield* alive(simulation)
      yield* advance("91 seconds")
      // Had the refusal been a miss, the next probe would have come at once, and been another one.
      assert.deepStrictEqual(methods(simulation), ["30000 ping", "60000 ping", "90000 ping"])
      yield* advance("10 minutes")
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("a missed ping is confirmed by a different request, and its answer is life", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.ticket.method === "ping" ? Effect.never : call.run)
      })
      const connection = yield* alive(simulation)
      yield* advance("10 minutes")
      assert.deepStrictEqual(simulation.log, ["open 1"])
      assert.strictEqual((yield* connection.state)._tag, "Ready")
      const [first, second] = simulation.sent
      assert.deepInclude(first, { at: 30_000, method: "ping" })
      assert.strictEqual(second?.at, 40_000)
      assert.notStrictEqual(second?.method, "ping")
      assert.notInclude(
        simulation.sent.map((sent) => sent.method),
        "tools/call"
      )
    })
  )

  it.effect("a server that misses three in a row is given up: LivenessLost, and a new session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? deaf(call) : call.run)
      })
      const connection = yield* alive(simulation)
      yield* advance("59 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      yield* advance("1 second")
      const state = yield* connection.state
      assert(state._tag === "Reconnecting")
      assert.strictEqual(state.lostAt, 60_000)
      assert(state.cause.reason._tag === "LivenessLost")
      assert.strictEqual(state.cause.reason.missed, 3)
      assert.deepStrictEqual(state.cause.reason.silentFor, Duration.seconds(60))
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
    })
  )

  it.effect("a probe that was missed is cancelled", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: deaf })
      yield* alive(simulation)
      yield* advance("45 seconds")
      assert.deepStrictEqual(simulation.cancelled, ["1 ping"])
      assert.strictEqual(simulation.current.inFlight(), 1)
    })
  )

  it.effect("misses count in a row: an answer in between starts the count anew", () =>
    Effect.gen(function* () {
      let probes = 0
      const simulation = SimulatedServer.makeUnsafe({
        // Two misses, an answer, two misses, an answer …
        handle: (call) => Effect.suspend(() => ((probes += 1) % 3 === 0 ? call.run : Effect.never))
      })
      yield* alive(simulation)
      yield* advance("20 minutes")
      assert.deepStrictEqual(simulation.log, ["open 1"])
      assert.isAtLeast(probes, 30)
    })
  )

  it.effect("a byte after a missed probe starts the count anew", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: deaf })
      yield* alive(simulation)
      for (let i = 0; i < 10; i += 1) {
        yield* advance("45 seconds")
        yield* simulation.current.hear
      }
      assert.isAtLeast(simulation.sent.length, 10)
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("a byte during the last probe is life too, although the probe has no answer", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: deaf })
      const connection = yield* alive(simulation, { heartbeat: { misses: 1 } })
      yield* advance("35 seconds")
      yield* simulation.current.hear
      yield* advance("6 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("a server with a request in flight is busy, and not probed before busyGrace", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.tool === undefined ? call.run : Effect.andThen(Effect.sleep("4 minutes"), call.run))
      })
      const connection = yield* alive(simulation, { requestTimeout: "10 minutes" })
      const call = yield* Effect.forkChild(connection.callTool({ name: "slow" }))
      yield* advance("4 minutes")
      yield* Fiber.join(call)
      assert.deepStrictEqual(methods(simulation), ["0 tools/call"])
      yield* advance("30 seconds")
      assert.deepStrictEqual(methods(simulation), ["0 tools/call", "270000 ping"])
    })
  )

  it.effect("a server that is busy for longer than busyGrace is probed after all, and given up", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.never })
      const connection = yield* alive(simulation, { requestTimeout: "1 hour", policy: everySecond })
      yield* Effect.forkScoped(Effect.ignore(connection.callTool({ name: "slow" })))
      yield* advance("299 seconds")
      assert.lengthOf(simulation.sent, 1)
      yield* advance("1 second")
      assert.lengthOf(simulation.sent, 2)
      yield* advance("30 seconds")
      const state = yield* connection.state
      assert(state._tag === "Reconnecting")
      assert.strictEqual(state.cause.reason._tag, "LivenessLost")
      assert.strictEqual(state.lostAt, 330_000)
    })
  )

  it.effect("calls that fail with the liveness verdict fare as when the session is lost", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.never : call.run)
      })
      const connection = yield* alive(simulation, { requestTimeout: "1 hour" })
      const list = yield* Effect.forkChild(connection.listTools())
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
      yield* advance("6 minutes")
      assert.deepStrictEqual(yield* Fiber.join(list), [])
      assert.strictEqual((yield* Fiber.join(call))._tag, "OutcomeUnknown")
    })
  )

  it.effect("a request that was given up does not keep a dead server busy", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.never })
      const connection = yield* alive(simulation)
      const call = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "a" }, { timeout: "20 seconds" })))
      yield* advance("20 seconds")
      yield* Fiber.join(call)
      // At most an interval until it is looked at again, then three probes.
      yield* advance("60 seconds")
      assert.include(simulation.log, "close 1")
    })
  )

  it.effect("follows its options", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: deaf })
      const connection = yield* alive(simulation, { heartbeat: { interval: "5 seconds", timeout: 500, misses: 2 } })
      yield* advance("5 seconds")
      assert.lengthOf(simulation.sent, 1)
      yield* advance("999 millis")
      assert.strictEqual((yield* connection.state)._tag, "Ready")
      yield* advance("1 millis")
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
    })
  )

  it.effect(`"off": a silent server is left alone`, () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: deaf })
      const connection = yield* connect(simulation, { heartbeat: "off" })
      yield* advance("1 day")
      assert.lengthOf(simulation.sent, 0)
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("ends with its session: an old one is not probed, also when it never tells of its loss", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        close: (n) => (n === 1 ? Effect.sleep("1 hour") : Effect.void),
        lost: () => Effect.never
      })
      const connection = yield* alive(simulation)
      yield* Effect.forkScoped(connection.reconnect)
      yield* advance("10 minutes")
      assert.notInclude(
        simulation.sent.map((sent) => sent.generation),
        1
      )
      yield* advance("1 hour")
      yield* settle
    })
  )
})
