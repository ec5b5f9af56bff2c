/**
 * The files in which people already have their MCP servers: `mcp.json`, `.mcp.json` and their like, VS Code's `mcp.json`, and
 * `config.toml` of Codex.
 *
 * A file is read into one model, whatever its form. Placeholders are filled in from the environment, and what may be secret is
 * `Redacted` from then on: the values of `env` and of headers, URLs, everything that comes from the environment, and everything under
 * keys that nobody here knows. A server that is wrong is told of as data, with the path, line and column of what is wrong; the
 * others of its file work.
 *
 * @example
 * ```ts
 * import { McpConfig } from "@mcp-tether/connection"
 * import { Effect } from "effect"
 *
 * const text = `{
 *   "mcpServers": {
 *     "files": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "\${ROOT:-.}"] },
 *     "search": { "type": "http", "url": "https://search.example.com/mcp", "headers": { "Authorization": "Bearer \${TOKEN}" } }
 *   }
 * }`
 * const config = await Effect.runPromise(McpConfig.parse(text, { env: {} }))
 *
 * config.servers.map((server) => server.name) // => ["files"]
 * config.broken.map((server) => server.error.issues[0].path) // => ["mcpServers.search.headers.Authorization"]
 * config.broken.map((server) => server.error.issues[0].variable) // => ["TOKEN"]
 * ```
 *
 * A fleet of all servers of a file:
 *
 * @example
 * ```ts
 * import * as NodeServices from "@effect/platform-node/NodeServices"
 * import { McpConfig, McpFleet } from "@mcp-tether/connection"
 * import { Effect, Layer } from "effect"
 *
 * export const Tools = McpConfig.load(".mcp.json").pipe(
 *   Effect.map((config) => McpFleet.layer(McpConfig.fleet(config))),
 *   Layer.unwrap,
 *   Layer.provide(NodeServices.layer)
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Redacted from "effect/Redacted"
import type * as Result from "effect/Result"
import * as ServerEntry from "./internal/config/entry.ts"
import type { InvalidConfig } from "./internal/config/errors.ts"
import * as Files from "./internal/config/files.ts"
import * as Read from "./internal/config/read.ts"
import * as Use from "./internal/config/use.ts"
import type * as McpConnection from "./McpConnection.ts"
import type * as McpFleet from "./McpFleet.ts"
import type { McpTransport } from "./McpTransport.ts"

export { InvalidConfig, type Issue } from "./internal/config/errors.ts"

/**
 * Whose file it is. `"any"`: no client's own.
 *
 * @category models
 * @since 0.1.0
 */
export type Client =
  | "Claude Code"
  | "Claude Desktop"
  | "Cline"
  | "Codex"
  | "Copilot CLI"
  | "Cursor"
  | "Gemini CLI"
  | "VS Code"
  | "Windsurf"
  | "any"

/**
 * The form of a file, named by the key that its servers are under: `mcpServers` (most clients), `servers` (VS Code), `mcp_servers`
 * (Codex).
 *
 * @category models
 * @since 0.1.0
 */
export type Format = "mcpServers" | "servers" | "mcp_servers"

/**
 * A file of servers.
 *
 * @category models
 * @since 0.1.0
 */
export interface McpConfig {
  readonly source: {
    /** The file, where it is one, as it was given. */
    readonly path: string | undefined
    /** Whose file it is, where its name tells. */
    readonly client: Client | undefined
    readonly format: Format
    readonly syntax: "json" | "toml"
  }
  /** The servers that can be used, in the order of the file; also those that are `disabled`. */
  readonly servers: ReadonlyArray<ServerConfig>
  /** The servers that cannot be used, and why. */
  readonly broken: ReadonlyArray<BrokenServer>
  /** What is not wrong, and worth knowing. */
  readonly notes: ReadonlyArray<Note>
}

