/** What a test of a proxy stands on: a directory with a ledger, a real server, a real connection through the proxy, and nothing left behind. */
import { layer as nodeServices } from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import { type ConnectionEvent, McpConnection, McpTransport, type RequestError } from "@mcp-tether/connection"
import { type Fault, type Faults, FaultProxy } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { overHttp } from "../fixtures/ledger.ts"

export const marker = "MCP_TETHER_TEST"
const fixture = fileURLToPath(new URL("../fixtures/ledgerServer.ts", import.meta.url))

export type Services = ChildProcessSpawner.ChildProcessSpawner | Scope.Scope

/** A connection through a proxy to a server with a ledger. */
export interface Rig<F> {
  readonly proxy: FaultProxy.FaultProxy<F>
  readonly connection: McpConnection.Shape
  readonly events: Array<ConnectionEvent.ConnectionEvent>
  readonly ledger: () => ReadonlyArray<string>
}

/** At once, then every 20 ms. */
const fast = Schedule.concat(Schedule.recurs(1), Schedule.spaced("20 millis"))

type Options = Partial<McpConnection.Options<ChildProcessSpawner.ChildProcessSpawner>>

export const rig = Effect.fnUntraced(function* <F>(
  dir: string,
  proxy: FaultProxy.FaultProxy<F>,
  transport: McpTransport.McpTransport<ChildProcessSpawner.ChildProcessSpawner>,
  options: Options
) {
  const connection = yield* McpConnection.make({
    name: "ledger",
    policy: fast,
    heartbeat: "off",
    requestTimeout: "8 seconds",
    wait: "8 seconds",
    start: "background",
    ...options,
    transport
  })
  const events: Array<ConnectionEvent.ConnectionEvent> = []
  yield* connection.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  const path = join(dir, "ledger")
  const ledger = () => (existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : [])
  return { proxy, connection, events, ledger }
})

export type Body<F> = (rig: Rig<F>) => Effect.Effect<void, RequestError.RequestError, Services>

export const inDir = <E>(use: (dir: string) => Effect.Effect<void, E, Services>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "mcp-tether-proxy-"))),
    (dir) =>
      Effect.scoped(use(dir)).pipe(
        Effect.provide(nodeServices),
        Effect.provideService(References.MinimumLogLevel, "None"),
        Effect.andThen(until("the end of all processes", () => processes(basename(dir)).length === 0))
      ),
    (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
  )

/** A behaviour over stdio. In the end no process of it may be left. */
export const stdio = (
  name: string,
  faults: Faults.Script<Fault.StdioFault>,
  body: Body<Fault.StdioFault>,
  options: Options = {}
): void =>
  it.live(name, () =>
    inDir(
      Effect.fnUntraced(function* (dir) {
        const proxy = yield* FaultProxy.stdio({
          command: process.execPath,
          args: [fixture, join(dir, "ledger")],
          env: { [marker]: basename(dir) },
          closeGrace: "500 millis",
          faults
        })
        yield* body(yield* rig(dir, proxy, proxy.transport, options))
      })
    )
  )

/** A real server that nobody here wrote, ended after a minute whatever happens, and its connection. */
export const everything = (name: string, faults: Faults.Script<Fault.StdioFault>, body: Body<Fault.StdioFault>): void =>
  it.live(name, () =>
    inDir(
      Effect.fnUntraced(function* (dir) {
        const proxy = yield* FaultProxy.stdio({
          command: process.execPath,
          args: [
            "--import",
            "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()",
            fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js")),
            "stdio"
          ],
          env: { [marker]: basename(dir) },
          faults
        })
        yield* body(yield* rig(dir, proxy, proxy.transport, {}))
      })
    )
  )

/** A behaviour over HTTP. In the end no socket of it may be left. */
export const http = (
  name: string,
  faults: Faults.Script<Fault.HttpFault>,
  body: Body<Fault.HttpFault>,
  options: Options & { readonly http?: Partial<McpTransport.HttpOptions> } = {}
): void =>
  it.live(name, () =>
    inDir(
      Effect.fnUntraced(function* (dir) {
        const { http, ...rest } = options
        const server = yield* Effect.acquireRelease(
          Effect.callback<ReturnType<typeof overHttp>>((resume) => {
            const server = overHttp(join(dir, "ledger"))
            server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
          }),
          (server) =>
            Effect.callback<void>((resume) => {
              server.closeAllConnections()
              server.close(() => resume(Effect.void))
            })
        )
        const { port } = server.address() as AddressInfo
        const proxy = yield* FaultProxy.http({ target: `http://127.0.0.1:${port}/mcp`, faults })
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* body(yield* rig(dir, proxy, McpTransport.streamableHttp({ url: proxy.url, ...http }), rest))
          })
        )
        yield* until("the end of all sockets", () => proxy.connections() === 0)
      })
    )
  )

/** Calls a tool, and answers its text, or the tag of what it failed with. */
export const call = (
  { connection }: Rig<never> | Rig<Fault.StdioFault> | Rig<Fault.HttpFault>,
  tool: "pay" | "read",
  key: string,
  options?: McpConnection.RequestOptions
): Effect.Effect<string> =>
  connection.callTool({ name: tool, arguments: { key } }, options).pipe(
    Effect.map(({ content }) => content.flatMap((part) => ("text" in part ? [part.text] : [])).join()),
    Effect.catch((error) =>
      Effect.succeed(
        error._tag === "OutcomeUnknown"
          ? `${error._tag} (${error.cause.reason._tag})`
          : error._tag === "RequestTimeout"
            ? `${error._tag} (${error.delivery})`
            : error._tag === "ConnectionUnavailable"
              ? `${error._tag} (${error.because}, ${error.delivery}, ${error.cause?.reason._tag})`
              : error._tag
      )
    )
  )

/** The generation that serves, now or soon. */
export const generation = ({ connection }: { readonly connection: McpConnection.Shape }): Effect.Effect<number> =>
  Effect.map(Effect.orDie(connection.awaitReady), ({ generation }) => generation)

/** The faults that happened. */
export const happened = <F>({ proxy }: Rig<F>): ReadonlyArray<string> => proxy.happened.map(({ fault }) => fault._tag)

/** Asks until it is so, at most fifteen seconds: on a busy machine, a program takes seconds to start. */
export const until = (what: string, isSo: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (isSo() ? Effect.void : Effect.fail("not yet" as const))).pipe(
    Effect.retry(Schedule.spaced("5 millis")),
    Effect.timeoutOrElse({ duration: "15 seconds", orElse: () => Effect.die(new Error(`waited in vain for ${what}`)) }),
    Effect.orDie
  )

export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    const begin = performance.now()
    return Effect.map(effect, (value) => [value, performance.now() - begin] as const)
  })

export const assertAtLeast = (millis: number, least: number): void => assert.isAtLeast(millis, least - 5)

/** The processes that carry the mark of a test. */
export const processes = (mark: string): ReadonlyArray<string> =>
  readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`${marker}=${mark}`)
    } catch {
      return false
    }
  })
