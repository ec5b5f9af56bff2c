/** What one session has told about its tools. */
import type { ListToolsResult, ToolAnnotations } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"

export interface ToolCatalog {
  readonly remember: (result: ListToolsResult) => void
  /** The tool's annotations as last listed; `None` when nothing was listed yet. */
  readonly annotations: (tool: string) => Option.Option<ToolAnnotations | undefined>
  /** The tool's annotations, listing the tools with `list` if that was not done yet: once, however many ask. */
  readonly ask: <E>(
    tool: string,
    list: Effect.Effect<ListToolsResult, E>
  ) => Effect.Effect<ToolAnnotations | undefined, E>
}

export const make = (): ToolCatalog => {
  const listing = Semaphore.makeUnsafe(1)
  let known: ReadonlyMap<string, ToolAnnotations | undefined> | undefined = undefined

  const catalog: ToolCatalog = {
    remember: ({ tools }) => {
      known = new Map(tools.map((tool) => [tool.name, tool.annotations]))
    },
    annotations: (tool) => (known === undefined ? Option.none() : Option.some(known.get(tool))),
    ask: (tool, list) =>
      Effect.suspend(() =>
        Option.match(catalog.annotations(tool), {
          onSome: Effect.succeed,
          onNone: () =>
            Effect.map(list, (result) => {
              catalog.remember(result)
              return known?.get(tool)
            })
        })
      ).pipe(listing.withPermits(1))
  }
  return catalog
}
