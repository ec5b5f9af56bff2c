import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { tool } from "@mcp-tether/testing/SimulatedServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as McpConnection from "../../src/McpConnection.ts"
import type { ReconnectPolicy } from "../../src/ReconnectPolicy.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const bug = new Error("bug")

/** The connection is Failed by a defect in `where`, and `reconnect` revives it once the script is healed. */
const failedByDefect = Effect.fnUntraced(function* (connection: McpConnection.Shape, where: string) {
  const state = yield* connection.state
  assert(state._tag === "Failed", `Failed, not ${state._tag}`)
  assert(state.error.reason._tag === "InternalError")
  assert.strictEqual(state.error.reason.where, where)
  assert.include(state.error.message, "bug")
  const refused = yield* Effect.flip(connection.ping())
  assert(refused._tag === "ConnectionUnavailable")
  assert.strictEqual(refused.because, "Failed")
})

const revives = Effect.fnUntraced(function* (connection: McpConnection.Shape) {
  const reviving = yield* Effect.forkChild(connection.reconnect)
  yield* advance("1 second")
  assert.strictEqual((yield* Fiber.join(reviving))._tag, "Ready")
  yield* connection.ping()
})

describe("a defect in the driver", () => {
  it.effect("open dies: the connection is Failed with a typed error, and reconnect revives it", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: (n) => (n === 1 ? Effect.die(bug) : Effect.void) })
      const connection = yield* connect(simulation)
      yield* failedByDefect(connection, "transport")
      assert.strictEqual(simulation.live, 0)
      yield* revives(connection)
    })
  )

  it.effect("open throws before it is an effect: the same", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const transport = {
        ...simulation.transport,
        open: (context: Parameters<typeof simulation.transport.open>[0]) => {
          if (simulation.attempts.length === 0) {
            simulation.attempts.push(0)
            throw bug
          }
          return simulation.transport.open(context)
        }
      }
      const connection = yield* connect(simulation, { transport })
      yield* failedByDefect(connection, "transport")
      yield* revives(connection)
    })
  )

  it.effect("an admission throws before it is an effect: the same, and nothing is being opened any more", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      let asked = 0
      const connection = yield* connect(simulation, {
        admission: (attempt) => {
          asked += 1
          if (asked === 1) throw bug
          return attempt
        }
      })
      yield* failedByDefect(connection, "transport")
      assert.strictEqual((yield* connection.health).transport, "closed")
      yield* revives(connection)
    })
  )

  it.effect("open dies under a required start: make fails with the typed error", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.die(bug) })
      const exit = yield* Effect.exit(McpConnection.make({ transport: simulation.transport }))
      assert.isFalse(Exit.hasDies(exit))
      assert.isTrue(Exit.hasFails(exit))
    })
  )

  it.effect("open is interrupted from within: a typed error, no hang", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: (n) => (n === 1 ? Effect.interrupt : Effect.void) })
      const connection = yield* connect(simulation)
      const state = yield* connection.state
      assert(state._tag === "Failed")
      assert.strictEqual(state.error.reason._tag, "InternalError")
      yield* revives(connection)
    })
  )

  it.effect("session.lost dies: the session is given up, and reconnect revives the connection", () =>
    Effect.gen(function* () {
      // A session that dies before it is published does not count as a generation.
      let sessions = 0
      const simulation = SimulatedServer.makeUnsafe({
        lost: (session) => (++sessions === 1 ? Effect.die(bug) : session.lost)
      })
      const connection = yield* connect(simulation)
      yield* failedByDefect(connection, "transport")
      assert.strictEqual(simulation.live, 0)
      yield* revives(connection)
    })
  )

  it.effect("a probe dies: the session is given up, and reconnect revives the connection", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.die(bug) : call.run)
      })
      const connection = yield* connect(simulation, { heartbeat: {} })
      yield* advance("31 seconds")
      yield* failedByDefect(connection, "transport")
      yield* revives(connection)
    })
  )

  it.effect("a request dies: its caller gets a typed error, the connection is Failed, and reconnect revives it", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("pay")],
        handle: (call) => (call.generation === 1 && call.tool !== undefined ? Effect.die(bug) : call.run)
      })
      const connection = yield* connect(simulation)
      const exit = yield* Effect.exit(connection.callTool({ name: "pay" }))
      assert.isFalse(Exit.hasDies(exit), "a typed error, not a defect")
      const error = yield* Effect.flip(exit)
      assert(error._tag === "OutcomeUnknown")
      assert.strictEqual(error.cause.reason._tag, "InternalError")
      yield* settle
      yield* failedByDefect(connection, "transport")
      yield* revives(connection)
    })
  )

  it.effect("the listing of the tools before a replay dies: the calls that wait for it get a typed error", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) =>
          call.generation > 1 && call.ticket.method === "tools/list"
            ? Effect.die(bug)
            : call.generation === 1
              ? Effect.never
              : call.run
      })
      const connection = yield* connect(simulation)
      const calls = yield* Effect.forEach([1, 2, 3], () =>
        Effect.forkChild(Effect.exit(connection.callTool({ name: "pay" })))
      )
      yield* settle
      yield* simulation.current.lose()
      yield* advance("1 second")
      for (const exit of yield* Fiber.joinAll(calls)) {
        assert.isFalse(Exit.hasDies(exit), "a typed error, not a defect")
        assert.strictEqual((yield* Effect.flip(exit))._tag, "OutcomeUnknown")
      }
    })
  )

  it.effect("a request throws before it is an effect: its caller gets a typed error", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const transport = {
        ...simulation.transport,
        open: (context: Parameters<typeof simulation.transport.open>[0]) =>
          Effect.map(simulation.transport.open(context), (session) => ({
            ...session,
            request: () => {
              throw bug
            }
          }))
      }
      const connection = yield* connect(simulation, { transport })
      const exit = yield* Effect.exit(connection.callTool({ name: "pay" }))
      assert.isFalse(Exit.hasDies(exit), "a typed error, not a defect")
      assert.isTrue(Exit.hasFails(exit))
    })
  )
})

