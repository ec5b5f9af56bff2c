/**
 * The logins on disk: one file for each server, that only its owner can read.
 *
 * A file is written beside its place, with mode 0600 from its first byte, and renamed into it: a reader sees the old one or the new
 * one. Whoever renews a token holds the server's lock, so that two processes do not spend one refresh token; a lock whose process has
 * gone, or that is older than two minutes, is broken. Two processes that break the same lock in the same instant can both get it, and
 * processes on different machines that share a home do not see each other.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as UserDirectories from "effect/persistence/UserDirectories"
import type * as PlatformError from "effect/PlatformError"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { createHash, randomUUID } from "node:crypto"
import { CommandFailed } from "../CommandFailed.ts"
import { Credentials, serverOf } from "./Credentials.ts"

export class TokenStore extends Context.Service<
  TokenStore,
  {
    /** The file of a server. */
    readonly pathOf: (server: URL) => Effect.Effect<string, CommandFailed>
    readonly read: (server: URL) => Effect.Effect<Credentials | undefined, CommandFailed>
    readonly write: (server: URL, credentials: Credentials) => Effect.Effect<void, CommandFailed>
    /** Succeeds with whether there was anything. */
    readonly remove: (server: URL) => Effect.Effect<boolean, CommandFailed>
    /** Runs an effect while no other process does so for the same server. */
    readonly locked: <A, E, R>(server: URL, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CommandFailed, R>
  }
>()("mcp-tether/auth/TokenStore") {
  static readonly layer = Layer.effect(
    TokenStore,
    Effect.suspend(() => make)
  ).pipe(Layer.provide(UserDirectories.layerPlatform(process.platform === "win32" ? "win32" : "linux")))
}

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Credentials))
const encode = Schema.encodeEffect(Schema.fromJsonString(Credentials))

/** A renewal takes a few requests, each of at most 30 seconds. */
const lockLifetime = 120_000
const lockPoll = "50 millis"

const make = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directories = yield* UserDirectories.UserDirectories

  const failed = (what: string) => (error: PlatformError.PlatformError) =>
    new CommandFailed({ description: `${what}: ${error.reason.message}` })

  const directory = directories
    .state("mcp-tether")
    .pipe(
      Effect.mapError(
        () => new CommandFailed({ description: "there is no place for logins: set HOME, or XDG_STATE_HOME" })
      )
    )

  const fileOf = (server: URL, suffix = ".json") =>
    Effect.map(directory, (dir) => {
      const name = serverOf(server)
        .replace(/^https?:\/\//, "")
        .replaceAll(/[^\w.-]+/g, "_")
        .slice(0, 80)
      const digest = createHash("sha256").update(serverOf(server)).digest("hex").slice(0, 16)
      return path.join(dir, `${name}-${digest}${suffix}`)
    })

  const ownDirectory = Effect.flatMap(directory, (dir) =>
    fs.makeDirectory(dir, { recursive: true, mode: 0o700 }).pipe(
      // It may have been there before, with another mode.
      Effect.andThen(fs.chmod(dir, 0o700)),
      Effect.mapError(failed(`the directory for logins cannot be made (${dir})`))
    )
  )

  const store: TokenStore["Service"] = {
    pathOf: fileOf,
    read: (server) =>
      Effect.flatMap(fileOf(server), (file) =>
        fs.readFileString(file).pipe(
          Effect.mapError((error) =>
            error.reason._tag === "NotFound" ? undefined : failed(`${file} cannot be read`)(error)
          ),
          Effect.flatMap((text) =>
            Effect.mapError(
              decode(text),
              // Not the decoder's words: they quote what they do not understand.
              () => new CommandFailed({ description: `${file} is damaged: run mcp-tether login ${serverOf(server)}` })
            )
          ),
          Effect.catch((error) => (error === undefined ? Effect.succeed(undefined) : Effect.fail(error)))
        )
      ),
    write: (server, credentials) =>
      Effect.gen(function* () {
        yield* ownDirectory
        const file = yield* fileOf(server)
        const draft = yield* fileOf(server, `.${randomUUID()}.tmp`)
        const text = yield* Effect.orDie(encode(credentials))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const handle = yield* fs.open(draft, { flag: "wx", mode: 0o600 })
            yield* handle.writeAll(new TextEncoder().encode(`${text}\n`))
            yield* handle.sync
          })
        ).pipe(
          Effect.andThen(fs.rename(draft, file)),
          Effect.onError(() => Effect.ignore(fs.remove(draft, { force: true }))),
          Effect.mapError(failed(`${file} cannot be written`))
        )
      }).pipe(Effect.uninterruptible),
    remove: (server) =>
      Effect.flatMap(fileOf(server), (file) =>
        fs.remove(file).pipe(
          Effect.as(true),
          Effect.catch((error) =>
            error.reason._tag === "NotFound"
              ? Effect.succeed(false)
              : Effect.fail(failed(`${file} cannot be removed`)(error))
          )
        )
      ),
    locked: (server, effect) =>
      Effect.acquireUseRelease(
        acquire(server),
        () => effect,
        (lock) => Effect.ignore(fs.remove(lock, { force: true }))
      )
  }

  /** Creates the lock file, which fails where there is one. */
  const acquire = (server: URL): Effect.Effect<string, CommandFailed> =>
    Effect.gen(function* () {
      yield* ownDirectory
      const lock = yield* fileOf(server, ".lock")
      const taken = fs.writeFileString(lock, String(process.pid), { flag: "wx", mode: 0o600 })
      const attempt = Effect.catch(taken, (error) =>
        error.reason._tag === "AlreadyExists"
          ? Effect.andThen(breakStale(lock), Effect.fail(error))
          : Effect.fail(error)
      )
      yield* attempt.pipe(
        Effect.retry({
          while: (error) => error.reason._tag === "AlreadyExists",
          schedule: Schedule.spaced(lockPoll).pipe(Schedule.upTo({ duration: lockLifetime }))
        }),
        Effect.mapError(failed(`another process keeps the login of ${serverOf(server)} locked (${lock})`)),
        Effect.interruptible
      )
      return lock
    })

  const breakStale = (lock: string): Effect.Effect<void> =>
    Effect.gen(function* () {
      const holder = Number(yield* fs.readFileString(lock))
      const { mtime } = yield* fs.stat(lock)
      const now = yield* Clock.currentTimeMillis
      const age = Option.match(mtime, { onNone: () => 0, onSome: (time) => now - time.getTime() })
      // An empty one is being written at this moment.
      const gone = Number.isInteger(holder) && holder > 0 && !isAlive(holder)
      if (gone || age > lockLifetime) yield* fs.remove(lock, { force: true })
    }).pipe(Effect.ignore)

  return TokenStore.of(store)
})

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}
