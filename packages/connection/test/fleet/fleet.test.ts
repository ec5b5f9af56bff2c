/** Many connections together: none delays or fails another, and they are changed while they run. */
import { assert, describe, it } from "@effect/vitest"
import { Faults, JumpingClock, SimulatedServer } from "@mcp-tether/testing"
import { failure } from "@mcp-tether/testing/SimulatedServer"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Reasons from "../../src/ConnectionError.ts"
import * as McpFleet from "../../src/McpFleet.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import { everySecond } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const spawnFailed = failure(
  new Reasons.SpawnFailed({ command: "none", code: "ENOENT", description: "no such command" })
)

/** A server of a fleet that is reached at once and tries every second. */
const to = (simulation: SimulatedServer.SimulatedServer, options: Partial<McpFleet.Server> = {}): McpFleet.Server => ({
  transport: simulation.transport,
  policy: everySecond,
  heartbeat: "off",
  ...options
})

const servers = (count: number, options: SimulatedServer.Options = {}) =>
  Array.from({ length: count }, () => SimulatedServer.makeUnsafe(options))

const fleetOf = (all: ReadonlyArray<SimulatedServer.SimulatedServer>, options?: McpFleet.Options) =>
  McpFleet.make(Object.fromEntries(all.map((server, i) => [`s${i}`, to(server)])), options)

/** The tags of the states of all servers. */
const tagsOf = (fleet: McpFleet.Shape) =>
  Effect.map(fleet.states, (states) => Object.fromEntries([...states].map(([name, { _tag }]) => [name, _tag])))

