/** The whole client surface, on real servers that are killed under it. */
import { assert, describe } from "@effect/vitest"
import type { CreateMessageResult, LoggingLevel, Root } from "@modelcontextprotocol/client"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as ConnectionEvent from "../../src/ConnectionEvent.ts"
import type { ConnectionState } from "../../src/ConnectionState.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import type { RequestTicket, ServerNotification } from "../../src/McpSession.ts"
import type { McpTransport } from "../../src/McpTransport.ts"
import type { RequestError } from "../../src/RequestError.ts"
import type { Config, Entry } from "../fixtures/config.ts"
import {
  call,
  type Connection,
  eventsOf,
  everything,
  failureOf,
  fast,
  isAlive,
  kill,
  pidOf,
  type Rig,
  scenario,
  tagsOf,
  textOf,
  transportOf,
  until
} from "./rig.ts"

/** A request that was made of a session, and the connection's state at that moment. */
interface Made {
  readonly generation: number
  readonly ticket: RequestTicket
  readonly state: ConnectionState["_tag"] | undefined
  answered: boolean
}

/** A connection to the reference server, and what is asked of its sessions. */
const connectEverything = Effect.fnUntraced(function* (rig: Rig, options: Partial<McpConnection.Options> = {}) {
  const made: Array<Made> = []
  const real = transportOf(rig, { command: process.execPath, args: everything })
  let state: ConnectionState["_tag"] | undefined
  const transport: McpTransport<ChildProcessSpawner.ChildProcessSpawner> = {
    ...real,
    open: (context) =>
      Effect.map(real.open(context), (session) => ({
        ...session,
        request: (ticket) =>
          Effect.suspend(() => {
            const one: Made = { generation: context.generation, ticket, state, answered: false }
            made.push(one)
            return Effect.tap(session.request(ticket), () => Effect.sync(() => (one.answered = true)))
          })
      }))
  }
  const connection = yield* McpConnection.make({
    name: "everything",
    policy: fast,
    heartbeat: "off",
    requestTimeout: "15 seconds",
    wait: "15 seconds",
    ...options,
    transport
  })
  yield* connection.changes.pipe(
    Stream.runForEach(({ _tag }) => Effect.sync(() => (state = _tag))),
    Effect.forkScoped({ startImmediately: true })
  )
  return { connection, made }
})

/** Collects the server's notifications from now on. */
const notificationsOf = Effect.fnUntraced(function* (connection: Connection) {
  const notifications: Array<ServerNotification> = []
  yield* connection.notifications.pipe(
    Stream.runForEach((notification) => Effect.sync(() => notifications.push(notification))),
    Effect.forkScoped({ startImmediately: true })
  )
  return notifications
})

/** Kills the server of the current session, and waits for the next one. */
const killed = Effect.fnUntraced(function* (connection: Connection) {
  const { generation, server } = yield* Effect.orDie(connection.awaitReady)
  kill(-(server.pid ?? 0), "SIGKILL")
  return yield* after(connection, generation)
})

/** Waits for a session newer than `generation`. */
const after = (connection: Connection, generation: number) =>
  connection.changes.pipe(
    Stream.filter((state) => state._tag === "Ready" && state.generation > generation),
    Stream.take(1),
    Stream.runDrain,
    Effect.andThen(connection.awaitReady),
    Effect.timeout("10 seconds"),
    Effect.orDie
  )

const changesOf = (events: ReadonlyArray<ConnectionEvent.ConnectionEvent>) =>
  events.filter(ConnectionEvent.is("CatalogChanged"))

