/**
 * What a connection promises of every server of the table: it heals, it sends again what may be sent again and nothing else, and
 * it tells what changed. Two files of tests share it, so that they run beside each other.
 */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as ConnectionEvent from "../../src/ConnectionEvent.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import type { RequestTicket } from "../../src/McpSession.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import {
  type Connection,
  eventsOf,
  fast,
  kill,
  pidOf,
  type Rig,
  scenario,
  tagsOf,
  textOf,
  transportOf,
  until
} from "../driver/rig.ts"
import { type Call, type Era, journal, placeOf, type Server, versions } from "./servers.ts"

/** The tests of one server. */
export const matrix = (server: Server): void => {
  describe(`${server.name}`, () => {
    const { add, count, echo, slow, subscription } = server

    scenario("is called, and called again right after it was killed and restarted", (rig) =>
      Effect.gen(function* () {
        const { call, connection, restart } = yield* connect(rig, server)
        const { era, protocolVersion } = (yield* connection.awaitReady).server
        assert.deepStrictEqual([era, protocolVersion], [eraOf(server), versions[eraOf(server)]])
        assert.strictEqual(yield* call(echo), echo.answer)
        yield* restart
        assert.strictEqual(yield* call(echo), echo.answer)
        yield* connection.ping()
      })
    )

    if (server.kind !== "stdio")
      scenario("is called while it is down, and answers when it is back", (rig) =>
        Effect.gen(function* () {
          const { call, events, running } = yield* connect(rig, server)
          if (running === undefined) return
          assert.strictEqual(yield* call(echo), echo.answer)
          yield* running.kill
          const pending = yield* Effect.forkChild(call(echo), { startImmediately: true })
          yield* until("an attempt that finds nobody", () => tagsOf(events).includes("AttemptFailed"))
          yield* running.restart
          assert.strictEqual(yield* Fiber.join(pending), echo.answer)
        })
      )

    scenario("has a read-only call sent again that it was killed under", (rig) =>
      Effect.gen(function* () {
        const { call, connection, events, freeze, place, restart, untilSent } = yield* connect(rig, server)
        yield* connection.listTools()
        if (slow.begins === "frozen") yield* freeze
        let progressed = false
        const pending = yield* Effect.forkChild(
          call(slow, {
            onProgress: () => {
              progressed = true
            }
          }),
          { startImmediately: true }
        )
        if (slow.begins === "frozen") yield* untilSent(slow.name)
        else yield* until("the call", () => progressed || journal(place).length === 1)
        yield* restart
        assert.include(yield* Fiber.join(pending), slow.answer)
        if (slow.begins === "journal") assert.lengthOf(journal(place), 2)
        const replays = events.filter(ConnectionEvent.is("RequestReplayed"))
        assert.deepStrictEqual(
          replays.map(({ delivery, tool }) => [tool, delivery]),
          [[slow.name, "Unknown"]]
        )
      })
    )

    scenario("is never sent a call with an effect twice", (rig) =>
      Effect.gen(function* () {
        const { call, connection, events, freeze, place, restart, untilSent } = yield* connect(rig, server)
        const { effects } = count
        yield* connection.listTools()
        if (count.begins === "frozen") yield* freeze
        const pending = yield* Effect.forkChild(Effect.result(call(count)), { startImmediately: true })
        if (count.begins === "frozen") yield* untilSent(count.name)
        else yield* until("the effect", () => "seen" in effects && effects.seen(place) > 0)
        yield* restart
        const outcome = yield* Fiber.join(pending)
        assert.isTrue(Result.isFailure(outcome) && outcome.failure._tag === "OutcomeUnknown", JSON.stringify(outcome))
        // By an answer the next session is known to be there: whatever is sent again was sent before.
        assert.strictEqual(yield* call(echo), echo.answer)
        assert.strictEqual(
          "seen" in effects ? effects.seen(place) : effects.number(yield* call(effects.told)),
          count.begins === "frozen" ? 0 : 1
        )
        assert.notInclude(
          events.filter(ConnectionEvent.is("RequestReplayed")).map(({ tool }) => tool),
          count.name
        )
      })
    )

    if (add !== undefined)
      scenario("tells of a list that became longer", (rig) =>
        Effect.gen(function* () {
          const { connection, events } = yield* connect(rig, server)
          yield* add.list === "tools" ? connection.listTools() : connection.listResources()
          yield* connection.callTool({ name: add.name, arguments: { ...add.arguments } })
          const changed = yield* until("CatalogChanged", () =>
            events.filter(ConnectionEvent.is("CatalogChanged")).find(({ changes }) => add.list in changes)
          )
          assert.deepStrictEqual(changed.changes[add.list]?.added, [add.added])
          const listing = (yield* connection.catalog)[add.list]
          const names = (listing?.items ?? []).map((item) => ("uri" in item ? item.uri : item.name))
          assert.include(names, add.added)
        })
      )

    if (subscription !== undefined)
      scenario("goes on with the updates of a resource after a restart, and some may be missed", (rig) =>
        Effect.gen(function* () {
          const { call, connection, restart, untilSubscribed } = yield* connect(rig, server)
          const { touch, uri } = subscription
          const updates: Array<McpConnection.ResourceUpdate> = []
          const told = (): ReadonlyArray<string> =>
            updates.map(({ _tag }) => _tag).filter((tag, index, tags) => tag !== tags[index - 1])
          yield* connection.resourceUpdates(uri).pipe(
            Stream.runForEach((update) => Effect.sync(() => updates.push(update))),
            Effect.forkScoped({ startImmediately: true })
          )
          yield* untilSubscribed(uri)
          yield* call(touch)
          yield* until("an update", () => told().length === 1)
          yield* restart
          yield* until("MayHaveMissed", () => told().length === 2)
          yield* call(touch)
          yield* until("an update of the server that is there now", () => told().length === 3)
          assert.deepStrictEqual(told(), ["Updated", "MayHaveMissed", "Updated"])
        })
      )
  })
}

