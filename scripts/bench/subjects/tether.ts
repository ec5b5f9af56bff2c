/** `@mcp-tether/connection` with its defaults, as an Effect program uses it: many calls inside one running program. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import type { McpTransport as Transports } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { McpConnection, McpTransport } from "../published.ts"
import * as InMemory from "../servers/inMemory.ts"
import { check, type Open, type Session, type Target, textOf } from "./subject.ts"

export const transportOf = (target: Target): Transports.McpTransport<ChildProcessSpawner.ChildProcessSpawner> => {
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
    McpConnection.layer({ name: "bench", transport: transportOf(target) }).pipe(Layer.provide(NodeServices.layer))
  )
  const connection = await runtime.runPromise(McpConnection.McpConnection)
  const echo = (call: number) => {
    const text = textOf(call)
    return Effect.map(connection.callTool({ name: "echo", arguments: { text } }), (result) => check(result, text))
  }
  return { runtime, echo }
}

export const open: Open = async (target): Promise<Session> => {
  const { echo, runtime } = await connect(target)
  return {
    serial: (calls) =>
      runtime.runPromise(
        Effect.gen(function* () {
          const took = new Float64Array(calls)
          for (let call = 0; call < calls; call += 1) {
            const begin = performance.now()
            yield* echo(call)
            took[call] = (performance.now() - begin) * 1_000
          }
          return took
        })
      ),
    flood: (calls, inFlight) =>
      runtime.runPromise(
        Effect.forEach(
          Array.from({ length: calls }, (_, call) => call),
          echo,
          { concurrency: inFlight, discard: true }
        )
      ),
    close: () => runtime.dispose()
  }
}

/** The same connection, used from code that is no Effect program: one `runPromise` for each call. */
export const openRunPromise: Open = async (target): Promise<Session> => {
  const { echo, runtime } = await connect(target)
  return {
    serial: async (calls) => {
      const took = new Float64Array(calls)
      for (let call = 0; call < calls; call += 1) {
        const begin = performance.now()
        await Effect.runPromise(echo(call))
        took[call] = (performance.now() - begin) * 1_000
      }
      return took
    },
    flood: async (calls, inFlight) => {
      let next = 0
      const lane = async (): Promise<void> => {
        while (next < calls) await Effect.runPromise(echo(next++))
      }
      await Promise.all(Array.from({ length: inFlight }, lane))
    },
    close: () => runtime.dispose()
  }
}
