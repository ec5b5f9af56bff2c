/**
 * Many named connections that live together: started in parallel, isolated from each other, and changed while they run.
 *
 * A slow, broken or flapping server neither delays nor fails another. What they share is a budget of attempts, so that a laptop that wakes
 * up does not start twenty servers in the same moment.
 *
 * @example
 * ```ts
 * import * as NodeServices from "@effect/platform-node/NodeServices"
 * import { McpFleet, McpTransport } from "@mcp-tether/connection"
 * import { Effect, Layer } from "effect"
 *
 * const Tools = McpFleet.layer({
 *   files: { transport: McpTransport.stdio({ command: "mcp-server-filesystem", args: ["."] }) },
 *   search: { transport: McpTransport.streamableHttp({ url: "https://search.example.com/mcp" }) }
 * }).pipe(Layer.provide(NodeServices.layer))
 *
 * export const readme = Effect.gen(function* () {
 *   const fleet = yield* McpFleet.McpFleet
 *   const files = yield* fleet.connection("files")
 *   return yield* files.callTool({ name: "read_text_file", arguments: { path: "README.md" } })
 * }).pipe(Effect.provide(Tools))
 * ```
 *
 * A fleet is also what a file says, and follows it ({@link layerFiles}, {@link layerConfig}). A program that is not written in Effect has it
 * through a `ManagedRuntime`:
 *
 * @example
 * ```ts
 * import * as NodeServices from "@effect/platform-node/NodeServices"
 * import { McpFleet } from "@mcp-tether/connection"
 * import { Layer, ManagedRuntime } from "effect"
 *
 * const Tools = McpFleet.layerFiles({ files: ".mcp.json", start: "background" })
 * const runtime = ManagedRuntime.make(Tools.pipe(Layer.provide(NodeServices.layer)))
 * const fleet = await runtime.runPromise(McpFleet.McpFleet)
 * await runtime.runPromise(fleet.names) // => []
 * await runtime.dispose()
 * ```
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { ConnectionEvent } from "./ConnectionEvent.ts"
import type { ConnectionState } from "./ConnectionState.ts"
import type { FleetNotStarted, UnknownServer } from "./internal/fleet/errors.ts"
import * as FileConfig from "./internal/fleet/config.ts"
import * as Fleet from "./internal/fleet/fleet.ts"
import * as Follow from "./internal/fleet/follow.ts"
import type { InvalidConfig } from "./internal/config/errors.ts"
import type { InvalidOptions } from "./InvalidOptions.ts"
import type * as McpConfig from "./McpConfig.ts"
import type * as McpConnection from "./McpConnection.ts"

export { FleetNotStarted, UnknownServer } from "./internal/fleet/errors.ts"

/**
 * One server of a fleet: the options of its connection. Its name is its key.
 *
 * @category options
 * @since 0.1.0
 */
export interface Server<R = never> extends Omit<McpConnection.Options<R>, "name" | "start" | "admission"> {
  /** Whether the fleet is built only when this server is there, and fails when it cannot be. Default: no. */
  readonly required?: boolean | undefined
  /** What its transport was made from, like an entry of a configuration: transports of equal sources are the same. Default: itself. */
  readonly source?: unknown
  /** When its first session is opened: at once, or by the first request. Default: `"background"`. */
  readonly start?: "background" | "lazy" | undefined
}

/**
 * The servers of a fleet, by name. A name is 1 to 128 characters, none of them a control character.
 *
 * @category options
 * @since 0.1.0
 */
export type Servers<R = never> = Readonly<Record<string, Server<R>>>

/**
 * Options of {@link make} and {@link layer}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * How many sessions are being opened at a time. An attempt that takes longer than `slot` does not count any more: a server that hangs
   * holds up nobody. Default: 8.
   */
  readonly concurrency?: number | undefined
  /** How long an attempt counts for `concurrency`. Default: 1 second. */
  readonly slot?: Duration.Input | undefined
  /** How many attempts of all servers may be made in a burst, and how many more each second. Default: 20 and 10. */
  readonly budget?: { readonly burst: number; readonly perSecond: number } | undefined
}

