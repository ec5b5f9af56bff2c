/** Reading and finding files. */
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import type { DiscoverOptions, Found, LoadOptions, McpConfig, Place } from "../../McpConfig.ts"
import { InvalidConfig } from "./errors.ts"
import * as Places from "./places.ts"
import * as Read from "./read.ts"

type Services = FileSystem.FileSystem | Path.Path

export const load = (file: string, options: LoadOptions = {}): Effect.Effect<McpConfig, InvalidConfig, Services> =>
  Effect.map(loadText(file, options), ({ config }) => config)

/** With its text, by which it is seen whether it is another one. */
export const loadText = Effect.fnUntraced(function* (
  file: string,
  options: LoadOptions
): Effect.fn.Return<{ readonly text: string; readonly config: McpConfig }, InvalidConfig, Services> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const absolute = path.resolve(file)
  const text = yield* Effect.mapError(fs.readFileString(absolute), (error) => unreadable(file, error))
  const config = yield* Read.read(text, {
    ...options,
    cwd: options.cwd ?? Places.projectOf(path, absolute),
    path: file
  })
  return { text, config }
})

const unreadable = (file: string, error: PlatformError.PlatformError): InvalidConfig =>
  new InvalidConfig({
    file,
    issues: [{ path: "", expected: "a file that can be read", actual: reasons[error.reason._tag] ?? "an error" }]
  })

const reasons: Readonly<Record<string, string>> = {
  NotFound: "no file of that name",
  PermissionDenied: "one that may not be read",
  BadResource: "something that is no file"
}

export const discover = Effect.fnUntraced(function* (
  options: DiscoverOptions = {}
): Effect.fn.Return<ReadonlyArray<Found>, never, Services> {
  const fs = yield* FileSystem.FileSystem
  const cwd = options.cwd ?? (yield* Path.Path).resolve(".")
  const all = yield* Effect.forEach(
    yield* places({ ...options, cwd }),
    (place) =>
      Effect.gen(function* () {
        const text = yield* Effect.result(fs.readFileString(place.path))
        if (Result.isFailure(text)) {
          return text.failure.reason._tag === "NotFound"
            ? undefined
            : { ...place, config: Result.fail(unreadable(place.path, text.failure)) }
        }
        const config = yield* Effect.result(
          Read.read(text.success, {
            ...options,
            cwd,
            client: place.client,
            path: place.path,
            shared: Places.isShared(place.path)
          })
        )
        // A file of settings that says nothing of servers is none that was looked for.
        const isEmpty = Result.isSuccess(config) && config.success.servers.length + config.success.broken.length === 0
        return isEmpty && Places.isShared(place.path) ? undefined : { ...place, config }
      }),
    { concurrency: 4 }
  )
  return all.filter((found) => found !== undefined)
})

export const places = Effect.fnUntraced(function* (
  options: DiscoverOptions = {}
): Effect.fn.Return<ReadonlyArray<Place>, never, Path.Path> {
  const path = yield* Path.Path
  const provider =
    options.env === undefined ? yield* ConfigProvider.ConfigProvider : ConfigProvider.fromEnvRecord(options.env)
  const values = new Map<string, string>()
  for (const name of ["HOME", "USERPROFILE", ...Places.variables]) {
    const node = yield* Effect.orElseSucceed(provider.load([name]), () => undefined)
    if (node?.value !== undefined) values.set(name, node.value)
  }
  return Places.places(path, {
    cwd: options.cwd ?? path.resolve("."),
    home: options.home ?? values.get("HOME") ?? values.get("USERPROFILE"),
    platform: options.platform,
    variable: (name) => values.get(name)
  })
})
