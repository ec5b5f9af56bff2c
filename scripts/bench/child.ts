/** A Node process of our own that is talked to over IPC, and that does not outlive the scope. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, fork as start, type Serializable } from "node:child_process"
import { fileURLToPath } from "node:url"
import { BenchFailed } from "./failed.ts"

export interface Child {
  readonly pid: number
  /** Waits for the next message. */
  readonly next: <A>() => Effect.Effect<A, BenchFailed>
  /** Says something, and waits for the next message. */
  readonly ask: <A>(message: Serializable) => Effect.Effect<A, BenchFailed>
}

export const fork = Effect.fnUntraced(function* (
  name: string,
  module: URL,
  args: ReadonlyArray<string> = [],
  execArgv: ReadonlyArray<string> = []
): Effect.fn.Return<Child, BenchFailed, Scope.Scope> {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      start(fileURLToPath(module), [...args], {
        execArgv: ["--disable-warning=ExperimentalWarning", ...execArgv],
        stdio: ["ignore", "ignore", "inherit", "ipc"]
      })
    ),
    stop
  )
  const exchange = <A>(say: () => void) =>
    Effect.callback<A, BenchFailed>((resume) => {
      const forget = () => child.off("exit", onExit).off("message", onMessage)
      const onExit = (code: number | null, signal: string | null) => {
        forget()
        resume(Effect.fail(new BenchFailed({ description: `the process "${name}" has ended (${signal ?? code})` })))
      }
      const onMessage = (message: A) => {
        forget()
        resume(Effect.succeed(message))
      }
      if (isGone(child)) return onExit(child.exitCode, child.signalCode)
      child.once("exit", onExit).once("message", onMessage)
      say()
      return Effect.sync(forget)
    })
  if (child.pid === undefined) return yield* new BenchFailed({ description: `the process "${name}" did not start` })
  return {
    pid: child.pid,
    next: () => exchange(() => {}),
    ask: (message) => exchange(() => child.send(message))
  }
})

const isGone = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

/** Ends it the way its own program ends, by closing the channel; kills it when it does not. */
const stop = (child: ChildProcess): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (isGone(child)) return resume(Effect.void)
    const kill = setTimeout(() => child.kill("SIGKILL"), 5_000)
    child.once("exit", () => {
      clearTimeout(kill)
      resume(Effect.void)
    })
    if (child.connected) child.disconnect()
  })
