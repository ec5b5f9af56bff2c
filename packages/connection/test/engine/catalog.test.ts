/** The last known lists, and what is told when they change (DESIGN §7, step 4). */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited, tool } from "@mcp-tether/testing/SimulatedServer"
import type { Prompt, Tool } from "@modelcontextprotocol/client"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import type * as McpConnection from "../../src/McpConnection.ts"
import { ServerRejected } from "../../src/RequestError.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const collect = Effect.fnUntraced(function* (connection: McpConnection.Shape) {
  const events: Array<ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* settle
  return events
})

const changesOf = (events: ReadonlyArray<ConnectionEvent>) =>
  events.flatMap((event) => (event._tag === "CatalogChanged" ? [event] : []))

const added = (...names: ReadonlyArray<string>) => ({
  added: names,
  removed: [],
  schemaChanged: [],
  annotationsChanged: []
})

/** A server whose lists the test may replace at any time. */
const serverOf = (lists: { tools?: ReadonlyArray<Tool>; prompts?: ReadonlyArray<Prompt> } = {}) => {
  const server = {
    tools: lists.tools ?? [tool("a")],
    prompts: lists.prompts ?? [],
    simulation: SimulatedServer.makeUnsafe()
  }
  server.simulation.behavior.handle = (call) => {
    switch (call.ticket.method) {
      case "tools/list":
        return Effect.sync(() => ({ tools: server.tools }))
      case "prompts/list":
        return Effect.sync(() => ({ prompts: server.prompts }))
      case "resources/list":
        return Effect.succeed({ resources: [{ uri: "file:///r", name: "r" }] })
      case "resources/templates/list":
        return Effect.succeed({ resourceTemplates: [{ uriTemplate: "file:///{t}", name: "t" }] })
      default:
        return call.run
    }
  }
  return server
}

const toolsChanged = { method: "notifications/tools/list_changed", params: undefined }
const promptsChanged = { method: "notifications/prompts/list_changed", params: undefined }
const resourcesChanged = { method: "notifications/resources/list_changed", params: undefined }

describe("catalog", () => {
  it.effect("holds what was listed, and nothing that was not; a list by page is not one", () =>
    Effect.gen(function* () {
      const { simulation } = serverOf()
      const connection = yield* connect(simulation)
      assert.deepStrictEqual(yield* connection.catalog, {})
      yield* connection.request("tools/list", { cursor: "2" })
      assert.deepStrictEqual(yield* connection.catalog, {})
      yield* connection.listTools()
      assert.deepStrictEqual(yield* connection.catalog, {
        tools: { items: [tool("a")], generation: 1, stale: false }
      })
      yield* connection.listPrompts()
      yield* connection.listResources()
      yield* connection.listResourceTemplates()
      const catalog = yield* connection.catalog
      assert.deepStrictEqual(Object.keys(catalog).toSorted(), ["prompts", "resourceTemplates", "resources", "tools"])
      assert.deepStrictEqual(
        catalog.resourceTemplates?.items.map(({ uriTemplate }) => uriTemplate),
        ["file:///{t}"]
      )
    })
  )

  it.effect("while disconnected it is the last known one, marked stale; afterwards the new one, not stale", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* simulation.current.lose()
      yield* settle
      assert.deepStrictEqual(yield* connection.catalog, {
        tools: { items: [tool("a")], generation: 1, stale: true }
      })
      server.tools = [tool("b")]
      yield* advance("1 second")
      assert.deepStrictEqual(yield* connection.catalog, {
        tools: { items: [tool("b")], generation: 2, stale: false }
      })
    })
  )

  it.effect("after the close it is still there, marked stale", () =>
    Effect.gen(function* () {
      const { simulation } = serverOf()
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation).pipe(Scope.provide(scope))
      yield* connection.listTools()
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: [tool("a")], generation: 1, stale: true })
    })
  )

  it.effect("after a refresh, a list that was skipped is of an earlier session: stale", () =>
    Effect.gen(function* () {
      const { simulation } = serverOf()
      const connection = yield* connect(simulation, { restore: "best-effort" })
      yield* connection.listTools()
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.ticket.method === "tools/list"
          ? Effect.fail(
              new ServerRejected({ server: "simulated", method: "tools/list", code: -32_603, description: "not now" })
            )
          : handle(call)
      yield* connection.refresh
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: [tool("a")], generation: 1, stale: true })
    })
  )

  it.effect("what an attempt saw that failed is not the catalog: not fresh, while there is no session", () =>
    Effect.gen(function* () {
      const { simulation } = serverOf()
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* connection.listPrompts()
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.ticket.method === "prompts/list" ? Effect.fail(exited) : handle(call)
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
      assert.strictEqual((yield* connection.catalog).tools?.stale, true)
    })
  )

  it.effect("a refresh that fails leaves the catalog of the session that serves", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* connection.listPrompts()
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.ticket.method === "prompts/list" ? Effect.fail(exited) : handle(call)
      server.tools = [tool("upgraded")]
      yield* Effect.flip(connection.refresh)
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: [tool("a")], generation: 1, stale: false })
    })
  )

  it.effect("while a refresh restores the new session, the catalog is that of the one that serves", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* connection.listPrompts()
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.ticket.method === "prompts/list" ? Effect.delay(handle(call), "1 second") : handle(call)
      server.tools = [tool("upgraded")]
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* settle
      assert.deepStrictEqual((yield* connection.catalog).tools?.generation, 1)
      yield* advance("1 second")
      yield* Fiber.join(refreshing)
      assert.deepStrictEqual((yield* connection.catalog).tools?.generation, 2)
    })
  )

  it.effect("a late answer of a session that drains does not overwrite the list of the one that serves", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      let held = false
      const simulation = SimulatedServer.makeUnsafe({ listed: (generation) => [tool(`of ${generation}`)] })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      simulation.behavior.handle = (call) =>
        held && call.generation === 1 ? Effect.andThen(Deferred.await(hold), call.run) : call.run
      held = true
      const late = yield* Effect.forkChild(connection.listTools())
      yield* settle
      yield* connection.refresh
      const events = yield* collect(connection)
      yield* Deferred.succeed(hold, undefined)
      yield* settle
      assert.deepStrictEqual(yield* Fiber.join(late), [tool("of 1")])
      assert.deepStrictEqual((yield* connection.catalog).tools, {
        items: [tool("of 2")],
        generation: 2,
        stale: false
      })
      assert.deepStrictEqual(changesOf(events), [])
    })
  )
})

