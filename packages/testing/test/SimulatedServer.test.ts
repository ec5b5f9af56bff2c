/** The server itself: what it offers, what it remembers of whom, and that a bad day is the same every time. */
import { assert, describe, it } from "@effect/vitest"
import { type Catalog, type ConnectionEvent, McpConnection, RequestError } from "@mcp-tether/connection"
import { Fault, Faults, JumpingClock, SimulatedServer, VirtualClock } from "@mcp-tether/testing"
import { Clock, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  endOf,
  everySecond,
  everywhere,
  happenedIn,
  inWords,
  ledgerOf,
  lossesIn,
  overHttp,
  play,
  sentTo,
  until,
  virtual,
  within
} from "./support/play.ts"

describe("a tool", () => {
  virtual(
    "is listed as it is declared, and any object is its input unless it says otherwise",
    Effect.gen(function* () {
      const inputSchema = { type: "object" as const, properties: { n: { type: "number" } } }
      const { connection } = yield* play({
        tools: {
          plain: {},
          full: { description: "adds one", inputSchema, annotations: { idempotentHint: true } }
        }
      })
      assert.deepStrictEqual(yield* connection.listTools(), [
        { name: "plain", inputSchema: { type: "object" } },
        { name: "full", description: "adds one", inputSchema, annotations: { idempotentHint: true } }
      ])
    })
  )

  virtual(
    "is handed its arguments and its call, and answers with a text or a result",
    Effect.gen(function* () {
      const { call, connection, server } = yield* play({
        tools: {
          add: { handler: ({ a, b }) => Effect.succeed(String(Number(a) + Number(b))) },
          whose: { handler: (_, { generation, tool }) => Effect.succeed(`${tool} of ${generation}`) },
          fails: { handler: () => Effect.succeed({ content: [], isError: true }) }
        }
      })
      assert.strictEqual(yield* call("add", {}, { a: 2, b: 3 }), "5 after 0 ms")
      assert.strictEqual(yield* call("whose"), "whose of 1 after 0 ms")
      assert.deepStrictEqual(yield* connection.callTool({ name: "fails" }), { content: [], isError: true })
      assert.deepStrictEqual(server.ran, ["add", "whose", "fails"])
    })
  )

  virtual(
    "is in the ledger when its effect begins, with all that is known of its call",
    Effect.gen(function* () {
      const { call, server } = yield* play({
        tools: {
          work: { latency: "2 seconds", handler: () => Effect.as(Effect.sleep("3 seconds"), "done") },
          read: { annotations: { readOnlyHint: true } },
          again: { annotations: { idempotentHint: true } },
          not: { annotations: { readOnlyHint: false, destructiveHint: true } }
        }
      })
      yield* until(1_000)
      assert.strictEqual(yield* call("work", {}, { key: "k1", n: 1 }), "done after 5000 ms")
      const [entry] = server.ledger
      assert.deepInclude(entry, {
        at: 3_000,
        generation: 1,
        tool: "work",
        arguments: { key: "k1", n: 1 },
        key: "k1",
        safe: false
      })
      assert.strictEqual(entry?.requestId, server.sent[0]?.requestId)
      yield* Effect.all([call("read"), call("again"), call("not")])
      assert.deepStrictEqual(
        server.ledger.map(({ safe }) => safe),
        [false, true, true, false]
      )
      assert.deepStrictEqual(server.ran, ["k1", "read", "again", "not"])
    })
  )

  virtual(
    "that is not declared is refused with -32602, and the session stays",
    Effect.gen(function* () {
      const { call, events, server } = yield* play()
      for (const name of ["nope", "constructor", "toString", ""])
        assert.strictEqual(yield* call(name), "ServerRejected (-32602) after 0 ms", name)
      assert.deepStrictEqual(server.ran, [])
      assert.deepStrictEqual(lossesIn(events), [])
    })
  )

  virtual(
    "whose handler fails answers with that error",
    Effect.gen(function* () {
      const rejected = new RequestError.ServerRejected({
        server: "simulated",
        method: "tools/call",
        code: -32_000,
        description: "no money"
      })
      const { connection, server } = yield* play({ tools: { pay: { handler: () => Effect.fail(rejected) } } })
      assert.deepInclude(yield* Effect.flip(connection.callTool({ name: "pay" })), { code: -32_000 })
      assert.deepStrictEqual(server.ran, ["pay"])
    })
  )

  virtual(
    "that is cancelled while it works has no effect",
    Effect.gen(function* () {
      const { call, server } = yield* play()
      assert.strictEqual(yield* call("work", within(500)), "RequestTimeout (Unknown) after 500 ms")
      yield* Effect.sleep("1 minute")
      assert.deepStrictEqual(server.ran, [])
      assert.deepStrictEqual(server.cancelled, ["1 tools/call"])
    })
  )
})