describe("@modelcontextprotocol/server-everything, killed under its requests", () => {
  const uri = "demo://resource/dynamic/text/7"
  const requests: ReadonlyArray<
    readonly [method: string, ask: (connection: Connection) => Effect.Effect<unknown, RequestError>]
  > = [
    ["resources/list", (connection) => connection.listResources()],
    ["resources/templates/list", (connection) => connection.listResourceTemplates()],
    [
      "resources/read",
      (connection) =>
        Effect.map(connection.readResource({ uri }), ({ contents }) =>
          // It tells the time of day.
          contents.map((content) => ("text" in content ? content.text.replace(/ created at .*/, "") : content))
        )
    ],
    ["prompts/list", (connection) => connection.listPrompts()],
    [
      "prompts/get",
      (connection) => connection.getPrompt({ name: "args-prompt", arguments: { city: "Bern", state: "BE" } })
    ],
    [
      "completion/complete",
      (connection) =>
        connection.complete({
          ref: { type: "ref/prompt", name: "completable-prompt" },
          argument: { name: "department", value: "S" }
        })
    ]
  ]

  scenario("answers every kind of request, and again on the next session what was killed under way", (rig) =>
    Effect.gen(function* () {
      const { connection, made } = yield* connectEverything(rig)
      const events = yield* eventsOf(connection)
      const answers = new Map<string, unknown>()
      for (const [method, ask] of requests) answers.set(method, yield* ask(connection))
      const named = (method: string) => JSON.stringify(answers.get(method))
      assert.include(named("resources/list"), "demo://resource/static/document/")
      assert.include(named("resources/templates/list"), "demo://resource/dynamic/text/{resourceId}")
      assert.deepStrictEqual(answers.get("resources/read"), ["Resource 7: This is a plaintext resource"])
      assert.include(named("prompts/list"), "completable-prompt")
      assert.include(named("prompts/get"), "What's weather in Bern, BE?")
      assert.include(named("completion/complete"), `["Sales","Support"]`)

      for (const [method, ask] of requests) {
        const { generation, server } = yield* connection.awaitReady
        const pid = server.pid ?? 0
        // It takes the request, and cannot answer any more.
        kill(pid, "SIGSTOP")
        const pending = yield* Effect.forkChild(ask(connection), { startImmediately: true })
        yield* until(`${method} on its way`, () =>
          made.some((one) => one.generation === generation && one.ticket.method === method && one.ticket.sent)
        )
        kill(-pid, "SIGKILL")
        assert.deepStrictEqual(yield* Fiber.join(pending), answers.get(method), method)
        const replayed = events.filter(ConnectionEvent.is("RequestReplayed")).at(-1)
        assert.deepStrictEqual(
          [replayed?.method, replayed?.delivery, replayed?.from, replayed?.to],
          [method, "Unknown", generation, generation + 1]
        )
        assert.isFalse(isAlive(pid))
      }
      assert.deepStrictEqual(changesOf(events), [])
      const catalog = yield* connection.catalog
      for (const listing of [catalog.resources, catalog.resourceTemplates, catalog.prompts]) {
        assert.isFalse(listing?.stale)
        assert.strictEqual(listing?.generation, requests.length + 1)
      }
    })
  )

  scenario("keeps its lists while there is no session, marked as stale", (rig) =>
    Effect.gen(function* () {
      const { connection } = yield* connectEverything(rig)
      const tools = yield* connection.listTools()
      // This server says a moment after the handshake that its tools have changed: then the list is read again.
      const fresh = (generation: number) =>
        Effect.gen(function* () {
          while (true) {
            const { prompts, tools } = yield* connection.catalog
            if (tools?.stale === false && tools.generation === generation) return { prompts, tools }
            yield* Effect.sleep("10 millis")
          }
        })
      const before = yield* fresh(1)
      assert.deepStrictEqual(before.tools.items, tools)
      assert.isUndefined(before.prompts)
      const stale = yield* connection.changes.pipe(
        Stream.filter((state) => state._tag === "Reconnecting"),
        Stream.take(1),
        Stream.mapEffect(() => connection.catalog),
        Stream.runHead,
        Effect.forkChild({ startImmediately: true })
      )
      yield* killed(connection)
      const meanwhile = yield* Effect.flatMap(Fiber.join(stale), Effect.fromOption)
      assert.deepStrictEqual(meanwhile.tools, { items: tools, generation: 1, stale: true })
      assert.deepStrictEqual((yield* fresh(2)).tools.items, tools)
    })
  )

  scenario("has the log level in the next session before anyone can use it", (rig) =>
    Effect.gen(function* () {
      const { connection, made } = yield* connectEverything(rig)
      const notifications = yield* notificationsOf(connection)
      const logged = () => notifications.filter(({ method }) => method === "notifications/message")
      // The server logs each subscription, at the level of `info`; the answer comes after the log message.
      const subscribe = connection.request("resources/subscribe", { uri })
      yield* subscribe
      yield* until("the server's log", () =>
        logged().some(({ params }) => String(params?.["data"]).includes("Received Subscribe"))
      )

      const level: LoggingLevel = "error"
      yield* connection.setLogLevel(level)
      const { generation } = yield* killed(connection)
      const restored = made.filter((one) => one.generation === generation)
      assert.deepStrictEqual(
        restored.map(({ answered, state, ticket }) => [ticket.method, ticket.params, state, answered]),
        [["logging/setLevel", { level }, "Reconnecting", true]]
      )
      const heard = logged().length
      yield* subscribe
      yield* connection.ping()
      assert.lengthOf(logged(), heard)

      yield* connection.setLogLevel("debug")
      yield* subscribe
      yield* until("the server's log again", () => logged().length > heard)
    })
  )

  scenario("goes on with the updates of a resource in the next session, and says that some may be missed", (rig) =>
    Effect.gen(function* () {
      const { connection, made } = yield* connectEverything(rig)
      const updates: Array<McpConnection.ResourceUpdate> = []
      const reader = yield* connection.resourceUpdates(uri).pipe(
        Stream.runForEach((update) => Effect.sync(() => updates.push(update))),
        Effect.forkChild({ startImmediately: true })
      )
      const subscribed = (generation: number) =>
        made.some((one) => one.generation === generation && one.ticket.method === "resources/subscribe" && one.answered)
      yield* until("the subscription", () => subscribed(1))
      const toggle = connection.callTool({ name: "toggle-subscriber-updates", arguments: {} })
      yield* toggle
      yield* until("an update", () => updates.length > 0)
      const first = [...updates]
      assert.deepStrictEqual(first, [{ _tag: "Updated", uri }])

      const { generation } = yield* killed(connection)
      assert.isTrue(subscribed(generation), "subscribed before publication")
      yield* until("MayHaveMissed", () => updates.some(({ _tag }) => _tag === "MayHaveMissed"))
      yield* toggle
      yield* until("an update of the next session", () => updates.at(-1)?._tag === "Updated")
      assert.deepStrictEqual(updates, [...first, { _tag: "MayHaveMissed", uri, generation }, { _tag: "Updated", uri }])

      yield* Fiber.interrupt(reader)
      // In the background: the reader does not wait for it.
      yield* until("the end of the subscription", () =>
        made.some(({ answered, ticket }) => ticket.method === "resources/unsubscribe" && answered)
      )
      assert.deepStrictEqual(
        made
          .filter(({ ticket }) => ticket.method === "resources/unsubscribe")
          .map((one) => [one.generation, one.ticket.params, one.answered]),
        [[generation, { uri }, true]]
      )
      yield* killed(connection)
      assert.isFalse(subscribed(generation + 1))
    })
  )

  scenario("has the level and the subscriptions that were wanted while the server could not answer", (rig) =>
    Effect.gen(function* () {
      const { connection, made } = yield* connectEverything(rig)
      const { generation, server } = yield* connection.awaitReady
      const pid = server.pid ?? 0
      kill(pid, "SIGSTOP")
      const level = yield* Effect.forkChild(connection.setLogLevel("error"), { startImmediately: true })
      yield* until("the level on its way", () =>
        made.some(({ ticket }) => ticket.method === "logging/setLevel" && ticket.sent)
      )
      const updates: Array<McpConnection.ResourceUpdate> = []
      const reader = yield* connection.resourceUpdates(uri).pipe(
        Stream.runForEach((update) => Effect.sync(() => updates.push(update))),
        Effect.forkChild({ startImmediately: true })
      )
      kill(-pid, "SIGKILL")
      yield* Fiber.join(level)
      yield* after(connection, generation)
      const acknowledged = made.filter((one) => one.generation === generation + 1 && one.answered)
      assert.deepStrictEqual(
        acknowledged.map(({ ticket }) => ticket.method),
        ["logging/setLevel", "resources/subscribe"]
      )
      yield* connection.callTool({ name: "toggle-subscriber-updates", arguments: {} })
      yield* until("an update", () => updates.some(({ _tag }) => _tag === "Updated"))
      yield* Fiber.interrupt(reader)
    })
  )

  scenario("tells progress, also of a call that is sent again", (rig) =>
    Effect.gen(function* () {
      const { connection } = yield* connectEverything(rig)
      const pid = yield* pidOf(connection)
      const seen: Array<number> = []
      const pending = yield* Effect.forkChild(
        connection.callTool(
          { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 10 } },
          {
            onProgress: ({ progress, total }) => {
              assert.strictEqual(total, 10)
              seen.push(progress)
            }
          }
        ),
        { startImmediately: true }
      )
      yield* until("some progress", () => seen.length >= 3)
      kill(-pid, "SIGKILL")
      assert.include(textOf(yield* Fiber.join(pending)), "Long running operation completed")
      const steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
      const before = seen.lastIndexOf(1)
      assert.isAtLeast(before, 3)
      assert.deepStrictEqual(seen, [...steps.slice(0, before), ...steps])
    })
  )

  scenario("tells progress past the timeout, which each step starts anew", (rig) =>
    Effect.gen(function* () {
      const { connection } = yield* connectEverything(rig)
      const operation = { name: "trigger-long-running-operation", arguments: { duration: 2, steps: 10 } }
      const patient = yield* connection.callTool(operation, { timeout: "1 second", onProgress: () => {} })
      assert.include(textOf(patient), "Long running operation completed")
      const error = yield* failureOf(connection.callTool(operation, { timeout: "1 second" }))
      assert.strictEqual(error._tag, "RequestTimeout")
    })
  )

  const sampled: CreateMessageResult = {
    role: "assistant",
    model: "none",
    content: { type: "text", text: "said the model" }
  }

  scenario("has its questions answered by the handlers, in the first session and in the next", (rig) =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const { connection } = yield* connectEverything(rig, {
        handlers: {
          sampling: ({ messages }) =>
            Effect.sync(() => {
              asked.push(JSON.stringify(messages))
              return sampled
            }),
          elicitation: ({ message }) =>
            Effect.sync(() => {
              asked.push(message)
              return { action: "accept", content: { name: "Ada" } }
            })
        },
        roots: [{ uri: "file:///one", name: "One" }]
      })
      const ask = (name: string, args: Record<string, unknown> = {}) =>
        Effect.map(connection.callTool({ name, arguments: args }), ({ content }) => JSON.stringify(content))
      const roots = ask("get-roots-list")
      const all = Effect.gen(function* () {
        asked.length = 0
        assert.include(yield* ask("trigger-sampling-request", { prompt: "say it" }), "said the model")
        assert.include(yield* ask("trigger-elicitation-request"), "- Name: Ada")
        assert.include(asked[0] ?? "", "say it")
        assert.include(asked[1] ?? "", "Please provide inputs")
        assert.lengthOf(asked, 2)
      })

      yield* all
      assert.include(yield* roots, "file:///one")
      yield* connection.setRoots([{ uri: "file:///two", name: "Two" }])
      // The server reads them again when it is told that they changed.
      yield* Effect.repeat(roots, { until: (text) => text.includes("file:///two") }).pipe(Effect.timeout("10 seconds"))

      yield* killed(connection)
      yield* all
      const now = yield* roots
      assert.include(now, "file:///two")
      assert.notInclude(now, "file:///one")
    })
  )

  scenario("waits for the user longer than for the server", (rig) =>
    Effect.gen(function* () {
      const { connection } = yield* connectEverything(rig, {
        handlers: { elicitation: () => Effect.delay(Effect.succeed({ action: "decline" as const }), "1500 millis") }
      })
      const result = yield* connection.callTool(
        { name: "trigger-elicitation-request", arguments: {} },
        { timeout: "1 second" }
      )
      assert.include(textOf(result), "declined")
    })
  )

  scenario("hears of a handler that fails, and serves on", (rig) =>
    Effect.gen(function* () {
      const { connection } = yield* connectEverything(rig, {
        handlers: {
          sampling: () => Effect.fail({ code: -1, message: "the model is out" }),
          elicitation: () => Effect.die(new Error("hunter2"))
        }
      })
      const sampling = yield* connection.callTool({
        name: "trigger-sampling-request",
        arguments: { prompt: "say it" }
      })
      assert.isTrue(sampling.isError)
      assert.include(textOf(sampling), "the model is out")
      const elicitation = yield* connection.callTool({ name: "trigger-elicitation-request", arguments: {} })
      assert.isTrue(elicitation.isError)
      assert.include(textOf(elicitation), "the handler failed")
      assert.notInclude(textOf(elicitation), "hunter2")
      yield* connection.ping()
      assert.strictEqual((yield* connection.awaitReady).generation, 1)
    })
  )
})