describe("CatalogChanged", () => {
  it.effect("after a new session: what came, went, and changed, by kind, in one event, after SessionReady", () =>
    Effect.gen(function* () {
      const server = serverOf({
        tools: [tool("kept"), tool("gone"), tool("schema"), tool("promise", { readOnlyHint: true })],
        prompts: [{ name: "p" }]
      })
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* connection.listPrompts()
      const events = yield* collect(connection)
      server.tools = [
        tool("kept"),
        { ...tool("schema"), inputSchema: { type: "object", required: ["x"] } },
        tool("promise"),
        tool("new")
      ]
      server.prompts = [{ name: "p", arguments: [{ name: "x" }] }]
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(
        events.map((event) => event._tag),
        ["SessionLost", "AttemptScheduled", "AttemptStarted", "SessionReady", "CatalogChanged"]
      )
      const [event] = changesOf(events)
      assert.deepStrictEqual(
        { ...event },
        {
          _tag: "CatalogChanged",
          at: 1000,
          generation: 2,
          changes: {
            tools: {
              added: ["new"],
              removed: ["gone"],
              schemaChanged: ["schema"],
              annotationsChanged: ["promise"]
            },
            prompts: { added: [], removed: [], schemaChanged: ["p"], annotationsChanged: [] }
          }
        }
      )
    })
  )

  it.effect("not when nothing changed, not for a first list, not for what was never listed", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      const events = yield* collect(connection)
      yield* connection.listTools()
      yield* connection.listTools()
      server.prompts = [{ name: "p" }]
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* connection.refresh
      yield* simulation.current.tell(toolsChanged)
      yield* simulation.current.tell(promptsChanged)
      yield* advance("10 seconds")
      assert.deepStrictEqual(changesOf(events), [])
      assert.deepStrictEqual(simulation.generationsOf("prompts/list"), [])
      assert.deepStrictEqual(simulation.generationsOf("tools/list"), [1, 1, 2, 3, 3])
    })
  )

  it.effect("also when a list that a caller asked for is not what it was", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const connection = yield* connect(server.simulation)
      yield* connection.listTools()
      const events = yield* collect(connection)
      server.tools = [tool("a"), tool("b")]
      yield* connection.listTools()
      yield* settle
      assert.deepStrictEqual(
        changesOf(events).map(({ changes }) => changes),
        [{ tools: added("b") }]
      )
    })
  )

  it.effect("after list_changed: 300 ms after the last of a burst, one list and one event", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const events = yield* collect(connection)
      server.tools = [tool("a"), tool("b")]
      for (const _ of [1, 2, 3, 4]) {
        yield* simulation.current.tell(toolsChanged)
        yield* advance(200)
      }
      assert.strictEqual((yield* connection.catalog).tools?.stale, true)
      yield* advance(90)
      assert.lengthOf(simulation.sent, 1)
      yield* advance(20)
      assert.lengthOf(simulation.sent, 2)
      assert.deepStrictEqual(
        changesOf(events).map(({ changes, generation }) => ({ changes, generation })),
        [{ changes: { tools: added("b") }, generation: 1 }]
      )
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: server.tools, generation: 1, stale: false })
      yield* advance("1 minute")
      assert.lengthOf(simulation.sent, 2)
    })
  )

  it.effect("after list_changed without end: at most 2 s after the first", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const begin = 0
      for (let i = 0; i < 50; i += 1) {
        yield* simulation.current.tell(toolsChanged)
        yield* advance(100)
      }
      yield* advance("10 seconds")
      const at = simulation.sent.slice(1).map((sent) => sent.at - begin)
      assert.isAtMost(at[0] ?? Number.NaN, 2000)
      assert.isAtLeast(at[0] ?? Number.NaN, 1900)
      assert.isAtMost(at.length, 4)
      assert.isAtLeast(at.at(-1) ?? 0, 4900, "the last change was overlooked")
    })
  )

  it.effect("a list_changed in the very moment in which the quiet ends is not lost", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      server.tools = [tool("b")]
      yield* simulation.current.tell(toolsChanged)
      yield* settle
      yield* Effect.forkChild(
        Effect.sync(() => {
          server.tools = [tool("c")]
        }).pipe(Effect.andThen(simulation.current.tell(toolsChanged)), Effect.delay(300))
      )
      yield* advance("300 millis")
      yield* advance("3 seconds")
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: [tool("c")], generation: 1, stale: false })
    })
  )

  it.effect("list_changed for resources lists resources and templates, as far as they were listed", () =>
    Effect.gen(function* () {
      const { simulation } = serverOf()
      const connection = yield* connect(simulation)
      yield* connection.listResourceTemplates()
      yield* connection.listTools()
      yield* simulation.current.tell(resourcesChanged)
      yield* advance("1 second")
      assert.deepStrictEqual(
        simulation.sent.map(({ method }) => method),
        ["resources/templates/list", "tools/list", "resources/templates/list"]
      )
    })
  )

  it.effect("a list_changed while the lists are being read again is not lost", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const { handle } = simulation.behavior
      let lists = 0
      simulation.behavior.handle = (call) => {
        lists += 1
        return lists === 1
          ? Effect.delay(handle(call), "1 second").pipe(Effect.as({ tools: [tool("b")] }))
          : handle(call)
      }
      yield* simulation.current.tell(toolsChanged)
      yield* advance("500 millis")
      server.tools = [tool("c")]
      yield* simulation.current.tell(toolsChanged)
      yield* advance("800 millis")
      assert.strictEqual((yield* connection.catalog).tools?.stale, true, "the server has said since that it changed")
      yield* advance("5 seconds")
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: [tool("c")], generation: 1, stale: false })
    })
  )

  it.effect("a list_changed during restoration is not lost", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* connection.listPrompts()
      const events = yield* collect(connection)
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.ticket.method === "prompts/list"
          ? Effect.andThen(
              Effect.suspend(() => {
                server.tools = [tool("c")]
                return call.session.tell(toolsChanged)
              }),
              handle(call)
            )
          : handle(call)
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* advance("1 second")
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: [tool("c")], generation: 2, stale: false })
      assert.lengthOf(changesOf(events), 1)
    })
  )

  it.effect("what an attempt saw that then failed is told when a session is there", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* connection.listPrompts()
      const events = yield* collect(connection)
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.ticket.method === "prompts/list" && simulation.attempts.length === 2 ? Effect.fail(exited) : handle(call)
      server.tools = [tool("a"), tool("b")]
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(changesOf(events), [])
      yield* advance("1 second")
      assert.strictEqual((yield* connection.state)._tag, "Ready")
      assert.deepStrictEqual(
        changesOf(events).map(({ changes }) => changes),
        [{ tools: added("b") }]
      )
    })
  )

  it.effect("one kind that cannot be listed again does not swallow the change of another", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      yield* connection.listPrompts()
      const events = yield* collect(connection)
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.ticket.method === "prompts/list"
          ? Effect.fail(
              new ServerRejected({ server: "simulated", method: "prompts/list", code: -32_603, description: "not now" })
            )
          : handle(call)
      server.tools = [tool("a"), tool("b")]
      yield* simulation.current.tell(toolsChanged)
      yield* simulation.current.tell(promptsChanged)
      yield* advance("1 second")
      assert.deepStrictEqual(
        changesOf(events).map(({ changes }) => changes),
        [{ tools: added("b") }]
      )
      assert.strictEqual((yield* connection.catalog).prompts?.stale, true)
      assert.strictEqual((yield* connection.state)._tag, "Ready")
    })
  )

  it.effect("a session that fails with a connection error while lists are read again is replaced", () =>
    Effect.gen(function* () {
      const server = serverOf()
      const { simulation } = server
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) => (call.generation === 1 ? Effect.fail(exited) : handle(call))
      yield* simulation.current.tell(toolsChanged)
      yield* advance("1 second")
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )
})

