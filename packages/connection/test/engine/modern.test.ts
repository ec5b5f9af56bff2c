/**
 * The era of 2026-07-28: one stream tells of all changes, the log level goes with each request, and there may be nothing to keep
 * alive (DESIGN §7, §8).
 */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited, failure, type Listened, type SimulatedSession, tool } from "@mcp-tether/testing/SimulatedServer"
import type { ServerCapabilities, SubscriptionFilter } from "@modelcontextprotocol/client"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Reasons from "../../src/ConnectionError.ts"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import type * as McpConnection from "../../src/McpConnection.ts"
import type { RequestError } from "../../src/RequestError.ts"
import { ServerRejected } from "../../src/RequestError.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const everything: ServerCapabilities = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { listChanged: true, subscribe: true },
  logging: {}
}

/** A server of the modern era, over HTTP, that tells of everything. */
const modern = (script: SimulatedServer.Options = {}) =>
  SimulatedServer.makeUnsafe({
    era: "modern",
    isolation: "perRequest",
    capabilities: everything,
    handle: answer,
    ...script
  })

const answer: SimulatedServer.Behavior["handle"] = (call) => {
  switch (call.ticket.method) {
    case "prompts/list":
      return Effect.succeed({ prompts: [] })
    case "resources/list":
      return Effect.succeed({ resources: [] })
    case "resources/templates/list":
      return Effect.succeed({ resourceTemplates: [] })
    default:
      return call.run
  }
}

const unavailable = failure(new Reasons.ServerUnavailable({ status: 503 }))
const rejected = new ServerRejected({
  server: "simulated",
  method: "subscriptions/listen",
  code: -32_601,
  description: "method not found"
})

const collect = Effect.fnUntraced(function* (connection: McpConnection.Shape) {
  const events: Array<ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* settle
  return events
})

const countOf = (events: ReadonlyArray<ConnectionEvent>, tag: ConnectionEvent["_tag"]) =>
  events.filter((event) => event._tag === tag).length

/** Reads the updates of a resource until its fiber is interrupted. */
const read = Effect.fnUntraced(function* (connection: McpConnection.Shape, uri: string) {
  const updates: Array<McpConnection.ResourceUpdate> = []
  const fiber = yield* connection.resourceUpdates(uri).pipe(
    Stream.runForEach((update) => Effect.sync(() => updates.push(update))),
    Effect.forkDetach({ startImmediately: true })
  )
  yield* settle
  return { updates, fiber }
})

/** What was asked for, as `<generation> <filter>`. */
const listens = (simulation: SimulatedServer.SimulatedServer) =>
  simulation.listened.map(({ filter, generation }) => `${generation} ${text(filter)}`)

const text = (filter: SubscriptionFilter | undefined) =>
  [
    filter?.toolsListChanged === true ? "tools" : undefined,
    filter?.promptsListChanged === true ? "prompts" : undefined,
    filter?.resourcesListChanged === true ? "resources" : undefined,
    ...(filter?.resourceSubscriptions ?? [])
  ]
    .filter((part) => part !== undefined)
    .join(" ")

const updated = (uri: string) => ({ method: "notifications/resources/updated", params: { uri } })

/** The next `times` listens end like this; all others are agreed to. */
const answering = (end: ReturnType<SimulatedServer.Behavior["listen"]>, times = 1) => {
  let left = times
  return () => Effect.suspend(() => (left-- > 0 ? end : Effect.void))
}

