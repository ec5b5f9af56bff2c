/** Transport, session and answers are three things, and `health` tells of each (DESIGN §3). */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { type Call, exited } from "@mcp-tether/testing/SimulatedServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Health } from "../../src/Health.ts"
import { InvalidRequest, ServerRejected } from "../../src/RequestError.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const nothing: Health = {
  transport: "closed",
  serving: undefined,
  lastHeardAt: undefined,
  inFlight: 0,
  waiting: 0,
  requests: { lastSuccessAt: undefined, lastFailure: undefined, consecutiveFailures: 0 }
}

/** A tool of this name is answered in its own way, everything else as usual. */
const toolsThat = (answers: Record<string, (call: Call) => ReturnType<SimulatedServer.Behavior["handle"]>>) =>
  SimulatedServer.makeUnsafe({ handle: (call) => (answers[call.tool ?? ""] ?? (() => call.run))(call) })

const rejection = new ServerRejected({ server: "simulated", method: "tools/call", code: -1, description: "no" })

describe("health", () => {
  it.effect("the transport opens, the session is restored, and only then it serves", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("2 seconds") })
      const connection = yield* connect(simulation, { start: "lazy", onSession: () => Deferred.await(hold) })
      assert.deepStrictEqual(yield* connection.health, nothing)
      const ready = yield* Effect.forkChild(connection.awaitReady)
      yield* advance("1 second")
      assert.deepStrictEqual(yield* connection.health, { ...nothing, transport: "opening" })
      yield* advance("1 second")
      assert.deepStrictEqual(yield* connection.health, { ...nothing, transport: "open", lastHeardAt: 2000 })
      yield* advance("1 second")
      yield* Deferred.succeed(hold, undefined)
      yield* Fiber.join(ready)
      assert.deepStrictEqual(yield* connection.health, {
        ...nothing,
        transport: "open",
        serving: { generation: 1, since: 2000 },
        lastHeardAt: 2000
      })
    })
  )

  it.effect("after a loss there is no transport and no session, and what was last heard is still known", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      yield* advance("3 seconds")
      yield* simulation.current.hear
      yield* advance("2 seconds")
      yield* simulation.current.lose()
      yield* settle
      assert.deepStrictEqual(yield* connection.health, { ...nothing, lastHeardAt: 3000 })
      yield* advance("1 second")
      assert.deepInclude(yield* connection.health, {
        transport: "open",
        serving: { generation: 2, since: 6000 },
        lastHeardAt: 6000
      })
    })
  )

  it.effect("a session that was lost while it was being restored is no transport, but it was heard", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { onSession: () => Effect.never })
      yield* advance("4 seconds")
      yield* simulation.current.hear
      yield* simulation.current.lose()
      yield* settle
      assert.deepStrictEqual(yield* connection.health, { ...nothing, lastHeardAt: 4000 })
    })
  )

  it.effect("during a refresh it tells of the session that serves, then of the new one", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        open: (attempt) => (attempt === 1 ? Effect.void : Effect.sleep("2 seconds"))
      })
      const connection = yield* connect(simulation, {
        onSession: (_, { generation }) => (generation === 1 ? Effect.void : Effect.sleep("2 seconds"))
      })
      yield* advance("5 seconds")
      yield* simulation.current.hear
      const refreshing = yield* Effect.forkChild(connection.refresh)
      const old = { transport: "open", serving: { generation: 1, since: 0 }, lastHeardAt: 5000 } as const
      yield* advance("1 second")
      assert.deepInclude(yield* connection.health, old)
      // The new one is being restored.
      yield* advance("2 seconds")
      assert.deepInclude(yield* connection.health, old)
      yield* advance("1 second")
      yield* Fiber.join(refreshing)
      assert.deepInclude(yield* connection.health, { serving: { generation: 2, since: 7000 }, lastHeardAt: 7000 })
    })
  )

  it.effect("requests in flight, and those that wait for a session, are counted", () =>
    Effect.gen(function* () {
      const simulation = toolsThat({ slow: () => Effect.never })
      const connection = yield* connect(simulation)
      const slow = yield* Effect.forkChild(Effect.ignore(connection.callTool({ name: "slow" }, { replay: "never" })))
      yield* settle
      assert.deepInclude(yield* connection.health, { inFlight: 1, waiting: 0 })
      yield* simulation.current.lose()
      yield* settle
      const waiters = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(connection.ping()))
      yield* settle
      assert.deepInclude(yield* connection.health, { inFlight: 0, waiting: 3 })
      yield* advance("1 second")
      yield* Fiber.joinAll([slow, ...waiters])
      assert.deepInclude(yield* connection.health, { inFlight: 0, waiting: 0 })
    })
  )

  it.effect("Ready does not hide failing calls: each is counted, with its time and its error, until one succeeds", () =>
    Effect.gen(function* () {
      const simulation = toolsThat({ hangs: () => Effect.never, refuses: () => Effect.fail(rejection) })
      const connection = yield* connect(simulation, { requestTimeout: "2 seconds" })
      const requests = Effect.map(connection.health, ({ requests }) => requests)
      yield* connection.ping()
      assert.deepStrictEqual(yield* requests, { lastSuccessAt: 0, lastFailure: undefined, consecutiveFailures: 0 })
      const late = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "hangs" })))
      yield* advance("2 seconds")
      yield* Fiber.join(late)
      assert.deepStrictEqual(yield* requests, {
        lastSuccessAt: 0,
        lastFailure: { at: 2000, tag: "RequestTimeout" },
        consecutiveFailures: 1
      })
      yield* advance("1 second")
      yield* Effect.flip(connection.callTool({ name: "refuses" }))
      assert.deepStrictEqual(yield* requests, {
        lastSuccessAt: 0,
        lastFailure: { at: 3000, tag: "ServerRejected" },
        consecutiveFailures: 2
      })
      assert.strictEqual((yield* connection.state)._tag, "Ready")
      yield* advance("1 second")
      yield* connection.callTool({ name: "works" })
      assert.deepStrictEqual(yield* requests, {
        lastSuccessAt: 4000,
        lastFailure: { at: 3000, tag: "ServerRejected" },
        consecutiveFailures: 0
      })
    })
  )

  it.effect("a call that is sent twice is one call, by how it ended", () =>
    Effect.gen(function* () {
      let sendings = 0
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (++sendings === 1 ? Effect.fail(exited) : call.run)
      })
      const connection = yield* connect(simulation)
      const list = yield* Effect.forkChild(connection.listTools())
      yield* advance("1 second")
      yield* Fiber.join(list)
      assert.strictEqual(sendings, 2)
      assert.deepStrictEqual((yield* connection.health).requests, {
        lastSuccessAt: 1000,
        lastFailure: undefined,
        consecutiveFailures: 0
      })
    })
  )

  it.effect("a caller who leaves, and a request that was none, say nothing of the server", () =>
    Effect.gen(function* () {
      const simulation = toolsThat({
        slow: () => Effect.never,
        wrong: () =>
          Effect.fail(new InvalidRequest({ server: "simulated", method: "tools/call", description: "not JSON" }))
      })
      const connection = yield* connect(simulation)
      const left = yield* Effect.forkChild(connection.callTool({ name: "slow" }))
      yield* settle
      yield* Fiber.interrupt(left)
      yield* Effect.flip(connection.callTool({ name: "wrong" }))
      assert.deepStrictEqual((yield* connection.health).requests, nothing.requests)
    })
  )

  it.effect("a request that found no session is a failure too", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
      const connection = yield* connect(simulation)
      yield* Effect.flip(connection.ping({ wait: "none" }))
      assert.deepStrictEqual((yield* connection.health).requests, {
        lastSuccessAt: undefined,
        lastFailure: { at: 0, tag: "ConnectionUnavailable" },
        consecutiveFailures: 1
      })
    })
  )

  it.effect("after the close nothing is open", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation).pipe(Scope.provide(scope))
      yield* advance("1 second")
      yield* connection.ping()
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* connection.health, {
        ...nothing,
        lastHeardAt: 1000,
        requests: { lastSuccessAt: 1000, lastFailure: undefined, consecutiveFailures: 0 }
      })
    })
  )

  it.effect("closed in the middle of an attempt, nothing is open either", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const connection = yield* connect(SimulatedServer.makeUnsafe({ open: () => Effect.never })).pipe(
        Scope.provide(scope)
      )
      assert.strictEqual((yield* connection.health).transport, "opening")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* connection.health, nothing)
    })
  )
})