/** Lets the calls reply that wait for this gate. */
const open = (rig: Rig, gate: string): void => writeFileSync(join(rig.dir, `gate-${gate}`), "")

const listsChanged = { method: "notifications/tools/list_changed" }

/** From now on the fixture is another version of itself. */
const upgrade = (rig: Rig, config: Partial<Config>): void =>
  writeFileSync(join(rig.dir, "upgrade"), JSON.stringify(config))

const listings = (rig: Rig): number => rig.journal().filter(({ method }) => method === "tools/list").length

const newTools: NonNullable<Config["tools"]> = [
  { name: "read", annotations: { readOnlyHint: true } },
  { name: "again" },
  { name: "write", inputSchema: { type: "object", required: ["effect"] } },
  { name: "fresh" }
]

const newToolsChange = {
  tools: { added: ["fresh"], removed: ["strict"], schemaChanged: ["write"], annotationsChanged: ["again"] }
}

describe("the limits of lists", () => {
  for (const [limit, limits] of [
    ["3 pages (limits.maxPages)", { maxPages: 3 }],
    ["18 tools (limits.maxItems)", { maxItems: 18 }]
  ] as const) {
    scenario(`a list of more than ${limit} is an InvalidResult that names the limit`, (rig) =>
      Effect.gen(function* () {
        // Four pages of 4 + 5, 5, 5, 5 tools.
        const connection = yield* rig.connect({ server: { pages: 4, extraTools: 5 }, limits })
        const error = yield* failureOf(connection.listTools())
        assert(error._tag === "InvalidResult", error.message)
        assert.strictEqual(error.method, "tools/list")
        assert.include(error.message, `more than ${limit}`)
        // The session is as good as before.
        assert.strictEqual(yield* call(connection, "read"), "ok")
        assert.strictEqual((yield* connection.awaitReady).generation, 1)
      })
    )
  }

  scenario("a list that just fits is read", (rig) =>
    Effect.gen(function* () {
      const limits = { maxPages: 4, maxItems: 24 }
      const connection = yield* rig.connect({ server: { pages: 4, extraTools: 5 }, limits })
      assert.lengthOf(yield* connection.listTools(), 24)
    })
  )
})

