/** What one session has told about its tools. */
import type { ListToolsResult, ToolAnnotations } from "@modelcontextprotocol/client"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { SessionFailure } from "../../McpSession.ts"

export interface ToolCatalog {
  /** Changes when the server says that its tools have changed. */
  readonly epoch: () => number
  /** Takes note of an answer to `tools/list` that was asked in `epoch`; one that was overtaken is no promise. */
  readonly remember: (result: unknown, epoch: number) => void
  /** The server says that its tools have changed: what is known of them is no promise any more. */
  readonly forget: () => void
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
  let epoch = 0
  let listing: Deferred.Deferred<ListToolsResult, SessionFailure> | undefined = undefined

  const remember: ToolCatalog["remember"] = (result, asked) => {
    if (asked === epoch && isToolList(result))
      known = new Map(result.tools.map((tool) => [tool.name, tool.annotations]))
  }

  const listOnce = (
    list: Effect.Effect<ListToolsResult, SessionFailure>
  ): Effect.Effect<ListToolsResult, SessionFailure> =>
    Effect.suspend(() => {
      if (listing !== undefined) return Deferred.await(listing)
      const asked = epoch
      const mine = Deferred.makeUnsafe<ListToolsResult, SessionFailure>()
      listing = mine
      return list.pipe(
        Effect.tap((result) => Effect.sync(() => remember(result, asked))),
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
    epoch: () => epoch,
    forget: () => {
      epoch += 1
      known = undefined
    },
    annotations: (tool) => (known === undefined ? Option.none() : Option.some(known.get(tool))),
    ask: (tool, list) => {
      const again = (left: number): Effect.Effect<ToolAnnotations | undefined, SessionFailure> =>
        Effect.suspend(() => {
          if (known !== undefined) return Effect.succeed(known.get(tool))
          // No promise, then: a server that changes its tools all the time has none to give.
          if (left === 0) return Effect.succeed(undefined)
          return Effect.flatMap(listOnce(list), () => again(left - 1))
        })
      return again(maxListings)
    }
  }
}

/** Servers that register their tools after the handshake announce it while the tools are being listed. */
const maxListings = 3

const isToolList = (result: unknown): result is ListToolsResult =>
  Predicate.hasProperty(result, "tools") && Array.isArray(result.tools)
