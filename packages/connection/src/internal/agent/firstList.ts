/** The first list of a server's tools: who has none yet is waited for, but not in every turn. */
import type { Tool } from "@modelcontextprotocol/client"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Shape } from "../../McpConnection.ts"

const none: ReadonlyArray<Tool> = []

/** The last known tools, also of a server that is down; those of one that has not said, within `within` and once in each session. */
export const make = (within: Duration.Duration): ((connection: Shape) => Effect.Effect<ReadonlyArray<Tool>>) => {
  const asking = new WeakMap<Shape, Fiber.Fiber<unknown>>()
  /** In which session each was waited for in vain; 0 is none. */
  const inVain = new WeakMap<Shape, number>()

  /** Outlives the turn, so that who lists slowly, or comes up later, has tools in a later turn. It ends with the connection at last. */
  const ask = Effect.fnUntraced(function* (connection: Shape) {
    const running = asking.get(connection)
    if (running !== undefined && running.pollUnsafe() === undefined) return running
    const started = yield* Effect.forkDetach(list(connection), { startImmediately: true })
    asking.set(connection, started)
    return started
  })

  return Effect.fnUntraced(function* (connection) {
    const known = yield* itemsOf(connection)
    if (known !== undefined) return known
    const answer = yield* ask(connection)
    const waited = inVain.get(connection)
    if (waited !== undefined && (yield* sessionOf(connection)) <= waited) return (yield* itemsOf(connection)) ?? none
    yield* Effect.timeoutOption(Fiber.await(answer), within)
    const items = yield* itemsOf(connection)
    if (items === undefined) inVain.set(connection, Math.max(waited ?? 0, yield* sessionOf(connection)))
    return items ?? none
  })
}

/** That a server is out of reach, its connection says; of one that does not list its tools nobody else would hear. */
const list = (connection: Shape): Effect.Effect<void> =>
  Effect.matchEffect(connection.listTools(), {
    onSuccess: () => Effect.void,
    onFailure: (error) =>
      error._tag === "ConnectionUnavailable" || error._tag === "ConnectionClosed"
        ? Effect.void
        : Effect.logWarning("mcp tools could not be listed for an agent", {
            server: error.server,
            error: error.message
          })
  })

/** As the catalog has them: the same list is the same array. */
const itemsOf = (connection: Shape): Effect.Effect<ReadonlyArray<Tool> | undefined> =>
  Effect.map(connection.catalog, ({ tools }) => tools?.items)

const sessionOf = (connection: Shape): Effect.Effect<number> =>
  Effect.map(connection.state, (state) => (state._tag === "Ready" ? state.generation : 0))