describe("a list that onSession has read", () => {
  /** A connection whose `onSession` lists the tools of every session. */
  const listing = Effect.fnUntraced(function* (
    then: (simulation: SimulatedServer.SimulatedServer) => Effect.Effect<void> = () => Effect.void
  ) {
    const server = serverOf({ tools: [tool("a", { readOnlyHint: true })] })
    const { simulation } = server
    const connection = yield* connect(simulation, {
      onSession: (session) =>
        Effect.gen(function* () {
          yield* session.request("tools/list")
          yield* then(simulation)
        })
    })
    return { connection, server, simulation }
  })
  const lists = (simulation: SimulatedServer.SimulatedServer) => simulation.generationsOf("tools/list")

  it.effect("is not read again for a replay: its annotations are known", () =>
    Effect.gen(function* () {
      const { connection, simulation } = yield* listing()
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.tool !== undefined && call.generation === 1 ? Effect.fail(exited) : handle(call)
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("1 second")
      yield* Fiber.join(call)
      assert.deepStrictEqual(lists(simulation), [1, 2])
    })
  )

  it.effect("is not read again by the restoration either, and what it says is told", () =>
    Effect.gen(function* () {
      const { connection, server, simulation } = yield* listing()
      yield* connection.listTools()
      const events = yield* collect(connection)
      server.tools = [tool("b")]
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(lists(simulation), [1, 1, 2])
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: [tool("b")], generation: 2, stale: false })
      assert.lengthOf(changesOf(events), 1)
    })
  )

  it.effect("is read again when the server has said since that it changed", () =>
    Effect.gen(function* () {
      let changes = false
      const { connection, server, simulation } = yield* listing((simulation) =>
        Effect.suspend(() => {
          if (!changes) return Effect.void
          server.tools = [tool("c")]
          return simulation.current.tell(toolsChanged)
        })
      )
      yield* connection.listTools()
      changes = true
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(lists(simulation).slice(0, 4), [1, 1, 2, 2])
      assert.deepStrictEqual((yield* connection.catalog).tools?.items, [tool("c")])
    })
  )

  it.effect("is not in the catalog when nobody else has asked for it", () =>
    Effect.gen(function* () {
      const { connection } = yield* listing()
      assert.deepStrictEqual(yield* connection.catalog, {})
    })
  )
})

