/** What a parser makes of a file: plain data, and where in the file it stood. */
import type { Issue } from "./errors.ts"

export type Keys = ReadonlyArray<string | number>

export interface Position {
  /** Counted from 1. */
  readonly line: number
  readonly column: number
}

export interface Document {
  readonly root: unknown
  /** Where a value stands; `undefined` where the parser does not know. */
  readonly locate: (keys: Keys) => Position | undefined
  /** Keys that an object has twice; the last one counts. */
  readonly twice: ReadonlyArray<Keys>
}

export type Parsed =
  | { readonly _tag: "Document"; readonly document: Document }
  | { readonly _tag: "Unreadable"; readonly issue: Issue }

/** `mcpServers.github.args[1]`, and `mcpServers["my server"]` where a key is no word. */
export const format = (keys: Keys): string =>
  keys.slice(0, tellable(keys)).reduce<string>((path, key) => {
    if (typeof key === "number") return `${path}[${key}]`
    if (!/^[\w$][\w$-]*$/.test(key)) return `${path}[${JSON.stringify(key)}]`
    return path === "" ? key : `${path}.${key}`
  }, "")

/** Objects by the names of headers or variables. Whoever writes `"KEY=value": ""` has the secret in the name, so it is left out of paths. */
const named: ReadonlySet<string | number> = new Set(["env", "headers", "http_headers", "env_http_headers"])

const tellable = (keys: Keys): number | undefined => {
  const end = keys.findIndex((key, index) => {
    const parent = keys[index - 1]
    return parent !== undefined && named.has(parent) && !/^[!#$%&'*+.^_`|~\w-]*$/.test(String(key))
  })
  return end === -1 ? undefined : end
}

export const isRecord = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === "object" && u !== null && !Array.isArray(u) && !(u instanceof Date)

/** What is safe to say of any value. */
export const typeOf = (value: unknown): string => {
  if (value === undefined) return "nothing"
  if (value === null) return "null"
  if (Array.isArray(value)) return "an array"
  if (value instanceof Date) return "a date"
  return typeof value === "object" ? "an object" : `a ${typeof value}`
}
