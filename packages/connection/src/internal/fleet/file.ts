/** One file of a fleet: what it said last that could be taken, and what is wrong with it now. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Result from "effect/Result"
import type { InvalidOptions } from "../../InvalidOptions.ts"
import type { LoadOptions, McpConfig, Note } from "../../McpConfig.ts"
import type { Configure, FileStatus, Server, Servers } from "../../McpFleet.ts"
import type { InvalidConfig } from "../config/errors.ts"
import * as Files from "../config/files.ts"
import * as Use from "../config/use.ts"
import * as Member from "./member.ts"

type Spawner = ChildProcessSpawner.ChildProcessSpawner

interface Broken {
  readonly server: string
  readonly error: InvalidConfig | InvalidOptions
}

export interface File<R> {
  /** As it was given. */
  readonly name: string
  /** Of what was taken last. */
  text: string | undefined
  servers: ReadonlyMap<string, Server<R>>
  broken: ReadonlyArray<Broken>
  notes: ReadonlyArray<Note>
  /** Why what is there now was not taken. */
  error: InvalidConfig | undefined
}

/** What came of reading a file again. */
export type News =
  | { readonly _tag: "Same" }
  /** `broken`: those that were not before, or in another way. */
  | { readonly _tag: "Taken"; readonly broken: ReadonlyArray<Broken> }
  /** Its servers are as they were. */
  | { readonly _tag: "Rejected"; readonly error: InvalidConfig }

export const make = <R>(name: string): File<R> => ({
  name,
  text: undefined,
  servers: new Map(),
  broken: [],
  notes: [],
  error: undefined
})

export const statusOf = <R>({ broken, error, name, notes }: File<R>): FileStatus => ({
  file: name,
  error,
  broken,
  notes
})

/** Reads it, and takes what it says if it can be taken. */
export const read = Effect.fnUntraced(function* <R>(
  file: File<R | Spawner>,
  options: LoadOptions,
  configure: Configure<R>
): Effect.fn.Return<News, never, FileSystem.FileSystem | Path.Path> {
  const loaded = yield* Effect.result(Files.loadText(file.name, options))
  if (Result.isFailure(loaded)) {
    const error = loaded.failure
    if (error.message === file.error?.message) return { _tag: "Same" }
    file.error = error
    return { _tag: "Rejected", error }
  }
  const { config, text } = loaded.success
  if (file.error === undefined && file.text === text) return { _tag: "Same" }
  const { broken, servers } = yield* serversOf(config, configure)
  const known = new Map(file.broken.map(({ error, server }) => [server, error.message]))
  file.servers = withKept(
    servers,
    file.servers,
    broken.map(({ server }) => server)
  )
  file.broken = broken
  file.notes = config.notes
  file.text = text
  file.error = undefined
  return { _tag: "Taken", broken: broken.filter(({ error, server }) => known.get(server) !== error.message) }
})

/** The log has nothing of a file but where it is wrong, and how. */
export const warn = (file: { readonly name: string }, news: News): Effect.Effect<void> => {
  switch (news._tag) {
    case "Same":
      return Effect.void
    case "Rejected":
      return Effect.logWarning("an mcp configuration is not taken; its servers stay as they are", {
        file: file.name,
        error: news.error.message
      })
    case "Taken":
      return Effect.forEach(
        news.broken,
        ({ error, server }) =>
          Effect.logWarning("an mcp server is not taken from its configuration; it stays as it is", {
            file: file.name,
            server,
            error: error.message
          }),
        { discard: true }
      )
  }
}

/** The servers of all files; of those of one name, the first one. */
export const merged = <R>(files: ReadonlyArray<File<R>>): Servers<R> => {
  const servers = new Map<string, Server<R>>()
  for (const file of files) for (const [name, server] of file.servers) if (!servers.has(name)) servers.set(name, server)
  return Object.fromEntries(servers)
}

/** One that cannot be used does not keep the others from being used. */
const serversOf = Effect.fnUntraced(function* <R>(config: McpConfig, configure: Configure<R>) {
  const broken: Array<Broken> = config.broken
    .filter(({ disabled }) => !disabled)
    .map(({ error, name }) => ({ server: name, error }))
  const servers = new Map<string, Server<R | Spawner>>()
  for (const entry of config.servers) {
    if (entry.disabled) continue
    const server = configure(Use.member(entry), entry)
    const checked = yield* Effect.result(Member.check(entry.name, server))
    if (Result.isSuccess(checked)) servers.set(entry.name, server)
    else broken.push({ server: entry.name, error: checked.failure })
  }
  return { broken, servers }
})

/** Those that are broken now and were not before stay, where they were: behind what they were behind. */
const withKept = <S>(
  servers: ReadonlyMap<string, S>,
  before: ReadonlyMap<string, S>,
  broken: ReadonlyArray<string>
): ReadonlyMap<string, S> => {
  const known = [...before.keys()]
  const names = [...servers.keys()]
  for (const name of known.filter((name) => broken.includes(name))) {
    const previous = known.slice(0, known.indexOf(name)).findLast((other) => names.includes(other))
    names.splice(previous === undefined ? 0 : names.indexOf(previous) + 1, 0, name)
  }
  return new Map(
    names.flatMap((name) => {
      const server = servers.get(name) ?? before.get(name)
      return server === undefined ? [] : [[name, server] as const]
    })
  )
}
