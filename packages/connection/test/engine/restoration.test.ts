/** A session is brought to what is desired before anyone can use it (DESIGN §7, rule 5 of §12). */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { type Call, exited, type Sent } from "@mcp-tether/testing/SimulatedServer"
import type { LoggingLevel } from "@modelcontextprotocol/client"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import type { ConnectionState } from "../../src/ConnectionState.ts"
import type * as McpConnection from "../../src/McpConnection.ts"
import type { SessionFailure } from "../../src/McpSession.ts"
import { type RequestError, ServerRejected } from "../../src/RequestError.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const rejected = (method: string, code = -32_602) =>
  new ServerRejected({ server: "simulated", method, code, description: "not here" })

/** All events from now on. */
const collect = Effect.fnUntraced(function* (connection: McpConnection.Shape) {
  const events: Array<ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* settle
  return events
})

const tagsOf = (events: ReadonlyArray<ConnectionEvent>) => events.map((event) => event._tag)

/** Reads the updates of a resource until its fiber is interrupted. */
const read = Effect.fnUntraced(function* (connection: McpConnection.Shape, uri: string) {
  const updates: Array<McpConnection.ResourceUpdate> = []
  const fiber = yield* connection.resourceUpdates(uri).pipe(
    Stream.runForEach((update) => Effect.sync(() => updates.push(update))),
    // Not in the test's scope: a reader that is interrupted says goodbye to the server, and no time passes there any more.
    Effect.forkDetach({ startImmediately: true })
  )
  yield* settle
  return { updates, fiber }
})

const uriOf = (params: unknown): string =>
  Predicate.hasProperty(params, "uri") && Predicate.isString(params.uri) ? params.uri : "?"

const summary = ({ generation, method, params }: Sent): string =>
  Predicate.hasProperty(params, "uri")
    ? `${generation} ${method} ${String(params.uri)}`
    : Predicate.hasProperty(params, "level")
      ? `${generation} ${method} ${String(params.level)}`
      : `${generation} ${method}`

const serves = (state: ConnectionState | undefined, generation: number) =>
  state?._tag === "Ready" && state.generation === generation

/** Answers `method` in its own way, and everything else as usual. */
const on =
  (method: string, answer: (call: Call) => Effect.Effect<unknown, SessionFailure>) =>
  (call: Call): Effect.Effect<unknown, SessionFailure> =>
    call.ticket.method === method ? answer(call) : call.run

const updated = (uri: string) => ({ method: "notifications/resources/updated", params: { uri } })

