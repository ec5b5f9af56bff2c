/** `@mcp-tether/connection` with its defaults, as an Effect program uses it: many calls inside one running program. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import type { McpConnection as Connections, McpTransport as Transports } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { McpConnection, McpTransport } from "../published.ts"
import * as InMemory from "../servers/inMemory.ts"
import { awaiting, consume, echo, type Open, produce, type Question, type Session, type Target } from "./subject.ts"

const transportOf = (target: Target): Transports.McpTransport<ChildProcessSpawner.ChildProcessSpawner> => {
  switch (target._tag) {
    case "stdio":
      return McpTransport.stdio({ command: target.command, args: target.args })
    case "http":
      return McpTransport.streamableHttp({ url: target.url })
    case "memory":
      return McpTransport.fromSdk({ label: "memory", make: () => Effect.sync(InMemory.connect) })
  }
}

const connect = async (target: Target) => {
  const runtime = ManagedRuntime.make(
    // Sessions are lost all the time here, and each counts as one that has proven itself.
    McpConnection.layer({ name: "bench", transport: transportOf(target), stableAfter: 0 }).pipe(
      Layer.provide(NodeServices.layer)
    )
  )
  const connection = await runtime.runPromise(McpConnection.McpConnection)
  return { runtime, connection }
}

/** Kills the server that serves now, if it is a child process. */
const killServer = (connection: Connections.Shape) =>
  Effect.map(connection.awaitReady, ({ server }) => {
    if (server.pid !== undefined) process.kill(server.pid, "SIGKILL")
  })

export const open: Open = async (target): Promise<Session> => {
  const { connection, runtime } = await connect(target)
  const ask = ({ call, check }: Question) => Effect.map(connection.callTool(call), check)
  const repeated = (question: Question, times: number) =>
    runtime.runPromise(
      Effect.gen(function* () {
        for (let time = 0; time < times; time += 1) yield* ask(question)
      })
    )
  let turns = 0
  return {
    serial: (calls) =>
      runtime.runPromise(
        Effect.gen(function* () {
          const took = new Float64Array(calls)
          for (let call = 0; call < calls; call += 1) {
            const begin = performance.now()
            yield* ask(echo(call))
            took[call] = (performance.now() - begin) * 1_000
          }
          return took
        })
      ),
    flood: (calls, inFlight) =>
      runtime.runPromise(
        Effect.forEach(
          Array.from({ length: calls }, (_, call) => call),
          (call) => ask(echo(call)),
          { concurrency: inFlight, discard: true }
        )
      ),
    receive: (bytes, times) => repeated(produce(bytes), times),
    send: (bytes, times) => repeated(consume(bytes), times),
    again: () =>
      runtime.runPromise(
        Effect.gen(function* () {
          const { generation } = yield* connection.awaitReady
          const begin = performance.now()
          yield* killServer(connection)
          yield* ask(echo(turns++))
          const took = (performance.now() - begin) * 1_000
          const now = yield* connection.awaitReady
          if (now.generation === generation) return yield* Effect.die(new Error("the session was not lost"))
          return took
        })
      ),
    close: () => runtime.dispose()
  }
}

/** The same connection, used from code that is no Effect program: one `runPromise` for each call. */
export const openRunPromise: Open = async (target): Promise<Session> => {
  const { connection, runtime } = await connect(target)
  return {
    ...awaiting((call) => Effect.runPromise(connection.callTool(call))),
    again: () => Promise.reject(new Error("measured inside a running program")),
    close: () => runtime.dispose()
  }
}
