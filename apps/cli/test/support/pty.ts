/** A command in a terminal of its own, by `script` of util-linux: what is written to it are keys. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFileSync, spawn } from "node:child_process"

/** Whether there is such a program. */
export const isHere = (() => {
  try {
    return execFileSync("script", ["--version"], { encoding: "utf8" }).includes("util-linux")
  } catch {
    return false
  }
})()

export interface Pty {
  /** Waits until this has been on the screen; dies with what has been, when the command ends without it. */
  readonly shows: (what: RegExp) => Effect.Effect<void>
  readonly press: (keys: string) => void
  /** Closes the window. */
  readonly close: () => void
  readonly ended: Effect.Effect<{ readonly code: number | null; readonly shown: string }>
}

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`

export const run = (
  command: ReadonlyArray<string>,
  /** What is other than in the environment of the test. */
  env: Readonly<Record<string, string>>
): Effect.Effect<Pty, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const line = `stty cols 120 rows 30; exec ${command.map(quoted).join(" ")}`
      return spawn("script", ["-qec", line, "/dev/null"], {
        env: { ...process.env, TERM: "xterm", ...env },
        stdio: ["pipe", "pipe", "ignore"]
      })
    }),
    // With its terminal, the command gets a SIGHUP.
    (child) => Effect.sync(() => void child.kill("SIGKILL"))
  ).pipe(
    Effect.map((child): Pty => {
      let shown = ""
      const listeners = new Set<() => void>()
      child.stdout.on("data", (chunk: Buffer) => {
        shown += chunk.toString()
        for (const listener of listeners) listener()
      })
      const ended = new Promise<{ code: number | null; shown: string }>((resolve) => {
        child.on("close", (code) => resolve({ code, shown }))
      })
      return {
        shows: (what) =>
          Effect.promise(
            () =>
              new Promise((resolve, reject) => {
                const look = (): void => {
                  if (what.test(shown)) resolve()
                }
                listeners.add(look)
                look()
                ended.then(() => reject(new Error(`it ended without ${what}: ${shown}`)), reject)
              })
          ),
        press: (keys) => void child.stdin.write(keys),
        close: () => void child.kill("SIGKILL"),
        ended: Effect.promise(() => ended)
      }
    })
  )
