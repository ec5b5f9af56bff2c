/** From one entry of a file to a server: checked, expanded, with its secrets put away. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Client, Format, Note, ServerConfig, Transport } from "../../McpConfig.ts"
import { issuesOf } from "../options.ts"
import { type Document, format, isRecord, type Keys, typeOf } from "./document.ts"
import * as Entry from "./entry.ts"
import type { Issue } from "./errors.ts"
import * as Expansion from "./expansion.ts"
import { closest } from "./suggestion.ts"

export interface Context {
  readonly document: Document
  readonly format: Format
  readonly client: Client | undefined
  readonly scope: Expansion.Scope
}

/** What was made of an entry. There are issues where there is no server. */
export interface Outcome {
  readonly server: ServerConfig | undefined
  readonly disabled: boolean
  readonly issues: ReadonlyArray<Issue>
  readonly notes: ReadonlyArray<Note>
}

/** Takes down what is to be said of an entry, with the place where it stands. */
const report = (document: Document, root: Keys) => {
  const issues: Array<Issue> = []
  const notes: Array<Note> = []
  const at = (keys: Keys) => {
    const path = [...root, ...keys]
    return { path: format(path), ...document.locate(path) }
  }
  return {
    issues,
    notes,
    issue: (keys: Keys, issue: { readonly expected: string; readonly actual: string; readonly variable?: string }) => {
      issues.push({ ...at(keys), ...issue })
    },
    note: (keys: Keys, kind: Note["kind"], message: string) => {
      notes.push({ kind, ...at(keys), message })
    }
  }
}

type Report = ReturnType<typeof report>

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
    enabledTools: entry.enabled_tools ?? entry.includeTools,
    disabledTools: entry.disabled_tools ?? entry.excludeTools ?? entry.disabledTools,
    rest: Redacted.make(Object.fromEntries(Object.entries(raw).filter(([key]) => !Entry.isKnown(key))), {
      label: "what other clients know"
    })
  })
})

/** A server is used unless one of the two says that it is not. */
const isDisabled = (raw: unknown): boolean => isRecord(raw) && (raw["disabled"] === true || raw["enabled"] === false)

