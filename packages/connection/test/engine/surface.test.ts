/** The rest of the client surface: notifications both ways, roots, handlers, progress, and their options. */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited } from "@mcp-tether/testing/SimulatedServer"
import type { Root } from "@modelcontextprotocol/client"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as McpConnection from "../../src/McpConnection.ts"
import type { McpSession, ServerNotification } from "../../src/McpSession.ts"
import type { OpenContext } from "../../src/McpTransport.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

/** A transport whose sessions notify in their own way. */
const notifying = (
  simulation: SimulatedServer.SimulatedServer,
  notify: (generation: number) => McpSession["notify"]
) => ({
  ...simulation.transport,
  open: (context: OpenContext) =>
    Effect.map(simulation.transport.open(context), (session) => ({ ...session, notify: notify(context.generation) }))
})

const listRoots = (simulation: SimulatedServer.SimulatedServer) =>
  simulation.current.host.handlers.get("roots/list")?.(undefined)

const rootsChanged = "notifications/roots/list_changed"
const home: Root = { uri: "file:///home" }
const work: Root = { uri: "file:///work" }

describe("notify", () => {
  it.effect("hands the notification to the current session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      yield* connection.notify("notifications/a", { x: 1 })
      yield* connection.refresh
      yield* connection.notify("notifications/b")
      assert.deepStrictEqual(simulation.notified, ["1 notifications/a", "2 notifications/b"])
    })
  )

  it.effect("waits for a session, at most `wait`", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.sleep("10 seconds") })
      const connection = yield* connect(simulation, { wait: "5 seconds" })
      const early = yield* Effect.forkChild(Effect.flip(connection.notify("notifications/early")))
      yield* advance("5 seconds")
      const error = yield* Fiber.join(early)
      assert(error._tag === "ConnectionUnavailable")
      assert.strictEqual(error.because, "WaitElapsed")
      assert.strictEqual(error.delivery, "NotSent")
      const patient = yield* Effect.forkChild(connection.notify("notifications/patient"))
      yield* advance("5 seconds")
      yield* Fiber.join(patient)
      assert.deepStrictEqual(simulation.notified, ["1 notifications/patient"])
    })
  )

  it.effect("opens a lazy connection", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { start: "lazy" })
      yield* connection.notify("notifications/a")
      assert.deepStrictEqual(simulation.notified, ["1 notifications/a"])
    })
  )

  it.effect("is never sent twice: when the session fails under it, the caller is told, and the session replaced", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const tried: Array<number> = []
      const transport = notifying(
        simulation,
        (generation) => () =>
          Effect.suspend(() => {
            tried.push(generation)
            return generation === 1 ? Effect.fail(exited) : Effect.void
          })
      )
      const connection = yield* connect(simulation, { transport, replay: "always" })
      const error = yield* Effect.flip(connection.notify("notifications/a"))
      assert(error._tag === "ConnectionUnavailable")
      assert.strictEqual(error.because, "NotReplayed")
      assert.strictEqual(error.cause, exited)
      yield* advance("1 second")
      yield* advance("1 minute")
      assert.deepStrictEqual(tried, [1])
      assert.deepInclude(yield* connection.state, { _tag: "Ready", generation: 2 })
    })
  )

  it.effect("a session that never takes it over does not hang its caller", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const transport = notifying(simulation, () => () => Effect.never)
      const connection = yield* connect(simulation, { transport, requestTimeout: "5 seconds" })
      const call = yield* Effect.forkChild(Effect.exit(connection.notify("notifications/a")))
      yield* advance("5 seconds")
      const exit = call.pollUnsafe()
      assert.isDefined(exit)
      yield* Fiber.interrupt(call)
    })
  )

  it.effect("a defect of the transport is a typed failure", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const transport = notifying(simulation, () => () => Effect.die(new Error("bug")))
      const connection = yield* connect(simulation, { transport })
      const exit = yield* Effect.exit(connection.notify("notifications/a"))
      assert.isTrue(Exit.isFailure(exit))
      assert.isFalse(Exit.hasDies(exit))
    })
  )

  it.effect("fails with ConnectionClosed while waiting and after the close", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({ open: () => Effect.never })
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation).pipe(Scope.provide(scope))
      const waiting = yield* Effect.forkChild(Effect.flip(connection.notify("notifications/a")))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "ConnectionClosed")
      assert.strictEqual((yield* Effect.flip(connection.notify("notifications/a")))._tag, "ConnectionClosed")
    })
  )
})

