/** The sockets under a session: which of them the next one takes over, and the one that is made before there is use for it. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import { fast } from "../driver/rig.ts"
import * as Replies from "./replies.ts"
import { call, failureOf, generationOf, only, settled, scenario, until, untilState } from "./rig.ts"
import type { Seen, Server } from "./server.ts"

const last = (server: Server, which: (seen: Seen) => boolean): Seen =>
  server.seen.findLast(which) ?? assert.fail("there was none")

const isInitialize = ({ method }: Seen): boolean => method === "initialize"
const isCall = ({ tool }: Seen): boolean => tool !== undefined
const isStream = ({ http, lastEventId }: Seen): boolean => http === "GET" && lastEventId === undefined

describe("a session that the server has forgotten", () => {
  for (const stream of [true, false])
    scenario(`leaves its socket to the next one (${stream ? "with" : "without"} a stream of notifications)`, (rig) =>
      Effect.gen(function* () {
        const { connection, server } = yield* rig.ready({ stream })
        server.forget()
        assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
        const [refused, answered] = server.seen.filter(isCall)
        assert.strictEqual(last(server, isInitialize).socket, refused?.socket)
        assert.notStrictEqual(refused?.session, answered?.session)
        assert.deepStrictEqual(server.ledger, ["write effect"])
        // The one for a stream had nothing to do where there is none.
        assert.strictEqual(server.accepted(), stream ? 3 : 2)
        // What the session had besides is gone with it.
        yield* until("the rest to close", () => server.sockets() <= 2)
        assert.strictEqual(yield* call(connection, "write", "next"), "next")
        assert.strictEqual(yield* generationOf(connection), 2)
      })
    )

  scenario("leaves them however often it happens, and they do not become more", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready({ stream: true })
      for (let turn = 1; turn <= 10; turn += 1) {
        server.forget()
        assert.strictEqual(yield* call(connection, "write", `effect ${turn}`), `effect ${turn}`)
        yield* until("the stream", () => server.streams() === 1)
      }
      assert.lengthOf(server.ledger, 10)
      yield* until("the rest to close", () => server.sockets() <= 2)
    })
  )

  scenario("is answered on them what it had asked before; closing it takes nothing from the next one", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready({ stream: true })
      const before = yield* Effect.forkChild(call(connection, "write", { label: "before", gate: "first" }))
      yield* until("the effect", () => server.ledger.length === 1)
      server.forget()
      assert.strictEqual(yield* call(connection, "write", "between"), "between")
      const after = yield* Effect.forkChild(call(connection, "write", { label: "after", gate: "second" }))
      yield* until("the next effect", () => server.ledger.length === 3)
      server.open("first")
      assert.strictEqual(yield* Fiber.join(before), "before")
      // It drains for 25 ms at a time, and is closed then.
      yield* Effect.sleep("200 millis")
      server.open("second")
      assert.strictEqual(yield* Fiber.join(after), "after")
      assert.deepStrictEqual(server.ledger, ["write before", "write between", "write after"])
      assert.strictEqual(yield* generationOf(connection), 2)
    })
  )

  scenario("leaves nothing to a session that is opened when it is closed already", (rig) =>
    Effect.gen(function* () {
      const { connection, events, server } = yield* rig.ready(
        { stream: true },
        { policy: Schedule.spaced("300 millis") }
      )
      server.forget()
      const answered = yield* Effect.forkChild(call(connection, "write", "effect"))
      yield* until("all to close", () => server.sockets() === 0)
      assert.strictEqual(yield* Fiber.join(answered), "effect")
      assert.lengthOf(only(events, "AttemptFailed"), 0)
    })
  )

  scenario("leaves them to one attempt, and not to the next", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready({ stream: true })
      server.on("initialize", 1, Replies.status(503, { "retry-after": "1" }))
      server.forget()
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      const [, first, second] = server.seen.filter(isInitialize)
      assert.strictEqual(first?.socket, server.seen.find(isCall)?.socket)
      assert.notStrictEqual(second?.socket, first?.socket)
    })
  )

  scenario("may leave them to another connection over the same transport", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ stream: true })
      const transport = McpTransport.streamableHttp({ url: server.url })
      const connect = McpConnection.make({ name: "shared", policy: fast, heartbeat: "off", transport })
      const [one, two] = yield* settled(Effect.all([connect, connect]))
      for (let turn = 0; turn < 3; turn += 1) {
        server.forget()
        yield* Effect.all([call(one, "write", `one ${turn}`), call(two, "write", `two ${turn}`)], {
          concurrency: "unbounded"
        })
      }
      assert.sameMembers(
        [...server.ledger],
        [0, 1, 2].flatMap((turn) => [`write one ${turn}`, `write two ${turn}`])
      )
      yield* until("the streams", () => server.streams() === 2)
    })
  )
})

describe("a session that is lost in another way", () => {
  scenario("leaves no socket, also when many calls have heard of the loss before", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready({ stream: true })
      const together = (labels: ReadonlyArray<string>) =>
        Effect.forEach(labels, (label) => call(connection, "read", label), { concurrency: "unbounded" })
      yield* together(["a", "b", "c"])
      server.forget()
      yield* together(["d", "e", "f"])
      yield* together(["g", "h", "i"])
      const used = new Set(server.seen.map(({ socket }) => socket))
      yield* connection.reconnect
      assert.isFalse(used.has(last(server, isInitialize).socket))
    })
  )

  scenario("leaves no socket: what the network has done to one it may have done to all", (rig) =>
    Effect.gen(function* () {
      const { connection, server } = yield* rig.ready({ stream: true })
      const accepted = server.accepted()
      yield* connection.reconnect
      assert.isAbove(last(server, isInitialize).socket, accepted)
    })
  )
})

describe("the connection that is made before there is use for it", () => {
  scenario("is there for the stream of notifications, and the first call has the one of the handshake", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ stream: true })
      const connection = yield* settled(rig.connect(server, { start: "lazy" }))
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      yield* until("the stream", () => server.streams() === 1)
      assert.strictEqual(server.accepted(), 2)
      assert.strictEqual(last(server, isStream).socket, 2)
      assert.strictEqual(last(server, isCall).socket, 1)
    })
  )

  scenario("is not made for a session that is closed as it begins", (rig) =>
    Effect.gen(function* () {
      for (let turn = 0; turn < 6; turn += 1) {
        const server = yield* rig.serve({ stream: true })
        const scope = yield* Scope.make()
        const connection = yield* Scope.provide(rig.connect(server), scope)
        yield* until("the stream", () => server.streams() === 1)
        server.forget()
        const caller = yield* Effect.forkChild(call(connection, "read", "look"), { startImmediately: true })
        yield* untilState(connection, ({ _tag }) => _tag === "Reconnecting")
        for (let later = 0; later < turn; later += 1) yield* Effect.promise(() => Promise.resolve())
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.interrupt(caller)
        // By itself it would be there for a second.
        yield* Effect.sleep("100 millis")
        assert.strictEqual(server.sockets(), 0)
      }
    })
  )

  scenario("is gone when the handshake takes longer than a second", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ stream: true })
      const answer = Replies.later(Replies.healthy)
      server.on("initialize", 1, answer.reply)
      const connection = yield* settled(rig.connect(server, { start: "background" }))
      yield* until("the connection", () => server.sockets() === 2)
      yield* until("its end", () => server.sockets() === 1)
      answer.now()
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      yield* until("the stream", () => server.streams() === 1)
    })
  )

  scenario("is missed by nobody when the server closes it at once", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve({ stream: true })
      server.onSocket((socket, number) => {
        if (number === 2) socket.destroy()
      })
      const answer = Replies.later(Replies.healthy)
      server.on("initialize", 1, answer.reply)
      const connection = yield* settled(rig.connect(server, { start: "background" }))
      yield* until("the connection", () => server.accepted() === 2 && server.sockets() === 1)
      answer.now()
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      yield* until("the stream", () => server.streams() === 1)
      assert.deepStrictEqual(server.ledger, ["write effect"])
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("is closed with a handshake that is refused, or that nobody waits for any more", (rig) =>
    Effect.gen(function* () {
      const refusing = yield* rig.serve({ stream: true })
      refusing.on("initialize", "every", Replies.rpcError(200, "own", { code: -32_602, message: "Unsupported" }))
      assert.strictEqual((yield* failureOf(settled(rig.connect(refusing))))._tag, "ConnectionError")
      yield* until("all to close", () => refusing.sockets() === 0)
      const silent = yield* rig.serve({ stream: true })
      silent.on("initialize", "every", Replies.hold)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* rig.connect(silent, { start: "background" })
          yield* until("the connection", () => silent.sockets() === 2)
        })
      )
      // By itself it would be there for a second.
      yield* Effect.timeout(
        until("all to close", () => silent.sockets() === 0),
        "500 millis"
      )
    })
  )
})
