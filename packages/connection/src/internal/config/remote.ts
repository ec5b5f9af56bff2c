/** A server that is reached by its URL, and the headers that go to it. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Format, Transport } from "../../McpConfig.ts"
import type { Keys } from "./document.ts"
import type * as Entry from "./entry.ts"
import * as Expansion from "./expansion.ts"
import type { Context, Report } from "./report.ts"
import { expanded, secrets } from "./values.ts"

export const urlKeys = ["httpUrl", "serverUrl", "url"] as const
export type UrlKey = (typeof urlKeys)[number]

export const httpOf = Effect.fnUntraced(function* (
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
  const isName = /^[A-Z_][A-Z0-9_]*$/.test(name) && !Expansion.looksSecret(name)
  log.issue(keys, {
    expected: isName ? `the environment variable ${name}` : "the name of an environment variable that is set",
    actual: isName ? "nothing: it is not set" : "the name of none",
    ...(isName ? { variable: name } : {})
  })
  return undefined
})