describe("what was put on the wire", () => {
  virtual(
    "is in `sent`, with an id of its own also where a list was emptied",
    Effect.gen(function* () {
      const { call, connection, server } = yield* play()
      server.state = connection.state
      yield* call("pay")
      const [first] = server.sent.splice(0)
      server.ledger.splice(0)
      yield* call("pay")
      const [second] = server.sent
      assert.notStrictEqual(first?.requestId, second?.requestId)
      assert.deepInclude(second, { generation: 1, method: "tools/call", tool: "pay", at: 0 })
      assert.strictEqual(second?.state?._tag, "Ready")
      assert.deepInclude(second?.params, { name: "pay" })
      assert.lengthOf(server.ledger, 1)
      assert.deepStrictEqual(server.generationsOf("tools/call"), [1])
    })
  )

  virtual(
    "does not tell `open` a wrong attempt where the list of attempts was emptied",
    Effect.gen(function* () {
      const attempts: Array<number> = []
      const { connection, server } = yield* play({ open: (attempt) => Effect.sync(() => attempts.push(attempt)) })
      server.attempts.splice(0)
      yield* connection.reconnect
      assert.deepStrictEqual(attempts, [1, 2])
    })
  )
})

describe("a session", () => {
  virtual(
    "is opened by a handshake that takes its time, and says who the server is",
    Effect.gen(function* () {
      const { connection, server } = yield* play(
        { name: "bank", version: (generation) => `9.${generation}`, handshake: "3 seconds" },
        { ready: false }
      )
      assert.throws(() => server.current)
      assert.strictEqual(yield* endOf(connection.awaitReady), 3_000)
      const { info } = server.current
      assert.deepInclude(info, { name: "bank", version: "9.1", era: "legacy", protocolVersion: "2025-11-25" })
      assert.strictEqual(connection.name, "bank")
      yield* connection.reconnect
      assert.strictEqual(server.current.info.version, "9.2")
      assert.lengthOf(server.sessions, 2)
      assert.isTrue(server.sessions[0]?.book.closed)
      assert.isFalse(server.sessions[1]?.book.closed)
    })
  )

  virtual(
    "of the modern era says so, and listens",
    Effect.gen(function* () {
      const { server } = yield* play({ era: "modern" })
      assert.deepInclude(server.current.info, { era: "modern", protocolVersion: "2026-07-28" })
    })
  )

  virtual(
    "leaves nothing open when its connection is closed, wherever it was",
    Effect.gen(function* () {
      for (const { era, over } of everywhere) {
        for (const fault of [undefined, Faults.hangHandshakes(), Faults.partition("1 hour"), Faults.halfOpen]) {
          const server = yield* SimulatedServer.make({
            over,
            era,
            tools: { pay: { latency: "1 minute" } },
            faults: fault === undefined ? [] : [Faults.at("1 second", fault)]
          })
          const scope = yield* Scope.make()
          const connection = yield* McpConnection.make({
            transport: server.transport,
            policy: everySecond,
            start: "background"
          }).pipe(Scope.provide(scope))
          const calling = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })))
          yield* Effect.sleep("2 seconds")
          yield* Effect.forkChild(connection.reconnect)
          yield* Effect.sleep(1)
          assert.isAtLeast(server.live, 1)
          yield* Scope.close(scope, Exit.void)
          assert.strictEqual(server.live, 0)
          assert.strictEqual(server.opening, 0)
          const error = yield* Fiber.join(calling)
          assert.include(["OutcomeUnknown", "ConnectionClosed"], error._tag)
        }
      }
    })
  )

  virtual(
    "hears of a change of its server when its bytes arrive: at once, late, or never",
    Effect.gen(function* () {
      const change = { method: "notifications/message", params: { level: "info", data: "changed" } }
      const { connection, server } = yield* play()
      const heard: Array<number> = []
      yield* connection.notifications.pipe(
        Stream.runForEach(() => Effect.map(Clock.currentTimeMillis, (now) => void heard.push(now))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* until(1_000)
      yield* server.notify(change)
      yield* until(10_000)
      yield* server.inject(Faults.slowLink({ latency: "300 millis", for: "1 second" }))
      yield* server.notify(change)
      yield* until(20_000)
      yield* server.inject(Faults.partition("5 seconds"))
      yield* server.notify(change)
      yield* until(30_000)
      yield* server.inject(Faults.freeze("5 seconds"))
      yield* server.notify(change)
      yield* until(40_000)
      yield* server.inject(Faults.halfOpen)
      yield* server.notify(change)
      yield* until(100_000)
      assert.deepStrictEqual(heard, [1_000, 10_300, 25_000, 35_000])
    })
  )

  virtual(
    "that was closed hears nothing of what was on its way",
    Effect.gen(function* () {
      const { connection, server } = yield* play()
      const heard: Array<string> = []
      yield* connection.notifications.pipe(
        Stream.runForEach(({ method }) => Effect.sync(() => heard.push(method))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* server.inject(Faults.slowLink({ latency: "5 seconds", for: "1 second" }))
      yield* server.notify({ method: "notifications/message", params: {} })
      yield* until(2_000)
      yield* connection.reconnect
      yield* until(20_000)
      assert.deepStrictEqual(heard, [])
    })
  )

  virtual(
    "is alive as long as its server says anything: it is not probed",
    Effect.gen(function* () {
      const { server } = yield* play({}, { heartbeat: { interval: "30 seconds" } })
      yield* until(20_000)
      yield* server.notify({ method: "notifications/message", params: {} })
      yield* until(49_999)
      assert.deepStrictEqual(sentTo(server), [])
      yield* until(50_001)
      assert.deepStrictEqual(sentTo(server), ["50000 1 ping"])
    })
  )
})

describe("subscriptions", () => {
  for (const world of everywhere) {
    virtual(
      `are told of exactly to who has them ${inWords(world)}`,
      Effect.gen(function* () {
        const { connection: first, server } = yield* play(world)
        const second = yield* McpConnection.make({ transport: server.transport, heartbeat: "off" })
        const heard: Array<string> = []
        const listen = (who: string, connection: McpConnection.Shape, uri: string) =>
          connection.resourceUpdates(uri).pipe(
            Stream.runForEach((update) => Effect.sync(() => heard.push(`${who} ${update._tag} ${update.uri}`))),
            Effect.forkScoped({ startImmediately: true })
          )
        yield* listen("first", first, "file:///a")
        yield* listen("first", first, "file:///b")
        const listening = yield* listen("second", second, "file:///b")
        yield* Effect.sleep(1)
        yield* server.update("file:///a")
        yield* Effect.sleep(1)
        yield* server.update("file:///b")
        yield* Effect.sleep(1)
        yield* server.update("file:///c")
        yield* Effect.sleep(1)
        assert.sameMembers(heard.splice(0), [
          "first Updated file:///a",
          "first Updated file:///b",
          "second Updated file:///b"
        ])
        assert.deepStrictEqual(
          server.sessions.map(({ book }) => [...book.subscriptions].toSorted()),
          [["file:///a", "file:///b"], ["file:///b"]]
        )
        yield* Fiber.interrupt(listening)
        yield* Effect.sleep(1)
        yield* server.update("file:///b")
        yield* Effect.sleep(1)
        assert.deepStrictEqual(heard, ["first Updated file:///b"])
      })
    )

    virtual(
      `and the log level are brought back after a restart ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, connection, server } = yield* play(world)
        yield* connection.setLogLevel("warning")
        const heard: Array<string> = []
        yield* connection.resourceUpdates("file:///a").pipe(
          Stream.runForEach((update) => Effect.sync(() => heard.push(update._tag))),
          Effect.forkScoped({ startImmediately: true })
        )
        yield* Effect.sleep("20 seconds")
        yield* server.inject(Faults.crash())
        yield* Effect.sleep("1 second")
        yield* call("pay")
        assert.deepStrictEqual(heard.splice(0), ["MayHaveMissed"])
        const { book } = server.current
        assert.strictEqual(book.level, "warning")
        assert.deepStrictEqual([...book.subscriptions], ["file:///a"])
        yield* server.update("file:///a")
        yield* Effect.sleep(1)
        assert.deepStrictEqual(heard, ["Updated"])
      })
    )
  }

  for (const world of everywhere) {
    virtual(
      `are told of to nobody else, not even to a client that would not care, ${inWords(world)}`,
      Effect.gen(function* () {
        const { connection, server } = yield* play({ ...world, releases: { b: {} } })
        const heard: Array<string> = []
        yield* connection.notifications.pipe(
          Stream.runForEach(({ method }) => Effect.sync(() => heard.push(method))),
          Effect.forkScoped({ startImmediately: true })
        )
        yield* Effect.sleep(1)
        yield* server.update("file:///a")
        yield* server.notify({ method: "notifications/resources/updated", params: { uri: "file:///a" } })
        yield* server.inject(Faults.deploy("b", "live"))
        yield* Effect.sleep(1)
        // The legacy era tells all of what it says to all; in the modern era nobody has asked for anything.
        const toAll = [
          "notifications/resources/updated",
          "notifications/tools/list_changed",
          "notifications/prompts/list_changed",
          "notifications/resources/list_changed"
        ]
        assert.deepStrictEqual(heard.splice(0), world.era === "legacy" ? toAll : [])
        yield* connection
          .resourceUpdates("file:///a")
          .pipe(Stream.runDrain, Effect.forkScoped({ startImmediately: true }))
        yield* connection.listTools()
        yield* Effect.sleep(1)
        yield* server.update("file:///a")
        yield* server.update("file:///b")
        yield* server.inject(Faults.deploy("b", "live"))
        yield* Effect.sleep(1)
        assert.deepStrictEqual(heard, world.era === "legacy" ? toAll : toAll.slice(0, 2))
      })
    )
  }

  virtual(
    "are gone with the session that the server forgot, before its client knows",
    Effect.gen(function* () {
      const { connection, server } = yield* play({ over: "http" })
      const heard: Array<string> = []
      yield* connection.resourceUpdates("file:///a").pipe(
        Stream.runForEach((update) => Effect.sync(() => heard.push(update._tag))),
        Effect.forkScoped({ startImmediately: true })
      )
      yield* Effect.sleep(1)
      yield* server.inject(Faults.expireSessions())
      yield* server.update("file:///a")
      yield* Effect.sleep("1 minute")
      assert.deepStrictEqual(heard, [])
    })
  )

  virtual(
    "of the modern era are gone with the server's process, until they are asked for again",
    Effect.gen(function* () {
      const { connection, server } = yield* play({ over: "http", era: "modern" })
      yield* connection
        .resourceUpdates("file:///a")
        .pipe(Stream.runDrain, Effect.forkScoped({ startImmediately: true }))
      yield* Effect.sleep(1)
      const { book } = server.current
      assert.deepStrictEqual([...book.subscriptions], ["file:///a"])
      yield* server.inject(Faults.crash({ downFor: "3 seconds" }))
      assert.deepStrictEqual([...book.subscriptions], [])
      yield* Effect.sleep("10 seconds")
      assert.deepStrictEqual([...server.current.book.subscriptions], ["file:///a"])
    })
  )

  virtual(
    "of the modern era are in the filter that the server is asked for, and take their time each way",
    Effect.gen(function* () {
      const { connection, server } = yield* play({ era: "modern", releases: { b: {} } })
      yield* connection.listTools()
      yield* Effect.sleep(1)
      yield* server.inject(Faults.slowLink({ latency: "300 millis", for: "1 minute" }))
      const [sent] = server.listened.splice(0)
      assert.deepStrictEqual(sent?.filter, { toolsListChanged: true })
      yield* connection
        .resourceUpdates("file:///a")
        .pipe(Stream.runDrain, Effect.forkScoped({ startImmediately: true }))
      yield* Effect.sleep("299 millis")
      assert.deepStrictEqual(server.current.book.filter, { toolsListChanged: true })
      yield* Effect.sleep("301 millis")
      assert.deepStrictEqual(server.current.book.filter, {
        toolsListChanged: true,
        resourceSubscriptions: ["file:///a"]
      })
    })
  )
})

describe("releases", () => {
  const releases = {
    b: { tools: { pay: { annotations: { idempotentHint: true } }, refund: {} } },
    c: { resources: [{ uri: "file:///a", name: "a" }], prompts: [{ name: "greet" }] }
  }
  const changesIn = (events: ReadonlyArray<ConnectionEvent.ConnectionEvent>): ReadonlyArray<Catalog.Changes> =>
    events.flatMap((event) => (event._tag === "CatalogChanged" ? [event.changes] : []))

  for (const world of everywhere) {
    for (const how of ["live", "restart"] as const) {
      virtual(
        `that are deployed ${how === "live" ? "live" : "with a restart"} show in the client's catalog ${inWords(world)}`,
        Effect.gen(function* () {
          const { call, connection, events, server } = yield* play({
            ...world,
            releases,
            faults: [Faults.at("30 seconds", Faults.deploy("b", how))]
          })
          yield* connection.listTools()
          assert.isUndefined(server.current.release)
          assert.strictEqual(yield* call("refund"), "ServerRejected (-32602) after 0 ms")
          yield* until(40_000)
          // Whoever was told nothing finds out with the next request.
          yield* call("pay")
          yield* Effect.sleep("1 second")
          assert.deepStrictEqual(changesIn(events), [
            {
              tools: {
                added: ["refund"],
                removed: ["read", "work"],
                schemaChanged: [],
                annotationsChanged: ["pay"]
              }
            }
          ])
          assert.deepStrictEqual(
            (yield* connection.listTools()).map(({ name }) => name),
            ["pay", "refund"]
          )
          assert.strictEqual(server.current.release, "b")
          assert.match(yield* call("refund"), /^refund on [12] after 0 ms$/)
          assert.strictEqual(yield* call("work"), "ServerRejected (-32602) after 0 ms")
          if (how === "live") assert.deepStrictEqual(server.log, ["open 1"])
        })
      )
    }
  }

  for (const world of everywhere) {
    virtual(
      `have resources and prompts, too, and what one does not say is as in the options, ${inWords(world)}`,
      Effect.gen(function* () {
        const { connection, server } = yield* play({ ...world, releases })
        assert.deepStrictEqual(yield* connection.listResources(), [])
        yield* server.inject(Faults.deploy("c"))
        yield* Effect.sleep("5 seconds")
        assert.deepStrictEqual(yield* connection.listResources(), releases.c.resources)
        assert.deepStrictEqual(yield* connection.listPrompts(), releases.c.prompts)
        assert.lengthOf(yield* connection.listTools(), 3)
      })
    )
  }

  virtual(
    "decide what is sent again: what was read-only in the old one, and is not in the new one, may have run",
    Effect.gen(function* () {
      const { call, server } = yield* play({
        releases: { b: { tools: { read: {} } } },
        faults: [
          Faults.on({ tool: "read" }, Faults.crash({ when: "afterEffect" })),
          Faults.on({ tool: "read" }, Faults.deploy("b"))
        ]
      })
      assert.match(yield* call("read"), /^OutcomeUnknown/)
      assert.isAtMost(server.ran.length, 1)
    })
  )

  virtual(
    "that are deployed with a restart over stdio end the process with 0",
    Effect.gen(function* () {
      const { events } = yield* play({ releases, faults: [Faults.at("5 seconds", Faults.deploy("b"))] })
      yield* until(6_000)
      const [loss] = events.filter((event) => event._tag === "SessionLost")
      assert.strictEqual(loss?.error.exitCode, 0)
    })
  )
})

describe("idle sessions", () => {
  virtual(
    "are forgotten by an HTTP server of the legacy era, once they were idle that long",
    Effect.gen(function* () {
      const { call, server } = yield* play({ over: "http", sessionIdle: "1 minute" })
      yield* until(59_999)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      yield* until(119_998)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      yield* until(179_998)
      assert.strictEqual(yield* call("pay"), "pay on 2 after 0 ms")
      assert.deepStrictEqual(server.ran, ["pay", "pay", "pay"])
    })
  )

  virtual(
    "live for ever elsewhere",
    Effect.gen(function* () {
      for (const world of everywhere.filter(({ era, over }) => over === "stdio" || era === "modern")) {
        const { call } = yield* play({ ...world, sessionIdle: "1 minute" })
        yield* Effect.sleep("1 hour")
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      }
    })
  )
})

describe("roots", () => {
  virtual(
    "are asked for in each session, and when they change, where the server wants to know them",
    Effect.gen(function* () {
      const root = (name: string) => ({ uri: `file:///${name}` })
      const { connection, server } = yield* play({ asksForRoots: true }, { roots: [root("a")] })
      assert.deepStrictEqual(server.current.book.roots, [root("a")])
      yield* connection.setRoots([root("b")])
      yield* Effect.sleep(1)
      assert.deepStrictEqual(server.current.book.roots, [root("b")])
      assert.deepStrictEqual(server.notified, ["1 notifications/roots/list_changed"])
      yield* connection.reconnect
      assert.deepStrictEqual(server.current.book.roots, [root("b")])
    })
  )

  virtual(
    "are not asked for otherwise",
    Effect.gen(function* () {
      const { server } = yield* play({}, { roots: [{ uri: "file:///a" }] })
      assert.isUndefined(server.current.book.roots)
    })
  )
})

describe("a fault that is injected", () => {
  virtual(
    "happens now, and one that strikes a message waits for the next",
    Effect.gen(function* () {
      const { call, server } = yield* play({ over: "http" })
      yield* until(1_000)
      yield* server.inject(Faults.drop("reply"))
      yield* server.inject(Faults.expireSessions(400))
      assert.deepStrictEqual(happenedIn(server), ["1000 ExpireSessions"])
      yield* until(2_000)
      yield* call("read", { timeout: "1 second", replay: "never" })
      assert.sameMembers([...happenedIn(server)], ["1000 ExpireSessions", "2000 Drop"])
    })
  )

  virtual(
    "and goes on, ends when it is over",
    Effect.gen(function* () {
      const { events, server } = yield* play()
      yield* until(1_000)
      const end = yield* endOf(server.inject(Faults.flap({ every: "2 seconds", times: 3 })))
      assert.isAtLeast(end, 5_000)
      assert.deepStrictEqual(
        lossesIn(events).map((loss) => loss.split(" ")[0]),
        ["1000", "3000", "5000"]
      )
    })
  )

  virtual(
    "and cannot happen to such a server is a mistake of the test, and never passes for nothing",
    Effect.gen(function* () {
      const { server } = yield* play()
      const wrong: ReadonlyArray<Fault.Fault> = [
        Faults.expireSessions(),
        Faults.unauthorized(),
        Faults.unavailable(),
        Faults.deploy("nowhere"),
        Faults.clockJump("1 hour"),
        Faults.freeze(-1)
      ]
      for (const fault of wrong) {
        const exit = yield* Effect.exit(server.inject(fault))
        assert.isTrue(Exit.hasDies(exit), Fault.describe(fault))
      }
      assert.deepStrictEqual(happenedIn(server), [])
      const overHttp = SimulatedServer.makeUnsafe({ over: "http" })
      assert.isTrue(Exit.hasDies(yield* Effect.exit(overHttp.inject(Faults.noise()))))
    })
  )

  it.effect("works on a server that was made without a scope, under TestClock", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ tools: { pay: {} } })
      const connection = yield* McpConnection.make({ transport: server.transport, start: "background" })
      yield* TestClock.adjust("5 seconds")
      yield* server.inject(Faults.partition("10 seconds"))
      const paying = yield* Effect.forkChild(connection.callTool({ name: "pay" }))
      yield* TestClock.adjust("9999 millis")
      assert.isUndefined(paying.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(paying)
      assert.deepStrictEqual(ledgerOf(server), ["15000 1 pay"])
    }).pipe(Effect.scoped)
  )
})

