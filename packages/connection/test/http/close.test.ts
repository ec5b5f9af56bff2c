/** The end of a connection: the server is told, and nothing is left. Each test ends with that check; see `scenario`. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import * as Proxy from "./proxy.ts"
import * as Replies from "./replies.ts"
import { call, failureOf, type Options, type Rig, scenario, settled, timed, until } from "./rig.ts"
import type { Reply, Server, Options as ServerOptions } from "./server.ts"

/** A connection that the test closes itself. */
const closable = Effect.fnUntraced(function* (rig: Rig, serverOptions?: ServerOptions, options?: Options) {
  const server = yield* rig.serve(serverOptions)
  const scope = yield* Scope.make()
  const connection = yield* rig.connect(server, options).pipe(Scope.provide(scope))
  return { server, connection, close: settled(timed(Scope.close(scope, Exit.void))) }
})

const sessionOf = (server: Server): string =>
  server.seen.find(({ method }) => method === "notifications/initialized")?.session ?? assert.fail("no session")

const ends = (server: Server): ReadonlyArray<string | undefined> =>
  server.seen.filter(({ http }) => http === "DELETE").map(({ session }) => session)

const gone = (server: Server) => until("the end of the sockets", () => server.sockets() === 0)

describe("closing a connection", () => {
  for (const stream of [false, true])
    scenario(`deletes the session, and closes all sockets: ${stream ? "with" : "without"} a stream`, (rig) =>
      Effect.gen(function* () {
        const { close, connection, server } = yield* closable(rig, { stream })
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        if (stream) yield* until("the stream", () => server.streams() === 1)
        yield* close
        assert.deepStrictEqual(ends(server), [sessionOf(server)])
        yield* gone(server)
        assert.strictEqual(Proxy.clientsOf(server.port), 0)
      })
    )

  scenario("fails calls in flight with ConnectionClosed: they may have run", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig)
      const pending = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 10 }, (_, index) => `call ${index}`),
          (label) => failureOf(call(connection, "write", { label, gate: "gate" })),
          { concurrency: "unbounded" }
        )
      )
      yield* until("the calls", () => server.ledger.length === 10)
      yield* close
      for (const error of yield* Fiber.join(pending)) {
        assert(error._tag === "ConnectionClosed", error.message)
        assert.strictEqual(error.delivery, "Unknown")
      }
      assert.deepStrictEqual(ends(server), [sessionOf(server)])
      yield* gone(server)
    })
  )

  const resistance: Record<string, Reply> = {
    "does not answer": Replies.hold,
    "answers 405": Replies.status(405),
    "answers 500": Replies.status(500),
    "answers 404": Replies.status(404),
    "resets it": Replies.drop("rst")
  }
  for (const [name, reply] of Object.entries(resistance))
    scenario(`is bounded when the server ${name} to DELETE`, (rig) =>
      Effect.gen(function* () {
        const { close, server } = yield* closable(rig)
        server.on("DELETE", "every", reply)
        yield* close
        assert.lengthOf(ends(server), 1)
        yield* gone(server)
      })
    )

  scenario("is bounded when the server is gone", (rig) =>
    Effect.gen(function* () {
      const { close, server } = yield* closable(rig, { stream: true })
      yield* server.stop
      yield* close
    })
  )

  scenario("is bounded when nothing answers any more", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig, { stream: true })
      server.on("any", "every", Replies.hold)
      const pending = yield* Effect.forkChild(failureOf(call(connection, "write", "effect")))
      yield* until("the call", () => server.count("call write") === 1)
      yield* close
      assert.strictEqual((yield* Fiber.join(pending))._tag, "ConnectionClosed")
      yield* gone(server)
    })
  )
})