describe("what a modern session is asked to tell of", () => {
  it.effect("nothing, when nothing is desired: not in the first session, and not in the next", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* connection.callTool({ name: "a" })
      yield* connection.readResource({ uri: "file:///a" })
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(simulation.listened, [])
    })
  )

  it.effect("the lists that were asked for and the resources that are read, in one stream", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* settle
      assert.deepStrictEqual(listens(simulation), ["1 tools"])
      yield* connection.listResources()
      yield* settle
      yield* read(connection, "file:///b")
      yield* read(connection, "file:///a")
      assert.deepStrictEqual(listens(simulation), [
        "1 tools",
        "1 tools resources",
        "1 tools resources file:///b",
        "1 tools resources file:///a file:///b"
      ])
      // Each replaces the one before: nothing is unlistened in between, and nothing is asked with the means of the old era.
      for (const { filter } of simulation.listened) assert.isNotEmpty(filter)
      assert.deepStrictEqual(
        simulation.sent.map((sent) => sent.method),
        ["tools/list", "resources/list"]
      )
    })
  )

  it.effect("what changes between a first list and the server's word to tell of changes is not missed", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: () => Effect.sleep("1 second"), listed: () => [tool("a")] })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      simulation.behavior.listed = () => [tool("a"), tool("b")]
      const events = yield* collect(connection)
      yield* advance("1 second")
      yield* advance("1 second")
      assert.strictEqual(countOf(events, "CatalogChanged"), 1)
      assert.lengthOf((yield* connection.catalog).tools?.items ?? [], 2)
      yield* advance("1 minute")
      assert.lengthOf(simulation.generationsOf("tools/list"), 2)
    })
  )

  it.effect("resources and their templates have one notification", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* connection.listResourceTemplates()
      yield* settle
      yield* connection.listResources()
      yield* settle
      assert.deepStrictEqual(listens(simulation), ["1 resources"])
    })
  )

  it.effect("a list by page is no list that is followed", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* connection.request("tools/list", { cursor: "1" })
      yield* settle
      assert.deepStrictEqual(listens(simulation), [])
    })
  )

  it.effect("only what the server offers", () =>
    Effect.gen(function* () {
      const simulation = modern({
        capabilities: { tools: {}, prompts: { listChanged: false }, resources: { subscribe: true } }
      })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* connection.listPrompts()
      yield* connection.listResources()
      yield* settle
      assert.deepStrictEqual(simulation.listened, [])
      yield* read(connection, "file:///a")
      assert.deepStrictEqual(listens(simulation), ["1 file:///a"])
    })
  )

  it.effect("a resource of a server that takes no subscriptions is not asked for, and its reader not failed", () =>
    Effect.gen(function* () {
      const simulation = modern({ capabilities: { resources: { listChanged: true } } })
      const connection = yield* connect(simulation)
      const { fiber } = yield* read(connection, "file:///a")
      assert.deepStrictEqual(simulation.listened, [])
      assert.isUndefined(fiber.pollUnsafe())
    })
  )

  it.effect("two readers of a resource are one wish; when the last leaves it is ended, with an empty filter", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      const first = yield* read(connection, "file:///a")
      const second = yield* read(connection, "file:///a")
      assert.lengthOf(simulation.listened, 1)
      yield* Fiber.interrupt(first.fiber)
      yield* settle
      assert.lengthOf(simulation.listened, 1)
      yield* simulation.current.tell(updated("file:///a"))
      yield* settle
      assert.deepStrictEqual(second.updates, [{ _tag: "Updated", uri: "file:///a" }])
      yield* Fiber.interrupt(second.fiber)
      yield* settle
      assert.deepStrictEqual(simulation.listened.at(-1)?.filter, {})
      assert.lengthOf(simulation.listened, 2)
    })
  )

  it.effect("the first of two readers leaves before the server agreed: the other one is subscribed", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: () => Effect.sleep("1 second") })
      const connection = yield* connect(simulation)
      const first = yield* read(connection, "file:///a")
      const second = yield* read(connection, "file:///a")
      yield* Fiber.interrupt(first.fiber)
      yield* advance("1 second")
      assert.deepStrictEqual(listens(simulation), ["1 file:///a", "1 file:///a"])
      yield* simulation.current.tell(updated("file:///a"))
      yield* settle
      assert.deepStrictEqual(second.updates, [{ _tag: "Updated", uri: "file:///a" }])
    })
  )

  it.effect("a reader waits until the server has agreed; changes meanwhile are asked for one after the other", () =>
    Effect.gen(function* () {
      let under = 0
      const simulation = modern({
        listen: () =>
          Effect.gen(function* () {
            under += 1
            assert.strictEqual(under, 1)
            yield* Effect.sleep("1 second")
            under -= 1
          })
      })
      const connection = yield* connect(simulation)
      const readers = yield* Effect.forEach(["a", "b", "c"], (uri) => read(connection, uri))
      yield* connection.listTools()
      for (let i = 0; i < 6; i += 1) yield* advance("1 second")
      assert.strictEqual(text(simulation.listened.at(-1)?.filter), "tools a b c")
      for (const { fiber } of readers) assert.isUndefined(fiber.pollUnsafe())
      // What was wished meanwhile goes together.
      assert.isAtMost(simulation.listened.length, 3)
    })
  )

  it.effect("a capability that only the next session has is used there", () =>
    Effect.gen(function* () {
      const simulation = modern({ capabilities: {} })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* read(connection, "file:///a")
      assert.deepStrictEqual(simulation.listened, [])
      simulation.behavior.capabilities = everything
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(listens(simulation), ["2 tools file:///a"])
    })
  )

  it.effect("a legacy session after a modern one, and the other way round, are each asked in their own way", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* connection.setLogLevel("debug")
      yield* read(connection, "file:///a")
      simulation.behavior.era = "legacy"
      yield* simulation.current.lose()
      yield* advance("1 second")
      simulation.behavior.era = "modern"
      yield* connection.refresh
      yield* settle
      assert.deepStrictEqual(
        simulation.sent.map(({ generation, method }) => `${generation} ${method}`),
        ["2 logging/setLevel", "2 resources/subscribe"]
      )
      assert.deepStrictEqual(listens(simulation), ["1 file:///a", "3 file:///a"])
    })
  )
})