/** Notes them, and answers what was probably meant. */
const unknownKeys = (raw: Readonly<Record<string, unknown>>, log: Report): ReadonlyArray<readonly [string, string]> =>
  Object.keys(raw).flatMap((key) => {
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

const urlKeys = ["httpUrl", "serverUrl", "url"] as const
type UrlKey = (typeof urlKeys)[number]

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

const stdioOf = Effect.fnUntraced(function* (
  entry: Entry.Entry,
  log: Report,
  { scope }: Context
): Effect.fn.Return<Transport | undefined> {
  if (entry.command === undefined) {
    log.issue(["command"], { expected: "a string (the program to start)", actual: "nothing" })
    return undefined
  }
  // A program in a folder may have spaces in its name; the first word of a command line mostly has no folder.
  if (entry.args === undefined && /^[^\s/\\]+\s/.test(entry.command))
    log.note(["command"], "Suspicious", "it is started without a shell: arguments belong into args")
  const command = yield* expanded(entry.command, ["command"], log, scope)
  const args = yield* Effect.forEach(entry.args ?? [], (arg, index) => expanded(arg, ["args", index], log, scope))
  const cwd = entry.cwd === undefined ? undefined : yield* expanded(entry.cwd, ["cwd"], log, scope)
  const forwarded = yield* Effect.forEach(entry.env_vars ?? [], (variable) => forward(variable, scope))
  const env = yield* secrets(entry.env ?? {}, "env", log, scope)
  return {
    _tag: "stdio",
    command: fromHome(command, scope.home),
    args: args.map(guarded),
    env: { ...Object.fromEntries(forwarded.flat()), ...env },
    cwd: cwd === undefined ? undefined : fromHome(cwd, scope.home)
  }
})

/** A variable that is passed on is no placeholder: where it is not set, there is nothing to pass on. */
const forward = (
  variable: string | { readonly name: string },
  scope: Expansion.Scope
): Effect.Effect<ReadonlyArray<readonly [string, Redacted.Redacted<string>]>> => {
  const name = typeof variable === "string" ? variable : variable.name
  return scope.variable(name).pipe(
    Effect.map((value) => (value === undefined ? [] : [[name, Redacted.make(value)] as const])),
    Effect.orElseSucceed(() => [])
  )
}

interface Expanded {
  readonly text: string
  readonly secret: boolean
}

/** What comes from the environment is secret; what is written in the file, outside of `env` and headers, is not. */
const guarded = ({ secret, text }: Expanded): string | Redacted.Redacted<string> =>
  secret ? Redacted.make(text) : text

const fromHome = (expanded: Expanded, home: string | undefined): string | Redacted.Redacted<string> =>
  home !== undefined && /^~(?=$|[\\/])/.test(expanded.text)
    ? guarded({ ...expanded, text: home + expanded.text.slice(1) })
    : guarded(expanded)

const expanded = Effect.fnUntraced(function* (
  value: string | number | boolean,
  keys: Keys,
  log: Report,
  scope: Expansion.Scope
): Effect.fn.Return<Expanded> {
  if (typeof value !== "string") log.note(keys, "Converted", `a ${typeof value}, which is passed as a text`)
  const text = String(value)
  const expansion = yield* Expansion.expand(text, scope)
  for (const unresolved of expansion.unresolved) log.issue(keys, unresolved)
  // What it holds is not said: it may be a secret that only looks like this.
  if (expansion.odd) log.note(keys, "Suspicious", "there is something in ${…} that is no variable, and stays as it is")
  if (!scope.bare && /^\$[A-Za-z_]\w*$/.test(text))
    log.note(keys, "Suspicious", "it is passed as it is: a variable is written ${NAME}, with braces")
  return expansion
})

const secrets = Effect.fnUntraced(function* (
  values: Readonly<Record<string, string | number | boolean | null>>,
  key: string,
  log: Report,
  scope: Expansion.Scope
): Effect.fn.Return<Readonly<Record<string, Redacted.Redacted<string>>>> {
  const entries = yield* Effect.forEach(Object.entries(values), ([name, value]) =>
    value === null
      ? Effect.succeed([])
      : Effect.map(expanded(value, [key, name], log, scope), ({ text }) => [[name, Redacted.make(text)] as const])
  )
  return Object.fromEntries(entries.flat())
})

const httpOf = Effect.fnUntraced(function* (
  entry: Entry.Entry,
  kind: Entry.Kind | undefined,
  urlKey: UrlKey,
  log: Report,
  context: Context
): Effect.fn.Return<Transport | undefined> {
  const written = entry[urlKey]
  if (written === undefined) {
    log.issue(["url"], { expected: "a string (the URL of the server)", actual: "nothing" })
    return undefined
  }
  const before = log.issues.length
  const url = yield* expanded(written, [urlKey], log, context.scope)
  if (log.issues.length === before && !isHttpUrl(url.text))
    log.issue([urlKey], {
      expected: "an http: or https: URL without credentials (they belong into headers)",
      actual: url.secret ? "something else, after its variables were filled in" : "something else"
    })
  return {
    _tag: tagOf(kind, urlKey, context.format),
    // Paths and queries of URLs are keys often enough; the host is told only where none of it comes from the environment.
    url: Redacted.make(url.text, { label: url.secret || !isHttpUrl(url.text) ? undefined : new URL(url.text).host }),
    headers: yield* headersOf(entry, log, context.scope)
  }
})

const isHttpUrl = (text: string): boolean => {
  if (!URL.canParse(text)) return false
  const { password, protocol, username } = new URL(text)
  return (protocol === "http:" || protocol === "https:") && username === "" && password === ""
}

/** VS Code falls back to SSE, and so does whoever does not say which of the two it is. */
const tagOf = (kind: Entry.Kind | undefined, urlKey: UrlKey, format: Format): "streamableHttp" | "sse" | "http" => {
  if (kind === "sse") return "sse"
  if (kind === "http" && format !== "servers") return "streamableHttp"
  return kind === undefined && (urlKey === "httpUrl" || format === "mcp_servers") ? "streamableHttp" : "http"
}

const headersOf = Effect.fnUntraced(function* (
  entry: Entry.Entry,
  log: Report,
  scope: Expansion.Scope
): Effect.fn.Return<Readonly<Record<string, Redacted.Redacted<string>>>> {
  const headers = new Map<string, readonly [name: string, value: Redacted.Redacted<string>]>()
  // Names of headers are the same in any case: of two, the later one is meant.
  const put = (name: string, value: Redacted.Redacted<string>, keys: Keys): void => {
    if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name))
      log.issue(keys, { expected: "the name of a header", actual: "other characters than a header's name has" })
    if (!isHeaderValue(Redacted.value(value)))
      log.issue(keys, {
        expected: "the value of a header, on one line",
        actual: "line breaks, or characters that a header cannot have"
      })
    headers.set(name.toLowerCase(), [name, value])
  }
  for (const key of ["headers", "http_headers"] as const) {
    const values = yield* secrets(entry[key] ?? {}, key, log, scope)
    for (const [name, value] of Object.entries(values)) put(name, value, [key, name])
  }
  for (const [name, variable] of Object.entries(entry.env_http_headers ?? {})) {
    const keys = ["env_http_headers", name]
    const value = yield* ofVariable(variable, keys, log, scope)
    if (value !== undefined) put(name, Redacted.make(value), keys)
  }
  if (entry.bearer_token_env_var !== undefined) {
    const keys = ["bearer_token_env_var"]
    const token = yield* ofVariable(entry.bearer_token_env_var, keys, log, scope)
    if (token !== undefined) put("Authorization", Redacted.make(`Bearer ${token}`), keys)
  }
  return Object.fromEntries(headers.values())
})

