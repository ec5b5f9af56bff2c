/**
 * What a driver test stands on: a directory and a marker of its own, the fixture server, the books it keeps, and the check
 * that no process is left.
 *
 * The marker is an environment variable of everything that a test starts, so `/proc` finds grandchildren too.
 */
import { layer as nodeServices } from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Path from "effect/Path"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import type { ConnectionEvent } from "../../src/ConnectionEvent.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import type { ReconnectPolicy } from "../../src/ReconnectPolicy.ts"
import type { Config, Entry, Script } from "../fixtures/config.ts"

const markerName = "MCP_TETHER_TEST"
const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

/** Options of a connection to the fixture server. */
export interface Options extends Partial<Omit<McpConnection.Options, "transport">> {
  /** How the fixture behaves. */
  readonly server?: Partial<Config>
  /** What is not as usual about its process. */
  readonly stdio?: Partial<McpTransport.StdioOptions>
}

export type Connection = McpConnection.Shape

/** What a test may need. */
export type Services = ChildProcessSpawner.ChildProcessSpawner | FileSystem.FileSystem | Path.Path | Scope.Scope

export interface Rig {
  /** A directory of the test's own. */
  readonly dir: string
  /** Options of a stdio transport to the fixture server. */
  readonly stdio: (server?: Partial<Config>) => McpTransport.StdioOptions
  /** A connection to the fixture server, with a fast policy, short grace and no heartbeat unless said otherwise. */
  readonly connect: (
    options?: Options
  ) => Effect.Effect<Connection, Effect.Error<ReturnType<typeof McpConnection.make>>, Services>
  /** What reached the fixture's processes, in order. */
  readonly journal: () => ReadonlyArray<Entry>
  /** The effects of the calls, in order. */
  readonly ledger: () => ReadonlyArray<string>
  /** Waits until a request for a tool has reached a server, and answers which. */
  readonly untilCalled: (tool: string, times?: number) => Effect.Effect<Entry>
  /** The processes of this test that are alive. */
  readonly processes: () => ReadonlyArray<number>
  /** Every line that was logged, at any level. */
  readonly logs: ReadonlyArray<string>
  /** Notes a measured number; `--reporter=verbose` shows it. */
  readonly measured: (what: string, value: string | number) => void
}

/** At once, then every 20 ms. */
export const fast: ReconnectPolicy = Schedule.concat(Schedule.recurs(1), Schedule.spaced("20 millis"))

/** A behaviour on real processes and the real clock. In the end no process of it may be left. */
export const scenario = <A, E>(
  name: string,
  body: (rig: Rig) => Effect.Effect<A, E, Services>,
  timeout = 30_000
): void =>
  it.live(
    name,
    ({ annotate }) =>
      Effect.acquireUseRelease(
        Effect.sync(() => makeRig((what, value) => void annotate(`${what}: ${value}`))),
        (rig) =>
          Effect.suspend(() => {
            const before = resources()
            return Effect.scoped(body(rig)).pipe(
              Effect.provide(Layer.mergeAll(nodeServices, rig.logger)),
              Effect.provideService(References.MinimumLogLevel, "All"),
              Effect.andThen(
                Effect.sync(() => assert.deepStrictEqual(rig.processes().map(commandLine), [], "processes are left"))
              ),
              Effect.andThen(nothingHeld(before))
            )
          }),
        (rig) =>
          Effect.sync(() => {
            for (const pid of rig.processes()) kill(pid, "SIGKILL")
            rmSync(rig.dir, { recursive: true, force: true })
          })
      ),
    timeout
  )

/** What this process holds on to: pipes and sockets, and what keeps its event loop alive. */
export const resources = (): ReadonlyArray<string> => [
  ...readdirSync("/proc/self/fd")
    .map((fd) => linkOf(`/proc/self/fd/${fd}`))
    .filter((target) => /^(pipe|socket):/.test(target))
    .map((target) => target.replace(/:.*/, "")),
  ...process.getActiveResourcesInfo()
]

/** Asserts that nothing is held beyond what was before. A closed handle is let go some turns of the event loop later. */
export const nothingHeld = (before: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.promise(async () => {
    const more = (): ReadonlyArray<string> => {
      const known = [...before]
      return resources().filter((resource) => {
        const index = known.indexOf(resource)
        if (index !== -1) known.splice(index, 1)
        return index === -1
      })
    }
    // Not `until`: its own timers would be found.
    for (let turn = 0; turn < 100 && more().length > 0; turn += 1) await setTimeout(10)
    assert.deepStrictEqual(more(), [], "resources are held")
  })

const makeRig = (measured: Rig["measured"]) => {
  const dir = mkdtempSync(join(tmpdir(), "mcp-tether-"))
  const marker = basename(dir)
  const logs: Array<string> = []
  const journal = (): ReadonlyArray<Entry> => linesOf(join(dir, "journal")).map((line) => JSON.parse(line) as Entry)
  const stdio: Rig["stdio"] = (server) => ({
    command: process.execPath,
    args: [fixture("server.ts"), JSON.stringify({ dir, ...server })],
    env: { [markerName]: marker },
    closeGrace: "1 second"
  })
  return {
    dir,
    stdio,
    connect: ({ server, stdio: special, ...options }: Options = {}) => {
      const usual = stdio(server)
      return McpConnection.make({
        name: "fixture",
        policy: fast,
        heartbeat: "off",
        requestTimeout: "15 seconds",
        wait: "15 seconds",
        ...options,
        transport: McpTransport.stdio({ ...usual, ...special, env: { ...usual.env, ...special?.env } })
      })
    },
    journal,
    ledger: () => linesOf(join(dir, "ledger")),
    untilCalled: (tool: string, times = 1) =>
      until(`${times} calls of ${tool}`, () => journal().filter((entry) => entry.tool === tool)[times - 1]),
    processes: () => marked(marker),
    logs,
    logger: Logger.layer([
      Logger.make(({ cause, fiber, logLevel, message }) => {
        const annotations = fiber.getRef(References.CurrentLogAnnotations)
        logs.push(`${logLevel} ${print(message)} ${print(annotations)} ${Cause.pretty(cause)}`)
      })
    ]),
    measured
  }
}

const print = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value))

