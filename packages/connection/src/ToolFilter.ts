/**
 * Which of a server's tools are offered.
 *
 * Clients have it in their files (`enabled_tools` and `disabled_tools` of Codex, `includeTools` and `excludeTools` of Gemini CLI,
 * `disabledTools`), and `McpConfig` reads it from there. A tool that is left out is in no list of its connection, and is not called: neither
 * by an agent nor by name.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The tools that are offered, by their names at the server.
 *
 * @category models
 * @since 0.1.0
 */
export const ToolFilter = Schema.Struct({
  /** The only tools that are offered. Default: all. */
  only: Schema.optional(Schema.Array(Schema.String)),
  /** Tools that are not offered, also where `only` has them. Default: none. */
  except: Schema.optional(Schema.Array(Schema.String))
})

/**
 * The tools that are offered, by their names at the server.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolFilter extends Schema.Schema.Type<typeof ToolFilter> {}

/**
 * Why a tool is not offered; `undefined` when it is.
 *
 * @example
 * ```ts
 * import { ToolFilter } from "@mcp-tether/connection"
 *
 * const filter = { only: ["read", "write"], except: ["write"] }
 * ToolFilter.refusal(filter, "read") // => undefined
 * ToolFilter.refusal(filter, "write") // => "it is turned off (tools.except; disabled_tools or excludeTools in a file)"
 * ToolFilter.refusal(filter, "list") // => "it is not one of those that are turned on (tools.only; enabled_tools or includeTools in a file)"
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const refusal = (filter: ToolFilter | undefined, tool: string): string | undefined => {
  if (filter?.except?.includes(tool) === true)
    return "it is turned off (tools.except; disabled_tools or excludeTools in a file)"
  return filter?.only?.includes(tool) === false
    ? "it is not one of those that are turned on (tools.only; enabled_tools or includeTools in a file)"
    : undefined
}

/**
 * The names in a filter that are none of the tools: of what was misspelt, or is gone. One in `except` is worth a look, since the tool that
 * was meant is offered.
 *
 * @example
 * ```ts
 * import { ToolFilter } from "@mcp-tether/connection"
 *
 * ToolFilter.unknown({ only: ["read"], except: ["wirte"] }, ["read", "write"]) // => ["wirte"]
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const unknown = (filter: ToolFilter | undefined, tools: ReadonlyArray<string>): ReadonlyArray<string> => {
  const known = new Set(tools)
  return [...new Set([...(filter?.only ?? []), ...(filter?.except ?? [])])].filter((name) => !known.has(name))
}