describe("closing a connection leaves nothing", () => {
  scenario("of a handshake that hangs", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      server.on("any", "every", Replies.hold)
      const scope = yield* Scope.make()
      const connection = yield* rig.connect(server, { start: "background" }).pipe(Scope.provide(scope))
      const pending = yield* Effect.forkChild(failureOf(call(connection, "write", "effect")))
      yield* until("the handshake", () => server.count("POST") === 1)
      yield* settled(Scope.close(scope, Exit.void))
      const error = yield* Fiber.join(pending)
      assert(error._tag === "ConnectionClosed", error.message)
      assert.strictEqual(error.delivery, "NotSent")
      yield* gone(server)
    })
  )

  scenario("of a connect that hangs", (rig) =>
    Effect.gen(function* () {
      const silence = yield* rig.around(Proxy.silence)
      const scope = yield* Scope.make()
      yield* rig
        .connect({ url: `https://127.0.0.1:${silence.port}/mcp` }, { start: "background" })
        .pipe(Scope.provide(scope))
      yield* until("the connection", () => silence.connections() === 1)
      yield* settled(Scope.close(scope, Exit.void))
      yield* until("its end", () => silence.connections() === 0)
    })
  )

  for (const seconds of ["20", "3600"])
    scenario(`of a wait for Retry-After: ${seconds} s`, (rig) =>
      Effect.gen(function* () {
        const { close, connection, server } = yield* closable(rig, {}, { policy: ReconnectPolicy.default })
        server.on("call write", 1, Replies.status(503, { "retry-after": seconds }))
        const pending = yield* Effect.forkChild(failureOf(call(connection, "write", "effect")))
        yield* until("the refusal", () => server.count("call write") === 1)
        yield* Proxy.idle
        yield* close
        const error = yield* Fiber.join(pending)
        assert(error._tag === "ConnectionClosed", error.message)
        assert.strictEqual(error.delivery, "Refused")
        yield* gone(server)
      })
    )

  scenario("of a stream that waits to be resumed", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig)
      server.on("call write", 1, Replies.resumable("event-1", "end", 60_000))
      const pending = yield* Effect.forkChild(failureOf(call(connection, "write", "effect")))
      yield* until("the effect", () => server.ledger.length === 1)
      yield* Proxy.idle
      yield* close
      const error = yield* Fiber.join(pending)
      assert(error._tag === "ConnectionClosed", error.message)
      assert.strictEqual(error.delivery, "Unknown")
      assert.strictEqual(server.count("resume"), 0)
      yield* gone(server)
    })
  )

  scenario("of three streams that wait to be resumed", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig)
      server.on("call write", "every", (exchange) => {
        Replies.resumable(`event ${exchange.seen.label}`, "end", 60_000)(exchange)
      })
      const pending = yield* Effect.forkChild(
        Effect.forEach(["one", "two", "three"], (label) => failureOf(call(connection, "write", label)), {
          concurrency: "unbounded"
        })
      )
      yield* until("the effects", () => server.ledger.length === 3)
      yield* Proxy.idle
      yield* close
      for (const error of yield* Fiber.join(pending)) assert.strictEqual(error._tag, "ConnectionClosed")
      yield* gone(server)
    })
  )

  scenario("of a stream beside the requests that waits to be opened again", (rig) =>
    Effect.gen(function* () {
      const { close, server } = yield* closable(rig, { stream: true })
      yield* until("the stream", () => server.streams() === 1)
      server.on("GET", "every", Replies.status(503, { "retry-after": "3600" }))
      server.cutStreams("rst")
      yield* until("the client to try", () => server.count("GET") >= 2)
      yield* Proxy.idle
      yield* close
      yield* gone(server)
    })
  )

  scenario("of silent streams", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig, { stream: true })
      server.on("call write", "every", Replies.stream("open"))
      const pending = yield* Effect.forkChild(
        Effect.forEach(["one", "two", "three"], (label) => failureOf(call(connection, "write", label)), {
          concurrency: "unbounded"
        })
      )
      yield* until("the calls", () => server.ledger.length === 3)
      yield* close
      for (const error of yield* Fiber.join(pending)) assert.strictEqual(error._tag, "ConnectionClosed")
      assert.lengthOf(ends(server), 1)
      yield* gone(server)
    })
  )

  scenario("of a question that waits for its answer", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig)
      server.on("ping", "every", Replies.hold)
      server.on("call read", 1, Replies.drop("rst"))
      const pending = yield* Effect.forkChild(failureOf(call(connection, "read", "look")))
      yield* until("the question", () => server.count("ping") === 1)
      yield* close
      assert.strictEqual((yield* Fiber.join(pending))._tag, "ConnectionClosed")
      yield* gone(server)
    })
  )
})

describe("a session that is replaced", () => {
  scenario("by refresh is deleted, and its sockets are closed", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig, { stream: true })
      yield* until("the stream", () => server.streams() === 1)
      const first = sessionOf(server)
      yield* settled(connection.refresh)
      yield* until("the end of the first session", () => ends(server).includes(first))
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      yield* until("one stream", () => server.streams() === 1)
      yield* close
      assert.lengthOf(ends(server), 2)
      yield* gone(server)
    })
  )

  scenario("by reconnect, fifty times, leaves no session and no socket", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig, { stream: true })
      for (let turn = 0; turn < 50; turn += 1) {
        yield* settled(connection.reconnect)
        assert.strictEqual(yield* call(connection, "read", "look"), "look")
      }
      yield* until("the end of the old sessions", () => ends(server).length === 50)
      // The stream, the last call, and what is on its way out.
      yield* until("the end of the old sockets", () => server.sockets() <= 4)
      yield* close
      assert.lengthOf(ends(server), 51)
      yield* gone(server)
    })
  )

  scenario("because it expired, twenty times, leaves no socket", (rig) =>
    Effect.gen(function* () {
      const { close, connection, server } = yield* closable(rig, { stream: true })
      for (let turn = 0; turn < 20; turn += 1) {
        server.forget()
        assert.strictEqual(yield* call(connection, "write", `turn ${turn}`), `turn ${turn}`)
      }
      assert.lengthOf(server.ledger, 20)
      yield* until("the end of the old sockets", () => server.sockets() <= 4)
      yield* close
      yield* gone(server)
    })
  )
})

describe("a call that is interrupted", () => {
  scenario("is cancelled at the server, lets go of its socket, and the session goes on", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready()
      const pending = yield* Effect.forkChild(call(connection, "write", { label: "effect", gate: "gate" }))
      yield* until("the effect", () => server.ledger.length === 1)
      const { id } = server.seen.find(({ tool }) => tool === "write") ?? assert.fail()
      yield* settled(Fiber.interrupt(pending))
      yield* until("the cancellation", () => server.seen.some(({ cancels }) => cancels === id))
      assert.strictEqual(yield* call(connection, "read", "look"), "look")
      assert.deepStrictEqual(server.ledger, ["write effect", "read look"])
      assert.deepStrictEqual(events, [])
    })
  )
})