/**
 * Options of {@link fromFiles}, {@link layerFiles} and {@link layerConfig}.
 *
 * @category options
 * @since 0.1.0
 */
export interface FileOptions extends Options, McpConfig.LoadOptions {
  /** The paths of the files, at least one. Of servers of one name, that of the first file is taken. */
  readonly files: string | ReadonlyArray<string>
  /**
   * What it means when a file cannot be read at first. `"required"` (default): there is no fleet. `"background"`: it is told of in the log,
   * and the servers of the file come when it can be read.
   */
  readonly start?: "required" | "background" | undefined
  /**
   * How long a file has to be left alone before it is read again: it may be half written. One that is written all the time is read after 20
   * times as long. Default: 100 milliseconds.
   */
  readonly settle?: Duration.Input | undefined
}

/**
 * Adds to the options of a server what its file does not say, like `handlers` or `policy`. What it adds should be the same each time: a
 * server whose options are others is replaced.
 *
 * @category options
 * @since 0.1.0
 */
export interface Configure<R = never> {
  (
    server: Server<ChildProcessSpawner.ChildProcessSpawner>,
    config: McpConfig.ServerConfig
  ): Server<R | ChildProcessSpawner.ChildProcessSpawner>
}

/**
 * What is wrong with a file of a fleet, and what is worth knowing of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface FileStatus {
  /** As it was given. */
  readonly file: string
  /** Why the file, as it is now, is not taken; `undefined`: it is. */
  readonly error: InvalidConfig | undefined
  /** The servers that are not taken from it, and why. Those that it had before are as they were. */
  readonly broken: ReadonlyArray<{ readonly server: string; readonly error: InvalidConfig | InvalidOptions }>
  readonly notes: ReadonlyArray<McpConfig.Note>
}

/**
 * What happens to a fleet.
 *
 * @category models
 * @since 0.1.0
 */
export type FleetEvent =
  /**
   * Something happened to a connection. `connection` counts the connections that a server of this name has had, from 1: while one is
   * replaced there are two, and what the old one still tells comes after the first words of the new one.
   */
  | {
      readonly _tag: "ServerEvent"
      readonly server: string
      readonly connection: number
      readonly event: ConnectionEvent
    }
  /** A server came, went, or is another one since `reload`. */
  | { readonly _tag: "ServerChanged"; readonly server: string; readonly change: Change }
  /** Names of tools are turned on or off (`tools`) that the server does not have, as it lists them now. */
  | { readonly _tag: "UnknownTools"; readonly server: string; readonly tools: ReadonlyArray<string> }
  /** A file has changed, and the fleet has the servers that it says; what becomes of each is told after it, as `ServerChanged`. */
  | { readonly _tag: "FileTaken"; readonly file: string; readonly broken: FileStatus["broken"] }
  /** A file is gone, or is not what it should be: its servers stay as they are. */
  | { readonly _tag: "FileRejected"; readonly file: string; readonly error: InvalidConfig }

/**
 * What became of a server when the fleet was given other ones.
 *
 * - `"added"`, `"removed"`: it came, or went; what was in flight had its `drainTimeout` to end.
 * - `"refreshed"`: only the way to it is another one. Its connection is the same, and had no gap. Where the new way does not work, the old
 *   session goes on if there is one, and `"not-refreshed"` says so; the next `reload` tries again. Without a session the new way is tried
 *   until it works, and waited for as long as `startWithin`.
 * - `"filtered"`: only its `tools` are others. Nothing was asked of it.
 * - `"replaced"`: its options are others. It has a new connection, which was there before the old one was closed.
 * - `"unchanged"`: it was not touched.
 * - `"abandoned"`: another `reload` wanted something else of it, or the fleet was closed, before it was done.
 *
 * @category models
 * @since 0.1.0
 */
export type Change =
  | "added"
  | "removed"
  | "refreshed"
  | "not-refreshed"
  | "filtered"
  | "replaced"
  | "unchanged"
  | "abandoned"

