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

/** One that starts at once. */
export const instant: Target = {
  _tag: "stdio",
  command: "sh",
  args: [fileURLToPath(new URL("servers/instant.sh", import.meta.url))]
}

export interface HttpServer {
  readonly target: Target
  /** What a restart is to clients: all sessions are forgotten, and all sockets reset. Waits until it is done. */
  readonly restart: Effect.Effect<void, BenchFailed>
}

/** One process for all connections. */
export const http: Effect.Effect<HttpServer, BenchFailed, Scope.Scope> = Effect.gen(function* () {
  const child = yield* Child.fork("light HTTP server", new URL("servers/http.ts", import.meta.url))
  const { port } = yield* child.next<{ readonly port: number }>()
  return {
    target: { _tag: "http", url: `http://127.0.0.1:${port}/mcp` },
    restart: Effect.asVoid(child.ask("restart"))
  }
})

export const target = (kind: Kind): Effect.Effect<Target, BenchFailed, Scope.Scope> => {
  switch (kind) {
    case "stdio":
      return Effect.succeed(stdio)
    case "http":
      return Effect.map(http, ({ target }) => target)
    case "memory":
      return Effect.succeed({ _tag: "memory" })
  }
}
