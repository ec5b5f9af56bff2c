/** Event streams: of a request, cut and resumed or not, or silent; and the one that stands beside the requests. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { ResourceUpdate } from "../../src/McpConnection.ts"
import * as Replies from "./replies.ts"
import {
  call,
  type Connection,
  eventsOf,
  failureOf,
  generationOf,
  only,
  runsOf,
  sameSession,
  scenario,
  settled,
  toldBy,
  until
} from "./rig.ts"
import type { Cut, Exchange, Reply } from "./server.ts"

const cuts: ReadonlyArray<Cut> = ["end", "fin", "rst"]

describe("a server that answers with event streams", () => {
  scenario("is a server like any other", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready({ answers: "sse" })
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.lengthOf(yield* settled(connection.listTools()), 3)
      yield* settled(connection.ping())
      assert.deepStrictEqual(server.ledger, ["write effect"])
      yield* sameSession(server, connection, events)
    })
  )
})

describe("the stream of a request that is cut after an event with an id", () => {
  for (const how of cuts)
    scenario(`is resumed, and the answer arrives: ${how}; the tool ran once, and nothing else happened`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call write", 1, Replies.resumable("event-1", how, 20))
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        assert.deepStrictEqual(server.ledger, ["write effect"])
        assert.deepStrictEqual(
          server.seen.flatMap(({ lastEventId }) => lastEventId ?? []),
          ["event-1"]
        )
        assert.deepStrictEqual(events, [])
        yield* sameSession(server, connection, events)
      })
    )

  scenario("is resumed also when the server does not say when", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.resumable("event-1", "rst"))
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.deepStrictEqual(server.ledger, ["write effect"])
      yield* sameSession(server, connection, events)
    })
  )

  scenario("is not resumed before the server's retry: has passed", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      server.on("call write", 1, Replies.resumable("event-1", "end", 1500))
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      const at = (what: (entry: (typeof server.seen)[number]) => boolean): number => server.seen.find(what)?.at ?? 0
      assert.isAtLeast(at(({ lastEventId }) => lastEventId !== undefined) - at(({ tool }) => tool !== undefined), 1480)
    })
  )

  scenario("is resumed as often as it is cut", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.resumable("event-1", "rst", 20))
      // It comes back with nothing but another event id.
      server.on("resume", 1, Replies.stream("end", { id: "event-1", retry: 20 }))
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.strictEqual(runsOf(server, "effect"), 1)
      assert.strictEqual(server.count("resume"), 2)
      yield* sameSession(server, connection, events)
    })
  )

  const refusals: Record<string, Reply> = {
    "405: it cannot be resumed": Replies.status(405),
    "400: the event is not known": Replies.status(400, {}, "Invalid event ID"),
    "500, however often": Replies.status(500),
    "a reset, however often": Replies.drop("rst"),
    "HTML with 200, however often": Replies.status(200, { "content-type": "text/html" }, Replies.html)
  }
  for (const [name, reply] of Object.entries(refusals)) {
    scenario(`and not resumed because of ${name}: OutcomeUnknown, TransportClosed; the session goes on`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call write", 1, Replies.resumable("event-1", "rst", 20))
        server.on("resume", "every", reply)
        const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
        assert.deepStrictEqual([told.error, told.reason._tag], ["OutcomeUnknown", "TransportClosed"])
        assert.deepStrictEqual(server.ledger, ["write effect"])
        yield* sameSession(server, connection, events)
      })
    )

    scenario(`and not resumed because of ${name}: a read-only call is sent again on the same session`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call read", 1, Replies.resumable("event-1", "rst", 20))
        server.on("resume", "every", reply)
        assert.strictEqual(yield* call(connection, "read", "look"), "look")
        assert.strictEqual(runsOf(server, "look"), 2)
        yield* sameSession(server, connection, events)
      })
    )
  }

  scenario("by a server that then knows the session no more: it may have run, so it is not sent again", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      server.on("call write", 1, (exchange) => {
        Replies.resumable("event-1", "rst", 20)(exchange)
        server.forget()
      })
      const told = toldBy(yield* failureOf(call(connection, "write", "effect")))
      assert.strictEqual(told.error, "OutcomeUnknown")
      assert.include(["TransportClosed", "SessionExpired"], told.reason._tag)
      assert.strictEqual(yield* call(connection, "write", "next"), "next")
      assert.deepStrictEqual(server.ledger, ["write effect", "write next"])
      assert.strictEqual(yield* generationOf(connection), 2)
    })
  )

  scenario("by a server that is gone then: it may have run, so it is not sent again when the server is back", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.resumable("event-1", "rst", 20))
      const pending = yield* Effect.forkChild(failureOf(call(connection, "write", "effect")))
      yield* until("the effect", () => server.ledger.length === 1)
      yield* server.stop
      yield* until("the loss", () => only(events, "SessionLost").length === 1)
      yield* server.start
      assert.strictEqual(toldBy(yield* Fiber.join(pending)).error, "OutcomeUnknown")
      assert.strictEqual(yield* call(connection, "write", "next"), "next")
      assert.deepStrictEqual(server.ledger, ["write effect", "write next"])
      assert.lengthOf(only(events, "SessionLost"), 1)
    })
  )

  scenario("does not hold up others: a neighbour is answered while it waits to be resumed", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      server.on("call write", 1, Replies.resumable("event-1", "end", 1000))
      const pending = yield* Effect.forkChild(call(connection, "write", "effect"))
      yield* until("the effect", () => server.ledger.length === 1)
      assert.strictEqual(yield* call(connection, "write", "neighbour"), "neighbour")
      assert.strictEqual(server.count("resume"), 0)
      assert.strictEqual(yield* Fiber.join(pending), "effect")
      assert.deepStrictEqual(server.ledger, ["write effect", "write neighbour"])
      yield* sameSession(server, connection, events)
    })
  )
})

describe("the stream of a request that goes silent", () => {
  scenario(
    "is a RequestTimeout when its time is over: it may have run, it is cancelled, and the session goes on",
    (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready()
        server.on("call write", 1, Replies.stream("open"))
        const error = yield* failureOf(call(connection, "write", "effect", { timeout: "700 millis" }))
        assert(error._tag === "RequestTimeout", error.message)
        assert.strictEqual(error.delivery, "Unknown")
        const { id } = server.seen.find(({ tool }) => tool === "write") ?? assert.fail()
        yield* until("the cancellation", () => server.seen.some(({ cancels }) => cancels === id))
        assert.deepStrictEqual(server.ledger, ["write effect"])
        yield* sameSession(server, connection, events)
      })
  )

  scenario("is not the end of a session whose server answers the heartbeat", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready(
        {},
        { heartbeat: { interval: "100 millis", timeout: "500 millis", misses: 2, busyGrace: "100 millis" } }
      )
      server.on("call write", 1, Replies.stream("open"))
      const pending = yield* Effect.forkChild(failureOf(call(connection, "write", "effect", { timeout: "2 seconds" })))
      yield* until("the heartbeat", () => server.count("ping") >= 3)
      const error = yield* Fiber.join(pending)
      assert.strictEqual(error._tag, "RequestTimeout")
      yield* sameSession(server, connection, events)
    })
  )

  scenario("is LivenessLost when the server answers nothing else either; the call may have run", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready(
        {},
        { heartbeat: { interval: "100 millis", timeout: "200 millis", misses: 2, busyGrace: "200 millis" } }
      )
      server.on("call write", 1, Replies.stream("open"))
      const silent = Replies.later(Replies.healthy)
      server.on("any", "every", silent.reply)
      const pending = yield* Effect.forkChild(failureOf(call(connection, "write", "effect")))
      yield* until("the loss", () => only(events, "SessionLost").length === 1)
      server.heal()
      silent.now()
      const told = toldBy(yield* Fiber.join(pending))
      assert.deepStrictEqual([told.error, told.reason._tag], ["OutcomeUnknown", "LivenessLost"])
      assert.strictEqual(yield* call(connection, "read", "look"), "look")
      assert.strictEqual(yield* generationOf(connection), 2)
      assert.strictEqual(runsOf(server, "effect"), 1)
    })
  )
})

describe("a server that takes notifications, as a gateway does, and answers no request", () => {
  scenario("is LivenessLost: that it took the cancellation of a probe is no sign of life", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready(
        {},
        { heartbeat: { interval: "100 millis", timeout: "200 millis", misses: 2, busyGrace: "200 millis" } }
      )
      const silent = Replies.later(Replies.healthy)
      for (const probe of ["ping", "tools/list"]) server.on(probe, "every", silent.reply)
      yield* until("the loss", () => only(events, "SessionLost").length === 1)
      server.heal()
      silent.now()
      assert.strictEqual(only(events, "SessionLost")[0]?.error.reason._tag, "LivenessLost")
      assert.strictEqual(yield* call(connection, "read", "look"), "look")
    })
  )
})

describe("the stream that stands beside the requests", () => {
  /** Reads the updates of a resource from now on. */
  const updatesOf = Effect.fnUntraced(function* (connection: Connection) {
    const updates: Array<ResourceUpdate> = []
    yield* connection.resourceUpdates("test://1").pipe(
      Stream.runForEach((update) => Effect.sync(() => updates.push(update))),
      Effect.forkScoped({ startImmediately: true })
    )
    return updates
  })
  const updated = { uri: "test://1" }

  for (const how of cuts)
    scenario(`is opened again when it dies (${how}); readers are told that they may have missed something`, (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready({ stream: true })
        const updates = yield* updatesOf(connection)
        yield* until("the stream", () => server.streams() === 1 && server.count("resources/subscribe") === 1)
        server.notify("notifications/resources/updated", updated)
        yield* until("the first update", () => updates.length === 1)
        server.cutStreams(how)
        yield* until("the next stream", () => server.count("GET") === 2 && server.streams() === 1)
        yield* until("the reader to be told", () => updates.length === 2)
        server.notify("notifications/resources/updated", updated)
        yield* until("the second update", () => updates.length === 3)
        assert.deepStrictEqual(updates, [
          { _tag: "Updated", uri: "test://1" },
          { _tag: "MayHaveMissed", uri: "test://1", generation: 1 },
          { _tag: "Updated", uri: "test://1" }
        ])
        yield* sameSession(server, connection, events)
      })
    )

  scenario(
    "is opened again however often that fails first",
    (rig) =>
      Effect.gen(function* () {
        const { connection, events, server } = yield* rig.ready({ stream: true })
        const updates = yield* updatesOf(connection)
        yield* until("the stream", () => server.streams() === 1 && server.count("resources/subscribe") === 1)
        server.on("GET", { first: 4 }, Replies.status(502))
        server.cutStreams("rst")
        // Calls do not care.
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        yield* until("the fourth failure", () => server.count("GET") === 5).pipe(Effect.catchDefect(() => Effect.void))
        yield* until("the next stream", () => server.streams() === 1).pipe(Effect.catchDefect(() => Effect.void))
        yield* until("the next stream", () => server.streams() === 1)
        server.notify("notifications/resources/updated", updated)
        yield* until("the update", () => updates.some(({ _tag }) => _tag === "Updated"))
        assert.isTrue(updates.some((update) => update._tag === "MayHaveMissed" && update.generation === 1))
        yield* sameSession(server, connection, events)
      }),
    60_000
  )

  scenario("tells readers of a new session that they may have missed something, and goes on", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready({ stream: true })
      const updates = yield* updatesOf(connection)
      yield* until("the stream", () => server.streams() === 1 && server.count("resources/subscribe") === 1)
      server.forget()
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      yield* until("the next stream", () => server.count("GET") === 2 && server.streams() === 1)
      server.notify("notifications/resources/updated", updated)
      yield* until("the update", () => updates.some(({ _tag }) => _tag === "Updated"))
      assert.deepStrictEqual(updates, [
        { _tag: "MayHaveMissed", uri: "test://1", generation: 2 },
        { _tag: "Updated", uri: "test://1" }
      ])
      assert.strictEqual(server.count("resources/subscribe"), 2)
    })
  )

  scenario("that is no more offered harms nobody", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready({ stream: true })
      yield* until("the stream", () => server.streams() === 1)
      server.on("GET", "every", Replies.status(405))
      server.cutStreams("end")
      yield* until("the refusal", () => server.count("GET") === 2)
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      yield* sameSession(server, connection, events)
    })
  )

  for (const [name, reply] of Object.entries({
    "is refused": Replies.status(405),
    fails: Replies.status(500),
    "is reset": Replies.drop("rst"),
    "gets HTML": Replies.status(200, { "content-type": "text/html" }, Replies.html),
    hangs: Replies.hold
  }))
    scenario(`harms nobody when it ${name} from the start`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve({ stream: true })
        server.on("GET", "every", reply)
        const connection = yield* settled(rig.connect(server))
        yield* until("the request for it", () => server.count("GET") >= 1)
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        assert.strictEqual(yield* generationOf(connection), 1)
        assert.deepStrictEqual(server.ledger, ["write effect"])
      })
    )

  for (const [name, reply] of Object.entries({
    "503": Replies.status(503),
    "500": Replies.status(500),
    "a reset": Replies.drop("rst"),
    "the end of the socket": Replies.drop("fin")
  }))
    scenario(`that could not be opened at first, because of ${name}, is opened later; readers are told`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve({ stream: true })
        server.on("GET", { first: 2 }, reply)
        const connection = yield* settled(rig.connect(server))
        const events = yield* eventsOf(connection)
        const updates = yield* updatesOf(connection)
        yield* until("the stream", () => server.streams() === 1)
        yield* until("the reader to be told", () => updates.length === 1)
        server.notify("notifications/resources/updated", updated)
        yield* until("the update", () => updates.length === 2)
        assert.deepStrictEqual(updates, [
          { _tag: "MayHaveMissed", uri: "test://1", generation: 1 },
          { _tag: "Updated", uri: "test://1" }
        ])
        assert.lengthOf(only(events, "NotificationsMissed"), 1)
        assert.strictEqual(server.count("GET"), 3)
        yield* sameSession(server, connection, events)
      })
    )

  scenario("that could not be opened at first is asked for again only when the server allows it", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ stream: true })
      server.on("GET", 1, Replies.status(503, { "retry-after": "2" }))
      yield* settled(rig.connect(server))
      yield* until("the stream", () => server.streams() === 1)
      const [first, second] = server.seen.filter(({ http }) => http === "GET")
      assert.isAtLeast((second?.at ?? 0) - (first?.at ?? 0), 1990)
    })
  )

  for (const status of [400, 404, 405, 501])
    scenario(`that is not offered (${status}) is not asked for again`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve({ stream: true })
        server.on("GET", 1, Replies.status(status))
        const connection = yield* settled(rig.connect(server))
        yield* until("the refusal", () => server.count("GET") === 1)
        // Longer than the first of the delays.
        yield* Effect.sleep("700 millis")
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        assert.strictEqual(server.count("GET"), 1)
      })
    )

  for (const [name, nothing] of Object.entries({
    "HTML that ends": Replies.status(200, { "content-type": "text/html" }, Replies.html),
    "a body without a type that ends": ({ response }: Exchange) => response.writeHead(200).end("nothing")
  }))
    scenario(`that is ${name} at first is opened once, however often that fails then; readers are told`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve({ stream: true })
        server.on("GET", 1, nothing)
        for (const time of [1, 2]) server.on("GET", time + 1, Replies.status(503))
        const connection = yield* settled(rig.connect(server))
        const events = yield* eventsOf(connection)
        yield* until("the stream", () => server.streams() === 1)
        yield* until("the reader to be told", () => only(events, "NotificationsMissed").length === 1)
        // Longer than the last of the delays.
        yield* Effect.sleep("2500 millis")
        assert.deepStrictEqual([server.streams(), server.count("GET")], [1, 4])
        yield* sameSession(server, connection, events)
      })
    )

  scenario("that could not be opened at first is opened later also when that of a request was resumed before", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ stream: true })
      for (const time of [1, 3, 4]) server.on("GET", time, Replies.status(503))
      const connection = yield* settled(rig.connect(server))
      yield* until("the failure", () => server.count("GET") === 1)
      server.on("call write", 1, Replies.resumable("event-1", "rst", 20))
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.strictEqual(server.count("resume"), 1)
      yield* until("the stream", () => server.streams() === 1)
      assert.deepStrictEqual(server.ledger, ["write effect"])
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("that is not offered (405) is not asked for again when that of a request cannot be resumed", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready()
      server.on("call write", 1, Replies.resumable("event-1", "rst", 20))
      server.on("resume", "every", Replies.status(500))
      yield* failureOf(call(connection, "write", "effect"))
      // Longer than the first of the delays.
      yield* Effect.sleep("700 millis")
      assert.strictEqual(server.count("GET") - server.count("resume"), 1)
    })
  )

  scenario("that tells of an expired session while nobody calls does no harm to the next call", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready({ stream: true })
      yield* until("the stream", () => server.streams() === 1)
      yield* server.restart
      // This takes the SDK a second: the client has seen the end of its sockets by then.
      yield* until("the stream to be asked for", () => server.count("GET") >= 2)
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      assert.deepStrictEqual(server.ledger, ["write effect"])
      assert.strictEqual(yield* generationOf(connection), 2)
      assert.strictEqual(server.count("initialize"), 2)
    })
  )
})