describe("the catalog", () => {
  scenario("is read again once after a burst of list_changed, and told only when it changed", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      const burst = call(connection, "read", { notify: Array.from({ length: 20 }, () => listsChanged) })
      // Nobody has asked for a list yet, so there is none to read again.
      yield* burst
      yield* connection.listTools()
      assert.strictEqual(listings(rig), 1)
      upgrade(rig, { tools: newTools })
      yield* burst
      yield* until("CatalogChanged", () => changesOf(events).length > 0)
      assert.strictEqual(listings(rig), 2)
      // A burst that changes nothing.
      yield* burst
      yield* until("another listing", () => listings(rig) === 3)
      yield* Effect.repeat(connection.catalog, {
        until: ({ tools }) => tools?.stale === false,
        schedule: Schedule.spaced("5 millis")
      }).pipe(Effect.timeout("10 seconds"))
      yield* connection.ping()
      const [event, ...more] = changesOf(events)
      assert.deepStrictEqual(more, [])
      assert.deepStrictEqual(event?.changes, newToolsChange)
      assert.strictEqual(event?.generation, 1)
      assert.deepStrictEqual(
        (yield* connection.catalog).tools?.items.map(({ name }) => name),
        ["read", "again", "write", "fresh"]
      )
      assert.deepStrictEqual(tagsOf(events), ["CatalogChanged"])
    })
  )

  scenario("tells what an upgraded server has changed, and a promise it took back holds no more", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      yield* connection.listTools()
      const pending = yield* Effect.forkChild(
        failureOf(call(connection, "again", { effect: "ran", once: "hang", reply: "hang" }))
      )
      yield* until("the effect", () => rig.ledger().length === 1)
      upgrade(rig, { tools: newTools })
      const { generation } = yield* killed(connection)
      const error = yield* Fiber.join(pending)
      assert.strictEqual(error._tag, "OutcomeUnknown")
      yield* until("CatalogChanged", () => changesOf(events).length > 0)
      assert.deepStrictEqual(
        changesOf(events).map((event) => [event.generation, event.changes]),
        [[generation, newToolsChange]]
      )
      assert.deepStrictEqual(rig.ledger(), ["ran"])
      // The same server once more: nothing to tell.
      yield* killed(connection)
      yield* connection.ping()
      assert.lengthOf(changesOf(events), 1)
    })
  )

  scenario("believes a promise that an upgraded server makes only for calls made since", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      yield* connection.listTools()
      const script = { effect: "ran", once: "first", reply: "hang" } as const
      const pending = yield* Effect.forkChild(failureOf(call(connection, "write", script)))
      yield* until("the effect", () => rig.ledger().length === 1)
      upgrade(rig, { tools: [{ name: "write", annotations: { idempotentHint: true } }] })
      yield* killed(connection)
      assert.strictEqual((yield* Fiber.join(pending))._tag, "OutcomeUnknown")
      const next = yield* Effect.forkChild(call(connection, "write", { ...script, once: "second" }))
      yield* until("the next effect", () => rig.ledger().length === 2)
      yield* killed(connection)
      assert.strictEqual(yield* Fiber.join(next), "ok")
      assert.deepStrictEqual(rig.ledger(), ["ran", "ran", "ran"])
    })
  )
})