describe("notifications", () => {
  it.effect("come from all sessions, in order, to every reader", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      const heard: Array<ServerNotification> = []
      const also: Array<ServerNotification> = []
      for (const into of [heard, also]) {
        yield* connection.notifications.pipe(
          Stream.runForEach((notification) => Effect.sync(() => into.push(notification))),
          Effect.forkScoped({ startImmediately: true })
        )
      }
      yield* settle
      const notification = (n: number): ServerNotification => ({ method: "notifications/message", params: { n } })
      yield* simulation.current.tell(notification(1))
      yield* simulation.current.tell(notification(2))
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* simulation.current.tell(notification(3))
      yield* connection.refresh
      yield* simulation.current.tell(notification(4))
      yield* settle
      assert.deepStrictEqual(heard, [1, 2, 3, 4].map(notification))
      assert.deepStrictEqual(also, heard)
    })
  )

  it.effect("end with the connection", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation).pipe(Scope.provide(scope))
      const reader = yield* Effect.forkChild(Stream.runDrain(connection.notifications))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.isDefined(reader.pollUnsafe(), "the reader waits for ever")
      const late = yield* Effect.forkChild(Stream.runDrain(connection.notifications))
      yield* settle
      assert.isDefined(late.pollUnsafe(), "a later reader waits for ever")
    })
  )
})

describe("roots", () => {
  it.effect("undeclared: setRoots is an InvalidRequest, and nothing is declared or answered", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      const error = yield* Effect.flip(connection.setRoots([home]))
      assert.strictEqual(error._tag, "InvalidRequest")
      assert.include(error.message, "roots")
      assert.isUndefined(simulation.current.host.handlers.get("roots/list"))
      assert.deepStrictEqual(simulation.notified, [])
    })
  )

  it.effect("setRoots notifies the server, and roots/list answers the newest, in every session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { roots: [] })
      assert.deepStrictEqual(yield* listRoots(simulation) ?? Effect.void, { roots: [] })
      yield* connection.setRoots([home])
      assert.deepStrictEqual(simulation.notified, [`1 ${rootsChanged}`])
      assert.deepStrictEqual(yield* listRoots(simulation) ?? Effect.void, { roots: [home] })
      yield* simulation.current.lose()
      yield* settle
      yield* connection.setRoots([work])
      yield* advance("1 second")
      assert.deepStrictEqual(yield* listRoots(simulation) ?? Effect.void, { roots: [work] })
    })
  )

  it.effect("setRoots on a lazy connection opens nothing", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { start: "lazy", roots: [] })
      yield* connection.setRoots([home])
      yield* settle
      assert.deepStrictEqual(simulation.attempts, [])
    })
  )

  it.effect("roots that change while a session is being restored: its server has asked already, and is told", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, { roots: [home], onSession: () => Deferred.await(hold) })
      assert.deepStrictEqual(yield* listRoots(simulation) ?? Effect.void, { roots: [home] })
      yield* connection.setRoots([work])
      yield* Deferred.succeed(hold, undefined)
      yield* settle
      assert.strictEqual((yield* connection.state)._tag, "Ready")
      assert.deepStrictEqual(simulation.notified, [`1 ${rootsChanged}`])
    })
  )

  it.effect("roots that change during a refresh: both servers are told", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation, {
        roots: [home],
        onSession: (_, { generation }) => (generation === 1 ? Effect.void : Deferred.await(hold))
      })
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* settle
      yield* connection.setRoots([work])
      yield* Deferred.succeed(hold, undefined)
      yield* settle
      yield* Fiber.join(refreshing)
      assert.deepStrictEqual(simulation.notified, [`1 ${rootsChanged}`, `2 ${rootsChanged}`])
    })
  )

  it.effect("after the close setRoots fails with ConnectionClosed", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const scope = yield* Scope.make()
      const connection = yield* connect(simulation, { roots: [] }).pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      const exit = yield* Effect.exit(connection.setRoots([home]))
      assert(Exit.isFailure(exit), "it succeeded")
      assert.strictEqual((yield* Effect.flip(exit))._tag, "ConnectionClosed")
    })
  )
})