describe("a defect in the policy", () => {
  /** `Schedule`s of the user's that break. */
  const broken: ReadonlyArray<readonly [name: string, policy: ReconnectPolicy]> = [
    ["a step dies", Schedule.modifyDelay(Schedule.forever, () => Effect.die(bug))],
    [
      "a step throws",
      Schedule.modifyDelay(Schedule.forever, () => {
        throw bug
      })
    ],
    ["it cannot be started", Schedule.fromStep(Effect.die(bug))]
  ]
  for (const [name, policy] of broken) {
    it.effect(`${name}: the connection is Failed with a typed error, and every session is closed`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation, { policy })
        if (simulation.sessions.length > 0) yield* simulation.current.lose()
        yield* settle
        const call = yield* Effect.forkChild(Effect.flip(connection.ping()))
        yield* settle
        assert.strictEqual((yield* Fiber.join(call))._tag, "ConnectionUnavailable")
        yield* failedByDefect(connection, "policy")
        assert.strictEqual(simulation.live, 0)
      })
    )
  }

  it.effect("it dies once: reconnect revives the connection", () =>
    Effect.gen(function* () {
      let steps = 0
      const policy: ReconnectPolicy = Schedule.modifyDelay(Schedule.spaced("1 second"), ({ duration }) =>
        (steps += 1) === 1 ? Effect.die(bug) : Effect.succeed(duration)
      )
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { policy })
      yield* simulation.current.lose()
      yield* settle
      yield* failedByDefect(connection, "policy")
      yield* revives(connection)
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 3 })
    })
  )

  it.effect("a delay without end is waited for, and told to callers who do not wait", () =>
    Effect.gen(function* () {
      const policy: ReconnectPolicy = Schedule.spaced(Duration.infinity)
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { policy })
      yield* simulation.current.lose()
      yield* settle
      const error: { readonly _tag: string } = yield* Effect.flip(connection.ping({ wait: "none" }))
      assert.strictEqual(error._tag, "ConnectionUnavailable")
      yield* advance("1 day")
      assert.lengthOf(simulation.attempts, 1)
      yield* revives(connection)
    })
  )
})