describe("progress", () => {
  const progress = (step: number): string =>
    `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$id,"progress":${step},"total":3}}`
  const reply = `{"jsonrpc":"2.0","id":$id,"result":{"content":[{"type":"text","text":"ok"}]}}`
  const raw = [progress(1), progress(2), progress(3), reply].join("\n")

  scenario("is told to its end, also when the last of it comes in one piece with the reply", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const seen: Array<number> = []
      const options = { onProgress: ({ progress }: { readonly progress: number }) => void seen.push(progress) }
      assert.strictEqual(yield* call(connection, "read", { raw }, options), "ok")
      assert.deepStrictEqual(seen, [1, 2, 3])
      // What comes after the reply is nobody's any more.
      const late = [progress(1), reply, progress(2)].join("\n")
      assert.strictEqual(yield* call(connection, "read", { raw: late }, options), "ok")
      yield* connection.ping()
      assert.deepStrictEqual(seen, [1, 2, 3, 1])
    })
  )

  scenario("comes as a stream too, over a kill and up to the result", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const heard: Array<number | string> = []
      const script = { once: "gate", stdout: [progress(1), progress(2)], gate: "never" }
      const reader = yield* connection.callToolStream({ name: "read", arguments: script }).pipe(
        Stream.runForEach((update) =>
          Effect.sync(() => heard.push(update._tag === "Progress" ? update.progress.progress : textOf(update.result)))
        ),
        Effect.forkChild
      )
      yield* until("the progress", () => heard.length === 2)
      yield* killed(connection)
      yield* Fiber.join(reader)
      assert.deepStrictEqual(heard, [1, 2, "ok"])
      heard.splice(0)
      const all = yield* Stream.runCollect(connection.callToolStream({ name: "read", arguments: { raw } }))
      assert.deepStrictEqual(
        all.map(({ _tag }) => _tag),
        ["Progress", "Progress", "Progress", "Result"]
      )
    })
  )

  scenario("does no harm when whoever listens to it throws", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      let heard = 0
      const onProgress = (): void => {
        heard += 1
        throw new Error("hunter2")
      }
      const stdout = [progress(1), progress(2)]
      const pending = yield* Effect.forkChild(call(connection, "read", { stdout, gate: "one" }, { onProgress }))
      yield* until("the progress", () => heard === 2)
      open(rig, "one")
      assert.strictEqual(yield* Fiber.join(pending), "ok")
      yield* connection.ping()
      assert.strictEqual((yield* connection.awaitReady).generation, 1)
    })
  )

  scenario("is not asked for by calls that do not listen, and progress that comes all the same is ignored", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const notifications = yield* notificationsOf(connection)
      assert.strictEqual(yield* call(connection, "read", { raw }), "ok")
      assert.strictEqual(yield* call(connection, "read", { raw }), "ok")
      assert.strictEqual((yield* connection.awaitReady).generation, 1)
      assert.deepStrictEqual(notifications, [])
    })
  )
})

const elicit = {
  id: "question",
  method: "elicitation/create",
  params: { message: "well?", requestedSchema: { type: "object", properties: {} } }
}

const sample = {
  id: "sample",
  method: "sampling/createMessage",
  params: { messages: [{ role: "user", content: { type: "text", text: "say it" } }], maxTokens: 10 }
}

/** The fixture asks the client, and tells what it was answered. */
const answerTo = (connection: Connection, ask: typeof elicit | typeof sample | { id: string; method: string }) =>
  Effect.map(call(connection, "read", { ask }), (text) => JSON.parse(text) as unknown)

