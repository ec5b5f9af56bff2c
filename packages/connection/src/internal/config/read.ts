/** From the text of a file to its servers. */
import * as Arr from "effect/Array"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import type { BrokenServer, Client, Format, McpConfig, Note, ParseOptions, ServerConfig } from "../../McpConfig.ts"
import { type Document, format, isRecord, type Keys, type Parsed, typeOf } from "./document.ts"
import { InvalidConfig, type Issue } from "./errors.ts"
import type * as Expansion from "./expansion.ts"
import * as Places from "./places.ts"
import * as Server from "./server.ts"
import { closest } from "./suggestion.ts"

interface Input extends ParseOptions {
  readonly client?: Client | undefined
  /** The file holds other settings too: it may be that it says nothing of servers. */
  readonly shared?: boolean | undefined
}

export const read = Effect.fnUntraced(function* (
  text: string,
  input: Input
): Effect.fn.Return<McpConfig, InvalidConfig> {
  const wanted = input.format ?? tableNames
  const fail = (issue: Issue) => new InvalidConfig({ file: input.path, issues: [issue] })
  const client = input.client ?? Places.clientOf(input.path)
  const syntax = syntaxOf(text, input.path)
  const parsed = yield* parse(text, syntax)
  if (parsed._tag === "Unreadable") return yield* fail(parsed.issue)
  const { document } = parsed
  if (!isRecord(document.root))
    return yield* fail({
      path: "",
      expected: `an object with ${wanted}`,
      actual: typeOf(document.root),
      ...document.locate([])
    })
  const found = tablesOf(document.root, input)
  if (typeof found === "string" && !(input.shared === true && found === nothing))
    return yield* fail({ path: "", expected: `an object with ${wanted}`, actual: found })
  const tables = typeof found === "string" ? [] : found.tables
  const fileFormat = typeof found === "string" ? (syntax === "toml" ? "mcp_servers" : "mcpServers") : found.format
  const notes: Array<Note> = document.twice.map((keys) =>
    note(document, keys, "Twice", "it is there twice: the last one counts")
  )
  if (syntax === "json" && !Places.isShared(input.path)) notes.push(...strangers(document, document.root, fileFormat))

  const scope = yield* scopeOf(input, client)
  const servers = new Map<string, ServerConfig | BrokenServer>()
  for (const keys of tables) {
    const table = keys.reduce<unknown>((value, key) => (isRecord(value) ? value[key] : undefined), document.root)
    if (!isRecord(table))
      return yield* fail({
        path: format(keys),
        expected: "an object of servers by their names",
        actual: typeOf(table),
        ...document.locate(keys)
      })
    for (const [name, raw] of Object.entries(table)) {
      const root = [...keys, name]
      if (servers.has(name)) {
        notes.push(note(document, root, "Overridden", "this folder has a server of its own by that name"))
        continue
      }
      const outcome = yield* Server.read(name, raw, root, { document, format: fileFormat, client, scope })
      notes.push(...outcome.notes)
      servers.set(
        name,
        outcome.server ?? {
          name,
          disabled: outcome.disabled,
          error: new InvalidConfig({ file: input.path, server: name, issues: nonEmpty(outcome.issues, root) })
        }
      )
    }
  }
  const all = [...servers.values()]
  return {
    source: { path: input.path, client, format: fileFormat, syntax },
    servers: all.filter((server) => "transport" in server),
    broken: all.filter((server) => "error" in server),
    notes
  }
})

const nonEmpty = (issues: ReadonlyArray<Issue>, root: Keys): Arr.NonEmptyReadonlyArray<Issue> =>
  Arr.isReadonlyArrayNonEmpty(issues)
    ? issues
    : [{ path: format(root), expected: "a server", actual: "something else" }]

const note = (document: Document, keys: Keys, kind: Note["kind"], message: string): Note => ({
  kind,
  path: format(keys),
  message,
  ...document.locate(keys)
})

const formats: ReadonlyArray<Format> = ["mcpServers", "servers", "mcp_servers"]
const tableNames = `one of mcpServers (most clients), servers (VS Code) and mcp_servers (Codex)`
const nothing = "none of them"

