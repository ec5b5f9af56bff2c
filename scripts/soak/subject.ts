/** What is soaked: a transport to a light server, and the ways in which a session of it is lost. */
import { type ConnectionState, McpConnection, McpTransport } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as CliError from "effect/cli/CliError"
import { fileURLToPath } from "node:url"
import { rssOf } from "./census.ts"
import * as HttpHost from "./httpHost.ts"

export class SoakFailed extends Schema.TaggedError<SoakFailed>()("SoakFailed", { description: Schema.String }) {
  override get message(): string {
    return this.description
  }
  override get [CliError.userMessage](): string {
    return this.description
  }
}

export type Ready = Extract<ConnectionState.ConnectionState, { readonly _tag: "Ready" }>

export interface Subject {
  readonly name: "stdio" | "http"
  readonly transport: () => McpTransport.McpTransport<ChildProcessSpawner.ChildProcessSpawner>
  /** Who answers on this session: the light servers put it into their answers. */
  readonly whoOf: (ready: Ready) => string
  /** Has one session lost. Whether it is the session, and not only an exchange, that is lost depends on the turn. */
  readonly lose: (turn: number, ready: Ready) => Effect.Effect<"session" | "exchange", SoakFailed>
  /** Has all sessions lost at the same moment. */
  readonly loseAll: (ready: ReadonlyArray<Ready>) => Effect.Effect<void, SoakFailed>
  /** Before it is counted: lets go of what is kept for later on purpose. */
  readonly settle: Effect.Effect<void>
  /** The resident memory of a light server. */
  readonly serverRss: (ready: Ready) => number
  /** In one sentence, how sessions are lost. */
  readonly about: string
}

/** A process for each session, ended with SIGKILL. */
export const stdio: Effect.Effect<Subject> = Effect.sync(() => ({
  name: "stdio",
  about: "a process each, ended with SIGKILL",
  transport: () =>
    McpTransport.stdio({ command: "sh", args: [fileURLToPath(new URL("stdioServer.sh", import.meta.url))] }),
  whoOf: ({ server }) => String(server.pid),
  lose: (_, ready) => Effect.as(killGroup(ready), "session"),
  loseAll: (ready) => Effect.forEach(ready, killGroup, { discard: true }),
  settle: Effect.void,
  serverRss: ({ server }) => (server.pid === undefined ? 0 : rssOf(server.pid))
}))

/** One server for all. It forgets, restarts, or resets the socket of a call, in turn. */
export const http: Effect.Effect<Subject, never, Scope.Scope> = Effect.map(HttpHost.make, (host) => ({
  name: "http",
  about:
    "sessions forgotten (404), all sockets reset and sessions forgotten (a restart), a call's socket reset, in turn",
  transport: () => McpTransport.streamableHttp({ url: host.url }),
  whoOf: ({ server }) => String(server.sessionId),
  lose: (turn) => {
    const order = orders[turn % orders.length] ?? "forget"
    return Effect.as(host.order(order), order === "drop" ? "exchange" : "session")
  },
  loseAll: () => host.order("restart"),
  // How many sockets are kept for the next request depends on how many requests happened to overlap.
  settle: host.order("closeIdle"),
  serverRss: () => rssOf(host.pid)
}))

const orders: ReadonlyArray<HttpHost.Order> = ["forget", "restart", "drop"]

/** The process is this connection's own, and it leads a group of its own. */
const killGroup = ({ server: { pid } }: Ready): Effect.Effect<void, SoakFailed> =>
  pid === undefined
    ? Effect.fail(new SoakFailed({ description: "a session over stdio has no process" }))
    : Effect.try({
        try: () => void process.kill(-pid, "SIGKILL"),
        catch: (error) =>
          new SoakFailed({ description: `the server ${pid} was gone before it was killed: ${String(error)}` })
      })

/**
 * As a program would make it. Only what bounds how often sessions may be lost is wider: these are lost all the time; and how long a
 * call waits: a thousand processes at once take a busy machine half a minute.
 */
export const connect = (subject: Subject, name: string) =>
  Effect.mapError(
    McpConnection.make({
      name,
      transport: subject.transport(),
      stableAfter: 0,
      wait: "3 minutes",
      requestTimeout: "3 minutes",
      replayBudget: { burst: 1_000_000, perSecond: 1_000_000 }
    }),
    (error) => new SoakFailed({ description: `${name}: ${error.message}` })
  )

/** Calls the light server, and checks that the answer is the one to this very call, from the session that serves now. */
export const ask = Effect.fnUntraced(function* (
  subject: Subject,
  connection: McpConnection.Shape,
  token: string
): Effect.fn.Return<Ready, SoakFailed> {
  const wrong = (what: string) => new SoakFailed({ description: `${connection.name}, call ${token}: ${what}` })
  const result = yield* Effect.mapError(connection.callTool({ name: "echo", arguments: { token } }), (error) =>
    wrong(`${error._tag}: ${error.message}`)
  )
  const ready = yield* Effect.mapError(connection.awaitReady, (error) => wrong(error.message))
  const [first] = result.content
  const text = first?.type === "text" ? first.text : "no text"
  const expected = `${token} ${subject.whoOf(ready)}`
  return text === expected ? ready : yield* wrong(`the answer is "${text}", not "${expected}"`)
})
