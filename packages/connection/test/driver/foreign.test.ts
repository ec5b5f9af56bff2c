import { assert, describe, it } from "@effect/vitest"
import type { Transport } from "@modelcontextprotocol/client"
import { InMemoryTransport as V1Pair } from "@modelcontextprotocol/sdk/inMemory.js"
import { Server as V1Server } from "@modelcontextprotocol/sdk/server/index.js"
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js"
import { InMemoryTransport as V2Pair, Server as V2Server } from "@modelcontextprotocol/server"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { ConnectionError, HandshakeRejected, TransportClosed } from "../../src/ConnectionError.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"

interface Session {
  readonly client: Transport
  readonly close: () => Promise<void>
}

const tools = [
  { name: "echo", inputSchema: { type: "object" as const }, annotations: { readOnlyHint: true } },
  { name: "pay", inputSchema: { type: "object" as const } }
]

type Act = (tool: string) => Promise<{ readonly content: Array<{ readonly type: "text"; readonly text: string }> }>

/** Real servers of both lines of the SDK, at the other end of a pair in memory. */
const lines: Record<string, (act: Act) => Promise<Session>> = {
  "the SDK's v1": async (act) => {
    const server = new V1Server({ name: "memory", version: "1.0.0" }, { capabilities: { tools: {} } })
    server.setRequestHandler(ListToolsRequestSchema, () => ({ tools }))
    server.setRequestHandler(CallToolRequestSchema, ({ params }) => act(params.name))
    const [client, end] = V1Pair.createLinkedPair()
    await server.connect(end)
    // The same shape; the two lines differ in how they type optional properties.
    return { client: client as unknown as Transport, close: () => server.close() }
  },
  "the SDK's v2": async (act) => {
    const server = new V2Server({ name: "memory", version: "1.0.0" }, { capabilities: { tools: {} } })
    server.setRequestHandler("tools/list", () => ({ tools }))
    server.setRequestHandler("tools/call", ({ params }) => act(params.name))
    const [client, end] = V2Pair.createLinkedPair()
    await server.connect(end)
    return { client, close: () => server.close() }
  }
}

for (const [line, start] of Object.entries(lines)) {
  describe(`McpTransport.fromSdk, on a transport of ${line}`, () => {
    const make = Effect.sync(() => {
      const sessions: Array<Session> = []
      const paid = Deferred.makeUnsafe<void>()
      const counts = { paid: 0, released: 0 }
      const act: Act = (tool) => {
        const content = [{ type: "text" as const, text: `session ${sessions.length}` }]
        if (tool !== "pay") return Promise.resolve({ content })
        counts.paid += 1
        Deferred.doneUnsafe(paid, Exit.void)
        // Whoever closes it closes it after the effect and before the answer.
        return new Promise(() => {})
      }
      const transport = McpTransport.fromSdk({
        label: "in memory",
        make: () =>
          Effect.acquireRelease(
            Effect.promise(async () => {
              const session = await start(act)
              sessions.push(session)
              return session.client
            }),
            () =>
              Effect.sync(() => {
                counts.released += 1
              })
          )
      })
      const closeLast = Effect.promise(() => sessions.at(-1)?.close() ?? Promise.resolve())
      return { transport, counts, paid: Deferred.await(paid), closeLast }
    })

    it.live("a new one is made when the last is closed, and what may be sent again is", () =>
      Effect.gen(function* () {
        const { closeLast, counts, transport } = yield* make
        yield* Effect.scoped(
          Effect.gen(function* () {
            const connection = yield* McpConnection.make({ transport, stableAfter: 0 })
            const echo = connection.callTool({ name: "echo" })
            assert.deepStrictEqual((yield* echo).content, [{ type: "text", text: "session 1" }])
            yield* closeLast
            assert.deepStrictEqual((yield* echo).content, [{ type: "text", text: "session 2" }])
            const { generation, server } = yield* connection.awaitReady
            assert.deepStrictEqual([generation, server.name, server.era], [2, "memory", "legacy"])
          })
        )
        assert.strictEqual(counts.released, 2)
      })
    )

    it.live("a call with an effect that was handed over has an unknown outcome, and ran once", () =>
      Effect.gen(function* () {
        const { closeLast, counts, paid, transport } = yield* make
        const connection = yield* McpConnection.make({ transport, stableAfter: 0 })
        const pay = yield* Effect.forkChild(Effect.flip(connection.callTool({ name: "pay" })), {
          startImmediately: true
        })
        yield* paid
        yield* closeLast
        const error = yield* Fiber.join(pay)
        assert.strictEqual(error._tag, "OutcomeUnknown")
        yield* connection.awaitReady
        assert.strictEqual(counts.paid, 1)
      }).pipe(Effect.scoped)
    )
  })
}

