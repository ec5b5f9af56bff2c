/** The command line as people have it: a process of its own, with a state directory of its own. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const bin = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../src/bin.ts")

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  readonly ended: Effect.Effect<Ended>
  /** Waits for something on stdout; dies when the process ends without it. */
  readonly says: (what: RegExp) => Effect.Effect<string>
}

export interface Terminal {
  /** `XDG_STATE_HOME`. */
  readonly state: string
  /** Where the logins are. */
  readonly logins: string
  readonly start: (args: ReadonlyArray<string>, env?: Readonly<Record<string, string>>) => Effect.Effect<Running>
  readonly run: (args: ReadonlyArray<string>, env?: Readonly<Record<string, string>>) => Effect.Effect<Ended>
}

export const make: Effect.Effect<Terminal, never, Scope.Scope> = Effect.gen(function* () {
  const children = new Set<ChildProcess>()
  const state = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(path.join(tmpdir(), "mcp-tether-cli-"))),
    (dir) =>
      Effect.sync(() => {
        for (const child of children) child.kill("SIGKILL")
        rmSync(dir, { recursive: true, force: true })
      })
  )
  const start: Terminal["start"] = (args, env = {}) =>
    Effect.sync(() => {
      const { FORCE_COLOR: _f, NO_COLOR: _n, ...inherited } = process.env
      const child = spawn(process.execPath, [bin, ...args], {
        env: { ...inherited, XDG_STATE_HOME: state, ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
      children.add(child)
      let stdout = ""
      let stderr = ""
      const listeners = new Set<() => void>()
      child.stdout.on("data", (chunk: Buffer) => {
        stdout += chunk.toString()
        for (const listener of listeners) listener()
      })
      child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()))
      const closed = new Promise<Ended>((resolve, reject) => {
        child.on("error", reject)
        child.on("close", (code, signal) => {
          children.delete(child)
          resolve({ code, signal, stdout, stderr })
        })
      })
      return {
        child,
        ended: Effect.promise(() => closed),
        says: (what) =>
          Effect.promise(
            () =>
              new Promise<string>((resolve, reject) => {
                const look = (): void => {
                  const found = what.exec(stdout)
                  if (found !== null) resolve(found[1] ?? found[0])
                }
                listeners.add(look)
                look()
                closed.then((ended) => reject(new Error(`it ended without ${what}: ${JSON.stringify(ended)}`)), reject)
              })
          )
      }
    })
  return {
    state,
    logins: path.join(state, "mcp-tether"),
    start,
    run: (args, env) => Effect.flatMap(start(args, env), ({ ended }) => ended)
  }
})
