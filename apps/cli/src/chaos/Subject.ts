/** The server that is put under load and killed. */
import { type ConnectionState, type McpConnection, McpTransport, type ToolFilter } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import type { CommandFailed } from "../CommandFailed.ts"
import * as HttpHost from "../demo/HttpHost.ts"
import { ledgerServer } from "../demo/Stage.ts"
import type { KillKind } from "./Run.ts"
import * as Workload from "./workload.ts"

type Spawner = ChildProcessSpawner.ChildProcessSpawner

export type Ready = Extract<ConnectionState.ConnectionState, { readonly _tag: "Ready" }>

export interface Subject {
  readonly label: string
  readonly over: "stdio" | "http"
  readonly bundled: boolean
  readonly transport: McpTransport.McpTransport<Spawner>
  /** Which of its tools are offered; `undefined`: all. */
  readonly tools: ToolFilter.ToolFilter | undefined
  /** The process group that serves this session. */
  readonly groupOf: (ready: Ready) => number | undefined
  /** What is done to it, and how often in relation. */
  readonly weights: Readonly<Partial<Record<KillKind, number>>>
  /** What is called, once that is known to work. */
  readonly workload: (connection: McpConnection.Shape) => Effect.Effect<Workload.Workload, CommandFailed>
  /** The lines of the ledger, if it has one. */
  readonly ledger: Effect.Effect<ReadonlyArray<string> | undefined>
}

const weights = { kill: 5, terminate: 2, hang: 2, freeze: 2 } as const

/** Somebody's server, over stdio: there is no ledger. */
export const command = (
  label: string,
  transport: McpTransport.McpTransport<Spawner>,
  tools: Subject["tools"],
  workload: Subject["workload"]
): Subject => ({
  label,
  over: "stdio",
  bundled: false,
  transport,
  tools,
  groupOf: ({ server }) => server.pid,
  weights,
  workload,
  ledger: Effect.succeed(undefined)
})

/** The server that comes with this program. It lives no longer than `lifetimeMillis`, whatever becomes of us. */
export const bundled = Effect.fnUntraced(function* (
  over: "stdio" | "http",
  lifetimeMillis: number
): Effect.fn.Return<Subject, never, FileSystem.FileSystem | Path.Path | Scope.Scope | Spawner> {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* Effect.orDie(fs.makeTempDirectoryScoped({ prefix: "mcp-tether-chaos-" }))
  const file = (yield* Path.Path).join(directory, "ledger.txt")
  const args = [ledgerServer, file, over, String(lifetimeMillis)]
  const shared = {
    label: "the bundled ledger server",
    over,
    bundled: true,
    tools: undefined,
    workload: () => Effect.succeed(Workload.ledger),
    ledger: Effect.map(
      Effect.orElseSucceed(fs.readFileString(file), () => ""),
      (text) => text.split("\n").filter((line) => line !== "")
    )
  } as const
  if (over === "stdio")
    return {
      ...shared,
      transport: McpTransport.stdio({ command: process.execPath, args }),
      groupOf: ({ server }) => server.pid,
      weights
    }
  const host = yield* HttpHost.make({ args })
  return {
    ...shared,
    transport: McpTransport.streamableHttp({ url: host.url }),
    groupOf: host.pid,
    // It loses its sessions with its process. That they be ended by DELETE is no fair kill: Effect's server then answers 404, which is
    // “not processed”, to calls whose effect it has had.
    weights
  }
})