/** What `fetch` takes: bytes, without those that end a line. */
const isHeaderValue = (value: string): boolean => /^[\t\x20-\x7e\x80-\xff]*$/.test(value)

const ofVariable = Effect.fnUntraced(function* (
  name: string,
  keys: Keys,
  log: Report,
  scope: Expansion.Scope
): Effect.fn.Return<string | undefined> {
  const value = yield* Effect.orElseSucceed(scope.variable(name), () => undefined)
  if (value !== undefined && value !== "") return value
  // A secret where the name of a variable belongs is a common mistake.
  const isName = /^[A-Z_][A-Z0-9_]*$/.test(name)
  log.issue(keys, {
    expected: isName ? `the environment variable ${name}` : "the name of an environment variable that is set",
    actual: isName ? "nothing: it is not set" : "the name of none",
    ...(isName ? { variable: name } : {})
  })
  return undefined
})

const startupTimeoutOf = (entry: Entry.Entry): Duration.Duration | undefined => {
  if (entry.startupTimeout !== undefined) return Duration.fromInputUnsafe(entry.startupTimeout)
  if (entry.startup_timeout_sec !== undefined) return Duration.seconds(entry.startup_timeout_sec)
  return entry.startup_timeout_ms === undefined ? undefined : Duration.millis(entry.startup_timeout_ms)
}

const requestTimeoutOf = (
  entry: Entry.Entry,
  log: Report,
  client: Client | undefined
): Duration.Duration | undefined => {
  const own = entry.requestTimeout ?? entry.toolTimeout
  if (own !== undefined) return Duration.fromInputUnsafe(own)
  if (entry.tool_timeout_sec !== undefined) return Duration.seconds(entry.tool_timeout_sec)
  const { timeout } = entry
  if (typeof timeout !== "number") return timeout === undefined ? undefined : Duration.fromInputUnsafe(timeout)
  if (client === "Cline") return Duration.seconds(timeout)
  if (timeout >= 1000) return Duration.millis(timeout)
  log.note(
    ["timeout"],
    "NotApplied",
    `${timeout} may be milliseconds (Claude Code, Gemini CLI) or seconds (Cline): write "${timeout} seconds"`
  )
  return undefined
}