/**
 * What a fleet offers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Shape<R = never> {
  /** The names of the servers, in the order in which they were given. */
  readonly names: Effect.Effect<ReadonlyArray<string>>
  /** The connection to a server. It is another one after a `reload` that replaced it. */
  readonly connection: (name: string) => Effect.Effect<McpConnection.Shape, UnknownServer>
  /** All connections, by name, in the order in which they were given. */
  readonly connections: Effect.Effect<ReadonlyMap<string, McpConnection.Shape>>
  /** The states of all servers now, by name. */
  readonly states: Effect.Effect<ReadonlyMap<string, ConnectionState>>
  /** The states of all servers now, then every change, until the fleet is closed. A reader more than 1,024 changes behind misses the oldest. */
  readonly changes: Stream.Stream<{ readonly server: string; readonly state: ConnectionState }>
  /** What happens from now on, until the fleet is closed. A reader more than 1,024 events behind misses the oldest. */
  readonly events: Stream.Stream<FleetEvent>
  /** What is wrong now with the files that it follows; empty where it follows none. */
  readonly files: Effect.Effect<ReadonlyArray<FileStatus>>
  /**
   * Gives the fleet other servers: what is new is started, what is gone is drained and closed, what has changed is refreshed or replaced,
   * and nothing else is touched. Ends when all of that is done, and says what became of each. Whoever asks last has the last word, and need
   * not wait for what others asked before: what has begun goes on where it leads to the same, and is abandoned where it does not. Who gives
   * up waiting gives up what is not done yet; of what is going, that cuts off what is in flight.
   *
   * A server is the same when its options are, compared by their structure (`Equal.equals`); of its transport, the `source`. Fails with `InvalidOptions` before anything is changed.
   */
  readonly reload: (servers: Servers<R>) => Effect.Effect<ReadonlyMap<string, Change>, InvalidOptions>
}

/**
 * The service of a fleet.
 *
 * @category services
 * @since 0.1.0
 */
export class McpFleet extends Context.Service<McpFleet, Shape>()("@mcp-tether/connection/McpFleet") {}