/**
 * A server that can be used.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerConfig {
  /** Its key in the file. */
  readonly name: string
  readonly transport: Transport
  /** `disabled: true`, or `enabled: false`. */
  readonly disabled: boolean
  /** `required: true`: nothing should start without it. */
  readonly required: boolean
  /** How long starting it may take (`startupTimeout`, `startup_timeout_sec`, `startup_timeout_ms`). */
  readonly startupTimeout: Duration.Duration | undefined
  /** How long it may take to answer (`requestTimeout`, `toolTimeout`, `tool_timeout_sec`, `timeout`). */
  readonly requestTimeout: Duration.Duration | undefined
  /** The only tools to offer (`enabled_tools`, `includeTools`, and `tools` of Copilot); see `ToolFilter`. */
  readonly enabledTools: ReadonlyArray<string> | undefined
  /** Tools not to offer (`disabled_tools`, `excludeTools`, `disabledTools`), also where `enabledTools` has them. */
  readonly disabledTools: ReadonlyArray<string> | undefined
  /** What else the entry says. It is secret because nobody here knows what it is. */
  readonly rest: Redacted.Redacted<Readonly<Record<string, unknown>>>
}

/**
 * A text that is `Redacted` when there is something of the environment in it.
 *
 * @category models
 * @since 0.1.0
 */
export type Text = string | Redacted.Redacted<string>

/**
 * How a server is reached, after the expansion of placeholders. `"http"`: `"streamableHttp"`, or `"sse"` where the server has only that.
 *
 * @category models
 * @since 0.1.0
 */
export type Transport =
  | {
      readonly _tag: "stdio"
      readonly command: Text
      readonly args: ReadonlyArray<Text>
      readonly env: Readonly<Record<string, Redacted.Redacted<string>>>
      readonly cwd: Text | undefined
    }
  | {
      readonly _tag: "streamableHttp" | "sse" | "http"
      /** Labelled with its host, unless that may come from the environment. */
      readonly url: Redacted.Redacted<string>
      readonly headers: Readonly<Record<string, Redacted.Redacted<string>>>
    }

/**
 * A server that cannot be used.
 *
 * @category models
 * @since 0.1.0
 */
export interface BrokenServer {
  readonly name: string
  readonly disabled: boolean
  readonly error: InvalidConfig
}

/**
 * What is not wrong, and worth knowing.
 *
 * - `UnknownKey`: no client that is known here has such a key. It is kept in `rest`.
 * - `NotApplied`: a client acts on it, and this library does not; or it belongs to another kind of server.
 * - `Converted`: a number or a boolean that is passed as a text.
 * - `Suspicious`: it is passed as it is, and was probably meant in another way.
 * - `Twice`: a key that an object has twice. The last one counts.
 * - `Overridden`: a server that another one of the same name replaces.
 *
 * @category models
 * @since 0.1.0
 */
export interface Note {
  readonly kind: "UnknownKey" | "NotApplied" | "Converted" | "Suspicious" | "Twice" | "Overridden"
  /** Where in the file, like `mcpServers.github.comand`. */
  readonly path: string
  readonly message: string
  /** Counted from 1. Not known in TOML. */
  readonly line?: number | undefined
  readonly column?: number | undefined
}

/**
 * Options of {@link parse}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ParseOptions extends LoadOptions {
  /** The name of the file: it tells the syntax and the client, and is in errors. Default: told by the text. */
  readonly path?: string | undefined
}

/**
 * Options of {@link load}.
 *
 * @category options
 * @since 0.1.0
 */