describe("restoration", () => {
  it.effect("nothing is desired: nothing is sent", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      yield* connect(simulation)
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(simulation.log, ["open 1", "close 1", "open 2"])
      assert.deepStrictEqual(simulation.sent, [])
      assert.deepStrictEqual(simulation.notified, [])
    })
  )

  it.effect("log level, subscriptions, onSession, lists: in this order, one after the other, before publication", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const busy: Array<string> = []
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) =>
          Effect.gen(function* () {
            busy.push(call.ticket.method)
            if (call.generation > 1) {
              assert.lengthOf(busy, 1, `at once: ${busy.join()}`)
              order.push(`> ${call.ticket.method}`)
              yield* Effect.sleep("100 millis")
              order.push(`< ${call.ticket.method}`)
            }
            busy.splice(0)
            return call.ticket.method === "prompts/list" ? { prompts: [] } : yield* call.run
          })
      })
      const connection = yield* connect(simulation, {
        onSession: (session, { generation, previous }) =>
          Effect.sync(() => {
            order.push(`onSession ${generation} ${previous} ${session.info.version}`)
          })
      })
      assert.deepStrictEqual(order, ["onSession 1 undefined 1.0.0"])
      yield* connection.listTools()
      yield* connection.listPrompts()
      yield* connection.setLogLevel("debug")
      yield* read(connection, "file:///a")
      yield* read(connection, "file:///b")
      order.splice(0)
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* advance("400 millis")
      assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
      const call = yield* Effect.forkChild(connection.callTool({ name: "a" }))
      yield* advance("200 millis")
      yield* Fiber.join(call)
      assert.deepStrictEqual(order.slice(0, 11), [
        "> logging/setLevel",
        "< logging/setLevel",
        "> resources/subscribe",
        "< resources/subscribe",
        "> resources/subscribe",
        "< resources/subscribe",
        "onSession 2 1 2.0.0",
        "> tools/list",
        "< tools/list",
        "> prompts/list",
        "< prompts/list"
      ])
      const second = simulation.sent.filter(({ generation }) => generation === 2)
      assert.deepStrictEqual(second.map(summary), [
        "2 logging/setLevel debug",
        "2 resources/subscribe file:///a",
        "2 resources/subscribe file:///b",
        "2 tools/list",
        "2 prompts/list",
        "2 tools/call"
      ])
      second.forEach((sent) => assert.strictEqual(serves(sent.state, 2), sent.method === "tools/call", summary(sent)))
    })
  )

  it.effect("a server without logging is left alone, and setLogLevel succeeds", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ capabilities: { tools: {}, resources: { subscribe: true } } })
      const connection = yield* connect(simulation)
      yield* connection.setLogLevel("debug")
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.deepStrictEqual(simulation.sent, [])
    })
  )

  for (const resources of [undefined, {}, { listChanged: true }, { subscribe: false }]) {
    it.effect(`a server that takes no subscriptions is left alone: ${JSON.stringify(resources)}`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe({
          capabilities: { logging: {}, ...(resources === undefined ? {} : { resources }) }
        })
        const connection = yield* connect(simulation)
        const { fiber } = yield* read(connection, "file:///a")
        yield* simulation.current.lose()
        yield* advance("1 second")
        assert.isUndefined(fiber.pollUnsafe())
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(simulation.sent, [])
      })
    )
  }

  it.effect("a capability that only the next session has is used there", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ capabilities: {} })
      const connection = yield* connect(simulation)
      yield* connection.setLogLevel("error")
      yield* read(connection, "file:///a")
      simulation.behavior.capabilities = { logging: {}, resources: { subscribe: true } }
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(simulation.sent.map(summary), [
        "2 logging/setLevel error",
        "2 resources/subscribe file:///a"
      ])
    })
  )

  it.effect("what changed while disconnected is what the next session gets, and nothing else", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      yield* connection.setLogLevel("debug")
      const left = yield* read(connection, "file:///left")
      yield* read(connection, "file:///kept")
      yield* simulation.current.lose()
      yield* settle
      simulation.sent.splice(0)
      yield* connection.setLogLevel("info")
      yield* connection.setLogLevel("critical")
      yield* Fiber.interrupt(left.fiber)
      yield* read(connection, "file:///new")
      const brief = yield* read(connection, "file:///brief")
      yield* Fiber.interrupt(brief.fiber)
      assert.deepStrictEqual(simulation.sent, [])
      yield* advance("1 second")
      assert.deepStrictEqual(simulation.sent.map(summary), [
        "2 logging/setLevel critical",
        "2 resources/subscribe file:///kept",
        "2 resources/subscribe file:///new"
      ])
    })
  )

  it.effect("what changed while a session is being restored is what it has when it is published", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, {
        onSession: (_, { generation }) => (generation === 1 ? Effect.void : Deferred.await(hold))
      })
      yield* connection.setLogLevel("debug")
      const left = yield* read(connection, "file:///left")
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(simulation.sent.slice(2).map(summary), [
        "2 logging/setLevel debug",
        "2 resources/subscribe file:///left"
      ])
      yield* connection.setLogLevel("alert")
      yield* Fiber.interrupt(left.fiber)
      yield* read(connection, "file:///new")
      yield* Deferred.succeed(hold, undefined)
      yield* settle
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      const late = simulation.sent.slice(4)
      assert.deepStrictEqual(late.map(summary).toSorted(), [
        "2 logging/setLevel alert",
        "2 resources/subscribe file:///new",
        "2 resources/unsubscribe file:///left"
      ])
      late.forEach((sent) => assert.isFalse(serves(sent.state, 2), summary(sent)))
    })
  )

  it.effect("calls wait until restoration is done, and none reaches an unrestored session", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { onSession: () => Deferred.await(hold), start: "background" })
      const calls = yield* Effect.forEach(Array.from({ length: 20 }), () =>
        Effect.forkChild(connection.callTool({ name: "a" }))
      )
      const notice = yield* Effect.forkChild(connection.notify("notifications/x"))
      const ready = yield* Effect.forkChild(connection.awaitReady)
      yield* advance("10 seconds")
      assert.strictEqual((yield* connection.state)._tag, "Connecting")
      assert.deepStrictEqual([simulation.sent, simulation.notified], [[], []])
      for (const fiber of [...calls, notice, ready]) assert.isUndefined(fiber.pollUnsafe())
      yield* Deferred.succeed(hold, undefined)
      yield* settle
      yield* Fiber.joinAll(calls)
      yield* Fiber.join(notice)
      assert.strictEqual((yield* Fiber.join(ready)).generation, 1)
      assert.lengthOf(simulation.ran, 20)
    })
  )

  it.effect("onSession may use the session, and only it can", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const answers: Array<unknown> = []
      const connection = yield* connect(simulation, {
        onSession: (session) =>
          Effect.gen(function* () {
            answers.push(yield* session.request("tools/call", { name: "setup" }))
            yield* session.notify("notifications/mine", {})
          })
      })
      assert.deepStrictEqual(simulation.ran, ["setup"])
      assert.deepStrictEqual(simulation.notified, ["1 notifications/mine"])
      assert.deepStrictEqual(answers, [{ content: [{ type: "text", text: "setup on 1" }] }])
      assert.isFalse(serves(simulation.sent[0]?.state, 1))
      assert.strictEqual((yield* connection.state)._tag, "Ready")
    })
  )

  const onSessions: Record<string, () => Effect.Effect<void, { readonly message: string }>> = {
    fails: () => Effect.fail({ message: "no sandbox" }),
    dies: () => Effect.die(new Error("no sandbox")),
    throws: () => {
      throw new Error("no sandbox")
    }
  }
  for (const [how, broken] of Object.entries(onSessions)) {
    it.effect(`required: onSession that ${how} fails the attempt, closes the session, and the policy tries again`, () =>
      Effect.gen(function* () {
        let calls = 0
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation, {
          onSession: () => (++calls <= 2 ? broken() : Effect.void)
        })
        const state = yield* connection.state
        assert(state._tag === "Connecting")
        assert.include(state.cause?.message, "no sandbox")
        assert.include(state.cause?.message, "onSession")
        assert.isTrue(state.cause?.isRetryable)
        assert.strictEqual(state.nextAttemptAt, 1000)
        assert.strictEqual(simulation.live, 0)
        yield* advance("1 second")
        yield* advance("1 second")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
        assert.deepStrictEqual(simulation.attempts, [0, 1000, 2000])
        assert.strictEqual(simulation.live, 1)
      })
    )

    it.effect(`best-effort: onSession that ${how} is skipped, and an event says so`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation, {
          restore: "best-effort",
          onSession: (_, { generation }) => (generation === 1 ? Effect.void : broken())
        })
        const events = yield* collect(connection)
        yield* simulation.current.lose()
        yield* advance("1 second")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
        const skipped = events.find((event) => event._tag === "RestorationSkipped")
        assert(skipped?._tag === "RestorationSkipped")
        assert.strictEqual(skipped.generation, 2)
        assert.strictEqual(skipped.step, "onSession")
        assert.include(skipped.error.message, "no sandbox")
        assert.isBelow(tagsOf(events).indexOf("RestorationSkipped"), tagsOf(events).indexOf("SessionReady"))
        assert.deepStrictEqual(simulation.attempts, [0, 1000])
      })
    )
  }

  it.effect("onSession that interrupts itself is a step that failed, not the end of the connection", () =>
    Effect.gen(function* () {
      let calls = 0
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, {
        onSession: () => (++calls === 1 ? Effect.interrupt : Effect.void)
      })
      yield* advance("1 second")
      yield* advance("1 second")
      assert.strictEqual((yield* connection.state)._tag, "Ready")
      assert.strictEqual(simulation.live, 1)
    })
  )

  for (const method of ["logging/setLevel", "resources/subscribe", "tools/list"]) {
    it.effect(`required: a rejected ${method} fails the attempt, which names it`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation)
        yield* connection.setLogLevel("debug")
        yield* connection.listTools()
        yield* read(connection, "file:///a")
        const events = yield* collect(connection)
        simulation.behavior.handle = (call) =>
          call.ticket.method === method && simulation.attempts.length === 2 ? Effect.fail(rejected(method)) : call.run
        yield* simulation.current.lose()
        yield* advance("1 second")
        const state = yield* connection.state
        assert(state._tag === "Reconnecting")
        assert.strictEqual(state.cause.reason._tag, "RestorationFailed")
        assert.include(state.cause.message, method)
        assert.include(state.cause.message, "not here")
        assert.strictEqual(simulation.live, 0)
        yield* advance("1 second")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
        assert.deepStrictEqual(tagsOf(events), [
          "SessionLost",
          "AttemptScheduled",
          "AttemptStarted",
          "AttemptFailed",
          "AttemptScheduled",
          "AttemptStarted",
          "SessionReady"
        ])
      })
    )

    it.effect(`best-effort: a rejected ${method} is skipped; the rest is done`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation, { restore: "best-effort" })
        yield* connection.setLogLevel("debug")
        yield* connection.listTools()
        yield* read(connection, "file:///a")
        const events = yield* collect(connection)
        simulation.behavior.handle = on(method, () => Effect.fail(rejected(method)))
        yield* simulation.current.lose()
        yield* advance("1 second")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
        assert.deepStrictEqual(
          events.flatMap((event) => (event._tag === "RestorationSkipped" ? [event.step] : [])),
          [method]
        )
        assert.deepStrictEqual(
          simulation.sent.filter(({ generation }) => generation === 2).map((sent) => sent.method),
          ["logging/setLevel", "resources/subscribe", "tools/list"]
        )
      })
    )

    it.effect(`required: a ${method} that hangs is bounded by requestTimeout`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation, { requestTimeout: "5 seconds" })
        yield* connection.setLogLevel("debug")
        yield* connection.listTools()
        yield* read(connection, "file:///a")
        simulation.behavior.handle = (call) =>
          call.ticket.method === method && simulation.attempts.length === 2 ? Effect.never : call.run
        yield* simulation.current.lose()
        yield* advance("1 second")
        yield* advance("4900 millis")
        assert.strictEqual(simulation.live, 1)
        yield* advance("100 millis")
        assert.strictEqual(simulation.live, 0)
        assert.include(simulation.cancelled, `2 ${method}`)
        yield* advance("1 second")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      })
    )

    it.effect(`best-effort: a ${method} that hangs is skipped after requestTimeout`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation, { restore: "best-effort", requestTimeout: "5 seconds" })
        yield* connection.setLogLevel("debug")
        yield* connection.listTools()
        yield* read(connection, "file:///a")
        simulation.behavior.handle = on(method, () => Effect.never)
        yield* simulation.current.lose()
        yield* advance("1 second")
        yield* advance("5 seconds")
        assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      })
    )

    for (const restore of ["required", "best-effort"] as const) {
      it.effect(`${restore}: the session is lost under ${method}: the attempt has failed, at once`, () =>
        Effect.gen(function* () {
          const simulation = SimulatedServer.makeUnsafe()
          const connection = yield* connect(simulation, { restore })
          yield* connection.setLogLevel("debug")
          yield* connection.listTools()
          yield* read(connection, "file:///a")
          simulation.behavior.handle = (call) =>
            call.ticket.method === method && simulation.attempts.length === 2
              ? Effect.andThen(call.session.lose(), Effect.never)
              : call.run
          const events = yield* collect(connection)
          yield* simulation.current.lose()
          yield* advance("1 second")
          const state = yield* connection.state
          assert(state._tag === "Reconnecting")
          assert.strictEqual(state.cause.reason._tag, "ProcessExited")
          assert.notInclude(tagsOf(events), "RestorationSkipped")
          assert.strictEqual(simulation.live, 0)
          yield* advance("1 second")
          assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
        })
      )
    }
  }

  it.effect("onSession that hangs is bounded by requestTimeout", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, {
        requestTimeout: "5 seconds",
        onSession: () => (simulation.attempts.length === 1 ? Effect.never : Effect.void)
      })
      yield* advance("5 seconds")
      assert.strictEqual(simulation.live, 0)
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  it.effect("a session that is lost while onSession does something else is given up at once", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, {
        onSession: () => (simulation.attempts.length === 1 ? Effect.never : Effect.void)
      })
      yield* advance("5 seconds")
      yield* simulation.current.lose()
      yield* settle
      const state = yield* connection.state
      assert(state._tag === "Connecting")
      assert.strictEqual(state.cause?.reason._tag, "ProcessExited")
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 1 })
    })
  )

  for (const restore of ["required", "best-effort"] as const) {
    it.effect(`${restore}: a session that was lost during restoration is never published`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* connect(simulation, {
          restore,
          onSession: () => (simulation.attempts.length === 2 ? Effect.sleep("2 seconds") : Effect.void)
        })
        const events = yield* collect(connection)
        yield* simulation.current.lose()
        yield* advance("1 second")
        yield* simulation.current.lose()
        yield* advance("5 seconds")
        assert.deepInclude(yield* connection.state, { _tag: "Ready" })
        assert.lengthOf(
          events.filter((event) => event._tag === "SessionReady"),
          1
        )
        assert.lengthOf(simulation.sessions, 3)
      })
    )
  }

  it.effect("closing the connection during restoration interrupts it", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      let interrupted = false
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation, {
        onSession: () =>
          Effect.onInterrupt(Effect.never, () =>
            Effect.sync(() => {
              interrupted = true
            })
          )
      }).pipe(Scope.provide(scope))
      const call = yield* Effect.forkChild(Effect.flip(connection.ping()))
      yield* settle
      yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle
      assert.isTrue(interrupted)
      assert.strictEqual(simulation.live, 0)
      assert.strictEqual((yield* Fiber.join(call))._tag, "ConnectionClosed")
    })
  )
})

