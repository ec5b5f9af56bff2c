/** Where the light server is, for each way to reach it. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { fileURLToPath } from "node:url"
import * as Child from "./child.ts"
import type { BenchFailed } from "./failed.ts"
import type { Target } from "./subjects/subject.ts"

export type Kind = Target["_tag"]

export const kinds: ReadonlyArray<Kind> = ["stdio", "http", "memory"]

/** A process for each connection, since a pipe has one reader: the same program for all. */
export const stdio: Target = {
  _tag: "stdio",
  command: process.execPath,
  args: ["--disable-warning=ExperimentalWarning", fileURLToPath(new URL("servers/stdio.ts", import.meta.url))]
}

/** One process for all connections. */
export const http: Effect.Effect<Target, BenchFailed, Scope.Scope> = Effect.gen(function* () {
  const child = yield* Child.fork("light HTTP server", new URL("servers/http.ts", import.meta.url))
  const { port } = yield* child.next<{ readonly port: number }>()
  return { _tag: "http", url: `http://127.0.0.1:${port}/mcp` }
})

export const target = (kind: Kind): Effect.Effect<Target, BenchFailed, Scope.Scope> => {
  switch (kind) {
    case "stdio":
      return Effect.succeed(stdio)
    case "http":
      return http
    case "memory":
      return Effect.succeed({ _tag: "memory" })
  }
}
