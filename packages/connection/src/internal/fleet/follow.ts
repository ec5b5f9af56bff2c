/** A fleet that is what its files say, also when they say something else. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { InvalidOptions } from "../../InvalidOptions.ts"
import type { Configure, FileOptions, FleetEvent, Shape } from "../../McpFleet.ts"
import type { InvalidConfig } from "../config/errors.ts"
import * as Debounce from "../engine/debounce.ts"
import { decode, SpanOption, valueOption } from "../options.ts"
import type { FleetNotStarted } from "./errors.ts"
import * as File from "./file.ts"
import * as Fleet from "./fleet.ts"
import * as Watching from "./watching.ts"

type Services = FileSystem.FileSystem | Path.Path
type Spawner = ChildProcessSpawner.ChildProcessSpawner

const Files = valueOption(
  (u): u is string | ReadonlyArray<string> =>
    (typeof u === "string" ? [u] : Array.isArray(u) ? u : [""]).every(
      (file) => typeof file === "string" && file !== ""
    ) &&
    u !== "" &&
    (!Array.isArray(u) || u.length > 0),
  "the path of a file, or a list of at least one"
)

const decodeOptions = decode(
  Schema.Struct({
    files: Files,
    start: Schema.optional(Schema.Literals(["required", "background"])),
    settle: Schema.optional(SpanOption)
  }),
  { of: "McpFleet" }
)

/** While a file is written all the time, it is read after this many times `settle`. */
const patience = 20

export const make = <R = never>(
  options: FileOptions,
  configure: Configure<R> = (server) => server
): Effect.Effect<
  Shape<R | Spawner>,
  InvalidConfig | InvalidOptions | FleetNotStarted,
  R | Spawner | Services | Scope.Scope
> =>
  Effect.flatMap(Effect.scope, (parent) =>
    Effect.flatMap(Scope.fork(parent), (scope) =>
      follow(options, configure, scope).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
    )
  )

const follow = Effect.fnUntraced(function* <R>(
  { concurrency, budget, files: given, settle, slot, start, ...reading }: FileOptions,
  configure: Configure<R>,
  scope: Scope.Scope
): Effect.fn.Return<
  Shape<R | Spawner>,
  InvalidConfig | InvalidOptions | FleetNotStarted,
  R | Spawner | Services | Scope.Scope
> {
  yield* decodeOptions({ files: given, start, settle })
  const path = yield* Path.Path
  const changed = yield* Queue.unbounded<File.File<R | Spawner>>()
  const files = (typeof given === "string" ? [given] : given).map((name) => File.make<R | Spawner>(name))
  const watches = new Map(
    files.map((file) => [
      file,
      Watching.make(path.resolve(file.name), Effect.asVoid(Queue.offer(changed, file)), scope)
    ])
  )

  for (const [file, watch] of watches) {
    yield* watch.renew
    const news = yield* File.read(file, reading, configure)
    if (news._tag === "Rejected" && start !== "background") return yield* news.error
    yield* File.warn(file, news)
  }
  const { begin, fleet, tell } = yield* Fleet.open(File.merged(files), { concurrency, budget, slot })

  const again = Effect.fnUntraced(function* (some: ReadonlySet<File.File<R | Spawner>>) {
    const taken: Array<FleetEvent> = []
    for (const [file, watch] of watches) {
      if (!some.has(file)) continue
      yield* watch.renew
      const news = yield* File.read(file, reading, configure)
      yield* File.warn(file, news)
      if (news._tag === "Rejected") yield* tell({ _tag: "FileRejected", file: file.name, error: news.error })
      if (news._tag === "Taken") taken.push({ _tag: "FileTaken", file: file.name, broken: file.broken })
    }
    // What it begins goes on by itself, so that the next change need not wait for it.
    if (taken.length > 0) yield* Effect.asVoid(begin(File.merged(files), taken))
  })

  const quietMillis = Duration.toMillis(Duration.fromInputUnsafe(settle ?? "100 millis"))
  const pace = { quietMillis, patienceMillis: quietMillis * patience }
  yield* Effect.forever(
    Effect.flatMap(Debounce.settled(changed, pace), (some) =>
      Effect.catchCause(again(new Set(some)), (cause) =>
        Cause.hasInterrupts(cause)
          ? Effect.failCause(cause)
          : Effect.logError("an mcp configuration could not be followed", cause)
      )
    )
  ).pipe(Effect.forkIn(scope))

  return { ...fleet, files: Effect.sync(() => files.map(File.statusOf)) }
})