describe("the next modern session", () => {
  it.effect("is asked before onSession, before the lists, and before anyone uses it", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const simulation = modern({
        listen: ({ generation }) =>
          Effect.andThen(
            Effect.sleep("1 second"),
            Effect.sync(() => order.push(`${generation} listen`))
          ),
        handle: (call) =>
          Effect.suspend(() => {
            order.push(`${call.generation} ${call.ticket.method}`)
            return answer(call)
          })
      })
      const connection = yield* connect(simulation, {
        onSession: (_, { generation }) => Effect.sync(() => order.push(`${generation} onSession`))
      })
      yield* connection.setLogLevel("debug")
      yield* connection.listTools()
      yield* advance("1 second")
      order.splice(0)
      simulation.listened.splice(0)
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("1 second")
      yield* Fiber.join(call)
      assert.deepStrictEqual(order, ["2 listen", "2 onSession", "2 tools/list", "2 tools/call"])
      assert.notStrictEqual(simulation.listened[0]?.state?._tag, "Ready")
    })
  )

  it.effect("is told of what changed while it was being restored", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const simulation = modern()
      const connection = yield* connect(simulation, {
        onSession: (_, { generation }) => (generation === 1 ? Effect.void : Deferred.await(hold))
      })
      const left = yield* read(connection, "file:///left")
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* Fiber.interrupt(left.fiber)
      yield* read(connection, "file:///new")
      simulation.listened.splice(0)
      yield* Deferred.succeed(hold, undefined)
      yield* settle
      assert.deepStrictEqual(listens(simulation), ["2 file:///new"])
      assert.strictEqual(simulation.listened[0]?.state?._tag, "Reconnecting")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )

  for (const [how, listen] of Object.entries({
    rejects: () => Effect.fail(rejected),
    "does not answer": () => Effect.never,
    "breaks off": () => Effect.fail(unavailable),
    "loses the session": (_: Listened, session: SimulatedSession) => Effect.andThen(session.lose(), Effect.never)
  } satisfies Record<string, SimulatedServer.Behavior["listen"]>)) {
    it.effect(`required: when it ${how} to tell of a resource, the attempt has failed`, () =>
      Effect.gen(function* () {
        const simulation = modern()
        const connection = yield* connect(simulation, { requestTimeout: "5 seconds" })
        yield* read(connection, "file:///a")
        const first = listen
        simulation.behavior.listen = (listened, session) =>
          simulation.attempts.length === 2 ? first(listened, session) : Effect.void
        yield* simulation.current.lose()
        yield* advance("1 second")
        yield* advance("6 seconds")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
        assert.lengthOf(simulation.attempts, 3)
        assert.deepStrictEqual(listens(simulation), ["1 file:///a", "2 file:///a", "2 file:///a"])
      })
    )
  }

  it.effect("best-effort: what it rejects is skipped, once, and an event says so", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation, { restore: "best-effort" })
      yield* read(connection, "file:///a")
      const events = yield* collect(connection)
      simulation.behavior.listen = () => Effect.fail(rejected)
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(
        events.flatMap((event) => (event._tag === "RestorationSkipped" ? [event.step] : [])),
        ["subscriptions/listen"]
      )
      yield* advance("1 minute")
      assert.deepStrictEqual(listens(simulation), ["1 file:///a", "2 file:///a"])
    })
  )

  it.effect("does not wait for what an older one that drains does not answer", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* settle
      // The old session never agrees to the second stream, and has a call in flight.
      simulation.behavior.listen = ({ generation }) => (generation === 1 ? Effect.never : Effect.void)
      simulation.behavior.handle = (call) => (call.tool === "slow" ? Effect.never : answer(call))
      yield* read(connection, "file:///a")
      yield* Effect.forkScoped(Effect.ignore(connection.callTool({ name: "slow" })))
      yield* settle
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* advance("1 second")
      assert.isDefined(refreshing.pollUnsafe(), "the new session waits for the old one")
      assert.strictEqual(listens(simulation).at(-1), "2 tools file:///a")
    })
  )
})