describe("annotations", () => {
  it.effect("list_changed for tools withdraws what was known: a replay after it asks again", () =>
    Effect.gen(function* () {
      const server = serverOf({ tools: [tool("a")] })
      const { simulation } = server
      const { handle } = simulation.behavior
      simulation.behavior.handle = (call) =>
        call.generation === 1 && call.ticket.method === "tools/call"
          ? Effect.andThen(call.run, Effect.never)
          : handle(call)
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* settle
      server.tools = [tool("a", { idempotentHint: true })]
      yield* simulation.current.tell(toolsChanged)
      yield* settle
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual((yield* Fiber.join(call)).content, [{ type: "text", text: "a on 2" }])
    })
  )

  for (const withdrawn of [true, false]) {
    it.effect(
      `a promise that the next session made ${withdrawn ? "and withdrew " : ""}is ${withdrawn ? "none" : "one"}`,
      () =>
        Effect.gen(function* () {
          const server = serverOf({ tools: [tool("a", { idempotentHint: true })] })
          const { simulation } = server
          const { handle } = simulation.behavior
          simulation.behavior.handle = (call) => {
            if (call.generation === 1 && call.ticket.method === "tools/call")
              return Effect.andThen(call.run, Effect.never)
            // While session 2 is being restored: the list is answered, and then the server changes.
            if (withdrawn && call.generation === 2 && call.ticket.method === "prompts/list")
              return Effect.andThen(
                Effect.suspend(() => {
                  server.tools = [tool("a")]
                  return call.session.tell(toolsChanged)
                }),
                handle(call)
              )
            return handle(call)
          }
          const connection = yield* connect(simulation)
          yield* connection.listTools()
          yield* connection.listPrompts()
          const call = yield* Effect.forkChild(Effect.exit(connection.callTool({ name: "a" })))
          yield* settle
          yield* simulation.current.lose()
          yield* advance("1 second")
          yield* advance("1 second")
          const exit = yield* Fiber.join(call)
          assert.strictEqual(Exit.isSuccess(exit), !withdrawn)
          assert.lengthOf(simulation.ran, withdrawn ? 1 : 2)
        })
    )
  }

  it.effect("a first list that has changed before it is answered is read again", () =>
    Effect.gen(function* () {
      let tools = [tool("old")]
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => tools,
        handle: (call) =>
          simulation.generationsOf("tools/list").length === 1
            ? Effect.tap(call.run, () => Effect.sleep("3 seconds"))
            : call.run
      })
      const connection = yield* connect(simulation)
      const first = yield* Effect.forkChild(connection.listTools())
      yield* settle
      tools = [tool("new")]
      yield* simulation.notify({ method: "notifications/tools/list_changed", params: undefined })
      yield* advance("3 seconds")
      // The caller has what was true when it asked.
      assert.deepStrictEqual(yield* Fiber.join(first), [tool("old")])
      yield* advance("2 seconds")
      assert.deepStrictEqual((yield* connection.catalog).tools, { items: [tool("new")], generation: 1, stale: false })
    })
  )

  it.effect("a list that comes late does not replace one that was read since", () =>
    Effect.gen(function* () {
      let tools = [tool("a")]
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => tools,
        handle: (call) =>
          simulation.generationsOf("tools/list").length === 2
            ? Effect.tap(call.run, () => Effect.sleep("10 seconds"))
            : call.run
      })
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const late = yield* Effect.forkChild(connection.listTools())
      yield* settle
      tools = [tool("b")]
      yield* simulation.notify({ method: "notifications/tools/list_changed", params: undefined })
      yield* advance("2 seconds")
      const known = { items: [tool("b")], generation: 1, stale: false }
      assert.deepStrictEqual((yield* connection.catalog).tools, known)
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(late), [tool("a")])
      assert.deepStrictEqual((yield* connection.catalog).tools, known)
    })
  )

  it.effect("a promise in a list that was overtaken by list_changed is none", () =>
    Effect.gen(function* () {
      const server = serverOf({ tools: [tool("a", { idempotentHint: true })] })
      const { simulation } = server
      const { handle } = simulation.behavior
      let overtaken = false
      simulation.behavior.handle = (call) => {
        if (call.generation === 1 && call.ticket.method === "tools/call") return Effect.andThen(call.run, Effect.never)
        if (call.generation === 2 && call.ticket.method === "tools/list" && !overtaken) {
          overtaken = true
          return Effect.gen(function* () {
            const answer = yield* handle(call)
            server.tools = [tool("a")]
            yield* call.session.tell(toolsChanged)
            return answer
          })
        }
        return handle(call)
      }
      const connection = yield* connect(simulation)
      yield* connection.listTools()
      const call = yield* Effect.forkChild(Effect.exit(connection.callTool({ name: "a" })))
      yield* settle
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* advance("1 second")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(call)))
      assert.lengthOf(simulation.ran, 1)
    })
  )
})