describe("requests of the server", () => {
  scenario("get the handler's answer or its refusal, and what cannot be answered gets the protocol's error", (rig) =>
    Effect.gen(function* () {
      const notes: Array<string> = []
      const connection = yield* rig.connect({
        handlers: {
          elicitation: ({ message }) => {
            notes.push(message)
            if (notes.length === 1) return Effect.succeed({ action: "cancel" })
            if (notes.length === 2) return Effect.fail({ code: -32_055, message: "nobody is here" })
            if (notes.length === 3) return Effect.die("hunter2")
            if (notes.length === 4) return Effect.interrupt
            throw new Error("hunter2")
          }
        }
      })
      const events = yield* eventsOf(connection)
      const failed = { error: { code: -32_603, message: "the handler failed" } }
      assert.deepStrictEqual(yield* answerTo(connection, elicit), { result: { action: "cancel" } })
      assert.deepStrictEqual(yield* answerTo(connection, elicit), {
        error: { code: -32_055, message: "nobody is here" }
      })
      assert.deepStrictEqual(yield* answerTo(connection, elicit), failed)
      assert.deepStrictEqual(yield* answerTo(connection, elicit), failed)
      assert.deepStrictEqual(yield* answerTo(connection, elicit), failed)
      const codeOf = (answer: unknown) => (answer as { readonly error?: { readonly code: number } }).error?.code
      assert.strictEqual(codeOf(yield* answerTo(connection, sample)), -32_601)
      assert.strictEqual(codeOf(yield* answerTo(connection, { id: "roots", method: "roots/list" })), -32_601)
      assert.strictEqual(codeOf(yield* answerTo(connection, { id: "odd", method: "no/such" })), -32_601)
      assert.strictEqual(codeOf(yield* answerTo(connection, { id: "bare", method: "elicitation/create" })), -32_602)
      assert.lengthOf(notes, 5)
      yield* connection.ping()
      assert.deepStrictEqual(tagsOf(events), [])
    })
  )

  /** A handler that never ends, and what became of it. */
  const endless = () => {
    const fates: Array<"asked" | "interrupted"> = []
    const elicitation = () =>
      Effect.suspend(() => {
        fates.push("asked")
        return Effect.onInterrupt(Effect.never, () => Effect.sync(() => fates.push("interrupted")))
      })
    return { fates, handlers: { elicitation } }
  }

  scenario("interrupt their handler when the server cancels them", (rig) =>
    Effect.gen(function* () {
      const { fates, handlers } = endless()
      const connection = yield* rig.connect({ handlers })
      const pending = yield* Effect.forkChild(answerTo(connection, elicit))
      yield* until("the question", () => fates.length === 1)
      yield* call(connection, "read", {
        notify: [{ method: "notifications/cancelled", params: { requestId: elicit.id, reason: "never mind" } }]
      })
      yield* until("the interruption", () => fates.length === 2)
      assert.strictEqual(fates[1], "interrupted")
      yield* connection.ping()
      assert.isFalse(rig.journal().some(({ answers }) => answers === elicit.id))
      yield* Fiber.interrupt(pending)
      assert.strictEqual(yield* call(connection, "read"), "ok")
    })
  )

  scenario("interrupt their handler when the server dies", (rig) =>
    Effect.gen(function* () {
      const { fates, handlers } = endless()
      const connection = yield* rig.connect({ handlers })
      const pending = yield* Effect.forkChild(failureOf(call(connection, "write", { ask: elicit })))
      yield* until("the question", () => fates.length === 1)
      yield* killed(connection)
      yield* until("the interruption", () => fates.length === 2)
      assert.strictEqual((yield* Fiber.join(pending))._tag, "OutcomeUnknown")
    })
  )

  scenario("interrupt their handler when the connection closes", (rig) =>
    Effect.gen(function* () {
      const { fates, handlers } = endless()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* rig.connect({ handlers })
          yield* Effect.forkScoped(Effect.exit(call(connection, "write", { ask: elicit })))
          yield* until("the question", () => fates.length === 1)
        })
      )
      yield* until("the interruption", () => fates.length === 2)
    })
  )
})

describe("notify", () => {
  const custom = "notifications/custom"
  const arrived = (rig: Rig): number => rig.journal().filter(({ method }) => method === custom).length

  scenario("arrives once, on the current session or on the next", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      yield* connection.notify(custom, { first: true })
      yield* connection.ping()
      assert.strictEqual(arrived(rig), 1)
      const reconnecting = yield* connection.changes.pipe(
        Stream.filter((state) => state._tag === "Reconnecting"),
        Stream.take(1),
        Stream.runForEach(() => connection.notify(custom)),
        Effect.forkChild({ startImmediately: true })
      )
      yield* killed(connection)
      yield* Fiber.join(reconnecting)
      yield* connection.ping()
      assert.strictEqual(arrived(rig), 2)
      // A further session hears nothing of it.
      yield* killed(connection)
      yield* connection.ping()
      assert.strictEqual(arrived(rig), 2)
    })
  )

  scenario("tells of changed roots once, and not at all while there is no session", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ roots: [] })
      const told = () => rig.journal().filter(({ method }) => method === "notifications/roots/list_changed").length
      const roots: ReadonlyArray<Root> = [{ uri: "file:///two" }]
      yield* connection.setRoots(roots)
      yield* connection.ping()
      assert.strictEqual(told(), 1)
      assert.deepStrictEqual(yield* answerTo(connection, { id: "roots", method: "roots/list" }), { result: { roots } })
      const later: ReadonlyArray<Root> = [{ uri: "file:///three" }]
      const reconnecting = yield* connection.changes.pipe(
        Stream.filter((state) => state._tag === "Reconnecting"),
        Stream.take(1),
        Stream.runForEach(() => connection.setRoots(later)),
        Effect.forkChild({ startImmediately: true })
      )
      yield* killed(connection)
      yield* Fiber.join(reconnecting)
      assert.deepStrictEqual(yield* answerTo(connection, { id: "roots", method: "roots/list" }), {
        result: { roots: later }
      })
      assert.strictEqual(told(), 1)
    })
  )
})