describe("a gap in the stream", () => {
  it.effect("is asked for again; then it is told, readers hear MayHaveMissed, and the lists are read again", () =>
    Effect.gen(function* () {
      const simulation = modern({ listed: () => [tool("a")] })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const a = yield* read(connection, "file:///a")
      yield* advance("1 minute")
      const events = yield* collect(connection)
      simulation.behavior.listed = () => [tool("a"), tool("b")]
      const agree = yield* Deferred.make<void>()
      simulation.behavior.listen = () => Deferred.await(agree)
      simulation.listened.splice(0)
      yield* simulation.current.gap
      yield* advance("1 second")
      assert.deepStrictEqual(listens(simulation), ["1 tools file:///a"])
      assert.deepStrictEqual(events, [])
      assert.deepStrictEqual(a.updates, [])
      yield* Deferred.succeed(agree, undefined)
      yield* advance("1 second")
      assert.deepStrictEqual(
        events.map((event) => event._tag),
        ["NotificationsMissed", "CatalogChanged"]
      )
      assert.deepInclude(events[0], { generation: 1, at: 61_000 })
      assert.deepStrictEqual(a.updates, [{ _tag: "MayHaveMissed", uri: "file:///a", generation: 1 }])
      assert.lengthOf((yield* connection.catalog).tools?.items ?? [], 2)
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("in the legacy era nothing is asked for, and the same is told", () =>
    Effect.gen(function* () {
      const simulation = modern({ era: "legacy" })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const { updates } = yield* read(connection, "file:///a")
      const events = yield* collect(connection)
      yield* simulation.current.gap
      yield* advance("1 second")
      assert.strictEqual(countOf(events, "NotificationsMissed"), 1)
      assert.deepStrictEqual(updates, [{ _tag: "MayHaveMissed", uri: "file:///a", generation: 1 }])
      assert.deepStrictEqual(simulation.generationsOf("tools/list"), [1, 1])
      assert.deepStrictEqual(simulation.listened, [])
    })
  )

  it.effect("that the server does not want to close is asked for after growing pauses, and told once", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* read(connection, "file:///a")
      yield* advance("1 minute")
      const events = yield* collect(connection)
      simulation.behavior.listen = answering(Effect.fail(unavailable), 4)
      simulation.listened.splice(0)
      yield* simulation.current.gap
      for (let i = 0; i < 30; i += 1) yield* advance("500 millis")
      assert.deepStrictEqual(
        simulation.listened.map(({ at }) => at - 60_000),
        [0, 1000, 3000, 7000, 15_000]
      )
      assert.strictEqual(countOf(events, "NotificationsMissed"), 1)
      assert.deepStrictEqual(simulation.log, ["open 1"])
      // Each failure made the session suspect, and each probe found it good.
      assert.lengthOf(simulation.generationsOf("ping"), 4)
    })
  )

  it.effect("that the server asks to leave alone for a while is left alone that long", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* read(connection, "file:///a")
      yield* advance("1 minute")
      const busy = failure(new Reasons.ServerUnavailable({ status: 429, retryAfter: Duration.seconds(10) }))
      simulation.behavior.listen = answering(Effect.fail(busy))
      simulation.listened.splice(0)
      yield* simulation.current.gap
      for (let i = 0; i < 24; i += 1) yield* advance("500 millis")
      assert.lengthOf(simulation.listened, 2)
      assert.isAtLeast(simulation.listened[1]?.at ?? 0, 70_000)
      assert.strictEqual(simulation.sent[0]?.at, 70_000)
    })
  )

  it.effect("that is never answered is given up after requestTimeout, and asked for again", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation, { requestTimeout: "5 seconds" })
      yield* read(connection, "file:///a")
      yield* advance("1 minute")
      const events = yield* collect(connection)
      simulation.behavior.listen = answering(Effect.never)
      simulation.listened.splice(0)
      yield* simulation.current.gap
      for (let i = 0; i < 8; i += 1) yield* advance("1 second")
      assert.lengthOf(simulation.listened, 2)
      assert.strictEqual(countOf(events, "NotificationsMissed"), 1)
    })
  )

  it.effect("that follows another before the server has agreed is not lost", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: () => Effect.sleep("1 second") })
      const connection = yield* connect(simulation)
      yield* read(connection, "file:///a")
      yield* advance("1 minute")
      simulation.listened.splice(0)
      yield* simulation.current.gap
      yield* advance("1 second")
      // The stream that was just agreed to has broken in the same moment.
      yield* simulation.current.gap
      yield* advance("1 minute")
      assert.isAtLeast(simulation.listened.length, 2)
    })
  )

  it.effect("while a wider filter is being asked for leaves the session with the wider one", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* read(connection, "file:///a")
      yield* advance("1 minute")
      simulation.behavior.listen = () => Effect.sleep("1 second")
      yield* read(connection, "file:///b")
      yield* advance("500 millis")
      simulation.listened.splice(0)
      yield* simulation.current.gap
      yield* advance("10 seconds")
      // Nobody can tell whether it was the old stream or the new one.
      assert.strictEqual(listens(simulation).at(-1), "1 file:///a file:///b")
      assert.lengthOf(simulation.listened, 1)
    })
  )

  it.effect("that comes as soon as the stream is open, each time, is no reason for a storm", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: (_, session) => Effect.as(Effect.forkDetach(session.gap), undefined) })
      const connection = yield* connect(simulation)
      yield* read(connection, "file:///a")
      yield* connection.listTools()
      for (let i = 0; i < 600; i += 1) yield* advance("1 second")
      assert.isAtLeast(simulation.listened.length, 10)
      assert.isAtMost(simulation.listened.length, 45, "that is a storm")
      assert.isAtMost(simulation.sent.length, 45)
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("that comes as soon as the stream is open does not keep the next session from serving", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* read(connection, "file:///a")
      simulation.behavior.listen = (_, session) => session.gap
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.isAtMost(simulation.listened.length, 5)
    })
  )

  it.effect("of a session that drains, or is closed, is nothing", () =>
    Effect.gen(function* () {
      const simulation = modern({
        handle: (call) => (call.tool === "slow" ? Effect.never : answer(call))
      })
      const connection = yield* connect(simulation)
      const first = simulation.current
      const { updates } = yield* read(connection, "file:///a")
      yield* Effect.forkScoped(Effect.ignore(connection.callTool({ name: "slow" })))
      yield* settle
      yield* connection.refresh
      yield* settle
      const events = yield* collect(connection)
      simulation.listened.splice(0)
      updates.splice(0)
      yield* first.gap
      yield* advance("40 seconds")
      yield* first.gap
      yield* advance("10 seconds")
      assert.deepStrictEqual(simulation.listened, [])
      assert.deepStrictEqual(updates, [])
      assert.strictEqual(countOf(events, "NotificationsMissed"), 0)
    })
  )

  it.effect("when nothing is desired changes nothing", () =>
    Effect.gen(function* () {
      const simulation = modern()
      yield* connect(simulation)
      yield* simulation.current.gap
      yield* advance("1 minute")
      assert.deepStrictEqual(simulation.listened, [])
      assert.deepStrictEqual(simulation.sent, [])
    })
  )

  it.effect("a transport that dies when it is asked has lost the session, which is replaced", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      yield* read(connection, "file:///a")
      yield* advance("1 minute")
      simulation.behavior.listen = answering(Effect.die("bug"))
      yield* simulation.current.gap
      yield* advance("1 second")
      yield* advance("1 second")
      // A defect is not retried by itself: but the connection has to say so, and can be revived.
      assert.notStrictEqual((yield* connection.state)._tag, "Ready")
      assert.deepInclude(yield* connection.reconnect, { _tag: "Ready", generation: 2 })
    })
  )
})

