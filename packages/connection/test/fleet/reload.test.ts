/** What a fleet tells of its changes, and what becomes of a change that another one overtakes. */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { failure } from "@mcp-tether/testing/SimulatedServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Reasons from "../../src/ConnectionError.ts"
import * as McpAgent from "../../src/McpAgent.ts"
import * as McpFleet from "../../src/McpFleet.ts"
import { everySecond } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const refused = failure(new Reasons.NetworkFailed({ code: "ECONNREFUSED", description: "refused", phase: "connect" }))

const to = (simulation: SimulatedServer.SimulatedServer, options: Partial<McpFleet.Server> = {}): McpFleet.Server => ({
  transport: simulation.transport,
  policy: everySecond,
  heartbeat: "off",
  ...options
})

const collect = Effect.fnUntraced(function* <A>(stream: Stream.Stream<A>) {
  const all: Array<A> = []
  const fiber = yield* stream.pipe(
    Stream.runForEach((a) => Effect.sync(() => all.push(a))),
    Effect.forkChild({ startImmediately: true })
  )
  return { all, fiber }
})

const outcome = (changes: ReadonlyMap<string, McpFleet.Change>) => Object.fromEntries(changes)

describe("what a fleet tells", () => {
  it.effect("ends when it is closed, after the last word of each server", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const fleet = yield* McpFleet.make({
        a: to(SimulatedServer.makeUnsafe()),
        b: to(SimulatedServer.makeUnsafe())
      }).pipe(Scope.provide(scope))
      yield* settle
      const changes = yield* collect(fleet.changes)
      const events = yield* collect(fleet.events)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(changes.fiber)
      yield* Fiber.join(events.fiber)
      assert.deepStrictEqual(
        changes.all
          .slice(-2)
          .map(({ server, state }) => `${server} ${state._tag}`)
          .toSorted(),
        ["a Closed", "b Closed"]
      )
      assert.lengthOf(
        events.all.filter((event) => event._tag === "ServerEvent" && event.event._tag === "Closed"),
        2
      )
      // Also for who comes later.
      assert.deepStrictEqual(
        (yield* Stream.runCollect(fleet.changes)).map(({ state }) => state._tag),
        ["Closed", "Closed"]
      )
      assert.deepStrictEqual(yield* Stream.runCollect(fleet.events), [])
    })
  )

  it.effect("says of which connection it is, where a server has two while it is replaced", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe()
      const fleet = yield* McpFleet.make({ server: to(server) })
      yield* settle
      const { all } = yield* collect(fleet.events)
      yield* fleet.reload({ server: to(server, { maxWaiting: 7 }) })
      yield* settle
      assert.deepStrictEqual(
        all.map((event) => (event._tag === "ServerEvent" ? [event.event._tag, event.connection] : event._tag)),
        [["AttemptStarted", 2], ["SessionReady", 2], ["Closed", 1], "ServerChanged"]
      )
      yield* fleet.reload({})
      yield* fleet.reload({ server: to(server) })
      yield* settle
      assert.deepInclude(all.at(-1), { server: "server", connection: 3 })
    })
  )
})