/** Where the servers are; in words, what is there instead. */
const tablesOf = (
  root: Readonly<Record<string, unknown>>,
  { cwd, format: asked }: Input
): string | { readonly format: Format; readonly tables: ReadonlyArray<Keys> } => {
  const present = formats.filter((format) => root[format] !== undefined && root[format] !== null)
  if (asked === undefined && present.length > 1) return `${present.join(" and ")}: one file, one of them`
  if (asked !== undefined && present.length > 0 && !present.includes(asked)) return present.join(" and ")
  const format = asked ?? present[0]
  // Claude Code keeps what it knows of a folder in `~/.claude.json`, and its own servers come first.
  const local = cwd === undefined ? undefined : localTable(root, cwd)
  const tables: ReadonlyArray<Keys> = [
    ...(local === undefined || (format !== undefined && format !== "mcpServers") ? [] : [local]),
    ...(format === undefined || !present.includes(format) ? [] : [[format]])
  ]
  if (tables.length > 0) return { format: format ?? "mcpServers", tables }
  return insteadOf(root)
}

const localTable = (root: Readonly<Record<string, unknown>>, cwd: string): Keys | undefined => {
  const projects = root["projects"]
  const project = isRecord(projects) && Object.hasOwn(projects, cwd) ? projects[cwd] : undefined
  return isRecord(project) && isRecord(project["mcpServers"]) ? ["projects", cwd, "mcpServers"] : undefined
}

const insteadOf = (root: Readonly<Record<string, unknown>>): string => {
  const keys = Object.keys(root)
  for (const key of keys) {
    const meant = closest(key, formats)
    if (meant !== undefined) return `${key}: did you mean ${meant}?`
  }
  if (isRecord(root["mcp"]))
    return isRecord(root["mcp"]["servers"])
      ? "mcp.servers, as in settings.json of VS Code: move the servers to .vscode/mcp.json"
      : "mcp, as opencode has it, which is not read"
  if (isRecord(root["context_servers"])) return "context_servers, as Zed has it, which is not read"
  if (
    keys.length > 0 &&
    Object.values(root).every((value) => isRecord(value) && ("command" in value || "url" in value))
  )
    return `servers right at the top: put them into { "mcpServers": … }`
  return nothing
}

/** Keys beside the servers, in a file that has nothing but servers. */
const strangers = (document: Document, root: Readonly<Record<string, unknown>>, table: Format): ReadonlyArray<Note> =>
  Object.keys(root)
    .filter(
      (key) => key !== table && key !== "$schema" && key !== "projects" && !(table === "servers" && key === "inputs")
    )
    .map((key) => {
      const meant = closest(key, ["inputs"])
      return note(
        document,
        [key],
        "UnknownKey",
        `there is no such key beside ${table}${meant === undefined ? "" : `: did you mean ${meant}?`}`
      )
    })

const syntaxOf = (text: string, path: string | undefined): "json" | "toml" => {
  if (path?.endsWith(".toml") === true) return "toml"
  if (path !== undefined && /\.jsonc?5?$/.test(path)) return "json"
  return /^\s*(?:[{"]|\/\/|\/\*|$)/.test(text) ? "json" : "toml"
}

/** The parsers are loaded by whoever needs them: a program that has no configuration file does not pay for them. */
const parse = (text: string, syntax: "json" | "toml"): Effect.Effect<Parsed> => {
  if (text.includes("\0"))
    return Effect.succeed({
      _tag: "Unreadable",
      issue: { path: "", expected: "a text in UTF-8", actual: "bytes of another kind: save the file as UTF-8" }
    })
  const plain = text.replace(/^\uFEFF/, "")
  return Effect.promise(async () => (syntax === "json" ? import("./json.ts") : import("./toml.ts"))).pipe(
    Effect.flatMap(({ parse }) => Effect.try({ try: () => parse(plain), catch: () => "too deep" as const })),
    Effect.orElseSucceed((): Parsed => ({
      _tag: "Unreadable",
      issue: { path: "", expected: "a file that can be read", actual: "one that is nested too deeply" }
    }))
  )
}

/** What placeholders are filled in with. */
const scopeOf = Effect.fnUntraced(function* (
  { cwd, env, home }: Input,
  client: Client | undefined
): Effect.fn.Return<Expansion.Scope> {
  const provider = yield* ConfigProvider.ConfigProvider
  const variable: Expansion.Scope["variable"] = (name) =>
    env === undefined
      ? provider.load([name]).pipe(
          Effect.map((node) => node?.value),
          Effect.mapError(() => "unreadable" as const)
        )
      : Effect.succeed(Object.hasOwn(env, name) ? env[name] : undefined)
  const ownHome = yield* Effect.orElseSucceed(
    Effect.flatMap(variable("HOME"), (home) => (home === undefined ? variable("USERPROFILE") : Effect.succeed(home))),
    () => undefined
  )
  return {
    variable,
    workspaceFolder: cwd,
    home: home ?? ownHome,
    separator: /^[A-Za-z]:\\/.test(cwd ?? home ?? ownHome ?? "") ? "\\" : "/",
    bare: client === "Gemini CLI"
  }
})
