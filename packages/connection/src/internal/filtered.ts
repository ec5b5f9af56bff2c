/** A connection that offers some of its server's tools. */
import type { Tool } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import type { Catalog, Change, Changes } from "../Catalog.ts"
import type { ConnectionEvent } from "../ConnectionEvent.ts"
import type { Shape } from "../McpConnection.ts"
import { InvalidRequest } from "../RequestError.ts"
import * as ToolFilter from "../ToolFilter.ts"
import { toolOf } from "./tool.ts"

export interface Filtered {
  readonly connection: Shape
  /** Looks whether the filter names tools that the server, as last listed, does not have. */
  readonly look: Effect.Effect<void>
}

/**
 * `filter` is asked at each call: it may be another one by then. `told` hears of names that are no tools of the server, once until they are
 * others.
 */
export const make = (
  connection: Shape,
  filter: () => ToolFilter.ToolFilter | undefined,
  told: (unknown: ReadonlyArray<string>) => Effect.Effect<void>
): Filtered => {
  const keptOf = new WeakMap<ReadonlyArray<Tool>, { readonly by: unknown; readonly tools: ReadonlyArray<Tool> }>()
  let lastTold = ""

  /** The same list of the same list: whoever makes something of it need not make it again. */
  const kept = (tools: ReadonlyArray<Tool>): ReadonlyArray<Tool> => {
    const by = filter()
    if (by === undefined) return tools
    const known = keptOf.get(tools)
    if (known?.by === by) return known.tools
    const made = { by, tools: tools.filter(({ name }) => ToolFilter.refusal(by, name) === undefined) }
    keptOf.set(tools, made)
    return made.tools
  }

  const check = (tools: ReadonlyArray<Tool>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const unknown = ToolFilter.unknown(
        filter(),
        tools.map(({ name }) => name)
      )
      const text = JSON.stringify(unknown)
      if (text === lastTold) return Effect.void
      lastTold = text
      return unknown.length === 0 ? Effect.void : told(unknown)
    })

  const refused = (method: string, params: unknown): InvalidRequest | undefined => {
    const tool = toolOf(method, params)
    const description = tool === undefined ? undefined : ToolFilter.refusal(filter(), tool)
    return description === undefined
      ? undefined
      : new InvalidRequest({ server: connection.name, method, tool, description })
  }

  const catalogOf = (catalog: Catalog): Catalog =>
    catalog.tools === undefined
      ? catalog
      : { ...catalog, tools: { ...catalog.tools, items: kept(catalog.tools.items) } }

  const eventOf = (event: ConnectionEvent): ConnectionEvent | undefined => {
    const by = filter()
    if (by === undefined || event._tag !== "CatalogChanged") return event
    const changes = changesOf(event.changes, (tool) => ToolFilter.refusal(by, tool) === undefined)
    return Object.keys(changes).length === 0 ? undefined : { ...event, changes }
  }

  return {
    look: Effect.flatMap(connection.catalog, ({ tools }) => (tools === undefined ? Effect.void : check(tools.items))),
    connection: {
      ...connection,
      toolFilter: Effect.sync(filter),
      callTool: (params, options) =>
        Effect.suspend(() => refused("tools/call", params) ?? connection.callTool(params, options)),
      callToolStream: (params, options) =>
        Stream.suspend(() => {
          const error = refused("tools/call", params)
          return error === undefined ? connection.callToolStream(params, options) : Stream.fail(error)
        }),
      listTools: (options) => Effect.map(Effect.tap(connection.listTools(options), check), kept),
      request: (method, ...args) =>
        Effect.suspend(() => refused(method, args[0]) ?? connection.request(method, ...args)).pipe(
          Effect.map((result) => (method === "tools/list" ? listed(result, kept) : result))
        ),
      catalog: Effect.map(connection.catalog, catalogOf),
      events: Stream.filter(Stream.map(connection.events, eventOf), Predicate.isNotUndefined)
    }
  }
}

export const warn = (server: string, tools: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.logWarning("mcp tools are turned on or off that the server does not have", { server, tools })

const listed = <A>(result: A, kept: (tools: ReadonlyArray<Tool>) => ReadonlyArray<Tool>): A =>
  hasTools(result) ? { ...result, tools: kept(result.tools) } : result

const hasTools = <A>(result: A): result is A & { readonly tools: ReadonlyArray<Tool> } =>
  Predicate.hasProperty(result, "tools") && Array.isArray(result.tools)

const changesOf = (changes: Changes, isOffered: (tool: string) => boolean): Changes => {
  const { tools, ...others } = changes
  if (tools === undefined) return changes
  const left: Change = {
    added: tools.added.filter(isOffered),
    removed: tools.removed.filter(isOffered),
    schemaChanged: tools.schemaChanged.filter(isOffered),
    annotationsChanged: tools.annotationsChanged.filter(isOffered)
  }
  return Object.values(left).every((names: ReadonlyArray<string>) => names.length === 0)
    ? others
    : { ...others, tools: left }
}