describe("a server whose new way did not work", () => {
  const failing = () => {
    const old = SimulatedServer.makeUnsafe()
    const next = SimulatedServer.makeUnsafe({ open: () => Effect.fail(refused) })
    const servers = { server: to(next, { source: 2 }) }
    return { old, next, servers, make: McpFleet.make({ server: to(old, { source: 1 }) }) }
  }

  it.effect("is tried again by the same reload, as long as what it runs is not what it shall be", () =>
    Effect.gen(function* () {
      const { make, next, old, servers } = failing()
      const fleet = yield* make
      yield* settle
      assert.deepStrictEqual(outcome(yield* fleet.reload(servers)), { server: "not-refreshed" })
      assert.deepStrictEqual(outcome(yield* fleet.reload(servers)), { server: "not-refreshed" })
      next.behavior.open = () => Effect.void
      assert.deepStrictEqual(outcome(yield* fleet.reload(servers)), { server: "refreshed" })
      yield* advance("1 second")
      assert.deepStrictEqual([old.live, next.live], [0, 1])
      assert.deepStrictEqual(outcome(yield* fleet.reload(servers)), { server: "unchanged" })
      assert.lengthOf(next.sessions, 1)
    })
  )

  it.effect("and is reached in it since, after a loss, is left alone", () =>
    Effect.gen(function* () {
      const { make, next, old, servers } = failing()
      const fleet = yield* make
      yield* settle
      yield* fleet.reload(servers)
      next.behavior.open = () => Effect.void
      yield* old.current.lose()
      yield* advance("2 seconds")
      assert.lengthOf(next.sessions, 1)
      assert.deepStrictEqual(outcome(yield* fleet.reload(servers)), { server: "unchanged" })
      assert.lengthOf(next.sessions, 1)
    })
  )

  it.effect("and has no session, is not waited for without end", () =>
    Effect.gen(function* () {
      const [old, next] = [
        SimulatedServer.makeUnsafe(),
        SimulatedServer.makeUnsafe({ open: () => Effect.fail(refused) })
      ]
      const within = { startWithin: "10 seconds" } as const
      const fleet = yield* McpFleet.make({ server: to(old, { source: 1, ...within }) })
      yield* settle
      old.behavior.open = () => Effect.fail(refused)
      yield* old.current.lose()
      yield* advance("1 second")
      const reloading = yield* Effect.forkChild(fleet.reload({ server: to(next, { source: 2, ...within }) }))
      yield* advance("9 seconds")
      assert.isUndefined(reloading.pollUnsafe())
      yield* advance("1 second")
      assert.deepStrictEqual(outcome(yield* Fiber.join(reloading)), { server: "not-refreshed" })
      next.behavior.open = () => Effect.void
      yield* advance("2 seconds")
      assert.deepStrictEqual([old.live, next.live], [0, 1])
    })
  )
})

describe("a reload that is overtaken by another one", () => {
  it.effect("does not hold it up: what is not done yet is abandoned, and leaves nothing", () =>
    Effect.gen(function* () {
      const [old, hanging, next] = [
        SimulatedServer.makeUnsafe({ tools: { slow: { latency: "5 seconds" } } }),
        SimulatedServer.makeUnsafe({ open: () => Effect.never }),
        SimulatedServer.makeUnsafe()
      ]
      const fleet = yield* McpFleet.make({ server: to(old) })
      yield* settle
      const first = yield* Effect.forkChild(fleet.reload({ server: to(hanging, { maxWaiting: 1 }) }))
      yield* settle
      assert.strictEqual(hanging.live, 1)
      const call = yield* Effect.forkChild((yield* fleet.connection("server")).callTool({ name: "slow" }))
      yield* settle
      const second = yield* Effect.forkChild(fleet.reload({ server: to(next, { maxWaiting: 2 }) }))
      yield* settle
      assert.deepStrictEqual(outcome(yield* Fiber.join(first)), { server: "abandoned" })
      assert.deepStrictEqual([hanging.live, next.live], [0, 1])
      yield* advance("6 seconds")
      yield* Fiber.join(call)
      assert.deepStrictEqual(outcome(yield* Fiber.join(second)), { server: "replaced" })
      assert.deepStrictEqual([old.live, next.live], [0, 1])
    })
  )

  it.effect("and hangs in the way that the first one gave: that way is given up at once", () =>
    Effect.gen(function* () {
      const [old, hanging, next] = [
        SimulatedServer.makeUnsafe(),
        SimulatedServer.makeUnsafe({ open: () => Effect.never }),
        SimulatedServer.makeUnsafe()
      ]
      const fleet = yield* McpFleet.make({ server: to(old, { source: 1 }) })
      yield* settle
      const first = yield* Effect.forkChild(fleet.reload({ server: to(hanging, { source: 2 }) }))
      yield* settle
      assert.strictEqual(hanging.live, 1)
      const second = yield* Effect.forkChild(fleet.reload({ server: to(next, { source: 3 }) }))
      yield* advance("1 second")
      assert.deepStrictEqual(outcome(yield* Fiber.join(first)), { server: "abandoned" })
      assert.deepStrictEqual(outcome(yield* Fiber.join(second)), { server: "refreshed" })
      assert.deepStrictEqual([old.live, hanging.live, next.live], [0, 0, 1])
    })
  )

  it.effect("that wants what is there: the server is as it was, and was not touched", () =>
    Effect.gen(function* () {
      const [old, hanging] = [SimulatedServer.makeUnsafe(), SimulatedServer.makeUnsafe({ open: () => Effect.never })]
      const fleet = yield* McpFleet.make({ server: to(old) })
      yield* settle
      const first = yield* Effect.forkChild(fleet.reload({ server: to(hanging, { maxWaiting: 1 }) }))
      yield* settle
      assert.deepStrictEqual(outcome(yield* fleet.reload({ server: to(old) })), { server: "unchanged" })
      assert.deepStrictEqual(outcome(yield* Fiber.join(first)), { server: "abandoned" })
      assert.deepStrictEqual([old.live, old.sessions.length, hanging.live], [1, 1, 0])
    })
  )

  it.effect("that wants the same: it is begun once", () =>
    Effect.gen(function* () {
      const [old, next] = [SimulatedServer.makeUnsafe(), SimulatedServer.makeUnsafe({ handshake: "2 seconds" })]
      const fleet = yield* McpFleet.make({ server: to(old) })
      yield* settle
      const servers = { server: to(next, { maxWaiting: 1 }) }
      const first = yield* Effect.forkChild(fleet.reload(servers))
      yield* advance("1 second")
      const second = yield* Effect.forkChild(fleet.reload(servers))
      yield* advance("1 second")
      for (const fiber of [first, second])
        assert.deepStrictEqual(outcome(yield* Fiber.join(fiber)), { server: "replaced" })
      assert.lengthOf(next.attempts, 1)
    })
  )

  it.effect("cuts off nothing that is in flight on what the first one has replaced", () =>
    Effect.gen(function* () {
      const old = SimulatedServer.makeUnsafe({ tools: { slow: { latency: "5 seconds" } } })
      const [next, last] = [SimulatedServer.makeUnsafe(), SimulatedServer.makeUnsafe()]
      const fleet = yield* McpFleet.make({ server: to(old) })
      yield* settle
      const call = yield* Effect.forkChild((yield* fleet.connection("server")).callTool({ name: "slow" }))
      yield* settle
      yield* Effect.forkChild(fleet.reload({ server: to(next, { maxWaiting: 1 }) }))
      yield* advance("1 second")
      yield* Effect.forkChild(fleet.reload({ server: to(last, { maxWaiting: 2 }) }))
      yield* advance("6 seconds")
      yield* Fiber.join(call)
      assert.deepStrictEqual([old.live, next.live, last.live], [0, 0, 1])
    })
  )
})