/**
 * Opens a fleet that lives as long as the `Scope`. It waits for the `required` servers, each as long as its `startWithin` says, and fails
 * with all of those that could not be reached.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: <R = never>(
  servers: Servers<R>,
  options?: Options
) => Effect.Effect<Shape<R>, InvalidOptions | FleetNotStarted, R | Scope.Scope> = Fleet.make

/**
 * A layer of {@link make}. Its servers may be changed to others that need no more services.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <R = never>(
  servers: Servers<R>,
  options?: Options
): Layer.Layer<McpFleet, InvalidOptions | FleetNotStarted, Exclude<R, Scope.Scope>> =>
  Layer.effect(McpFleet, make(servers, options))

/**
 * Opens a fleet of the servers in files, and keeps it to them: what has changed in a file is started, drained, refreshed or replaced as by
 * `reload`, while it runs, and the rest is not touched. What other code gives to `reload` lasts until the next change of a file.
 *
 * A file may be written in place, replaced, deleted and come back, or be reached through links that change, as in the config maps of
 * Kubernetes. One that is gone or wrong is told of (`FileRejected`, and a warning in the log with path, line and column), and its servers
 * stay as they are; so does a server whose own entry is wrong, while the others change. Placeholders are filled in when a file is read.
 * Where the system does not allow a file to be watched, it is read every 30 seconds.
 *
 * Fails at first as {@link make} does, and with `InvalidConfig` where a file cannot be read (see `start`).
 *
 * @example
 * ```ts
 * import * as NodeServices from "@effect/platform-node/NodeServices"
 * import { McpFleet } from "@mcp-tether/connection"
 * import { Effect, Fiber, FileSystem, Stream } from "effect"
 *
 * const names = await Effect.gen(function* () {
 *   const fs = yield* FileSystem.FileSystem
 *   const file = `${yield* fs.makeTempDirectoryScoped()}/mcp.json`
 *   yield* fs.writeFileString(file, `{ "mcpServers": {} }`)
 *   const fleet = yield* McpFleet.fromFiles({ files: file }, (server) => ({ ...server, start: "lazy" }))
 *   const taken = yield* fleet.events.pipe(
 *     Stream.filter(({ _tag }) => _tag === "FileTaken"),
 *     Stream.runHead,
 *     Effect.forkChild({ startImmediately: true })
 *   )
 *   yield* fs.writeFileString(file, `{ "mcpServers": { "docs": { "url": "https://docs.example.com/mcp" } } }`)
 *   yield* Fiber.join(taken)
 *   return yield* fleet.names
 * }).pipe(Effect.scoped, Effect.provide(NodeServices.layer), Effect.runPromise)
 *
 * names // => ["docs"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromFiles: <R = never>(
  options: FileOptions,
  configure?: Configure<R>
) => Effect.Effect<
  Shape<R | ChildProcessSpawner.ChildProcessSpawner>,
  InvalidConfig | InvalidOptions | FleetNotStarted,
  R | ChildProcessSpawner.ChildProcessSpawner | FileSystem.FileSystem | Path.Path | Scope.Scope
> = Follow.make

/**
 * A layer of {@link fromFiles}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFiles = <R = never>(
  options: FileOptions,
  configure?: Configure<R>
): Layer.Layer<
  McpFleet,
  InvalidConfig | InvalidOptions | FleetNotStarted,
  Exclude<R, Scope.Scope> | ChildProcessSpawner.ChildProcessSpawner | FileSystem.FileSystem | Path.Path
> => Layer.effect(McpFleet, fromFiles(options, configure))

/**
 * Where the files of a fleet are, and its other options, in the environment (or wherever the program's `ConfigProvider` has them):
 * `MCP_FLEET_FILES` (with commas between them), `MCP_FLEET_START`, `MCP_FLEET_SETTLE`, `MCP_FLEET_CONCURRENCY`, `MCP_FLEET_SLOT`, and
 * `MCP_FLEET_BURST` with `MCP_FLEET_PER_SECOND` for its budget. All but the first may be left out.
 *
 * @example
 * ```ts
 * import { McpFleet } from "@mcp-tether/connection"
 * import { ConfigProvider, Effect } from "effect"
 *
 * const env = { MCP_FLEET_FILES: "/etc/mcp/mcp.json,/srv/agent/.mcp.json", MCP_FLEET_CONCURRENCY: "4" }
 * const options = Effect.runSync(McpFleet.config.parse(ConfigProvider.fromEnv({ env })))
 * options.files // => ["/etc/mcp/mcp.json", "/srv/agent/.mcp.json"]
 * options.concurrency // => 4
 * ```
 *
 * @category config
 * @since 0.1.0
 */
export const config: Config.Config<FileOptions> = FileConfig.config

/**
 * A layer of {@link fromFiles} whose options are configuration. Default: {@link config}.
 *
 * @example
 * ```ts
 * import * as NodeServices from "@effect/platform-node/NodeServices"
 * import { McpFleet } from "@mcp-tether/connection"
 * import { Config, Layer } from "effect"
 *
 * export const Tools = McpFleet.layerConfig({
 *   files: Config.String("MCP_CONFIG"),
 *   concurrency: Config.Int("MCP_CONCURRENCY").pipe(Config.withDefault(8))
 * }).pipe(Layer.provide(NodeServices.layer))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = <R = never>(
  options: Config.Wrap<FileOptions> = config,
  configure?: Configure<R>
): Layer.Layer<
  McpFleet,
  Config.ConfigError | InvalidConfig | InvalidOptions | FleetNotStarted,
  Exclude<R, Scope.Scope> | ChildProcessSpawner.ChildProcessSpawner | FileSystem.FileSystem | Path.Path
> =>
  Layer.effect(
    McpFleet,
    Effect.flatMap(Config.unwrap(options), (options) => fromFiles(options, configure))
  )