/** A connection to a server of the table, and what can be done to the server. */
export const connect = Effect.fnUntraced(function* (
  rig: Rig,
  server: Server,
  httpTransport: (options: McpTransport.HttpOptions) => McpTransport.McpTransport = server.kind === "sse"
    ? McpTransport.sse
    : McpTransport.streamableHttp
) {
  const place = placeOf(rig)
  const running = server.kind === "stdio" ? undefined : yield* server.start(place)
  const tickets: Array<RequestTicket> = []
  const subscribed = new Set<string>()
  const watched = <R>(real: McpTransport.McpTransport<R>): McpTransport.McpTransport<R> => ({
    ...real,
    open: (context) =>
      Effect.map(real.open(context), (session) => ({
        ...session,
        request: (ticket) =>
          Effect.suspend(() => {
            tickets.push(ticket)
            return Effect.tap(session.request(ticket), () =>
              Effect.sync(() => {
                const uri = ticket.method === "resources/subscribe" ? textIn(ticket.params, "uri") : undefined
                if (uri !== undefined) subscribed.add(uri)
              })
            )
          }),
        listen: (filter) =>
          Effect.tap(session.listen(filter), () =>
            Effect.sync(() => filter.resourceSubscriptions?.forEach((uri) => subscribed.add(uri)))
          )
      }))
  })
  const options = {
    name: server.name,
    policy: fast,
    heartbeat: "off",
    requestTimeout: "15 seconds",
    wait: "15 seconds"
  } as const
  const url = running?.url ?? ""
  const connection: Connection = yield* server.kind === "stdio"
    ? McpConnection.make({ ...options, transport: watched(transportOf(rig, server.program(place))) })
    : McpConnection.make({ ...options, transport: watched(httpTransport({ url })) })
  const pid = running === undefined ? pidOf(connection) : Effect.sync(running.pid)
  return {
    connection,
    place,
    running,
    events: yield* eventsOf(connection),
    call: ({ arguments: given, name }: Call, options?: McpConnection.RequestOptions) =>
      Effect.map(connection.callTool({ name, arguments: { ...given } }, options), textOf),
    /** It takes what it is sent, and does nothing any more. */
    freeze: Effect.map(pid, (pid) => kill(pid, "SIGSTOP")),
    /** Kills the server. Over HTTP somebody else starts it again, over stdio it is the connection that does. */
    restart: running?.restart ?? Effect.map(pid, (pid) => kill(-pid, "SIGKILL")),
    /** Waits until a call of a tool is on its way to the server. */
    untilSent: (tool: string) =>
      until(`${tool} on its way`, () =>
        tickets.some(({ method, params, sent }) => method === "tools/call" && sent && textIn(params, "name") === tool)
      ),
    /** Waits until the server has taken note of who reads a resource. */
    untilSubscribed: (uri: string) => until(`the subscription of ${uri}`, () => subscribed.has(uri))
  }
})

const textIn = (params: unknown, name: string): string | undefined =>
  Predicate.hasProperty(params, name) && Predicate.isString(params[name]) ? params[name] : undefined

/** The era that the library comes to: over stdio it asks with `initialize` first. */
const eraOf = ({ kind, speaks }: Server): Era => (kind === "stdio" && speaks.includes("legacy") ? "legacy" : speaks[0])