describe("a clock that jumps", () => {
  it.live("jumps when the script says so, and the server is asked at once whether it is still there", () =>
    Effect.gen(function* () {
      const { server } = yield* play(
        { faults: [Faults.at("5 seconds", Faults.clockJump("8 hours"))] },
        { heartbeat: { interval: "30 seconds" } }
      )
      yield* Effect.sleep("4999 millis")
      assert.strictEqual(yield* Clock.currentTimeMillis, 4_999)
      yield* Effect.sleep(1)
      yield* Effect.sleep("2 seconds")
      assert.strictEqual(yield* Clock.currentTimeMillis, 28_807_000)
      assert.deepStrictEqual(
        server.sent.map(({ method }) => method),
        ["ping"]
      )
      assert.deepStrictEqual(happenedIn(server), ["5000 ClockJump"])
    }).pipe(
      Effect.scoped,
      VirtualClock.run,
      Effect.provide(Layer.provideMerge(JumpingClock.layer, VirtualClock.layer()))
    )
  )
})

describe("several faults", () => {
  virtual(
    "at once all happen: the server crashes, and cannot be reached for the partition either",
    Effect.gen(function* () {
      const { call, server } = yield* play({
        faults: [
          Faults.at("5 seconds", Faults.partition("4500 millis")),
          Faults.at("5 seconds", Faults.crash({ downFor: "1500 millis" }))
        ]
      })
      yield* until(5_000)
      assert.match(yield* call("pay"), /^pay on 2/)
      assert.sameMembers([...happenedIn(server)], ["5000 Partition", "5000 Crash"])
      assert.isAtLeast(server.ledger[0]?.at ?? 0, 9_500)
    })
  )

  virtual(
    "of one kind both hold: the later one while it lasts, and then the earlier one again",
    Effect.gen(function* () {
      const { call } = yield* play({
        faults: [
          Faults.at("1 second", Faults.slowLink({ latency: "10 millis", for: "1 minute" })),
          Faults.at("2 seconds", Faults.slowLink({ latency: "2 seconds", for: "10 seconds" }))
        ]
      })
      yield* until(1_500)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 20 ms")
      yield* until(3_000)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 4000 ms")
      yield* until(20_000)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 20 ms")
    })
  )

  virtual(
    "of one kind, of which the shorter one begins later, last as long as the longer one",
    Effect.gen(function* () {
      const { call } = yield* play({
        faults: [Faults.at("1 second", Faults.partition("20 seconds")), Faults.at("2 seconds", Faults.partition(1_000))]
      })
      yield* until(5_000)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 16000 ms")
    })
  )

  virtual(
    "on one message: what is lost on its way meets nothing else",
    Effect.gen(function* () {
      for (const [first, second] of [
        [Faults.drop("request"), Faults.drop("reply")],
        [Faults.drop("request"), Faults.crash({ when: "afterEffect" })],
        [Faults.drop("request"), Faults.duplicate("request")]
      ] as const) {
        for (const faults of [
          [first, second],
          [second, first]
        ]) {
          const { call, events, server } = yield* play({ faults: faults.map((fault) => Faults.on({}, fault)) })
          assert.strictEqual(yield* call("pay", within(5_000)), "RequestTimeout (Unknown) after 5000 ms")
          assert.deepStrictEqual(server.ran, [])
          assert.deepStrictEqual(lossesIn(events), [])
          assert.isFalse(happenedIn(server).join().includes("Crash"))
        }
      }
    })
  )

  virtual(
    "on one message: of two crashes the earlier moment counts",
    Effect.gen(function* () {
      const late = Faults.on({ tool: "pay" }, Faults.crash({ when: "afterReplying" }))
      const early = Faults.on({ tool: "pay" }, Faults.crash({ when: "beforeReceiving" }))
      for (const faults of [
        [late, early],
        [early, late]
      ]) {
        const { call, server } = yield* play({ faults })
        assert.match(yield* call("pay"), /^OutcomeUnknown/)
        assert.deepStrictEqual(server.ran, [])
        assert.lengthOf(server.happened, 1)
      }
    })
  )

  virtual(
    "on one message: a reply that is lost, and a server that dies after it",
    Effect.gen(function* () {
      const { call, server } = yield* play({
        faults: [
          Faults.on({ tool: "pay" }, Faults.drop("reply")),
          Faults.on({ tool: "pay" }, Faults.crash({ when: "afterReplying" }))
        ]
      })
      assert.strictEqual(yield* call("pay"), "OutcomeUnknown (ProcessExited) after 0 ms")
      assert.deepStrictEqual(server.ran, ["pay"])
    })
  )

  virtual(
    "in a row leave the same trail as each alone",
    Effect.gen(function* () {
      const day = Faults.script(
        Faults.at("10 seconds", Faults.crash()),
        Faults.later([Faults.at("10 seconds", Faults.partition("5 seconds"))], "10 seconds"),
        Faults.on({ tool: "pay", nth: 3 }, Faults.crash({ when: "afterEffect" }))
      )
      const { call, events, server } = yield* play({ faults: day })
      const answers: Array<string> = []
      for (const time of [11_000, 21_000, 31_000, 41_000]) {
        yield* until(time)
        answers.push(yield* call("pay"))
      }
      assert.deepStrictEqual(answers, [
        "pay on 2 after 0 ms",
        "pay on 2 after 4000 ms",
        "OutcomeUnknown (ProcessExited) after 0 ms",
        "pay on 3 after 0 ms"
      ])
      assert.deepStrictEqual(happenedIn(server), ["10000 Crash", "20000 Partition", "31000 Crash"])
      assert.deepStrictEqual(lossesIn(events), ["10000 1 ProcessExited", "31000 2 ProcessExited"])
    })
  )

  for (const world of overHttp) {
    virtual(
      `a crash behind a partition is heard of when it is over ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.at("5 seconds", Faults.partition("20 seconds")), Faults.at("10 seconds", Faults.crash())]
        })
        yield* until(24_999)
        assert.deepStrictEqual(sentTo(server), [])
        assert.deepStrictEqual(server.log, ["open 1"])
        yield* until(26_000)
        assert.match(yield* call("pay"), /^pay on [12] after 0 ms$/)
      })
    )

    virtual(
      `a frozen process that is killed has a successor that is not frozen ${inWords(world)}`,
      Effect.gen(function* () {
        const { call } = yield* play({
          ...world,
          faults: [Faults.at("5 seconds", Faults.freeze("1 hour")), Faults.at("10 seconds", Faults.crash())]
        })
        yield* until(11_000)
        assert.match(yield* call("pay"), /^pay on [12] after 0 ms$/)
      })
    )
  }
})
