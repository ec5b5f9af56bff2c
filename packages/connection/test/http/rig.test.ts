/** The fault kit itself, looked at with the SDK's own client. */
import { assert, describe, it } from "@effect/vitest"
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { request } from "node:https"
import { nothingHeld, resources, until } from "../driver/rig.ts"
import { selfSigned } from "./certificate.ts"
import * as Proxy from "./proxy.ts"
import * as Replies from "./replies.ts"
import * as Server from "./server.ts"

const client = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client({ name: "test", version: "1" }, { capabilities: {} })
      const transport = new StreamableHTTPClientTransport(new URL(url))
      await client.connect(transport)
      return { client, transport }
    }),
    ({ client }) => Effect.promise(() => client.close())
  )

const callOf = ({ client }: { readonly client: Client }, name: string, script: Server.Script, timeout = 5000) =>
  Effect.promise(() =>
    client.callTool({ name, arguments: { ...script } }, { timeout }).then(
      ({ content }) => JSON.stringify(content),
      (error: unknown) => {
        const { cause, code, message, status } = error as Error & { code?: string; status?: number }
        const inner = cause as { readonly code?: string } | undefined
        return [message, code, status, inner?.code].filter((part) => part !== undefined).join(" | ")
      }
    )
  )

/** Within a scope of its own, after which nothing is held. */
const scenario = <A, E>(name: string, body: Effect.Effect<A, E, Scope.Scope>): void =>
  it.live(name, () =>
    Effect.suspend(() => {
      const before = resources()
      return Effect.andThen(Effect.scoped(body), nothingHeld(before))
    })
  )