describe("setLogLevel", () => {
  it.effect("while connected it is sent at once, once", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      yield* connection.setLogLevel("debug")
      assert.deepStrictEqual(simulation.sent.map(summary), ["1 logging/setLevel debug"])
      yield* connection.setLogLevel("info")
      yield* advance("1 hour")
      assert.deepStrictEqual(simulation.sent.map(summary), ["1 logging/setLevel debug", "1 logging/setLevel info"])
    })
  )

  it.effect("it waits for the acknowledgement", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.delay(Effect.succeed({}), "3 seconds") })
      const connection = yield* connect(simulation)
      const setting = yield* Effect.forkChild(connection.setLogLevel("debug"))
      yield* advance("2 seconds")
      assert.isUndefined(setting.pollUnsafe())
      yield* advance("1 second")
      yield* Fiber.join(setting)
    })
  )

  it.effect("without a session it succeeds at once, and on a lazy connection opens nothing", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { start: "lazy" })
      yield* connection.setLogLevel("debug")
      yield* settle
      assert.deepStrictEqual(simulation.attempts, [])
      yield* connection.ping()
      assert.deepStrictEqual(simulation.sent.map(summary), ["1 logging/setLevel debug", "1 ping"])
    })
  )

  it.effect("a session lost under it is no failure: the next one has the level", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => (call.generation === 1 ? Effect.andThen(call.session.lose(), Effect.never) : call.run)
      })
      const connection = yield* connect(simulation)
      const setting = yield* Effect.forkChild(connection.setLogLevel("debug"))
      yield* advance("1 second")
      yield* Fiber.join(setting)
      assert.deepStrictEqual(simulation.sent.map(summary), ["1 logging/setLevel debug", "2 logging/setLevel debug"])
    })
  )

  it.effect("a rejection is the caller's, with the server's code", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: on("logging/setLevel", () => Effect.fail(rejected("logging/setLevel")))
      })
      const connection = yield* connect(simulation)
      const error = yield* Effect.flip(connection.setLogLevel("debug"))
      assert(error._tag === "ServerRejected")
      assert.strictEqual(error.method, "logging/setLevel")
      assert.strictEqual(error.code, -32_602)
      assert.strictEqual((yield* connection.state)._tag, "Ready")
    })
  )

  it.effect("no answer is a RequestTimeout, not a rejection", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.never })
      const connection = yield* connect(simulation, { requestTimeout: "5 seconds" })
      const setting = yield* Effect.forkChild(Effect.flip(connection.setLogLevel("debug")))
      yield* advance("5 seconds")
      assert.strictEqual((yield* Fiber.join(setting))._tag, "RequestTimeout")
    })
  )

  it.effect("best-effort is about restoration: a rejection is still the caller's", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: on("logging/setLevel", () => Effect.fail(rejected("logging/setLevel")))
      })
      const connection = yield* connect(simulation, { restore: "best-effort" })
      assert.strictEqual((yield* Effect.flip(connection.setLogLevel("debug")))._tag, "ServerRejected")
    })
  )

  it.effect("a level that the server rejected does not keep the next session from being restored", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: on("logging/setLevel", () => Effect.fail(rejected("logging/setLevel")))
      })
      const connection = yield* connect(simulation)
      yield* Effect.flip(connection.setLogLevel("debug"))
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* advance("10 seconds")
      assert.strictEqual((yield* connection.state)._tag, "Ready")
    })
  )

  it.effect("a level that the server rejected does not fail a subscription", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: on("logging/setLevel", () => Effect.fail(rejected("logging/setLevel")))
      })
      const connection = yield* connect(simulation)
      yield* Effect.flip(connection.setLogLevel("debug"))
      const { fiber } = yield* read(connection, "file:///a")
      assert.isUndefined(fiber.pollUnsafe())
      assert.include(simulation.sent.map(summary), "1 resources/subscribe file:///a")
    })
  )

  it.effect("after the close it fails with ConnectionClosed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation).pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(connection.setLogLevel("debug")))._tag, "ConnectionClosed")
    })
  )
})