describe("a fleet", () => {
  it.effect("is built at once, in the order given; a slow, a broken and a refused server delay nobody", () =>
    Effect.gen(function* () {
      const healthy = SimulatedServer.makeUnsafe({ tools: { a: {} } })
      const fleet = yield* McpFleet.make({
        slow: to(SimulatedServer.makeUnsafe({ handshake: "40 seconds" })),
        hanging: to(SimulatedServer.makeUnsafe({ open: () => Effect.never })),
        broken: to(SimulatedServer.makeUnsafe({ open: () => Effect.fail(spawnFailed) })),
        healthy: to(healthy)
      })
      yield* settle
      assert.deepStrictEqual(yield* fleet.names, ["slow", "hanging", "broken", "healthy"])
      assert.deepStrictEqual(yield* tagsOf(fleet), {
        slow: "Connecting",
        hanging: "Connecting",
        broken: "Failed",
        healthy: "Ready"
      })
      const connection = yield* fleet.connection("healthy")
      yield* connection.callTool({ name: "a" })
      assert.deepStrictEqual(healthy.ran, ["a"])
    })
  )

  it.effect("knows its servers by name, and says which it has", () =>
    Effect.gen(function* () {
      const fleet = yield* McpFleet.make({
        files: to(SimulatedServer.makeUnsafe()),
        search: to(SimulatedServer.makeUnsafe())
      })
      const error = yield* Effect.flip(fleet.connection("flies"))
      assert.strictEqual(error.message, `there is no server "flies"; there are files, search`)
      assert.deepStrictEqual([...(yield* fleet.connections).keys()], ["files", "search"])
    })
  )

  it.effect("refuses names that nobody could read, and options that are wrong, before anything is opened", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const named = yield* Effect.flip(McpFleet.make({ ok: to(simulation), "not\nok": to(simulation) }))
      assert.include(named.message, `"not\\nok": expected a name of 1 to 128 characters`)
      const timed = yield* Effect.flip(McpFleet.make({ ok: to(simulation), wrong: to(simulation, { maxWaiting: -1 }) }))
      assert.include(timed.message, "McpFleet, server wrong: McpConnection: maxWaiting: expected")
      const counted = yield* Effect.flip(McpFleet.make({}, { concurrency: 0 }))
      assert.include(counted.message, "concurrency: expected a whole number of at least 1")
      yield* settle
      assert.lengthOf(simulation.attempts, 0)
    })
  )

  it.effect("waits for the servers that it must not be without, and for no other", () =>
    Effect.gen(function* () {
      const building = yield* Effect.forkChild(
        McpFleet.make({
          required: to(SimulatedServer.makeUnsafe({ handshake: "5 seconds" }), { required: true }),
          other: to(SimulatedServer.makeUnsafe({ open: () => Effect.never }))
        })
      )
      yield* advance("4 seconds")
      assert.isUndefined(building.pollUnsafe())
      yield* advance("1 second")
      assert.deepStrictEqual(yield* tagsOf(yield* Fiber.join(building)), { required: "Ready", other: "Connecting" })
    })
  )

  it.effect("that cannot be without some of its servers fails with all of those, and leaves nothing", () =>
    Effect.gen(function* () {
      const all = {
        gone: SimulatedServer.makeUnsafe({ open: () => Effect.fail(spawnFailed) }),
        late: SimulatedServer.makeUnsafe({ open: () => Effect.never }),
        fine: SimulatedServer.makeUnsafe(),
        optional: SimulatedServer.makeUnsafe()
      }
      const building = yield* Effect.forkChild(
        Effect.flip(
          McpFleet.make({
            gone: to(all.gone, { required: true }),
            late: to(all.late, { required: true, startWithin: "10 seconds" }),
            fine: to(all.fine, { required: true }),
            optional: to(all.optional)
          })
        )
      )
      yield* advance("10 seconds")
      const error = yield* Fiber.join(building)
      assert(error._tag === "FleetNotStarted")
      assert.deepStrictEqual(
        error.failures.map(({ error, server }) => [server, error.reason._tag]),
        [
          ["gone", "SpawnFailed"],
          ["late", "StartupTimeout"]
        ]
      )
      for (const { live } of Object.values(all)) assert.strictEqual(live, 0)
    })
  )

  it.effect("whose one server flaps for an hour loses no call of another", () =>
    Effect.gen(function* () {
      const steady = SimulatedServer.makeUnsafe({ tools: { a: { latency: "100 millis" } } })
      const flapping = yield* SimulatedServer.make({
        faults: Faults.script(Faults.at(0, Faults.flap({ every: "2 seconds", times: 1800 })))
      })
      const fleet = yield* McpFleet.make({ steady: to(steady), flapping: to(flapping) })
      const connection = yield* fleet.connection("steady")
      for (let i = 0; i < 60; i += 1) {
        const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
        yield* advance("1 minute")
        yield* Fiber.join(call)
      }
      assert.lengthOf(steady.ran, 60)
      assert.lengthOf(steady.sessions, 1)
      assert.isAtLeast(flapping.sessions.length, 1000)
    })
  )

  it.effect("tells the states of all its servers, then every change, and what happened to each", () =>
    Effect.gen(function* () {
      const [a, b] = servers(2)
      assert(a !== undefined && b !== undefined)
      const fleet = yield* fleetOf([a, b])
      yield* settle
      const changes: Array<string> = []
      const events: Array<string> = []
      yield* fleet.changes.pipe(
        Stream.runForEach(({ server, state }) => Effect.sync(() => changes.push(`${server} ${state._tag}`))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* fleet.events.pipe(
        Stream.runForEach((event) =>
          Effect.sync(() => {
            if (event._tag === "ServerEvent") events.push(`${event.server} ${event.event._tag}`)
            else events.push(event._tag)
          })
        ),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* settle
      yield* b.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(changes, [
        "s0 Ready",
        "s1 Ready",
        "s1 Reconnecting",
        "s1 Reconnecting",
        "s1 Reconnecting",
        "s1 Ready"
      ])
      assert.deepStrictEqual(events, ["s1 SessionLost", "s1 AttemptScheduled", "s1 AttemptStarted", "s1 SessionReady"])
    })
  )

  it.effect("leaves nothing when it is closed, also where one server does not let go", () =>
    Effect.gen(function* () {
      const all = servers(5)
      const clinging = SimulatedServer.makeUnsafe({ close: () => Effect.never })
      const scope = yield* Scope.make()
      yield* fleetOf([clinging, ...all]).pipe(Scope.provide(scope))
      yield* settle
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle
      for (const { live } of all) assert.strictEqual(live, 0)
      yield* advance("15 seconds")
      yield* Fiber.join(closing)
    })
  )
})

describe("the budget of a fleet", () => {
  it.effect(
    "when all servers are lost at once, so many attempts are made in a burst, and so many more each second",
    () =>
      Effect.gen(function* () {
        const all = servers(50)
        yield* fleetOf(all, { concurrency: 50, budget: { burst: 50, perSecond: 10 } })
        yield* advance("1 hour")
        for (const server of all) {
          assert.lengthOf(server.sessions, 1)
          // The first attempt of a reconnect is at once.
          yield* server.current.lose()
        }
        const back = (): number => all.filter(({ sessions }) => sessions.length === 2).length
        yield* advance("1 second")
        const atOnce = back()
        assert.isAtMost(atOnce, 61)
        yield* advance("10 seconds")
        assert.strictEqual(back(), 50)
        // The bucket is empty now: another loss of all comes back at its rate.
        for (const server of all) yield* server.current.lose()
        yield* advance("1 second")
        for (const server of all) if (server.sessions.length === 3) yield* server.current.lose()
        yield* advance("3 seconds")
        const attempts = all.flatMap((server) => server.attempts).toSorted((a, b) => a - b)
        attempts.forEach((at, i) => {
          const earlier = attempts[i - 60]
          // In any second, what has come together in the bucket, and what it gets meanwhile.
          if (earlier !== undefined) assert.isAtLeast(at - earlier, 999)
        })
      })
  )

  it.effect(
    "only so many sessions are being opened at a time, but one that hangs holds up nobody for longer than its slot",
    () =>
      Effect.gen(function* () {
        const all = [...servers(4, { open: () => Effect.never }), ...servers(12, { handshake: "500 millis" })]
        let most = 0
        for (const server of all) {
          server.behavior.open = (
            (open) => (attempt, context) =>
              Effect.suspend(() => {
                most = Math.max(
                  most,
                  all.reduce((sum, { opening }) => sum + opening, 0)
                )
                return open(attempt, context)
              })
          )(server.behavior.open)
        }
        const fleet = yield* fleetOf(all, { concurrency: 4, slot: "2 seconds" })
        yield* settle
        assert.strictEqual(most, 4)
        assert.notInclude(Object.values(yield* tagsOf(fleet)), "Ready")
        // The four that hang do not count any more: twelve, four at a time, half a second each.
        yield* advance("2 seconds")
        yield* advance("1500 millis")
        const tags = Object.values(yield* tagsOf(fleet))
        assert.lengthOf(
          tags.filter((tag) => tag === "Ready"),
          12
        )
      })
  )

  it.effect("what waits for its turn does not count for startupTimeout", () =>
    Effect.gen(function* () {
      const all = servers(10, { handshake: "3 seconds" })
      const fleet = yield* McpFleet.make(
        Object.fromEntries(all.map((server, i) => [`s${i}`, to(server, { startupTimeout: "4 seconds" })])),
        { concurrency: 1, slot: "3 seconds" }
      )
      yield* advance("30 seconds")
      for (const server of all) assert.lengthOf(server.attempts, 1)
      assert.deepStrictEqual([...new Set(Object.values(yield* tagsOf(fleet)))], ["Ready"])
    })
  )

  it.effect("spends nothing of the budget on attempts that are given up while they wait for their turn", () =>
    Effect.gen(function* () {
      const all = servers(21)
      const [first, ...others] = all
      assert(first !== undefined)
      const fleet = yield* fleetOf(all, { budget: { burst: 1, perSecond: 1 } })
      yield* settle
      assert.lengthOf(first.attempts, 1)
      const [late] = servers(1)
      assert(late !== undefined)
      yield* fleet.reload({ late: to(late) })
      yield* advance("1 second")
      assert.lengthOf(late.attempts, 1)
      for (const { attempts } of others) assert.lengthOf(attempts, 0)
    })
  )

  it.effect("waits no longer for the budget when the clock is set back", () =>
    Effect.gen(function* () {
      const jumping = yield* JumpingClock.make
      const all = servers(3)
      yield* Effect.gen(function* () {
        const fleet = yield* McpFleet.make({}, { budget: { burst: 1, perSecond: 1 } })
        const [first, ...others] = all.map((server, i) => [`s${i}`, to(server)] as const)
        assert(first !== undefined)
        yield* fleet.reload(Object.fromEntries([first]))
        yield* settle
        yield* jumping.jump("1 hour", "back")
        yield* fleet.reload(Object.fromEntries([first, ...others]))
        yield* advance("3 seconds")
      }).pipe(Effect.provideService(Clock.Clock, jumping.clock))
      for (const { sessions } of all) assert.lengthOf(sessions, 1)
    })
  )
})

describe("a fleet that is given other servers", () => {
  const recipe = (simulation: SimulatedServer.SimulatedServer, source: unknown): McpFleet.Server =>
    to(simulation, { source })

  it.effect("starts what is new, closes what is gone, and touches nothing else", () =>
    Effect.gen(function* () {
      const [kept, gone, added] = servers(3)
      assert(kept !== undefined && gone !== undefined && added !== undefined)
      const fleet = yield* McpFleet.make({ kept: recipe(kept, { url: "kept" }), gone: to(gone) })
      yield* settle
      const connection = yield* fleet.connection("kept")
      const changes = yield* fleet.reload({ added: to(added), kept: recipe(kept, { url: "kept" }) })
      yield* settle
      assert.deepStrictEqual(Object.fromEntries(changes), { gone: "removed", added: "added", kept: "unchanged" })
      assert.deepStrictEqual(yield* fleet.names, ["added", "kept"])
      assert.deepStrictEqual(yield* tagsOf(fleet), { added: "Ready", kept: "Ready" })
      assert.strictEqual(yield* fleet.connection("kept"), connection)
      assert.lengthOf(kept.sessions, 1)
      assert.strictEqual(gone.live, 0)
    })
  )

  it.effect("lets what is in flight end before a server that is gone is closed", () =>
    Effect.gen(function* () {
      const gone = SimulatedServer.makeUnsafe({ tools: { slow: { latency: "5 seconds" } } })
      const fleet = yield* McpFleet.make({ gone: to(gone) })
      yield* settle
      const connection = yield* fleet.connection("gone")
      const call = yield* Effect.forkChild(connection.callTool({ name: "slow" }))
      yield* settle
      const reloading = yield* Effect.forkChild(fleet.reload({}))
      yield* advance("4 seconds")
      // Nobody finds it any more, and it lives.
      assert.deepStrictEqual(yield* fleet.names, [])
      assert.strictEqual(gone.live, 1)
      yield* advance("2 seconds")
      yield* Fiber.join(call)
      yield* Fiber.join(reloading)
      assert.strictEqual(gone.live, 0)
    })
  )

  it.effect("reaches a server in another way without a gap, on the same connection", () =>
    Effect.gen(function* () {
      const [old, next] = [SimulatedServer.makeUnsafe(), SimulatedServer.makeUnsafe({ handshake: "3 seconds" })]
      const fleet = yield* McpFleet.make({ server: recipe(old, { args: ["1"] }) })
      yield* settle
      const connection = yield* fleet.connection("server")
      const reloading = yield* Effect.forkChild(fleet.reload({ server: recipe(next, { args: ["2"] }) }))
      yield* advance("2 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
      yield* advance("2 seconds")
      assert.deepStrictEqual(Object.fromEntries(yield* Fiber.join(reloading)), { server: "refreshed" })
      assert.strictEqual(yield* fleet.connection("server"), connection)
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual([old.live, next.live], [0, 1])
    })
  )

  it.effect("goes on with the old session where the new way does not work, and says so", () =>
    Effect.gen(function* () {
      const [old, next] = [
        SimulatedServer.makeUnsafe(),
        SimulatedServer.makeUnsafe({ open: () => Effect.fail(spawnFailed) })
      ]
      const fleet = yield* McpFleet.make({ server: recipe(old, 1) })
      yield* settle
      const changes = yield* fleet.reload({ server: recipe(next, 2) })
      assert.deepStrictEqual(Object.fromEntries(changes), { server: "not-refreshed" })
      assert.deepStrictEqual(yield* tagsOf(fleet), { server: "Ready" })
      assert.strictEqual(old.live, 1)
    })
  )

  it.effect("has a new connection where options are others, there before the old one is closed", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ handshake: "1 second" })
      const fleet = yield* McpFleet.make({ server: recipe(server, 1) })
      yield* advance("1 second")
      const connection = yield* fleet.connection("server")
      const reloading = yield* Effect.forkChild(
        fleet.reload({ server: { ...recipe(server, 1), requestTimeout: "7 seconds" } })
      )
      yield* settle
      assert.strictEqual(yield* fleet.connection("server"), connection)
      yield* advance("1 second")
      assert.deepStrictEqual(Object.fromEntries(yield* Fiber.join(reloading)), { server: "replaced" })
      assert.notStrictEqual(yield* fleet.connection("server"), connection)
      assert.strictEqual((yield* connection.state)._tag, "Closed")
      assert.deepStrictEqual(yield* tagsOf(fleet), { server: "Ready" })
      assert.strictEqual(server.live, 1)
    })
  )

  it.effect("that are wrong stays as it is", () =>
    Effect.gen(function* () {
      const [kept, gone] = servers(2)
      assert(kept !== undefined && gone !== undefined)
      const fleet = yield* McpFleet.make({ kept: to(kept), gone: to(gone) })
      yield* settle
      const error = yield* Effect.flip(
        fleet.reload({ kept: to(kept), bad: { transport: McpTransport.streamableHttp({ url: "ftp://nowhere" }) } })
      )
      assert.include(error.message, "server bad")
      assert.deepStrictEqual(yield* fleet.names, ["kept", "gone"])
      assert.deepStrictEqual([kept.live, gone.live], [1, 1])
    })
  )

  it.effect("one time after the other: whoever asks last has the last word", () =>
    Effect.gen(function* () {
      const all = servers(3, { handshake: "1 second" })
      const fleet = yield* McpFleet.make({})
      const named = (count: number) => Object.fromEntries(all.slice(0, count).map((server, i) => [`s${i}`, to(server)]))
      yield* Effect.forEach([3, 1, 2], (count) =>
        Effect.forkChild(fleet.reload(named(count)), { startImmediately: true })
      )
      yield* advance("2 minutes")
      assert.deepStrictEqual(yield* tagsOf(fleet), { s0: "Ready", s1: "Ready" })
      assert.deepStrictEqual(
        all.map(({ live }) => live),
        [1, 1, 0]
      )
    })
  )
})