class Model extends Context.Service<Model, { readonly name: string }>()("test/Model") {}

describe("handlers", () => {
  const given = Effect.fnUntraced(function* (options: Partial<McpConnection.Options>) {
    const simulation = SimulatedServer.makeUnsafe()
    yield* connect(simulation, options)
    const { capabilities, handlers } = simulation.current.host
    return { capabilities: Object.keys(capabilities).toSorted(), handlers: [...handlers.keys()].toSorted() }
  })
  const sampling = () =>
    Effect.succeed({ model: "m", role: "assistant", content: { type: "text", text: "hi" } } as const)
  const elicitation = () => Effect.succeed({ action: "decline" } as const)

  it.effect("only what is given is declared and answered", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* given({}), { capabilities: [], handlers: [] })
      assert.deepStrictEqual(yield* given({ handlers: {} }), { capabilities: [], handlers: [] })
      assert.deepStrictEqual(yield* given({ handlers: { sampling } }), {
        capabilities: ["sampling"],
        handlers: ["sampling/createMessage"]
      })
      assert.deepStrictEqual(yield* given({ handlers: { elicitation, sampling: undefined } }), {
        capabilities: ["elicitation"],
        handlers: ["elicitation/create"]
      })
      assert.deepStrictEqual(yield* given({ roots: [] }), { capabilities: ["roots"], handlers: ["roots/list"] })
      assert.deepStrictEqual(yield* given({ handlers: { elicitation, sampling }, roots: [home] }), {
        capabilities: ["elicitation", "roots", "sampling"],
        handlers: ["elicitation/create", "roots/list", "sampling/createMessage"]
      })
    })
  )

  it.effect("they are in every session, have their services, and get the server's parameters", () =>
    Effect.gen(function* () {
      const asked: Array<unknown> = []
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* McpConnection.make({
        transport: simulation.transport,
        handlers: {
          sampling: (params) =>
            Effect.gen(function* () {
              asked.push(params)
              return { model: (yield* Model).name, role: "assistant", content: { type: "text", text: "hi" } } as const
            })
        }
      }).pipe(Effect.provideService(Model, { name: "opus" }))
      const params = { messages: [], maxTokens: 1 }
      for (const _ of [1, 2]) {
        const answer = simulation.current.host.handlers.get("sampling/createMessage")
        assert.deepInclude(yield* answer?.(params) ?? Effect.void, { model: "opus" })
        yield* connection.refresh
      }
      assert.deepStrictEqual(asked, [params, params])
    })
  )

  it.effect("a refusal of a handler is the answer", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      yield* connect(simulation, {
        handlers: { elicitation: () => Effect.fail({ code: -1, message: "user is away" }) }
      })
      const answer = simulation.current.host.handlers.get("elicitation/create")
      assert(answer !== undefined)
      assert.deepStrictEqual(yield* Effect.flip(Effect.asVoid(answer({ message: "?" }))), {
        code: -1,
        message: "user is away"
      })
    })
  )

  it.effect("a handler that throws throws inside its Effect, not into the transport", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const throws = () => {
        throw new Error("bug")
      }
      yield* connect(simulation, { handlers: { sampling: throws, elicitation: throws } })
      for (const method of ["sampling/createMessage", "elicitation/create"]) {
        const answer = simulation.current.host.handlers.get(method)
        assert.isTrue(Effect.isEffect(answer?.({})), method)
      }
    })
  )
})

