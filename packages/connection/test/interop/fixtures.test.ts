/** The servers of the matrix, as the official client finds them: what fails here is no fault of the library. */
import { assert, describe } from "@effect/vitest"
import { Client, SSEClientTransport, StreamableHTTPClientTransport, type Transport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import * as Effect from "effect/Effect"
import { isAlive, scenario, textOf, until } from "../driver/rig.ts"
import { type Call, type Era, journal, type Place, placeOf, type Server, servers, versions } from "./servers.ts"

/** The SDK's client alone, and what it hears. */
interface Raw {
  readonly client: Client
  readonly call: (call: Call) => Effect.Effect<string>
  readonly heard: Array<string>
  /** Whether a stream for announcements is open: whoever is told something before hears nothing. */
  readonly listens: () => boolean
}

const changes = {
  "notifications/tools/list_changed": "tools",
  "notifications/resources/list_changed": "resources"
} as const

/** `legacy`: with `initialize`. `auto`: as the server can, modern first. */
type Mode = "legacy" | "auto"

/** A client to the server at `url`; over stdio it has a process of its own. */
const connect = Effect.fnUntraced(function* (server: Server, place: Place, url: string, mode: Mode) {
  let listens = server.kind !== "streamableHttp"
  const client = new Client({ name: "raw", version: "1.0.0" }, { versionNegotiation: { mode } })
  const heard: Array<string> = []
  for (const [method, what] of Object.entries(changes))
    client.setNotificationHandler(method as keyof typeof changes, () => void heard.push(what))
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => void heard.push(params.uri))
  const transport = (): Transport => {
    if (server.kind === "stdio") {
      const { args, command, env } = server.program(place)
      return new StdioClientTransport({ command, args: [...args], env: { ...env }, stderr: "ignore" })
    }
    if (server.kind === "sse") return new SSEClientTransport(new URL(url))
    return new StreamableHTTPClientTransport(new URL(url), {
      fetch: async (input, init) => {
        const response = await fetch(input, init)
        if (init?.method === "GET" && response.ok) listens = true
        return response
      }
    })
  }
  yield* Effect.addFinalizer(() => Effect.promise(() => client.close()))
  yield* Effect.promise(() => client.connect(transport()))
  const raw: Raw = {
    client,
    heard,
    listens: () => listens,
    call: ({ arguments: given, name }) =>
      Effect.map(
        Effect.promise(() => client.callTool({ name, arguments: { ...given } })),
        textOf
      )
  }
  return raw
})

/** The URL of a server that has one. */
const urlOf = (server: Server, place: Place) =>
  server.kind === "stdio" ? Effect.succeed("") : Effect.map(server.start(place), ({ url }) => url)

for (const server of servers) {
  describe(`${server.name}`, () => {
    scenario(`speaks ${server.speaks.join(" and ")}, and its tools say what they are`, (rig) =>
      Effect.gen(function* () {
        const place = placeOf(rig)
        const url = yield* urlOf(server, place)
        const met = Effect.fnUntraced(function* (mode: Mode, era: Era) {
          const { call, client } = yield* connect(server, place, url, mode)
          assert.strictEqual(client.getProtocolEra(), era)
          assert.strictEqual(client.getNegotiatedProtocolVersion(), versions[era])
          const { tools } = yield* Effect.promise(() => client.listTools())
          const promises = ({ name }: Call) => {
            const { idempotentHint = false, readOnlyHint = false } =
              tools.find((tool) => tool.name === name)?.annotations ?? {}
            return { readOnlyHint, idempotentHint }
          }
          assert.isTrue(promises(server.echo).readOnlyHint)
          assert.isTrue(promises(server.slow).readOnlyHint)
          assert.deepStrictEqual(promises(server.count), { readOnlyHint: false, idempotentHint: false })
          assert.strictEqual(yield* call(server.echo), server.echo.answer)
        }, Effect.scoped)

        yield* met("auto", server.speaks[0])
        if (server.speaks.includes("legacy")) yield* met("legacy", "legacy")
        else {
          yield* Effect.flip(Effect.sandbox(met("legacy", "legacy")))
          // A client that cannot connect does not wait for the end of its process.
          if (server.kind === "stdio") yield* until("the end of the process", () => rig.processes().length === 0)
        }
      })
    )

    const { add, subscription } = server
    if (add !== undefined || subscription !== undefined)
      scenario("announces what it can", (rig) =>
        Effect.gen(function* () {
          const place = placeOf(rig)
          const { call, client, heard, listens } = yield* connect(server, place, yield* urlOf(server, place), "auto")
          if (client.getProtocolEra() === "modern")
            yield* Effect.promise(() =>
              client.listen({
                toolsListChanged: true,
                ...(subscription === undefined ? {} : { resourceSubscriptions: [subscription.uri] })
              })
            )
          else {
            // What is announced before somebody listens is lost.
            if (add?.announcedTo !== "callers") yield* until("the stream of announcements", listens)
            if (subscription !== undefined)
              yield* Effect.promise(() => client.subscribeResource({ uri: subscription.uri }))
          }
          if (subscription !== undefined) {
            yield* call(subscription.touch)
            yield* until("an update", () => heard.includes(subscription.uri))
          }
          if (add !== undefined) {
            yield* Effect.promise(() => client.callTool(add))
            yield* until("a changed list", () => heard.includes(add.list))
            const names =
              add.list === "tools"
                ? (yield* Effect.promise(() => client.listTools())).tools.map(({ name }) => name)
                : (yield* Effect.promise(() => client.listResources())).resources.map(({ uri }) => uri)
            assert.include(names, add.added)
          }
        })
      )

    if (server.slow.begins === "journal")
      scenario("notes a slow call, and the effect of another, before it answers", (rig) =>
        Effect.gen(function* () {
          const place = placeOf(rig)
          const { call } = yield* connect(server, place, yield* urlOf(server, place), "auto")
          assert.strictEqual(yield* call({ ...server.slow, arguments: { ms: 0 } }), server.slow.answer)
          assert.lengthOf(journal(place), 1)
          yield* Effect.forkChild(Effect.exit(call(server.count)), { startImmediately: true })
          yield* until("the effect", () => "seen" in server.count.effects && server.count.effects.seen(place) === 1)
        })
      )

    if (server.kind !== "stdio")
      scenario("is gone when it is killed, and back at the same place", (rig) =>
        Effect.gen(function* () {
          const place = placeOf(rig)
          const running = yield* server.start(place)
          const answers = Effect.scoped(
            Effect.gen(function* () {
              const { call } = yield* connect(server, place, running.url, "auto")
              assert.strictEqual(yield* call(server.echo), server.echo.answer)
            })
          )
          const first = running.pid()
          yield* answers
          yield* running.kill
          assert.isFalse(isAlive(first))
          yield* Effect.flip(Effect.sandbox(answers))
          yield* running.restart
          assert.notStrictEqual(running.pid(), first)
          yield* answers
        })
      )
  })
}
