/** From one entry of a file to a server: checked, expanded, with its secrets put away. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Note, ServerConfig, Transport } from "../../McpConfig.ts"
import { issuesOf } from "../options.ts"
import { isRecord, type Keys, typeOf } from "./document.ts"
import * as Entry from "./entry.ts"
import type { Issue } from "./errors.ts"
import { stdioOf } from "./program.ts"
import { httpOf, urlKeys } from "./remote.ts"
import { type Context, type Report, report } from "./report.ts"
import { closest } from "./suggestion.ts"
import { requestTimeoutOf, startupTimeoutOf } from "./timeouts.ts"

/** What was made of an entry. There are issues where there is no server. */
export interface Outcome {
  readonly server: ServerConfig | undefined
  readonly disabled: boolean
  readonly issues: ReadonlyArray<Issue>
  readonly notes: ReadonlyArray<Note>
}

export const read = Effect.fnUntraced(function* (
  name: string,
  raw: unknown,
  root: Keys,
  context: Context
): Effect.fn.Return<Outcome> {
  const log = report(context.document, root)
  const end = (server?: ServerConfig): Outcome => ({
    server: log.issues.length === 0 ? server : undefined,
    disabled: server?.disabled ?? isDisabled(raw),
    issues: log.issues,
    notes: log.notes
  })
  if (!names.test(name))
    log.issue([], {
      expected: "a server with a name of 1 to 128 characters, without control characters",
      actual: name === "" ? "one without a name" : "one with another name"
    })
  if (!isRecord(raw)) {
    log.issue([], { expected: "an object with a command or a url", actual: typeOf(raw) })
    return end()
  }
  const suggestions = unknownKeys(raw, log)
  const entry = decode(raw, log)
  if (entry === undefined) return end()
  const transport = yield* transportOf(entry, suggestions, log, context)
  if (transport === undefined) return end()
  return end({
    name,
    transport,
    disabled: isDisabled(entry),
    required: entry.required ?? false,
    startupTimeout: startupTimeoutOf(entry),
    requestTimeout: requestTimeoutOf(entry, log, context.client),
    enabledTools: entry.enabled_tools ?? entry.includeTools?.map(withoutArguments) ?? onlyTools(raw),
    disabledTools: entry.disabled_tools ?? entry.excludeTools ?? entry.disabledTools,
    rest: Redacted.make(Object.fromEntries(Object.entries(raw).filter(([key]) => !Entry.isKnown(key))), {
      label: "what other clients know"
    })
  })
})

/** What a fleet takes: one name that it does not take would keep it from all of its servers. */
const names = /^\P{Cc}{1,128}$/u

/** Gemini CLI takes `tool(arguments)` for the tool. No name of a tool has parentheses. */
const withoutArguments = (tool: string): string => tool.replace(/\(.*$/s, "")

/** `tools` of Copilot: a list of names, or `*` for all. Codex has a table of approvals by that name. */
const onlyTools = ({ tools }: Readonly<Record<string, unknown>>): ReadonlyArray<string> | undefined =>
  isNames(tools) && !tools.includes("*") ? tools : undefined

const isNames = (value: unknown): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.every((name) => typeof name === "string")

/** A server is used unless one of the two says that it is not. */
const isDisabled = (raw: unknown): boolean => isRecord(raw) && (raw["disabled"] === true || raw["enabled"] === false)

/** Notes them, and answers what was probably meant. */
const unknownKeys = (raw: Readonly<Record<string, unknown>>, log: Report): ReadonlyArray<readonly [string, string]> =>
  Object.keys(raw).flatMap((key) => {
    if (key === "tools" && isNames(raw[key])) return []
    const instead = Object.hasOwn(Entry.notApplied, key) ? Entry.notApplied[key] : undefined
    if (instead !== undefined) log.note([key], "NotApplied", instead)
    if (instead !== undefined || Entry.isKnown(key) || Entry.foreign.has(key)) return []
    const meant = closest(key, Entry.known)
    log.note([key], "UnknownKey", `there is no such key${meant === undefined ? "" : `: did you mean ${meant}?`}`)
    return meant === undefined ? [] : [[key, meant] as const]
  })

const decode = (raw: Readonly<Record<string, unknown>>, log: Report): Entry.Entry | undefined => {
  // Whoever writes `null` has nothing to say.
  const given = Object.fromEntries(Object.entries(raw).filter(([key, value]) => Entry.isKnown(key) && value !== null))
  const decoded = Schema.decodeUnknownResult(Entry.Entry, { errors: "all" })(given)
  if (Result.isSuccess(decoded)) return decoded.success
  for (const { expected, keys } of issuesOf(decoded.failure.issue)) {
    const path = keys.map((key) => (typeof key === "number" ? key : String(key)))
    log.issue(path, { expected, actual: shown(String(keys[0]), valueAt(given, path)) })
  }
  return undefined
}

const valueAt = (raw: unknown, keys: Keys): unknown =>
  keys.reduce<unknown>(
    (value, key) => (Array.isArray(value) || isRecord(value) ? Reflect.get(value, key) : undefined),
    raw
  )

const shown = (key: string, value: unknown): string => {
  if (typeof value === "string") {
    if (value === "") return "an empty string"
    return Entry.shown.has(key) ? JSON.stringify(value.slice(0, 40)) : "a string"
  }
  const bare = typeof value === "number" || typeof value === "boolean"
  return bare && (Entry.shown.has(key) || Entry.shownUnlessText.has(key)) ? String(value) : typeOf(value)
}

const transportOf = Effect.fnUntraced(function* (
  entry: Entry.Entry,
  suggestions: ReadonlyArray<readonly [string, string]>,
  log: Report,
  context: Context
): Effect.fn.Return<Transport | undefined> {
  const type = entry.type ?? entry.transport ?? entry.transportType
  const kind = type === undefined ? undefined : Entry.kindOf(type)
  const urls = urlKeys.filter((key) => entry[key] !== undefined)
  const [urlKey = "url"] = urls
  if (kind === undefined && (entry.command === undefined) === (urls.length === 0)) {
    const meant = suggestions.find(([, meant]) => meant === "command" || urlKeys.some((key) => key === meant))
    log.issue([], {
      expected: "a command (of a program to start) or a url (of a server to reach)",
      actual:
        entry.command !== undefined
          ? "both"
          : `neither${meant === undefined ? "" : `: did you mean ${meant[1]} by ${meant[0]}?`}`
    })
    return undefined
  }
  const stdio = kind === "stdio" || (kind === undefined && entry.command !== undefined)
  const foreign = stdio ? [...urls, ...present(entry, httpKeys)] : [...urls.slice(1), ...present(entry, stdioKeys)]
  for (const key of foreign)
    log.note([key], "NotApplied", `a server that is ${stdio ? "started" : "reached by its url"} does not use it`)
  return stdio ? yield* stdioOf(entry, log, context) : yield* httpOf(entry, kind, urlKey, log, context)
})

const httpKeys = ["headers", "http_headers", "env_http_headers", "bearer_token_env_var"] as const
const stdioKeys = ["command", "args", "env", "env_vars", "cwd"] as const

const present = (entry: Entry.Entry, keys: ReadonlyArray<keyof Entry.Entry>) =>
  keys.filter((key) => entry[key] !== undefined)
