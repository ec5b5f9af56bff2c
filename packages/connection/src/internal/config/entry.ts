/** One server as clients write it: every key that any of them has, and what each takes. */
import * as Schema from "effect/Schema"
import { SpanOption, valueOption } from "../options.ts"

const Text = Schema.String.annotate({ message: "a string" })
/** What people write where a string belongs, and mean as one. */
const TextLike = Schema.Union([Schema.String, Schema.Finite, Schema.Boolean]).annotate({ message: "a string" })
const Texts = Schema.Array(TextLike).annotate({ message: "an array of strings" })
const Names = Schema.Array(Text).annotate({ message: "an array of strings" })
const TextsByName = Schema.Record(Schema.String, TextLike).annotate({ message: "an object of strings" })
const Filled = valueOption((u): u is string => typeof u === "string" && u.trim() !== "", "a string that is not empty")
const Flag = Schema.Boolean.annotate({ message: "true or false" })
const positive = (u: unknown): u is number => typeof u === "number" && Number.isFinite(u) && u > 0
const Seconds = valueOption(positive, "a number of seconds, more than 0")
const Milliseconds = valueOption(positive, "a number of milliseconds, more than 0")

/** The spellings of each transport. */
const kinds = {
  stdio: ["stdio", "local"],
  http: ["http", "streamable-http", "streamableHttp", "streamable_http", "streamablehttp"],
  sse: ["sse"]
} as const

export type Kind = keyof typeof kinds

export const kindOf = (type: string): Kind | undefined => {
  for (const kind of ["stdio", "http", "sse"] as const)
    if (kinds[kind].some((spelling) => spelling === type)) return kind
  return undefined
}

const Type = valueOption(
  (u): u is string => typeof u === "string" && kindOf(u) !== undefined,
  `"stdio", "http" (or "streamable-http") or "sse"`
)

/** A variable to pass on, as Codex has it. */
const EnvVar = Schema.Union([
  Schema.String,
  Schema.Struct({ name: Schema.String, source: Schema.optionalKey(Schema.String) })
]).annotate({ message: "the name of an environment variable" })

const fields = {
  type: Schema.optionalKey(Type),
  transport: Schema.optionalKey(Type),
  transportType: Schema.optionalKey(Type),
  command: Schema.optionalKey(Filled),
  args: Schema.optionalKey(Texts),
  env: Schema.optionalKey(
    Schema.Record(Schema.String, Schema.NullOr(TextLike).annotate({ message: "a string" })).annotate({
      message: "an object of strings"
    })
  ),
  cwd: Schema.optionalKey(Filled),
  url: Schema.optionalKey(Filled),
  serverUrl: Schema.optionalKey(Filled),
  httpUrl: Schema.optionalKey(Filled),
  headers: Schema.optionalKey(TextsByName),
  disabled: Schema.optionalKey(Flag),
  enabled: Schema.optionalKey(Flag),
  required: Schema.optionalKey(Flag),
  timeout: Schema.optionalKey(SpanOption),
  startupTimeout: Schema.optionalKey(SpanOption),
  requestTimeout: Schema.optionalKey(SpanOption),
  toolTimeout: Schema.optionalKey(SpanOption),
  startup_timeout_sec: Schema.optionalKey(Seconds),
  startup_timeout_ms: Schema.optionalKey(Milliseconds),
  tool_timeout_sec: Schema.optionalKey(Seconds),
  env_vars: Schema.optionalKey(
    Schema.Array(EnvVar).annotate({ message: "an array of names of environment variables" })
  ),
  bearer_token_env_var: Schema.optionalKey(Filled),
  http_headers: Schema.optionalKey(TextsByName),
  env_http_headers: Schema.optionalKey(
    Schema.Record(Schema.String, Filled).annotate({ message: "an object of names of environment variables" })
  ),
  enabled_tools: Schema.optionalKey(Names),
  disabled_tools: Schema.optionalKey(Names),
  includeTools: Schema.optionalKey(Names),
  excludeTools: Schema.optionalKey(Names),
  disabledTools: Schema.optionalKey(Names)
}

export const Entry = Schema.Struct(fields)

export type Entry = typeof Entry.Type

/** The keys that have a meaning here. */
export const known: ReadonlySet<string> = new Set(Object.keys(fields))

export const isKnown = (key: string): key is keyof Entry => known.has(key)

/** Values that cannot be secrets, and may be shown when they are wrong. */
export const shown: ReadonlySet<string> = new Set(["type", "transport", "transportType"])
export const shownUnlessText: ReadonlySet<string> = new Set([
  "disabled",
  "enabled",
  "required",
  "timeout",
  "startupTimeout",
  "requestTimeout",
  "toolTimeout",
  "startup_timeout_sec",
  "startup_timeout_ms",
  "tool_timeout_sec"
])

/** Keys that clients have for themselves: approvals, names, looks. They are kept, and nobody misses them here. */
export const foreign: ReadonlySet<string> = new Set([
  "$schema",
  "alwaysAllow",
  "alwaysLoad",
  "autoApprove",
  "default_tools_approval_mode",
  "description",
  "dev",
  "disabledReason",
  "displayName",
  "extensionName",
  "gallery",
  "icon",
  "icons",
  "iconUrl",
  "managedBy",
  "name",
  "note",
  "notes",
  "supports_parallel_tool_calls",
  "title",
  "trust",
  "version",
  "watchPaths"
])

/** Keys that clients act on and this library does not: what to do instead. */
export const notApplied: Readonly<Record<string, string>> = {
  auth: "its login is not used: give an authProvider, or mcp-tether login",
  authProviderType: "its login is not used: give an authProvider, or mcp-tether login",
  bearer_token:
    "a token in the file is not used: put it into a variable, and the variable's name into bearer_token_env_var",
  envFile: "the file is not read: put its variables into the environment, or into env",
  experimental_environment: "the server is started here",
  headersHelper: "the command is not run: the headers that it would give are missing",
  oauth: "its login is not used: give an authProvider, or mcp-tether login",
  oauth_resource: "its login is not used: give an authProvider, or mcp-tether login",
  sandbox: "the server is started without a sandbox",
  sandboxEnabled: "the server is started without a sandbox",
  scopes: "its login is not used: give an authProvider, or mcp-tether login",
  tools: "what it says of tools is not applied"
}
