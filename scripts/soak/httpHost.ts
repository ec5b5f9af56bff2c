/** The light server over HTTP, run as a child process and told what to do. */
import * as Effect from "effect/Effect"
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"

/**
 * To lose all sessions; to lose them and reset all sockets, as a restart does; to reset the socket of the next call; to close the
 * sockets that nothing is said on.
 */
export type Order = "forget" | "restart" | "drop" | "closeIdle"

export type Report = { readonly _tag: "Listening"; readonly port: number } | { readonly _tag: "Done" }

export interface HttpHost {
  readonly url: string
  readonly pid: number
  /** Has the server do something, and waits until it is done. */
  readonly order: (order: Order) => Effect.Effect<void>
}

/** Serves until the scope is closed. */
export const make = Effect.gen(function* () {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      fork(fileURLToPath(new URL("httpServer.ts", import.meta.url)), [], {
        // Not this program's flags, which are for its own measurements; and a heap that is collected before it is large.
        execArgv: ["--max-semi-space-size=1"],
        // A Ctrl-C is for this program, which then ends the server.
        detached: true,
        stdio: ["ignore", "ignore", "inherit", "ipc"]
      })
    ),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
  const ask = (say: () => void) =>
    Effect.callback<Report>((resume) => {
      const forget = () => child.off("exit", onExit).off("message", onMessage)
      const onExit = () => {
        forget()
        resume(Effect.die(new Error("the light HTTP server has ended")))
      }
      const onMessage = (report: Report) => {
        forget()
        resume(Effect.succeed(report))
      }
      child.once("exit", onExit).once("message", onMessage)
      say()
      return Effect.sync(forget)
    })
  const first = yield* ask(() => {})
  if (first._tag !== "Listening" || child.pid === undefined) return yield* Effect.die(new Error("it does not listen"))
  return {
    url: `http://127.0.0.1:${first.port}/mcp`,
    pid: child.pid,
    order: (order: Order) => Effect.asVoid(ask(() => child.send(order)))
  } satisfies HttpHost
})