describe("a server that does not listen", () => {
  it.effect("lists as ever", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: () => Effect.fail(rejected), listed: () => [tool("a")] })
      const connection = yield* connect(simulation)
      assert.lengthOf(yield* connection.listTools(), 1)
      yield* advance("10 minutes")
      assert.lengthOf(simulation.listened, 1)
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.lengthOf(yield* connection.listTools(), 1)
      assert.lengthOf(simulation.listened, 2)
    })
  )

  it.effect("tells who reads a resource: ServerRejected, and nothing is left of it", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: () => Effect.fail(rejected) })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* settle
      const error = yield* Effect.flip(Stream.runDrain(connection.resourceUpdates("file:///a")))
      assert.deepInclude(error, { _tag: "ServerRejected", code: -32_601 })
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(listens(simulation), ["1 tools", "1 tools file:///a", "2 tools"])
    })
  )
})

describe("a listen that fails on a session that stays", () => {
  it.effect("a reader is subscribed as soon as the server agrees, and hears that it may have missed something", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: answering(Effect.fail(unavailable)) })
      const connection = yield* connect(simulation)
      const { fiber, updates } = yield* read(connection, "file:///a")
      assert.isUndefined(fiber.pollUnsafe())
      yield* advance("2 seconds")
      assert.deepStrictEqual(listens(simulation), ["1 file:///a", "1 file:///a"])
      assert.deepStrictEqual(updates, [{ _tag: "MayHaveMissed", uri: "file:///a", generation: 1 }])
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )

  it.effect("after a list: the list is followed as soon as the server agrees", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: answering(Effect.fail(unavailable)) })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* advance("2 seconds")
      assert.deepStrictEqual(listens(simulation), ["1 tools", "1 tools"])
    })
  )

  it.effect("when a reader has left: it is ended as soon as the server agrees", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      const { fiber } = yield* read(connection, "file:///a")
      simulation.behavior.listen = answering(Effect.fail(unavailable))
      yield* Fiber.interrupt(fiber)
      yield* advance("2 seconds")
      assert.deepStrictEqual(simulation.listened.at(-1)?.filter, {})
      assert.lengthOf(simulation.listened, 3)
    })
  )
})