describe("onSession", () => {
  scenario("has its requests at the server before any call of a user, in each session", (rig) =>
    Effect.gen(function* () {
      const handed: Array<readonly [number, number | undefined, number | undefined]> = []
      const connection = yield* rig.connect({
        start: "background",
        onSession: Effect.fnUntraced(function* (session, { generation, previous }) {
          handed.push([generation, previous, session.info.pid])
          yield* session.notify("notifications/mine")
          const [tool] = (yield* session.request("tools/list")).tools
          assert.strictEqual(tool?.name, "read")
          yield* session.request("tools/call", { name: "write", arguments: { effect: `set up ${generation}` } })
        })
      })
      const mine = ["initialize", "notifications/initialized", "notifications/mine", "tools/list", "write"]
      const said = (pid: number | undefined) =>
        rig
          .journal()
          .filter((entry) => entry.pid === pid)
          .map(({ method, tool }) => tool ?? method)
      const calls = Effect.forEach(Array.from({ length: 50 }), () => call(connection, "read"), {
        concurrency: "unbounded"
      })
      // They are made while there is no session, and wait.
      yield* calls
      const first = yield* pidOf(connection)
      kill(-first, "SIGKILL")
      yield* calls
      const second = yield* pidOf(connection)
      assert.notStrictEqual(second, first)
      for (const pid of [first, second]) {
        const heard = said(pid)
        assert.deepStrictEqual(heard.slice(0, mine.length), mine)
        assert.lengthOf(
          heard.filter((what) => what === "read"),
          50
        )
      }
      assert.deepStrictEqual(handed, [
        [1, undefined, first],
        [2, 1, second]
      ])
      assert.deepStrictEqual(rig.ledger(), ["set up 1", "set up 2"])
    })
  )

  const faults: ReadonlyArray<readonly [string, () => Effect.Effect<void, { readonly message: string }>]> = [
    ["fails", () => Effect.fail({ message: "not ready yet" })],
    ["dies", () => Effect.die(new Error("not ready yet"))],
    [
      "throws",
      () => {
        throw new Error("not ready yet")
      }
    ]
  ]
  for (const [how, fault] of faults) {
    scenario(`that ${how} fails the attempt, whose process goes, and the policy tries again`, (rig) =>
      Effect.gen(function* () {
        let attempts = 0
        const connection = yield* rig.connect({
          start: "background",
          onSession: () => {
            attempts += 1
            return attempts === 2 || attempts === 3 ? fault() : Effect.void
          }
        })
        const events = yield* eventsOf(connection)
        yield* connection.awaitReady
        const { generation } = yield* killed(connection)
        assert.strictEqual(generation, 2)
        assert.strictEqual(attempts, 4)
        const failed = events.filter(ConnectionEvent.is("AttemptFailed"))
        assert.lengthOf(failed, 2)
        for (const { error } of failed) {
          assert.strictEqual(error.reason._tag, "RestorationFailed")
          assert.include(error.message, "onSession")
          assert.include(error.message, "not ready yet")
        }
        assert.strictEqual(yield* call(connection, "read"), "ok")
        const pid = yield* pidOf(connection)
        yield* until("the end of the other processes", () => rig.processes().every((one) => one === pid))
      })
    )
  }

  scenario("is lost with its server, and the next attempt has it again", (rig) =>
    Effect.gen(function* () {
      const pids: Array<number | undefined> = []
      const connection = yield* rig.connect({
        start: "background",
        onSession: Effect.fnUntraced(function* (session) {
          pids.push(session.info.pid)
          yield* session.request("tools/call", {
            name: "write",
            arguments: { effect: "set up", once: "die", reply: "die" }
          })
        })
      })
      assert.strictEqual(yield* call(connection, "read"), "ok")
      assert.lengthOf(pids, 2)
      assert.strictEqual((yield* connection.awaitReady).generation, 1)
      assert.deepStrictEqual(rig.ledger(), ["set up", "set up"])
    })
  )
})