describe("the fault kit", () => {
  for (const answers of ["json", "sse"] as const)
    scenario(
      `speaks Streamable HTTP with the SDK's client: ${answers}`,
      Effect.gen(function* () {
        const server = yield* Server.make({ answers, stream: true })
        const sdk = yield* client(server.url)
        const { tools } = yield* Effect.promise(() => sdk.client.listTools())
        assert.deepStrictEqual(
          tools.map(({ name }) => name),
          ["read", "again", "write"]
        )
        assert.include(yield* callOf(sdk, "write", { label: "a" }), '"a"')
        yield* Effect.promise(() => sdk.client.ping())
        yield* Effect.promise(() => sdk.client.subscribeResource({ uri: "test://1" }))
        assert.deepStrictEqual(server.ledger, ["write a"])
        yield* until("the stream", () => server.streams() === 1)
        const updated: Array<string> = []
        sdk.client.setNotificationHandler("notifications/resources/updated", ({ params }) => {
          updated.push(params.uri)
        })
        server.notify("notifications/resources/updated", { uri: "test://1" })
        yield* until("the notification", () => updated.length === 1)
        yield* Effect.promise(() => sdk.transport.terminateSession())
        assert.deepStrictEqual(server.seen.map(({ http, method }) => method ?? http).toSorted(), [
          "DELETE",
          "GET",
          "initialize",
          "notifications/initialized",
          "ping",
          "resources/subscribe",
          "tools/call",
          "tools/list"
        ])
        const [first] = server.seen.filter(({ http }) => http === "DELETE")
        assert.isString(first?.session)
        assert.include(yield* callOf(sdk, "write", { label: "b" }), "No valid session")
      })
    )

  scenario(
    "breaks as it is told to, in each way once",
    Effect.gen(function* () {
      const server = yield* Server.make()
      const sdk = yield* client(server.url)
      const after = Effect.fnUntraced(function* (reply: Server.Reply, timeout?: number) {
        server.on("call write", 1, reply)
        const told = yield* callOf(sdk, "write", { label: "broken" }, timeout)
        server.heal()
        assert.include(yield* callOf(sdk, "read", { label: "whole" }), "whole")
        return told
      })
      assert.strictEqual(yield* after(Replies.drop("rst")), "fetch failed | ECONNRESET")
      assert.strictEqual(yield* after(Replies.drop("fin")), "fetch failed | UND_ERR_SOCKET")
      assert.strictEqual(yield* after(Replies.halfJson("rst")), "terminated | ECONNRESET")
      assert.strictEqual(yield* after(Replies.halfJson("fin")), "terminated | UND_ERR_SOCKET")
      assert.match(yield* after(Replies.halfJson("end")), /JSON/)
      assert.match(yield* after(Replies.body("text/html", Replies.html)), /Unexpected content type: text\/html/)
      assert.match(yield* after(Replies.status(503, { "retry-after": "1" }, "busy")), /busy .*503/)
      assert.match(yield* after(Replies.status(202), 300), /timed out/i)
      assert.match(yield* after(Replies.stream("end"), 300), /timed out/i)
      assert.match(yield* after(Replies.stream("rst"), 300), /timed out/i)
      assert.match(yield* after(Replies.hold, 300), /timed out/i)
      assert.strictEqual(yield* after(Replies.resumable("1", "end", 10)), '[{"type":"text","text":"broken"}]')
      assert.strictEqual(yield* after(Replies.resumable("2", "rst", 10)), '[{"type":"text","text":"broken"}]')
      assert.strictEqual(server.count("resume"), 2)
      server.forget()
      assert.match(yield* callOf(sdk, "write", { label: "late" }), /Session not found.*404/)
    })
  )

  scenario(
    "holds an answer until its gate opens, after the tool ran",
    Effect.gen(function* () {
      const server = yield* Server.make()
      const sdk = yield* client(server.url)
      const pending = yield* Effect.forkChild(callOf(sdk, "write", { label: "a", gate: "g" }))
      yield* until("the call", () => server.ledger.length === 1)
      server.open("g")
      assert.include(yield* Fiber.join(pending), '"a"')
    })
  )

  scenario(
    "refuses while it is stopped, and has forgotten its sessions when it was restarted",
    Effect.gen(function* () {
      const server = yield* Server.make()
      const sdk = yield* client(server.url)
      yield* server.stop
      yield* until("the client to notice", () => Proxy.clientsOf(server.port) === 0)
      assert.strictEqual(yield* callOf(sdk, "read", {}), "fetch failed | ECONNREFUSED")
      yield* server.start
      assert.include(yield* callOf(sdk, "read", { label: "same session" }), "same session")
      yield* server.restart
      yield* until("the client to notice", () => Proxy.clientsOf(server.port) === 0)
      assert.match(yield* callOf(sdk, "read", {}), /404/)
    })
  )

  scenario(
    "has a proxy that drops idle connections",
    Effect.gen(function* () {
      const server = yield* Server.make()
      const proxy = yield* Proxy.make(server.port)
      const sdk = yield* client(proxy.url)
      yield* Proxy.idle
      proxy.drop("silent")
      assert.isAbove(Proxy.clientsOf(proxy.port), 0)
      assert.strictEqual(yield* callOf(sdk, "read", { label: "lost" }), "fetch failed | ECONNRESET")
      for (const how of ["fin", "rst"] as const) {
        proxy.drop(how)
        yield* until("the client to notice", () => Proxy.clientsOf(proxy.port) === 0)
        assert.include(yield* callOf(sdk, "read", { label: how }), how)
      }
      assert.deepStrictEqual(server.ledger, ["read fin", "read rst"])
    })
  )

  scenario(
    "resolves a name as it is told to",
    Effect.gen(function* () {
      const server = yield* Server.make()
      const name = yield* Proxy.name("fault-kit.test")
      const sdk = yield* client(`http://fault-kit.test:${server.port}/mcp`)
      yield* server.stop
      yield* server.start
      yield* until("the client to notice", () => Proxy.clientsOf(server.port) === 0)
      name.resolves("ENOTFOUND")
      assert.strictEqual(yield* callOf(sdk, "read", {}), "fetch failed | ENOTFOUND")
      name.resolves("127.0.0.1")
      assert.include(yield* callOf(sdk, "read", { label: "found" }), "found")
    })
  )

  scenario(
    "has a certificate that is good but for nobody having signed it",
    Effect.gen(function* () {
      const { cert, key } = selfSigned()
      const server = yield* Server.make({ tls: { cert, key } })
      const get = (trusted: string | undefined) =>
        Effect.promise(
          () =>
            new Promise<string>((resolve) => {
              const asked = request(server.url, { ca: trusted, agent: false }, (response) => {
                response.resume().on("end", () => {
                  resolve(String(response.statusCode))
                })
              })
              asked.on("error", (error: NodeJS.ErrnoException) => {
                resolve(error.code ?? error.message)
              })
              asked.end()
            })
        )
      assert.strictEqual(yield* get(cert), "400")
      assert.strictEqual(yield* get(undefined), "DEPTH_ZERO_SELF_SIGNED_CERT")
    })
  )
})