describe("resourceUpdates", () => {
  it.effect("two readers, one subscribe; unsubscribe when the last leaves", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      const first = yield* read(connection, "file:///a")
      const second = yield* read(connection, "file:///a")
      assert.deepStrictEqual(simulation.sent.map(summary), ["1 resources/subscribe file:///a"])
      yield* Fiber.interrupt(first.fiber)
      yield* settle
      assert.lengthOf(simulation.sent, 1)
      yield* simulation.current.tell(updated("file:///a"))
      yield* settle
      assert.deepStrictEqual(second.updates, [{ _tag: "Updated", uri: "file:///a" }])
      assert.deepStrictEqual(first.updates, [])
      yield* Fiber.interrupt(second.fiber)
      yield* settle
      assert.deepStrictEqual(simulation.sent.map(summary), [
        "1 resources/subscribe file:///a",
        "1 resources/unsubscribe file:///a"
      ])
      yield* read(connection, "file:///a")
      assert.lengthOf(simulation.sent, 3)
    })
  )

  it.effect("two readers that come at once: one subscribe, which both wait for", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: () => Effect.delay(Effect.succeed({}), "1 second") })
      const connection = yield* connect(simulation)
      yield* read(connection, "file:///a")
      yield* read(connection, "file:///a")
      yield* advance("5 seconds")
      assert.deepStrictEqual(simulation.sent.map(summary), ["1 resources/subscribe file:///a"])
    })
  )

  it.effect("Updated comes only for its own uri, MayHaveMissed once for each new session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      const a = yield* read(connection, "file:///a")
      const b = yield* read(connection, "file:///b")
      yield* simulation.current.tell(updated("file:///a"))
      yield* simulation.current.tell(updated("file:///c"))
      yield* simulation.current.tell({ method: "notifications/resources/updated", params: undefined })
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* simulation.current.tell(updated("file:///b"))
      yield* settle
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepStrictEqual(a.updates, [
        { _tag: "Updated", uri: "file:///a" },
        { _tag: "MayHaveMissed", uri: "file:///a", generation: 2 },
        { _tag: "MayHaveMissed", uri: "file:///a", generation: 3 }
      ])
      assert.deepStrictEqual(b.updates, [
        { _tag: "MayHaveMissed", uri: "file:///b", generation: 2 },
        { _tag: "Updated", uri: "file:///b" },
        { _tag: "MayHaveMissed", uri: "file:///b", generation: 3 }
      ])
    })
  )

  it.effect("an update that comes right with the answer to the subscription is not missed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: on("resources/subscribe", (call) => Effect.as(call.session.tell(updated("file:///a")), {}))
      })
      const connection = yield* connect(simulation)
      const { updates } = yield* read(connection, "file:///a")
      assert.deepStrictEqual(updates, [{ _tag: "Updated", uri: "file:///a" }])
    })
  )

  it.effect("a refresh, too, is told as MayHaveMissed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      const { updates } = yield* read(connection, "file:///a")
      yield* connection.refresh
      yield* settle
      assert.deepStrictEqual(updates, [{ _tag: "MayHaveMissed", uri: "file:///a", generation: 2 }])
      assert.include(simulation.sent.map(summary), "2 resources/subscribe file:///a")
    })
  )

  it.effect("a rejected subscribe fails the stream, and nothing is left of it", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: on("resources/subscribe", () => Effect.fail(rejected("resources/subscribe", -32_002)))
      })
      const connection = yield* connect(simulation)
      const error = yield* Effect.flip(Stream.runDrain(connection.resourceUpdates("file:///a")))
      assert(error._tag === "ServerRejected")
      assert.strictEqual(error.method, "resources/subscribe")
      assert.strictEqual(error.code, -32_002)
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
      assert.lengthOf(simulation.sent, 1)
    })
  )

  it.effect("a rejected subscribe is of no concern to the reader of another resource", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: on("resources/subscribe", (call) =>
          Effect.delay(
            uriOf(call.ticket.params) === "file:///bad"
              ? Effect.fail(rejected("resources/subscribe"))
              : Effect.succeed({}),
            "1 second"
          )
        )
      })
      const connection = yield* connect(simulation)
      const bad = yield* read(connection, "file:///bad")
      const good = yield* read(connection, "file:///good")
      yield* advance("10 seconds")
      assert.isDefined(bad.fiber.pollUnsafe())
      assert.isUndefined(good.fiber.pollUnsafe(), "the other reader was failed")
      yield* simulation.current.tell(updated("file:///good"))
      yield* settle
      assert.deepStrictEqual(good.updates, [{ _tag: "Updated", uri: "file:///good" }])
    })
  )

  it.effect("a reader that leaves while its subscribe is under way leaves no subscription behind", () =>
    Effect.gen(function* () {
      const subscribed = new Set<string>()
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) => {
          const uri = uriOf(call.ticket.params)
          if (call.ticket.method === "resources/subscribe") {
            subscribed.add(uri)
            return Effect.delay(Effect.succeed({}), "1 second")
          }
          if (call.ticket.method === "resources/unsubscribe") subscribed.delete(uri)
          return call.run
        }
      })
      const connection = yield* connect(simulation)
      const { fiber } = yield* read(connection, "file:///a")
      yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* advance("5 seconds")
      assert.deepStrictEqual([...subscribed], [])
    })
  )

  describe("two readers of one resource, of whom the first is asking", () => {
    /** The n-th `resources/subscribe` fares as the n-th answer says; a later one is answered. */
    const twoReaders = Effect.fnUntraced(function* (
      ...answers: ReadonlyArray<(call: Call) => Effect.Effect<unknown, SessionFailure>>
    ) {
      let asked = 0
      const simulation = SimulatedServer.makeUnsafe({
        handle: on("resources/subscribe", (call) => answers[asked++]?.(call) ?? call.run)
      })
      const connection = yield* connect(simulation, { requestTimeout: "5 seconds" })
      const first = yield* read(connection, "file:///a")
      const second = yield* read(connection, "file:///a")
      assert.lengthOf(simulation.sent, 1)
      return { simulation, first, second }
    })

    it.effect("it is answered: the second need not ask", () =>
      Effect.gen(function* () {
        const { simulation } = yield* twoReaders((call: Call) => Effect.delay(call.run, "1 second"))
        yield* advance("10 seconds")
        assert.deepStrictEqual(simulation.sent.map(summary), ["1 resources/subscribe file:///a"])
      })
    )

    it.effect("it is never answered: the second, who relied on it, asks for itself, and stays subscribed", () =>
      Effect.gen(function* () {
        const { first, second, simulation } = yield* twoReaders(() => Effect.never)
        yield* advance("5 seconds")
        const exit = first.fiber.pollUnsafe()
        assert(exit !== undefined && Exit.isFailure(exit), "the first was not told")
        assert.deepStrictEqual(simulation.sent.map(summary), [
          "1 resources/subscribe file:///a",
          "1 resources/subscribe file:///a"
        ])
        assert.isUndefined(second.fiber.pollUnsafe())
        yield* simulation.current.tell(updated("file:///a"))
        yield* settle
        assert.deepStrictEqual(second.updates, [{ _tag: "Updated", uri: "file:///a" }])
      })
    )

    it.effect("the first leaves meanwhile: the second asks for itself", () =>
      Effect.gen(function* () {
        const { first, second, simulation } = yield* twoReaders(() => Effect.never)
        yield* Fiber.interrupt(first.fiber)
        yield* settle
        assert.lengthOf(simulation.sent, 2)
        assert.isUndefined(second.fiber.pollUnsafe())
      })
    )

    it.effect(
      "it is rejected: each is told, nobody waits for updates that never come, and the next session is not asked",
      () =>
        Effect.gen(function* () {
          const refuse = () => Effect.delay(Effect.fail(rejected("resources/subscribe")), "1 second")
          const { first, second, simulation } = yield* twoReaders(refuse, refuse)
          yield* advance("3 seconds")
          for (const { fiber } of [first, second]) {
            assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "ServerRejected")
          }
          yield* simulation.current.lose()
          yield* advance("1 second")
          assert.deepStrictEqual(simulation.sent.map(summary), [
            "1 resources/subscribe file:///a",
            "1 resources/subscribe file:///a"
          ])
        })
    )

    it.effect("only the first is rejected: the second stays subscribed, in the next session too", () =>
      Effect.gen(function* () {
        const { second, simulation } = yield* twoReaders(() =>
          Effect.delay(Effect.fail(rejected("resources/subscribe")), "1 second")
        )
        yield* advance("1 second")
        yield* simulation.current.lose()
        yield* advance("1 second")
        assert.isUndefined(second.fiber.pollUnsafe())
        assert.deepStrictEqual(simulation.sent.map(summary), [
          "1 resources/subscribe file:///a",
          "1 resources/subscribe file:///a",
          "2 resources/subscribe file:///a"
        ])
      })
    )
  })

  it.effect("whoever stops reading does not wait until the server agrees", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: on("resources/unsubscribe", () => Effect.never) })
      const connection = yield* connect(simulation)
      const { fiber } = yield* read(connection, "file:///a")
      const leaving = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* settle
      assert.strictEqual(simulation.sent.at(-1)?.method, "resources/unsubscribe")
      assert.isDefined(leaving.pollUnsafe(), "it waits for the server")
    })
  )

  it.effect("a subscription whose answer was never seen is ended all the same", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ handle: on("resources/subscribe", () => Effect.never) })
      const connection = yield* connect(simulation, { requestTimeout: "5 seconds" })
      const { fiber } = yield* read(connection, "file:///a")
      yield* advance("5 seconds")
      assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "RequestTimeout")
      assert.deepStrictEqual(simulation.sent.map(summary), [
        "1 resources/subscribe file:///a",
        "1 resources/unsubscribe file:///a"
      ])
    })
  )

  it.effect("the stream ends with the connection, and a new one fails with ConnectionClosed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation).pipe(Scope.provide(scope))
      const { fiber, updates } = yield* read(connection, "file:///a")
      yield* Scope.close(scope, Exit.void)
      yield* settle
      const exit = fiber.pollUnsafe()
      assert(exit !== undefined && Exit.isSuccess(exit))
      assert.deepStrictEqual(updates, [])
      const error = yield* Effect.flip(Stream.runDrain(connection.resourceUpdates("file:///a")))
      assert.strictEqual(error._tag, "ConnectionClosed")
    })
  )
})