describe("refresh", () => {
  scenario("brings a new process, and the old one answers what it has before it goes", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      const old = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(call(connection, "write", { effect: "ran", gate: "one", text: "done" }))
      yield* rig.untilCalled("write")
      const { generation, server } = yield* connection.refresh
      assert.strictEqual(generation, 2)
      assert.notStrictEqual(server.pid, old)
      assert.isTrue(isAlive(old))
      assert.strictEqual(yield* call(connection, "again"), "ok")
      open(rig, "one")
      assert.strictEqual(yield* Fiber.join(pending), "done")
      yield* until("the end of the old process", () => !isAlive(old))
      const pidsOf = (tool: string) => rig.journal().flatMap((entry: Entry) => (entry.tool === tool ? [entry.pid] : []))
      assert.deepStrictEqual(pidsOf("write"), [old])
      assert.deepStrictEqual(pidsOf("again"), [server.pid])
      assert.deepStrictEqual(rig.ledger(), ["ran"])
      assert.deepStrictEqual(tagsOf(events), ["SessionReady"])
    })
  )

  scenario("does not wait for ever: what the old process has not answered by then is lost", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ drainTimeout: "100 millis" })
      const old = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(
        Effect.all(
          [
            failureOf(call(connection, "write", { effect: "ran", reply: "hang" })),
            call(connection, "read", { once: "hang", reply: "hang", text: "replayed" })
          ],
          { concurrency: "unbounded" }
        )
      )
      yield* rig.untilCalled("write")
      yield* rig.untilCalled("read")
      yield* connection.refresh
      const [error, text] = yield* Fiber.join(pending)
      assert.strictEqual(error._tag, "OutcomeUnknown")
      assert.strictEqual(text, "replayed")
      yield* until("the end of the old process", () => !isAlive(old))
      assert.deepStrictEqual(rig.ledger(), ["ran"])
      assert.strictEqual((yield* connection.awaitReady).generation, 2)
    })
  )

  scenario("leaves the old process its questions: the handler answers them on the session they came from", (rig) =>
    Effect.gen(function* () {
      const answer = yield* Deferred.make<void>()
      let asked = 0
      const connection = yield* rig.connect({
        handlers: {
          elicitation: () =>
            Effect.suspend(() => {
              asked += 1
              return Effect.as(Deferred.await(answer), { action: "decline" as const })
            })
        }
      })
      const old = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(call(connection, "write", { effect: "ran", ask: elicit }))
      yield* until("the question", () => asked === 1)
      yield* connection.refresh
      yield* Deferred.succeed(answer, undefined)
      assert.deepStrictEqual(JSON.parse(yield* Fiber.join(pending)), { result: { action: "decline" } })
      yield* until("the end of the old process", () => !isAlive(old))
      assert.deepStrictEqual(
        rig.journal().flatMap(({ answers, pid }) => (answers === elicit.id ? [pid] : [])),
        [old]
      )
      assert.deepStrictEqual(rig.ledger(), ["ran"])
    })
  )

  scenario("ends what the old process has to say of its lists", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      yield* connection.listTools()
      const old = yield* pidOf(connection)
      const held = yield* Effect.forkChild(call(connection, "write", { gate: "held" }))
      const changed = JSON.stringify({ jsonrpc: "2.0", ...listsChanged })
      const raw = `${changed}\n{"jsonrpc":"2.0","id":$id,"result":{"content":[{"type":"text","text":"ok"}]}}`
      const telling = yield* Effect.forkChild(call(connection, "again", { gate: "telling", raw }))
      yield* rig.untilCalled("write")
      yield* rig.untilCalled("again")
      const { server } = yield* connection.refresh
      upgrade(rig, { tools: newTools })
      // The process that is on its way out says that its lists have changed; then the new one does.
      open(rig, "telling")
      yield* Fiber.join(telling)
      yield* call(connection, "read", { notify: [listsChanged] })
      yield* until("CatalogChanged", () => changesOf(events).length > 0)
      yield* until(
        "the new process's lists",
        () => rig.journal().filter(({ method, pid }) => method === "tools/list" && pid === server.pid).length === 2
      )
      yield* connection.ping()
      assert.deepStrictEqual(
        changesOf(events).map(({ changes, generation }) => [generation, changes]),
        [[2, newToolsChange]]
      )
      const { tools } = yield* connection.catalog
      assert.strictEqual(tools?.generation, 2)
      assert.isFalse(tools?.stale)
      // Each process was asked once when it came, and the new one again when it said so.
      assert.deepStrictEqual(
        rig.journal().flatMap(({ method, pid }) => (method === "tools/list" ? [pid] : [])),
        [old, server.pid, server.pid]
      )
      open(rig, "held")
      assert.strictEqual(yield* Fiber.join(held), "ok")
      yield* until("the end of the old process", () => !isAlive(old))
    })
  )

  scenario("that cannot be done fails, and the old process serves on", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const old = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(call(connection, "write", { effect: "ran", gate: "one" }))
      yield* rig.untilCalled("write")
      upgrade(rig, { initialize: { reject: { code: -32_000, message: "not today" } } })
      const error = yield* failureOf(connection.refresh)
      assert(error._tag === "ConnectionUnavailable", error.message)
      assert.strictEqual(error.because, "RefreshFailed")
      assert.strictEqual(error.cause?.reason._tag, "HandshakeRejected")
      assert.strictEqual(yield* pidOf(connection), old)
      open(rig, "one")
      assert.strictEqual(yield* Fiber.join(pending), "ok")
      yield* until("the end of the other process", () => rig.processes().every((pid) => pid === old))
      upgrade(rig, {})
      assert.strictEqual((yield* connection.refresh).generation, 2)
      yield* until("the end of the old process", () => !isAlive(old))
    })
  )

  scenario("whose old process is killed meanwhile brings the next session all the same", (rig) =>
    Effect.gen(function* () {
      let handed = 0
      const gate = { open: false }
      const connection = yield* rig.connect({
        onSession: () =>
          Effect.suspend(() => {
            handed += 1
            return handed === 1 ? Effect.void : Effect.asVoid(until("the gate", () => gate.open))
          })
      })
      const old = yield* pidOf(connection)
      const refreshing = yield* Effect.forkChild(connection.refresh)
      yield* until("the new session", () => handed === 2)
      kill(-old, "SIGKILL")
      const read = yield* Effect.forkChild(call(connection, "read"))
      yield* connection.changes.pipe(
        Stream.filter((state) => state._tag === "Reconnecting"),
        Stream.take(1),
        Stream.runDrain
      )
      gate.open = true
      assert.strictEqual((yield* Fiber.join(refreshing)).generation, 2)
      assert.strictEqual(yield* Fiber.join(read), "ok")
      assert.strictEqual(handed, 2)
    })
  )

  scenario("loses, fails and doubles nothing of 200 callers who never pause", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      const pids = [yield* pidOf(connection)]
      let over = false
      const made: Array<string> = []
      const failed: Array<string> = []
      const caller = Effect.fnUntraced(function* (index: number) {
        for (let turn = 0; !over; turn += 1) {
          const id = `${index}-${turn}`
          made.push(id)
          const answer = yield* Effect.result(call(connection, "write", { effect: id, text: id, delayMillis: 20 }))
          if (Result.isFailure(answer)) failed.push(answer.failure.message)
          else if (answer.success !== id) failed.push(`${id} got ${answer.success}`)
        }
      })
      const callers = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 200 }, (_, index) => index),
          caller,
          {
            concurrency: "unbounded",
            discard: true
          }
        )
      )
      const more = Effect.suspend(() => {
        const before = made.length
        return until("many calls", () => made.length > before + 400)
      })
      for (let generation = 2; generation <= 6; generation += 1) {
        yield* more
        const ready = yield* connection.refresh
        assert.strictEqual(ready.generation, generation)
        pids.push(ready.server.pid ?? 0)
      }
      yield* more
      over = true
      yield* Fiber.join(callers)
      rig.measured("calls over five refreshes", made.length)
      assert.deepStrictEqual(failed, [])
      assert.deepStrictEqual([...rig.ledger()].toSorted(), made.toSorted())
      assert.deepStrictEqual(
        tagsOf(events),
        Array.from({ length: 5 }, () => "SessionReady")
      )
      assert.strictEqual(new Set(pids).size, 6)
      const served = new Set(rig.journal().flatMap(({ pid, tool }) => (tool === "write" ? [pid] : [])))
      assert.deepStrictEqual([...served], pids)
      const last = pids.at(-1)
      yield* until("the end of the old processes", () => rig.processes().every((pid) => pid === last))
    })
  )
})