describe("what is not sent in the modern era", () => {
  it.effect("setLogLevel: every request asks for it, in this session and the next", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation)
      assert.isUndefined(simulation.current.host.logLevel())
      yield* connection.setLogLevel("debug")
      assert.strictEqual(simulation.current.host.logLevel(), "debug")
      yield* simulation.current.lose()
      yield* settle
      yield* connection.setLogLevel("error")
      yield* advance("1 second")
      assert.strictEqual(simulation.current.host.logLevel(), "error")
      assert.deepStrictEqual(simulation.sent, [])
      assert.deepStrictEqual(simulation.notified, [])
    })
  )

  it.effect("setRoots: the server asks for them each time", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation, { roots: [] })
      const roots = [{ uri: "file:///project" }]
      yield* connection.setRoots(roots)
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(simulation.notified, [])
      assert.deepStrictEqual(simulation.sent, [])
      const answered = yield* simulation.current.host.handlers.get("roots/list")?.({}) ?? Effect.succeed(undefined)
      assert.deepStrictEqual(answered, { roots })
    })
  )

  it.effect("both fail with ConnectionClosed after the close", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation, { roots: [] }).pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(connection.setLogLevel("debug")))._tag, "ConnectionClosed")
      assert.strictEqual((yield* Effect.flip(connection.setRoots([])))._tag, "ConnectionClosed")
      const error = yield* Effect.flip(Stream.runDrain(connection.resourceUpdates("file:///a")))
      assert.strictEqual(error._tag, "ConnectionClosed")
    })
  )
})

