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

export class Catalogs {
  #catalog: Catalog.Catalog = {}

  get current(): Catalog.Catalog {
    return this.#catalog
  }

  /** The kinds that were ever listed. */
  listed(): ReadonlyArray<Catalog.Kind> {
    return kinds.filter((kind) => this.#catalog[kind] !== undefined)
  }

  /** Takes note of answers of the session that serves, and tells what they change. The first list of a kind changes nothing. */
  note(readings: ReadonlyArray<Reading>, generation: number): Catalog.Changes {
    return readings.reduce<Catalog.Changes>(
      (changes, { kind, overtaken, result }) =>
        isList(kind, result) ? { ...changes, ...this.#noteOne(kind, result[kind], generation, overtaken()) } : changes,
      {}
    )
  }

  markStale(stale: ReadonlyArray<Catalog.Kind>): void {
    for (const kind of stale) {
      const listing = this.#catalog[kind]
      if (listing !== undefined) this.#catalog = { ...this.#catalog, [kind]: { ...listing, stale: true } }
    }
  }

  #noteOne<K extends Catalog.Kind>(
    kind: K,
    items: ReadonlyArray<Catalog.Entries[K]>,
    generation: number,
    stale: boolean
  ): Catalog.Changes {
    const before = this.#catalog[kind]
    // It was read again since: what comes late knows less.
    if (stale && before?.stale === false && before.generation === generation) return {}
    this.#catalog = { ...this.#catalog, [kind]: { items, generation, stale } }
    const change = before === undefined ? undefined : diff(before.items, items)
    return change === undefined ? {} : { [kind]: change }
  }
}

const isList = <K extends Catalog.Kind>(
  kind: K,
  result: unknown
): result is { readonly [P in K]: ReadonlyArray<Catalog.Entries[P]> } =>
  Predicate.hasProperty(result, kind) && Array.isArray(result[kind])