export interface LoadOptions {
  /** The form to read, where a file has several. Default: the one that it has. */
  readonly format?: Format | undefined
  /** What `${workspaceFolder}` is, absolute. Default: none for `parse`; for `load`, the folder of the project that the file is in. */
  readonly cwd?: string | undefined
  /** What `${userHome}` is, and a leading `~` in `command` and `cwd`. Default: `HOME`, or `USERPROFILE`, of the environment. */
  readonly home?: string | undefined
  /** The environment that placeholders are filled in from. Default: Effect's `ConfigProvider`, which is the process's environment. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
}

/**
 * Reads the text of a file. JSON may have comments and trailing commas.
 *
 * `${NAME}`, `${env:NAME}` and `${NAME:-default}` are filled in from the environment, in `command`, `args`, `env`, `cwd`, `url` and
 * headers, whosever file it is; in Gemini CLI's also `$NAME`. An empty variable is as good as none, and a server whose variable is
 * missing, without a default, is `broken`. `$${NAME}` is the text `${NAME}`. Of the editors' own, `${workspaceFolder}`,
 * `${workspaceFolderBasename}`, `${cwd}`, `${userHome}`, `${pathSeparator}` and `${/}` are known; `${input:…}` and `${command:…}` break
 * the server.
 *
 * It fails with `InvalidConfig` when the text is no JSON or TOML, or has the servers of no client or of several forms.
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse: (text: string, options?: ParseOptions) => Effect.Effect<McpConfig, InvalidConfig> = (
  text,
  options = {}
) => Read.read(text, options)

/**
 * Reads a file; see {@link parse}. It fails with `InvalidConfig` also when the file cannot be read.
 *
 * @category constructors
 * @since 0.1.0
 */
export const load: (
  path: string,
  options?: LoadOptions
) => Effect.Effect<McpConfig, InvalidConfig, FileSystem.FileSystem | Path.Path> = Files.load

/**
 * As Node calls them.
 *
 * @category models
 * @since 0.1.0
 */
export type Platform = "darwin" | "linux" | "win32"

/**
 * Options of {@link discover} and {@link places}.
 *
 * @category options
 * @since 0.1.0
 */
export interface DiscoverOptions {
  /** The folder of the project, absolute. Default: this process's working directory. */
  readonly cwd?: string | undefined
  /** The home of the user. Default: `HOME`, or `USERPROFILE`, of the environment. */
  readonly home?: string | undefined
  /** The environment, for placeholders and for variables that move files (`CODEX_HOME`, …). Default: Effect's `ConfigProvider`. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** Where programs with windows keep their settings. Default: wherever any of the three would. */
  readonly platform?: Platform | undefined
}

/**
 * A place where a client has its servers. A project's comes with the project: whoever wrote it may not be the user, and it can have any
 * program started. Clients ask before they do.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly client: Client
  readonly scope: "project" | "user"
  readonly path: string
}

/**
 * A file that was found.
 *
 * @category models
 * @since 0.1.0
 */
export interface Found extends Place {
  readonly config: Result.Result<McpConfig, InvalidConfig>
}

/**
 * Reads what is in the usual {@link places}, in their order. A file that is not there is left out, and so is one of settings (like
 * `~/.claude.json`) that says nothing of servers; one that cannot be read is told of. Of `~/.claude.json`, the servers for the folder
 * `cwd` come first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const discover: (
  options?: DiscoverOptions
) => Effect.Effect<ReadonlyArray<Found>, never, FileSystem.FileSystem | Path.Path> = Files.discover

/**
 * Where clients have their servers: in the project (`.mcp.json`, `mcp.json`, `.cursor/mcp.json`, `.vscode/mcp.json`,
 * `.codex/config.toml`, `.gemini/settings.json`), then the user's (Claude Code, Claude Desktop, Cursor, VS Code, Codex, Gemini CLI,
 * Windsurf, Copilot CLI, Cline).
 *
 * @category constructors
 * @since 0.1.0
 */
export const places: (options?: DiscoverOptions) => Effect.Effect<ReadonlyArray<Place>, never, Path.Path> = Files.places

/**
 * The way to a server. What is secret stays so in it, where it has six characters or more: shorter ones are found everywhere, and a
 * server's stderr would be full of holes. The command and the working directory are told as they are: the system tells them too.
 *
 * @example
 * ```ts
 * import { McpConfig } from "@mcp-tether/connection"
 * import { Effect } from "effect"
 *
 * const text = `
 * [mcp_servers.docs]
 * url = "https://docs.example.com/mcp"
 * bearer_token_env_var = "DOCS_TOKEN"
 * `
 * const config = await Effect.runPromise(McpConfig.parse(text, { env: { DOCS_TOKEN: "a-token" } }))
 * config.servers.map((server) => McpConfig.transport(server).label) // => ["docs.example.com"]
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const transport: (server: ServerConfig) => McpTransport<ChildProcessSpawner.ChildProcessSpawner> = Use.transport

/**
 * The options of a connection to a server: its name, its transport, its timeouts, and which of its tools are offered.
 *
 * @category conversions
 * @since 0.1.0
 */
export const connection: (server: ServerConfig) => McpConnection.Options<ChildProcessSpawner.ChildProcessSpawner> =
  Use.connection

/**
 * The servers of a fleet: all that can be used and are not disabled. A fleet that is given them again, from the changed file, replaces
 * only those that changed.
 *
 * @category conversions
 * @since 0.1.0
 */
export const fleet: (config: McpConfig) => McpFleet.Servers<ChildProcessSpawner.ChildProcessSpawner> = Use.fleet

/**
 * The schema of one server in a file, with the keys of all clients; it is strict about what each key holds, and says nothing of other
 * keys. {@link parse} uses it; it is here for programs that write such files.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Entry = ServerEntry.Entry