const runs = process.env["CI"] === undefined ? 150 : 2_000

describe("rule 5: at every SessionReady the session has what is desired", () => {
  const millis = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
  const few = <S extends Schema.Top>(item: S, maximum: number) => Schema.Array(item).check(Schema.isMaxLength(maximum))
  const levels = ["debug", "info", "error"] as const
  const uris = ["file:///a", "file:///b", "file:///c"] as const

  interface Wish {
    readonly level: LoggingLevel | undefined
    readonly uris: ReadonlyArray<string>
  }
  const text = ({ level, uris }: Wish) => `${level} [${[...new Set(uris)].toSorted().join()}]`

  it.effect.prop(
    "under random changes, losses, refreshes and answers of any slowness",
    {
      changes: few(
        Schema.Struct({
          at: millis(12_000),
          what: Schema.Literals(["level", "read", "read", "leave"]),
          which: Schema.Literals([0, 1, 2])
        }),
        14
      ),
      losses: few(millis(12_000), 5),
      refreshes: few(millis(12_000), 2),
      /** How long the server takes for each request; later ones are answered at once. */
      slowness: few(Schema.Literals([0, 1, 300, 900, 2500]), 30)
    },
    ({ changes, losses, refreshes, slowness }) =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        /** What each session was brought to, as its server sees it, over time. */
        const servers = new Map<Call["session"], Array<{ at: number } & Wish>>()
        let n = 0
        const simulation = SimulatedServer.makeUnsafe({
          handle: (call) =>
            Effect.gen(function* () {
              yield* Effect.sleep(slowness[n++] ?? 0)
              const history = servers.get(call.session) ?? []
              servers.set(call.session, history)
              const { level, uris } = history.at(-1) ?? { level: undefined, uris: [] }
              const { method, params } = call.ticket
              const at = clock.currentTimeMillisUnsafe()
              if (method === "logging/setLevel" && Predicate.hasProperty(params, "level"))
                history.push({ at, level: params.level as LoggingLevel, uris })
              if (method === "resources/subscribe") history.push({ at, level, uris: [...uris, uriOf(params)] })
              if (method === "resources/unsubscribe")
                history.push({ at, level, uris: uris.filter((uri) => uri !== uriOf(params)) })
              return {}
            })
        })
        // Every session takes its time to be restored, so that much changes meanwhile.
        const connection = yield* connect(simulation, { onSession: () => Effect.sleep("700 millis") })
        const events = yield* collect(connection)
        const wishes: Array<{ at: number } & Wish> = [{ at: -1, level: undefined, uris: [] }]
        const wish = (change: (wish: Wish) => Wish) =>
          wishes.push({
            ...change(wishes.at(-1) ?? { level: undefined, uris: [] }),
            at: clock.currentTimeMillisUnsafe()
          })
        const readers: Array<{ uri: string; fiber: Fiber.Fiber<unknown, RequestError> }> = []

        for (const { at, what, which } of changes) {
          yield* Effect.suspend((): Effect.Effect<unknown, RequestError> => {
            switch (what) {
              case "level":
                wish((wish) => ({ ...wish, level: levels[which] }))
                return connection.setLogLevel(levels[which])
              case "read": {
                const uri = uris[which]
                wish((wish) => ({ ...wish, uris: [...wish.uris, uri] }))
                return connection.resourceUpdates(uri).pipe(
                  Stream.runDrain,
                  Effect.forkDetach({ startImmediately: true }),
                  Effect.map((fiber) => readers.push({ uri, fiber }))
                )
              }
              case "leave": {
                const [reader] = readers.splice(which % Math.max(1, readers.length), 1)
                if (reader === undefined) return Effect.void
                wish((wish) => {
                  const i = wish.uris.indexOf(reader.uri)
                  return { ...wish, uris: wish.uris.filter((_, j) => j !== i) }
                })
                return Fiber.interrupt(reader.fiber)
              }
            }
          }).pipe(Effect.delay(at), Effect.forkScoped)
        }
        for (const at of losses)
          yield* Effect.suspend(() => simulation.current.lose(exited)).pipe(Effect.delay(at), Effect.forkScoped)
        for (const at of refreshes) yield* connection.refresh.pipe(Effect.ignore, Effect.delay(at), Effect.forkScoped)

        for (let i = 0; i < 24; i += 1) yield* advance(500)
        yield* advance("120 seconds")

        /** What the wishes were in that millisecond; several may have held. */
        const wishedAt = (at: number) => {
          const before = wishes.findLastIndex((wish) => wish.at < at)
          return wishes.filter((wish, i) => i === before || wish.at === at).map(text)
        }
        const stateAt = (generation: number, at: number) => {
          const session = simulation.sessions.findLast((session) => session.generation === generation)
          const history = [...servers.entries()].find(([key]) => key.host === session?.host)?.[1] ?? []
          const last = history.findLast((entry) => entry.at <= at)
          return text(last ?? { level: undefined, uris: [] })
        }
        for (const event of events) {
          if (event._tag !== "SessionReady") continue
          assert.include(
            wishedAt(event.at),
            stateAt(event.generation, event.at),
            `session ${event.generation} at ${event.at}: ${JSON.stringify(wishes)} ${JSON.stringify([...servers.values()])}`
          )
        }
        // And when all is quiet, the session that serves has the last wish.
        const state = yield* connection.state
        assert(state._tag === "Ready")
        const last = wishes.at(-1)
        assert(last !== undefined)
        assert.strictEqual(stateAt(state.generation, Number.POSITIVE_INFINITY), text(last))
      }),
    { arbitrary: { runs, seed: 5 }, timeout: 300_000 }
  )
})