describe("a fleet whose reload is given up, or that is closed meanwhile,", () => {
  it.effect("closes what was going, and keeps what was to be replaced", () =>
    Effect.gen(function* () {
      const gone = SimulatedServer.makeUnsafe({ tools: { slow: { latency: "10 seconds" } } })
      const [old, next] = servers(2)
      assert(old !== undefined && next !== undefined)
      next.behavior.open = () => Effect.never
      const scope = yield* Scope.make()
      const fleet = yield* McpFleet.make({ gone: to(gone), other: to(old) }).pipe(Scope.provide(scope))
      yield* settle
      const connection = yield* fleet.connection("other")
      yield* Effect.forkChild(Effect.exit((yield* fleet.connection("gone")).callTool({ name: "slow" })))
      const reloading = yield* Effect.forkChild(fleet.reload({ other: to(next, { maxWaiting: 7 }) }))
      yield* settle
      assert.deepStrictEqual([gone.live, old.live, next.live], [1, 1, 1])
      yield* Fiber.interrupt(reloading)
      assert.deepStrictEqual([gone.live, old.live, next.live], [0, 1, 0])
      assert.strictEqual(yield* fleet.connection("other"), connection)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(old.live, 0)
    })
  )

  it.effect("leaves nothing of what was coming or going, nor of what comes later", () =>
    Effect.gen(function* () {
      const gone = SimulatedServer.makeUnsafe({ tools: { slow: { latency: "10 seconds" } } })
      const all = servers(3)
      const [old, next, late] = all
      assert(old !== undefined && next !== undefined && late !== undefined)
      next.behavior.open = () => Effect.never
      const scope = yield* Scope.make()
      const fleet = yield* McpFleet.make({ gone: to(gone), other: to(old) }).pipe(Scope.provide(scope))
      yield* settle
      yield* Effect.forkChild(Effect.exit((yield* fleet.connection("gone")).callTool({ name: "slow" })))
      const reloading = yield* Effect.forkChild(fleet.reload({ other: to(next, { maxWaiting: 7 }) }))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual([gone.live, old.live, next.live], [0, 0, 0])
      yield* advance("1 second")
      yield* Fiber.join(reloading)
      yield* fleet.reload({ late: to(late) })
      yield* advance("1 minute")
      for (const { live } of all) assert.strictEqual(live, 0)
    })
  )

  it.effect("removes a server that is named like what every object has", () =>
    Effect.gen(function* () {
      const [server] = servers(1)
      assert(server !== undefined)
      const fleet = yield* McpFleet.make({ constructor: to(server) })
      yield* settle
      assert.deepStrictEqual([...(yield* fleet.reload({}))], [["constructor", "removed"]])
      assert.strictEqual(server.live, 0)
    })
  )

  it.effect("tells last of a server that was replaced what the new connection is, not that the old one is closed", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ handshake: "1 second" })
      const fleet = yield* McpFleet.make({ server: to(server) })
      yield* advance("1 second")
      const told: Array<string> = []
      yield* fleet.changes.pipe(
        Stream.runForEach(({ state }) => Effect.sync(() => told.push(state._tag))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* Effect.forkChild(fleet.reload({ server: to(server, { maxWaiting: 7 }) }))
      yield* advance("2 seconds")
      assert.deepStrictEqual(told, ["Ready", "Ready"])
      yield* fleet.reload({})
      yield* settle
      assert.deepStrictEqual(told, ["Ready", "Ready", "Closed"])
    })
  )

  it.effect("reaches a server in its new way also where an attempt in the old one was under way", () =>
    Effect.gen(function* () {
      const old = SimulatedServer.makeUnsafe({ handshake: "5 seconds" })
      const next = SimulatedServer.makeUnsafe()
      const fleet = yield* McpFleet.make({ server: to(old, { source: 1 }) })
      yield* advance("1 second")
      const reloading = yield* Effect.forkChild(fleet.reload({ server: to(next, { source: 2 }) }))
      yield* advance("10 seconds")
      assert.deepStrictEqual([...(yield* Fiber.join(reloading))], [["server", "refreshed"]])
      assert.deepStrictEqual([old.live, next.live], [0, 1])
    })
  )
})
