/** What one session has told about its tools. */
import type { ListToolsResult, ToolAnnotations } from "@modelcontextprotocol/client"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { SessionFailure } from "../../McpSession.ts"

export interface ToolCatalog {
  /** Takes note of an answer to `tools/list`. */
  readonly remember: (result: unknown) => void
  /** The tool's annotations as last listed; `None` when nothing was listed yet. */
  readonly annotations: (tool: string) => Option.Option<ToolAnnotations | undefined>
  /**
   * The tool's annotations, listing the tools with `list` if that was not done yet: once, however many ask at a time, and
   * whoever of them leaves meanwhile. `list` ends with the session.
   */
  readonly ask: (
    tool: string,
    list: Effect.Effect<ListToolsResult, SessionFailure>
  ) => Effect.Effect<ToolAnnotations | undefined, SessionFailure>
}

export const make = (): ToolCatalog => {
  let known: ReadonlyMap<string, ToolAnnotations | undefined> | undefined = undefined
  let listing: Deferred.Deferred<ListToolsResult, SessionFailure> | undefined = undefined

  const remember: ToolCatalog["remember"] = (result) => {
    if (isToolList(result)) known = new Map(result.tools.map((tool) => [tool.name, tool.annotations]))
  }

  const listOnce = (
    list: Effect.Effect<ListToolsResult, SessionFailure>
  ): Effect.Effect<ListToolsResult, SessionFailure> =>
    Effect.suspend(() => {
      if (listing !== undefined) return Deferred.await(listing)
      const mine = Deferred.makeUnsafe<ListToolsResult, SessionFailure>()
      listing = mine
      return list.pipe(
        Effect.tap((result) => Effect.sync(() => remember(result))),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            listing = undefined
            Deferred.doneUnsafe(mine, exit)
          })
        ),
        Effect.forkDetach({ startImmediately: true }),
        Effect.andThen(Deferred.await(mine))
      )
    })

  return {
    remember,
    annotations: (tool) => (known === undefined ? Option.none() : Option.some(known.get(tool))),
    ask: (tool, list) =>
      Effect.suspend(() =>
        known === undefined
          ? Effect.map(listOnce(list), ({ tools }) => tools.find(({ name }) => name === tool)?.annotations)
          : Effect.succeed(known.get(tool))
      )
  }
}

const isToolList = (result: unknown): result is ListToolsResult =>
  Predicate.hasProperty(result, "tools") && Array.isArray(result.tools)