describe("McpTransport.fromSdk, whose `make` fails", () => {
  const failing = (error: HandshakeRejected | { readonly message: string }) =>
    McpConnection.make({
      transport: McpTransport.fromSdk({ label: "broken", make: () => Effect.fail(error) }),
      startWithin: "300 millis"
    }).pipe(Effect.scoped, Effect.flip)

  it.live("with words of its own: they are told, and it is tried again", () =>
    Effect.gen(function* () {
      const error = yield* failing({ message: "no such socket" })
      assert(error._tag === "ConnectionError" && error.reason instanceof TransportClosed)
      assert.include(error.message, "no such socket")
    })
  )

  it.live("with a reason: it decides whether it is tried again", () =>
    Effect.gen(function* () {
      const error = yield* failing(new HandshakeRejected({ code: -1, description: "not today" }))
      assert(error._tag === "ConnectionError")
      assert.strictEqual(error.reason._tag, "HandshakeRejected")
    })
  )
})

/** A server that speaks one version of the protocol, as those of its time do: whatever it is offered, it answers with that. */
const speaking = (version: string) =>
  McpTransport.fromSdk({
    label: version,
    make: () =>
      Effect.promise(async () => {
        const [client, end] = V2Pair.createLinkedPair()
        const results: Record<string, unknown> = {
          initialize: {
            protocolVersion: version,
            capabilities: { tools: {} },
            serverInfo: { name: "old", version: "1.0.0" }
          },
          ping: {},
          "tools/list": { tools: [{ name: "echo", inputSchema: { type: "object" } }] },
          "tools/call": { content: [{ type: "text", text: version }] }
        }
        end.onmessage = (message) => {
          if (!("method" in message) || !("id" in message)) return
          const result = results[message.method]
          const answer =
            result === undefined
              ? { jsonrpc: "2.0" as const, id: message.id, error: { code: -32601, message: "no such method" } }
              : { jsonrpc: "2.0" as const, id: message.id, result: result as Record<string, unknown> }
          void end.send(answer)
        }
        await end.start()
        return client
      })
  })

describe("versions of the protocol", () => {
  for (const version of ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
    it.live(`${version} is spoken`, () =>
      Effect.gen(function* () {
        const connection = yield* McpConnection.make({ transport: speaking(version) })
        const { server } = yield* connection.awaitReady
        assert.deepStrictEqual([server.era, server.protocolVersion], ["legacy", version])
        assert.lengthOf(yield* connection.listTools(), 1)
        assert.deepStrictEqual((yield* connection.callTool({ name: "echo" })).content, [
          { type: "text", text: version }
        ])
        yield* connection.ping()
      }).pipe(Effect.scoped)
    )

  it.live("one that nobody knows is UnsupportedProtocol, and not tried again", () =>
    Effect.gen(function* () {
      const error = yield* McpConnection.make({ transport: speaking("1999-01-01") }).pipe(Effect.scoped, Effect.flip)
      assert(error._tag === "ConnectionError")
      assert.strictEqual(error.reason._tag, "UnsupportedProtocol")
    })
  )
})

describe("a transport that wraps another", () => {
  const start = lines["the SDK's v2"]
  assert(start !== undefined)

  it.live("may tell of losses that the other does not know of", () =>
    Effect.gen(function* () {
      const noticed = Deferred.makeUnsafe<ConnectionError>()
      const inner = McpTransport.fromSdk({
        label: "in memory",
        make: () =>
          Effect.map(
            Effect.promise(() => start(() => new Promise(() => {}))),
            ({ client }) => client
          )
      })
      const connection = yield* McpConnection.make({
        transport: {
          ...inner,
          open: (context) =>
            Effect.map(inner.open(context), (session) => ({
              ...session,
              lost: context.generation === 1 ? Effect.raceFirst(session.lost, Deferred.await(noticed)) : session.lost
            }))
        }
      })
      const before = yield* connection.awaitReady
      yield* Deferred.succeed(
        noticed,
        new ConnectionError({
          server: "in memory",
          reason: new TransportClosed({ description: "noticed from outside" })
        })
      )
      const states = yield* connection.changes.pipe(
        Stream.takeUntil((state) => state._tag === "Ready" && state.generation > before.generation),
        Stream.runCollect
      )
      assert.isAbove(states.length, 1)
    })
  )
})
