/** The servers that people have configured: which files are read, and which of their servers a command is about. */
import { McpConfig } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Flag from "effect/cli/Flag"
import { CommandFailed } from "../CommandFailed.ts"

export const flags = {
  config: Flag.String("config").pipe(
    Flag.withDescription(
      "The file with the servers, like mcp.json, or config.toml of Codex. Default: those of your clients (Claude, Cursor, VS Code, Codex, Gemini, …)"
    ),
    Flag.withMetavar("file"),
    Flag.optional
  ),
  project: Flag.Boolean("project").pipe(
    Flag.withDescription(
      "Also the servers that come with this folder (.mcp.json and the like): whoever wrote it says what is started"
    ),
    Flag.withDefault(false)
  )
}

/** What was asked for with {@link flags}. */
export interface Asked {
  readonly config: Option.Option<string>
  readonly project: boolean
}

/** A server, and the file that it is in. */
export interface Found extends McpConfig.ServerConfig {
  readonly file: string
}

/** A server that cannot be used, or a file that cannot be read: with why. */
export interface Broken {
  readonly name: string
  readonly file: string
  readonly problem: string
}

/** What was found. */
export interface Configured {
  readonly servers: ReadonlyArray<Found>
  readonly broken: ReadonlyArray<Broken>
  /** What is worth knowing, a sentence each. */
  readonly notes: ReadonlyArray<string>
  /** The files that were read. */
  readonly files: ReadonlyArray<string>
}

/** Reads the file that was named, or those of the user's clients. Of servers of one name, the first is taken. */
export const read = ({
  config,
  project
}: Asked): Effect.Effect<Configured, CommandFailed, FileSystem.FileSystem | Path.Path> =>
  Option.isSome(config)
    ? Effect.mapBoth(McpConfig.load(config.value), {
        onSuccess: (found) => gathered([[config.value, found]]),
        onFailure: (error) => new CommandFailed({ description: error.message })
      })
    : Effect.map(McpConfig.discover(), (found) => {
        const taken = found.filter(({ scope }) => project || scope === "user")
        const left = found.filter((file) => !taken.includes(file)).map(({ path }) => path)
        const all = gathered(
          taken.flatMap(({ config, path }) => (Result.isSuccess(config) ? [[path, config.success] as const] : []))
        )
        return {
          ...all,
          broken: [
            ...all.broken,
            ...taken.flatMap(({ config, path }) =>
              Result.isFailure(config) ? [{ name: path, file: path, problem: config.failure.message }] : []
            )
          ],
          notes: [
            ...all.notes,
            ...left.map((path) => `${path} is not read: it comes with this folder. Add --project if you trust it`)
          ]
        }
      })

/** As {@link read}; where nothing is configured, it says so. */
export const some = (asked: Asked): Effect.Effect<Configured, CommandFailed, FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(read(asked), (found) =>
    found.servers.length + found.broken.length > 0
      ? Effect.succeed(found)
      : Effect.fail(
          new CommandFailed({
            description: ["no servers are configured: name a file with --config, or a server", ...found.notes].join(
              "; "
            )
          })
        )
  )

const gathered = (found: ReadonlyArray<readonly [path: string, config: McpConfig.McpConfig]>): Configured => {
  const names = new Set<string>()
  const isFirst = ({ name }: { readonly name: string }): boolean => !names.has(name) && names.add(name).has(name)
  return {
    servers: found.flatMap(([file, { servers }]) =>
      servers.filter((server) => !server.disabled && isFirst(server)).map((server) => ({ ...server, file }))
    ),
    broken: found.flatMap(([file, { broken }]) =>
      broken
        .filter((server) => !server.disabled && isFirst(server))
        .map(({ error, name }) => ({ name, file, problem: error.message }))
    ),
    notes: found.flatMap(([path, { notes }]) => notes.map(({ message, path: at }) => `${path}: ${at}: ${message}`)),
    files: found.map(([path]) => path)
  }
}

/** The server of this name; `undefined`: none has it. One that cannot be used fails with why. */
export const named = (
  name: string,
  { broken, servers }: Configured
): Effect.Effect<Found | undefined, CommandFailed> => {
  const problem = broken.find((server) => server.name === name)?.problem
  return problem === undefined
    ? Effect.succeed(servers.find((server) => server.name === name))
    : Effect.fail(new CommandFailed({ description: problem }))
}