describe("heartbeats in the modern era", () => {
  const methods = (simulation: SimulatedServer.SimulatedServer) =>
    simulation.sent.map(({ at, method }) => `${at} ${method}`)

  it.effect("a stateless server that is asked to tell of nothing is left alone", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation, { heartbeat: undefined })
      yield* advance("1 day")
      assert.deepStrictEqual(simulation.sent, [])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("also when it does not tell of the lists that were asked for", () =>
    Effect.gen(function* () {
      const simulation = modern({ listen: () => Effect.fail(rejected) })
      const connection = yield* connect(simulation, { heartbeat: undefined })
      yield* connection.listTools()
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.generationsOf("ping"), [])
    })
  )

  it.effect("while it tells of something it is probed", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation, { heartbeat: undefined })
      yield* advance("10 minutes")
      const { fiber } = yield* read(connection, "file:///a")
      yield* advance("61 seconds")
      const probes = simulation.sent.length
      assert.isAtLeast(probes, 1)
      assert.isAtMost(probes, 3)
      yield* Fiber.interrupt(fiber)
      yield* advance("1 hour")
      assert.isAtMost(simulation.sent.length, probes + 1)
    })
  )

  it.effect("asked for by the user: it is probed", () =>
    Effect.gen(function* () {
      const simulation = modern()
      yield* connect(simulation, { heartbeat: {} })
      yield* advance("61 seconds")
      assert.deepStrictEqual(methods(simulation), ["30000 ping", "60000 ping"])
    })
  )

  it.effect("over a shared channel (stdio) it is probed", () =>
    Effect.gen(function* () {
      const simulation = modern({ isolation: "shared" })
      yield* connect(simulation, { heartbeat: undefined })
      yield* advance("61 seconds")
      assert.deepStrictEqual(methods(simulation), ["30000 ping", "60000 ping"])
    })
  )

  it.effect("a legacy server over HTTP is probed", () =>
    Effect.gen(function* () {
      const simulation = modern({ era: "legacy" })
      yield* connect(simulation, { heartbeat: undefined })
      yield* advance("61 seconds")
      assert.deepStrictEqual(methods(simulation), ["30000 ping", "60000 ping"])
    })
  )

  it.effect("any answer is life, also -32601", () =>
    Effect.gen(function* () {
      const simulation = modern({
        handle: () =>
          Effect.fail(
            new ServerRejected({ server: "simulated", method: "ping", code: -32_601, description: "Method not found" })
          )
      })
      const connection = yield* connect(simulation, { heartbeat: {} })
      yield* advance("91 seconds")
      assert.deepStrictEqual(methods(simulation), ["30000 ping", "60000 ping", "90000 ping"])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("a server that tells and falls silent is given up", () =>
    Effect.gen(function* () {
      const simulation = modern()
      const connection = yield* connect(simulation, { heartbeat: undefined })
      yield* connection.listTools()
      yield* settle
      simulation.behavior.handle = (call) => (call.generation === 1 ? Effect.never : answer(call))
      for (let i = 0; i < 13; i += 1) yield* advance("10 seconds")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )
})

const runs = process.env["CI"] === undefined ? 150 : 2_000

describe("rule 5, modern: a session tells of what is desired", () => {
  const millis = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
  const few = <S extends Schema.Top>(item: S, maximum: number) => Schema.Array(item).check(Schema.isMaxLength(maximum))
  const uris = ["file:///a", "file:///b", "file:///c"] as const
  const lists = ["tools", "prompts", "resources"] as const

  it.effect.prop(
    "under random readers, lists, losses, gaps, refreshes, failures and slowness",
    {
      changes: few(
        Schema.Struct({
          at: millis(12_000),
          what: Schema.Literals(["list", "read", "read", "leave", "leave"]),
          which: Schema.Literals([0, 1, 2])
        }),
        14
      ),
      losses: few(millis(12_000), 4),
      gaps: few(millis(12_000), 4),
      refreshes: few(millis(12_000), 2),
      /** What happens to each listen; later ones are agreed to at once. */
      ends: few(Schema.Literals(["ok", "ok", "ok", "slow", "fail", "failLate", "gap"]), 20),
      slowness: few(Schema.Literals([0, 1, 300, 900, 2500]), 20)
    },
    ({ changes, ends, gaps, losses, refreshes, slowness }) =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        /** What the server tells of, in each session. */
        const streams = new Map<SimulatedSession["host"], Array<{ at: number; filter: string }>>()
        const tells = (session: SimulatedSession, filter: string) => {
          const history = streams.get(session.host) ?? []
          streams.set(session.host, history)
          history.push({ at: clock.currentTimeMillisUnsafe(), filter })
        }
        /** What each session was asked for. */
        const asks: Array<{ at: number; host: SimulatedSession["host"]; filter: SubscriptionFilter }> = []
        let n = 0
        const simulation = modern({
          listen: ({ at, filter }, session) =>
            Effect.gen(function* () {
              asks.push({ at, host: session.host, filter })
              const i = n++
              const end = ends[i] ?? "ok"
              if (end === "fail") return yield* Effect.fail(unavailable)
              if (end !== "ok") yield* Effect.sleep(slowness[i] ?? 0)
              if (end === "failLate") return yield* Effect.fail(unavailable)
              tells(session, text(filter))
              if (end === "gap") {
                tells(session, "")
                yield* session.gap
              }
            })
        })
        const connection = yield* connect(simulation, { onSession: () => Effect.sleep("700 millis") })
        const events = yield* collect(connection)
        const readers: Array<{ uri: string; fiber: Fiber.Fiber<unknown, RequestError> }> = []
        const wishes: Array<{ at: number; filter: string }> = [{ at: -1, filter: "" }]
        const listed = new Set<string>()
        const wish = () =>
          wishes.push({
            at: clock.currentTimeMillisUnsafe(),
            filter: [
              ...lists.filter((list) => listed.has(list)),
              ...[...new Set(readers.map(({ uri }) => uri))].toSorted()
            ].join(" ")
          })

        for (const { at, what, which } of changes) {
          yield* Effect.suspend((): Effect.Effect<unknown, RequestError> => {
            switch (what) {
              case "list":
                // It is followed as soon as it was read.
                return Effect.andThen(
                  which === 0
                    ? Effect.asVoid(connection.listTools())
                    : which === 1
                      ? Effect.asVoid(connection.listPrompts())
                      : Effect.asVoid(connection.listResources()),
                  Effect.sync(() => {
                    listed.add(lists[which])
                    wish()
                  })
                )
              case "read": {
                const uri = uris[which]
                return connection.resourceUpdates(uri).pipe(
                  Stream.runDrain,
                  Effect.forkDetach({ startImmediately: true }),
                  Effect.map((fiber) => {
                    readers.push({ uri, fiber })
                    wish()
                  })
                )
              }
              case "leave": {
                const [reader] = readers.splice(which % Math.max(1, readers.length), 1)
                if (reader === undefined) return Effect.void
                wish()
                return Fiber.interrupt(reader.fiber)
              }
            }
          }).pipe(Effect.delay(at), Effect.forkScoped)
        }
        for (const at of losses)
          yield* Effect.suspend(() => simulation.current.lose(exited)).pipe(Effect.delay(at), Effect.forkScoped)
        for (const at of gaps)
          yield* Effect.suspend(() => {
            const session = simulation.current
            if (streams.get(session.host)?.at(-1)?.filter !== undefined) tells(session, "")
            return session.gap
          }).pipe(Effect.delay(at), Effect.forkScoped)
        for (const at of refreshes) yield* connection.refresh.pipe(Effect.ignore, Effect.delay(at), Effect.forkScoped)

        for (let i = 0; i < 30; i += 1) yield* advance(500)
        yield* advance("1 minute")
        yield* advance("5 minutes")

        const state = yield* connection.state
        assert(state._tag === "Ready")
        const serving = simulation.sessions.findLast(({ generation }) => generation === state.generation)
        assert(serving !== undefined)
        const last = streams.get(serving.host)?.at(-1)?.filter ?? ""
        const told = `${JSON.stringify(wishes)} ${JSON.stringify(simulation.listened.map(({ at, filter, generation }) => [at, generation, text(filter)]))}`
        assert.strictEqual(last, wishes.at(-1)?.filter, told)
        // Whoever still reads was not failed by what happened to others.
        for (const { fiber, uri } of readers) assert.isUndefined(fiber.pollUnsafe(), `${uri} ended: ${told}`)
        // At each publication the session had been asked for what was desired then, and nothing is asked again and again.
        for (const event of events) {
          if (event._tag !== "SessionReady") continue
          const before = wishes.findLastIndex(({ at }) => at < event.at)
          const wished = wishes.filter((wish, i) => i === before || wish.at === event.at).map(({ filter }) => filter)
          const session = simulation.sessions.findLast(({ generation }) => generation === event.generation)
          const asked = asks.findLast(({ at, host }) => host === session?.host && at <= event.at)
          assert.include(wished, text(asked?.filter), `session ${event.generation} at ${event.at}: ${told}`)
        }
        assert.isAtMost(
          simulation.listened.length,
          2 * (changes.length + losses.length + gaps.length + refreshes.length + ends.length) + 2
        )
      }),
    { arbitrary: { runs, seed: 55 }, timeout: 300_000 }
  )
})