const linesOf = (path: string): ReadonlyArray<string> =>
  existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : []

/** The transport of a server that is not the fixture, as part of this test. */
export const transportOf = (rig: Rig, options: McpTransport.StdioOptions) =>
  McpTransport.stdio({ ...rig.stdio(), ...options, env: { ...rig.stdio().env, ...options.env } })

/** Calls a tool of the fixture. */
export const call = (
  connection: Connection,
  name: string,
  script: Script = {},
  options?: McpConnection.RequestOptions
) => Effect.map(connection.callTool({ name, arguments: { ...script } }, options), textOf)

/** The text of a result. */
export const textOf = (result: { readonly content: ReadonlyArray<{ readonly type: string }> }): string => {
  const [first] = result.content
  if (first === undefined || !("text" in first) || typeof first.text !== "string") throw new Error("not a text result")
  return first.text
}

/** The pid of the current session's process. */
export const pidOf = (connection: Connection): Effect.Effect<number> =>
  Effect.map(Effect.orDie(connection.awaitReady), ({ server }) => {
    if (server.pid === undefined) throw new Error("the session has no pid")
    return server.pid
  })

/** Collects what happens from now on. */
export const eventsOf = Effect.fnUntraced(function* (connection: Connection) {
  const events: Array<ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  return events
})

/** The tags of what happened. */
export const tagsOf = (events: ReadonlyArray<ConnectionEvent>): ReadonlyArray<string> => events.map(({ _tag }) => _tag)

/** Asks until there is an answer, at most ten seconds. */
export const until = <A>(what: string, ask: () => A | undefined | false): Effect.Effect<A> =>
  Effect.suspend(() => {
    const answer = ask()
    return answer === undefined || answer === false ? Effect.fail("not yet" as const) : Effect.succeed(answer)
  }).pipe(
    Effect.retry(Schedule.spaced("5 millis")),
    Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => Effect.die(new Error(`waited in vain for ${what}`)) }),
    Effect.orDie
  )

/** Runs an effect and tells how long it took, in milliseconds. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Clock.clockWith((clock) => {
    const begin = clock.currentTimeMillisUnsafe()
    return Effect.map(effect, (value) => [value, clock.currentTimeMillisUnsafe() - begin] as const)
  })

/** Sends a signal to a process of the test, or to its group when the id is negative. One that is gone already is fine. */
export const kill = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error
  }
}

/** Whether a process is alive; a zombie is not. */
export const isAlive = (pid: number): boolean => {
  const stat = read(`/proc/${pid}/stat`)
  return stat !== "" && !/\) [ZX] /.test(stat)
}

/** The children of this process, dead ones included that nobody has waited for. */
export const children = (): ReadonlyArray<number> =>
  pids().filter((pid) => new RegExp(`\\) \\S+ ${process.pid} `).test(read(`/proc/${pid}/stat`)))

/** Closes a scope's worth of work and hands on how it ended. */
export const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, never, R> =>
  Effect.flatMap(Effect.exit(effect), (exit) =>
    Exit.isSuccess(exit)
      ? Effect.die(new Error(`it succeeded with ${JSON.stringify(exit.value)}`))
      : Effect.fromOption(Cause.findErrorOption(exit.cause)).pipe(
          Effect.catch(() => Effect.failCause(exit.cause as Cause.Cause<never>))
        )
  )

const linkOf = (path: string): string => {
  try {
    return readlinkSync(path)
  } catch {
    return ""
  }
}

export const v1Server = fixture("v1Server.ts")

/** `@modelcontextprotocol/server-everything`, and a module that ends it after a minute whatever happens. */
export const everything: ReadonlyArray<string> = [
  "--import",
  "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()",
  fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js")),
  "stdio"
]

const pids = (): ReadonlyArray<number> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)

const marked = (marker: string): ReadonlyArray<number> =>
  pids().filter((pid) => read(`/proc/${pid}/environ`).split("\0").includes(`${markerName}=${marker}`))

const commandLine = (pid: number): string => `${pid}: ${read(`/proc/${pid}/cmdline`).replaceAll("\0", " ")}`

/** A process may go, or belong to somebody else, while its file is read. */
const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}
