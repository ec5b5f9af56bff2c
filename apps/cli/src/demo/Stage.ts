/** Where the demo plays: over which transport its servers are reached, and how they are killed. */
import { McpTransport } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import { fileURLToPath } from "node:url"
import * as HttpHost from "./HttpHost.ts"

type Spawner = ChildProcessSpawner.ChildProcessSpawner

/** A server of the demo. */
export interface Server {
  readonly transport: McpTransport.McpTransport<Spawner>
  /** Its process, where the session does not say it. */
  readonly pid?: (() => number | undefined) | undefined
  /** Where it is, over HTTP. */
  readonly url?: string | undefined
}

export interface Stage {
  readonly over: string
  /** Whether sessions can be lost while the server lives. */
  readonly forgets: boolean
  /** The third-party server. */
  readonly everything: Effect.Effect<Server, never, Spawner | Scope.Scope>
  /** The demo's own server, which writes to a ledger. */
  readonly ledger: (file: string) => Effect.Effect<Server, never, Spawner | Scope.Scope>
  /** A server that another attempt may find, and what its error must say. */
  readonly broken: {
    readonly title: string
    readonly server: Effect.Effect<Server, never, Scope.Scope>
    readonly reason: string
    readonly says: string
  }
  /** A server that no attempt will find. */
  readonly missing: {
    readonly title: string
    readonly server: Effect.Effect<Server, never, Spawner | Scope.Scope>
    readonly reason: string
  }
}

/** What Node runs as the ledger's server. */
export const ledgerServer = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./ledgerServer.ts" : "./ledgerServer.js", import.meta.url)
)

export const stdio = (everythingServer: string): Stage => {
  const serverOf = (options: McpTransport.StdioOptions): Effect.Effect<Server> =>
    Effect.succeed({ transport: McpTransport.stdio(options) })
  const dying = `console.error("config.json: no such file"); process.exit(78)`
  return {
    over: "stdio",
    forgets: false,
    everything: serverOf({ command: process.execPath, args: [everythingServer, "stdio"] }),
    ledger: (file) => serverOf({ command: process.execPath, args: [ledgerServer, file] }),
    broken: {
      title: "A server that exits at start: a bounded policy",
      server: serverOf({ command: process.execPath, args: ["-e", dying] }),
      reason: "ProcessExited",
      says: "config.json"
    },
    missing: {
      title: "A command that does not exist: no second try",
      server: serverOf({ command: "mcp-server-evrything" }),
      reason: "SpawnFailed"
    }
  }
}

export const http = (everythingServer: string): Stage => {
  const serverOf = (options: HttpHost.Options): Effect.Effect<Server, never, Spawner | Scope.Scope> =>
    Effect.map(HttpHost.make(options), (host) => ({
      transport: McpTransport.streamableHttp({ url: host.url }),
      pid: host.pid,
      url: host.url
    }))
  return {
    over: "Streamable HTTP",
    forgets: true,
    everything: serverOf({ args: [everythingServer, "streamableHttp"] }),
    ledger: (file) => serverOf({ args: [ledgerServer, file, "http"] }),
    broken: {
      title: "A port where nobody listens: a bounded policy",
      server: Effect.map(HttpHost.freePort, (port) => ({
        transport: McpTransport.streamableHttp({ url: `http://127.0.0.1:${port}/mcp` })
      })),
      reason: "NetworkFailed",
      says: "ECONNREFUSED"
    },
    missing: {
      title: "A URL without an MCP server behind it: no second try",
      server: Effect.map(HttpHost.make({ args: [everythingServer, "streamableHttp"] }), (host) => ({
        transport: McpTransport.streamableHttp({ url: new URL("/mpc", host.url) })
      })),
      reason: "UnexpectedStatus"
    }
  }
}
