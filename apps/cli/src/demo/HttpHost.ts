/** A server behind HTTP, kept running: when its process ends it is started again on the same port, as a service manager does. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { connect, createServer } from "node:net"

export interface Options {
  /** What Node runs. The port comes as `PORT` in the environment. */
  readonly args: ReadonlyArray<string>
}

export interface HttpHost {
  readonly url: string
  readonly pid: () => number | undefined
}

/** A port that was free a moment ago. */
export const freePort: Effect.Effect<number> = Effect.callback<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** Waits until somebody accepts connections. */
const untilListening = (port: number): Effect.Effect<void> =>
  Effect.callback<boolean>((resume) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("connect", () => resume(Effect.succeed(true)))
    socket.once("error", () => resume(Effect.succeed(false)))
    return Effect.sync(() => socket.destroy())
  }).pipe(Effect.repeat({ until: (listening) => listening, schedule: Schedule.spaced("20 millis") }), Effect.asVoid)

export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<HttpHost, never, ChildProcessSpawner.ChildProcessSpawner | Scope.Scope> {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const port = yield* freePort
  let pid: number | undefined
  const command = ChildProcess.make(process.execPath, options.args, {
    env: { PORT: String(port) },
    extendEnv: true,
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
    forceKillAfter: "500 millis"
  })
  yield* Effect.scoped(
    Effect.gen(function* () {
      const child = yield* spawner.spawn(command)
      pid = child.pid
      yield* Effect.ignore(child.exitCode)
    })
  ).pipe(Effect.ignore, Effect.repeat(Schedule.spaced("100 millis")), Effect.forkScoped)
  yield* untilListening(port)
  return { url: `http://127.0.0.1:${port}/mcp`, pid: () => pid }
})