describe("progress", () => {
  it.effect("is asked for only with a callback, which gets it", () =>
    Effect.gen(function* () {
      const heard: Array<number> = []
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) =>
          Effect.suspend(() => {
            call.ticket.onProgress?.({ progress: 1, total: 2 })
            return call.run
          })
      })
      const connection = yield* connect(simulation)
      const asked: Array<boolean> = []
      simulation.behavior.send = (call) => Effect.sync(() => void asked.push(call.ticket.onProgress !== undefined))
      yield* connection.callTool({ name: "a" }, { onProgress: ({ progress }) => void heard.push(progress) })
      yield* connection.callTool({ name: "a" })
      assert.deepStrictEqual(heard, [1])
      assert.deepStrictEqual(asked, [true, false])
    })
  )

  for (const renewed of [true, false]) {
    it.effect(`the timeout is ${renewed ? "" : "not "}renewed by ${renewed ? "progress" : "silence"}`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe({
          handle: (call) =>
            Effect.gen(function* () {
              for (let i = 0; i < 10; i += 1) {
                yield* Effect.sleep("4 seconds")
                if (renewed) call.ticket.onProgress?.({ progress: i })
              }
              return yield* call.run
            })
        })
        const connection = yield* connect(simulation)
        const call = yield* Effect.forkChild(
          Effect.exit(connection.callTool({ name: "a" }, { timeout: "5 seconds", onProgress: () => undefined }))
        )
        yield* advance("4900 millis")
        assert.isUndefined(call.pollUnsafe())
        yield* advance("200 millis")
        assert.strictEqual(call.pollUnsafe() === undefined, renewed)
        for (let i = 0; i < 40; i += 1) yield* advance("1 second")
        assert.strictEqual(Exit.isSuccess(yield* Fiber.join(call)), renewed)
      })
    )
  }

  it.effect("that stops ends in RequestTimeout, one timeout after the last", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) =>
          Effect.gen(function* () {
            yield* Effect.sleep("4 seconds")
            call.ticket.onProgress?.({ progress: 1 })
            return yield* Effect.never
          })
      })
      const connection = yield* connect(simulation)
      const call = yield* Effect.forkChild(
        Effect.flip(connection.callTool({ name: "a" }, { timeout: "5 seconds", onProgress: () => undefined }))
      )
      yield* advance("4 seconds")
      yield* advance("4900 millis")
      assert.isUndefined(call.pollUnsafe())
      yield* advance("100 millis")
      const error = yield* Fiber.join(call)
      assert(error._tag === "RequestTimeout")
      assert.strictEqual(error.delivery, "Unknown")
      assert.deepStrictEqual(simulation.cancelled, ["1 tools/call"])
    })
  )

  it.effect("a callback that throws costs neither the call nor the session", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) =>
          Effect.suspend(() => {
            call.ticket.onProgress?.({ progress: 1 })
            return call.run
          })
      })
      const connection = yield* connect(simulation)
      const options = {
        onProgress: () => {
          throw new Error("bug")
        }
      }
      const call = yield* Effect.forkChild(Effect.exit(connection.callTool({ name: "a" }, options)))
      yield* advance("5 seconds")
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(call)))
      assert.deepStrictEqual(simulation.log, ["open 1"])
    })
  )
})

describe("wrong options", () => {
  const wrong: ReadonlyArray<readonly [option: string, options: Record<string, unknown>]> = [
    ["handlers", { handlers: 3 }],
    ["handlers.sampling", { handlers: { sampling: "yes" } }],
    ["handlers.elicitation", { handlers: { elicitation: {} } }],
    ["handlers.roots", { handlers: { roots: () => Effect.void } }],
    ["roots", { roots: "file:///home" }],
    ["roots[1]", { roots: [home, { name: "no uri" }] }],
    ["onSession", { onSession: Effect.void }],
    ["restore", { restore: "maybe" }],
    ["drainTimeout", { drainTimeout: "soon" }]
  ]
  for (const [option, options] of wrong) {
    it.effect(`${JSON.stringify(options)} is an InvalidOptions that names ${option}`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const untyped: unknown = { transport: simulation.transport, ...options }
        const error = yield* Effect.flip(McpConnection.make(untyped as McpConnection.Options))
        assert(error._tag === "InvalidOptions")
        assert.deepStrictEqual(
          error.issues.map((issue) => issue.option),
          [option]
        )
        assert.lengthOf(simulation.attempts, 0)
      })
    )
  }

  it.effect("a wrong onProgress is an InvalidRequest that names it", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const connection = yield* connect(simulation)
      const untyped: unknown = { onProgress: 3 }
      const error = yield* Effect.flip(connection.callTool({ name: "a" }, untyped as McpConnection.RequestOptions))
      assert.strictEqual(error._tag, "InvalidRequest")
      assert.include(error.message, "onProgress")
      assert.lengthOf(simulation.sent, 0)
    })
  )
})