describe("the tools of a fleet", () => {
  it.effect("are turned on and off while it runs, without a word to the server", () =>
    Effect.gen(function* () {
      const bank = SimulatedServer.makeUnsafe({ tools: { find: {}, pay: {} } })
      const fleet = yield* McpFleet.make({ bank: to(bank) })
      yield* settle
      const agent = McpAgent.make(fleet)
      const offered = Effect.map(agent.offers, (offers) => offers.map(({ name }) => name))
      assert.deepStrictEqual(yield* offered, ["bank__find", "bank__pay"])
      const functions = yield* agent.functions
      const requests = bank.sent.length
      const off = { bank: to(bank, { tools: { except: ["pay"] } }) }
      assert.deepStrictEqual(outcome(yield* fleet.reload(off)), { bank: "filtered" })
      assert.deepStrictEqual(yield* offered, ["bank__find"])
      assert.strictEqual(bank.sent.length, requests)
      // Also by whoever knows it from before.
      const pay = functions.find(({ name }) => name === "bank__pay")
      const answer = yield* Effect.promise(async () => pay?.ask({}))
      assert.strictEqual(answer?.fate, "DidNotRun")
      assert.include(answer?.text, "it is turned off")
      assert.deepStrictEqual(bank.ran, [])
      assert.deepStrictEqual(outcome(yield* fleet.reload(off)), { bank: "unchanged" })
      assert.deepStrictEqual(outcome(yield* fleet.reload({ bank: to(bank) })), { bank: "filtered" })
      assert.deepStrictEqual(yield* offered, ["bank__find", "bank__pay"])
      assert.lengthOf(bank.sessions, 1)
    })
  )

  it.effect("that are named and not there are told of, once until they are others", () =>
    Effect.gen(function* () {
      const bank = SimulatedServer.makeUnsafe({ tools: { find: {} } })
      const fleet = yield* McpFleet.make({ bank: to(bank, { tools: { except: ["pya"] } }) })
      yield* settle
      const { all } = yield* collect(fleet.events)
      const told = () => all.flatMap((event) => (event._tag === "UnknownTools" ? [event.tools] : []))
      const connection = yield* fleet.connection("bank")
      yield* connection.listTools()
      yield* connection.listTools()
      yield* settle
      assert.deepStrictEqual(told(), [["pya"]])
      yield* fleet.reload({ bank: to(bank, { tools: { except: ["pya", "pay"] } }) })
      yield* settle
      assert.deepStrictEqual(told(), [["pya"], ["pya", "pay"]])
    })
  )
})
