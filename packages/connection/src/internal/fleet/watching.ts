/** Watches a file, whatever becomes of it: written, replaced, gone, back, or reached by another link. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Places from "./places.ts"

type Services = FileSystem.FileSystem | Path.Path

export interface Watch {
  /**
   * Watches what the file is now. When it has returned, no later change of the file is missed: whoever reads it then has read it all.
   * Folders that came meanwhile are new ones, so that it has to be renewed after each change.
   */
  readonly renew: Effect.Effect<void, never, Services>
}

/** `changed` is called, possibly more than once, when the file may be another one. */
export const make = (file: string, changed: Effect.Effect<void>, scope: Scope.Scope): Watch => {
  let current: Scope.Closeable | undefined = undefined
  let lastProblem: string | undefined = undefined

  const once = Effect.fnUntraced(function* (): Effect.fn.Return<boolean, never, Services> {
    const before = current
    const next = yield* Scope.fork(scope, "parallel")
    current = next
    const places = yield* Places.of(file)
    const problems = yield* Effect.forEach(targetsOf(places, file), (target) => watch(target, changed, next), {
      concurrency: "unbounded"
    })
    // The new ones see already what the old ones will not.
    if (before !== undefined) yield* Scope.close(before, Exit.void)
    if (!Places.equals(places, yield* Places.of(file))) return false
    const problem = problems.find((problem) => problem !== undefined)
    if (problem !== undefined) {
      if (problem !== lastProblem)
        yield* Effect.logWarning("an mcp configuration cannot be watched; it is read every 30 seconds", {
          file,
          error: problem
        })
      yield* Effect.forkIn(Effect.andThen(Effect.sleep(readAnyway), changed), next)
    }
    lastProblem = problem
    return true
  })

  return {
    renew: Effect.gen(function* () {
      // A way that changes all the time is looked at again with its next change.
      for (let left = 5; left > 0; left -= 1) if (yield* once()) return
      yield* changed
    })
  }
}

const readAnyway = "30 seconds"

interface Target {
  readonly path: string
  /** The names in it that matter; `undefined`: whatever happens. */
  readonly names: ReadonlySet<string> | undefined
  /** Whether changes are missed where it cannot be watched. */
  readonly isNeeded: boolean
}

const targetsOf = (places: ReadonlyArray<Places.Place>, file: string): ReadonlyArray<Target> => {
  const folders = new Map<string, { readonly names: Set<string>; isNeeded: boolean }>()
  for (const { folder, isTurn, name } of places) {
    const known = folders.get(folder) ?? { names: new Set(), isNeeded: false }
    known.names.add(name.normalize())
    known.isNeeded ||= isTurn
    folders.set(folder, known)
  }
  return [
    ...[...folders]
      .map(([path, { isNeeded, names }]) => ({ path, names, isNeeded }))
      // All that happens in the system happens in the root, and some systems tell all of it.
      .filter(({ isNeeded }, index) => isNeeded || index > 0),
    // Through another hard link, or a mount of the file alone, it changes without a word to its folder.
    { path: file, names: undefined, isNeeded: false }
  ]
}

/** Watches one of them, and answers when that is so: with what is wrong, where it is needed and cannot be watched. */
const watch = Effect.fnUntraced(function* (
  { isNeeded, names, path: target }: Target,
  changed: Effect.Effect<void>,
  scope: Scope.Scope
): Effect.fn.Return<string | undefined, never, Services> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const ready = yield* Deferred.make<string | undefined>()
  const matters = (name: string): boolean => names === undefined || names.has(name.normalize())
  yield* fs.watch(target, { onReady: () => Deferred.doneUnsafe(ready, Exit.succeed(undefined)) }).pipe(
    Stream.runForEach((event) => (matters(path.basename(event.path)) ? changed : Effect.void)),
    Effect.exit,
    Effect.flatMap((exit) => {
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      const problem = error instanceof Error ? error.message : "it was not watched any more"
      // It may not be there: whoever comes to look sees that as well.
      const told = isNeeded && !isNotFound(error) ? problem : undefined
      return Effect.flatMap(Deferred.succeed(ready, told), (isFirst) => (isFirst ? Effect.void : changed))
    }),
    Effect.forkIn(scope, { startImmediately: true })
  )
  return yield* Deferred.await(ready)
})

const isNotFound = (error: unknown): boolean =>
  error instanceof Error && /\b(ENOENT|NotFound)\b/.test(`${String(Reflect.get(error, "code"))} ${error.message}`)
