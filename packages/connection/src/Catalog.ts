/**
 * The last known lists of a server, and what changed between two of them.
 *
 * @since 0.1.0
 */
import type { Prompt, Resource, ResourceTemplateType, Tool } from "@modelcontextprotocol/client"
import * as Equal from "effect/Equal"

/**
 * What an entry of each list is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entries {
  readonly tools: Tool
  readonly prompts: Prompt
  readonly resources: Resource
  readonly resourceTemplates: ResourceTemplateType
}

/**
 * The lists of a server.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = keyof Entries

/**
 * All of {@link Kind}.
 *
 * @category constants
 * @since 0.1.0
 */
export const kinds: ReadonlyArray<Kind> = ["tools", "prompts", "resources", "resourceTemplates"]

/**
 * One list as it was last seen. `stale`: it was seen in an earlier session, or the server has said since that it changed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listing<K extends Kind> {
  readonly items: ReadonlyArray<Entries[K]>
  /** The session it was seen in. */
  readonly generation: number
  readonly stale: boolean
}

/**
 * The last known lists; a list that was never asked for is absent.
 *
 * @category models
 * @since 0.1.0
 */
export type Catalog = { readonly [K in Kind]?: Listing<K> }

/**
 * What changed in one list, by the names (of resources: URIs) of its entries.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change {
  readonly added: ReadonlyArray<string>
  readonly removed: ReadonlyArray<string>
  /** Entries whose input or output schema, or arguments, changed. */
  readonly schemaChanged: ReadonlyArray<string>
  /** Tools whose annotations changed: what may be sent again is decided by these. */
  readonly annotationsChanged: ReadonlyArray<string>
}

/**
 * What changed, by list; a list that did not change is absent.
 *
 * @category models
 * @since 0.1.0
 */
export type Changes = { readonly [K in Kind]?: Change }

/**
 * What identifies an entry of a list.
 *
 * @category getters
 * @since 0.1.0
 */
export const keyOf = (entry: Entries[Kind]): string =>
  "uri" in entry ? entry.uri : "uriTemplate" in entry ? entry.uriTemplate : entry.name

/**
 * What changed from one list to the next; `undefined` when nothing did.
 *
 * @example
 * ```ts
 * import { Catalog } from "@mcp-tether/connection"
 *
 * const schema = { type: "object" } as const
 * const before = [{ name: "read", inputSchema: schema, annotations: { readOnlyHint: true } }]
 * const after = [{ name: "read", inputSchema: schema }, { name: "write", inputSchema: schema }]
 *
 * Catalog.diff(before, after)?.added // => ["write"]
 * Catalog.diff(before, after)?.annotationsChanged // => ["read"]
 * Catalog.diff(before, before) // => undefined
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const diff = (before: ReadonlyArray<Entries[Kind]>, after: ReadonlyArray<Entries[Kind]>): Change | undefined => {
  const old = new Map(before.map((entry) => [keyOf(entry), entry]))
  const current = new Map(after.map((entry) => [keyOf(entry), entry]))
  const differing = (part: (entry: Entries[Kind]) => unknown): ReadonlyArray<string> =>
    [...current].flatMap(([key, entry]) => {
      const was = old.get(key)
      return was === undefined || Equal.equals(part(was), part(entry)) ? [] : [key]
    })
  const change: Change = {
    added: [...current.keys()].filter((key) => !old.has(key)),
    removed: [...old.keys()].filter((key) => !current.has(key)),
    schemaChanged: differing(schemaOf),
    annotationsChanged: differing((entry) => ("inputSchema" in entry ? entry.annotations : undefined))
  }
  return Object.values(change).some((names: ReadonlyArray<string>) => names.length > 0) ? change : undefined
}

const schemaOf = (entry: Entries[Kind]): unknown =>
  "inputSchema" in entry
    ? [entry.inputSchema, entry.outputSchema]
    : "arguments" in entry
      ? entry.arguments
      : "mimeType" in entry
        ? entry.mimeType
        : undefined
