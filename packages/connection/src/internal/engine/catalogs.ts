/** The last known lists of a connection, over all of its sessions. */
import * as Predicate from "effect/Predicate"
import type * as Catalog from "../../Catalog.ts"
import { diff, kinds } from "../../Catalog.ts"

export { kinds }

/** The request that lists all of a kind. */
export const methods = {
  tools: "tools/list",
  prompts: "prompts/list",
  resources: "resources/list",
  resourceTemplates: "resources/templates/list"
} as const satisfies Record<Catalog.Kind, string>

/** What a request lists, if it lists all of a kind. */
export const kindOf = (method: string, params: unknown): Catalog.Kind | undefined =>
  params === undefined ? kinds.find((kind) => methods[kind] === method) : undefined

/** What a notification of the server says has changed. */
export const changedKinds = (method: string): ReadonlyArray<Catalog.Kind> => {
  switch (method) {
    case "notifications/tools/list_changed":
      return ["tools"]
    case "notifications/prompts/list_changed":
      return ["prompts"]
    case "notifications/resources/list_changed":
      return ["resources", "resourceTemplates"]
    default:
      return []
  }
}

/** An answer to a list. `overtaken`: the server has said since that it changed. */
export interface Reading {
  readonly kind: Catalog.Kind
  readonly result: unknown
  readonly overtaken: () => boolean
}

/** How often a session has said that a list of it changed. */
export type Versions = Record<Catalog.Kind, number>

export const noVersions = (): Versions => ({ tools: 0, prompts: 0, resources: 0, resourceTemplates: 0 })

/** An answer that is asked for now. */
export const reading = (versions: Versions, kind: Catalog.Kind): ((result: unknown) => Reading) => {
  const asked = versions[kind]
  return (result) => ({ kind, result, overtaken: () => versions[kind] !== asked })
}

export interface Catalogs {
  readonly current: () => Catalog.Catalog
  /** The kinds that were ever listed. */
  readonly listed: () => ReadonlyArray<Catalog.Kind>
  /** Takes note of answers of the session that serves, and tells what they change. The first list of a kind changes nothing. */
  readonly note: (readings: ReadonlyArray<Reading>, generation: number) => Catalog.Changes
  readonly markStale: (kinds: ReadonlyArray<Catalog.Kind>) => void
}

export const make = (): Catalogs => {
  let catalog: Catalog.Catalog = {}

  const noteOne = <K extends Catalog.Kind>(
    kind: K,
    items: ReadonlyArray<Catalog.Entries[K]>,
    generation: number,
    stale: boolean
  ): Catalog.Changes => {
    const before = catalog[kind]
    // It was read again since: what comes late knows less.
    if (stale && before?.stale === false && before.generation === generation) return {}
    catalog = { ...catalog, [kind]: { items, generation, stale } }
    const change = before === undefined ? undefined : diff(before.items, items)
    return change === undefined ? {} : { [kind]: change }
  }

  return {
    current: () => catalog,
    listed: () => kinds.filter((kind) => catalog[kind] !== undefined),
    note: (readings, generation) =>
      readings.reduce<Catalog.Changes>(
        (changes, { kind, overtaken, result }) =>
          isList(kind, result) ? { ...changes, ...noteOne(kind, result[kind], generation, overtaken()) } : changes,
        {}
      ),
    markStale: (stale) => {
      for (const kind of stale) {
        const listing = catalog[kind]
        if (listing !== undefined) catalog = { ...catalog, [kind]: { ...listing, stale: true } }
      }
    }
  }
}

const isList = <K extends Catalog.Kind>(
  kind: K,
  result: unknown
): result is { readonly [P in K]: ReadonlyArray<Catalog.Entries[P]> } =>
  Predicate.hasProperty(result, kind) && Array.isArray(result[kind])
