/** A terminal that a test looks at and types into, by tmux. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { execFileSync } from "node:child_process"

/** Whether there is a tmux. */
export const isHere = (() => {
  try {
    execFileSync("tmux", ["-V"])
    return true
  } catch {
    return false
  }
})()

export interface Tmux {
  /** What is on the screen, without colours. */
  readonly screen: () => string
  /** Waits until this is on the screen, for a minute, and answers the screen. */
  readonly shows: (what: RegExp) => Effect.Effect<string>
  /** Types text. */
  readonly type: (text: string) => void
  /** Presses keys by their names, like `Enter`. */
  readonly press: (...keys: ReadonlyArray<string>) => void
  /** Runs a command of tmux. */
  readonly tell: (...args: ReadonlyArray<string>) => string
}

export interface Options {
  /** A folder for its socket. */
  readonly folder: string
  readonly width: number
  readonly height: number
  /** What runs in it, as a line for a shell. */
  readonly command: string
  /** What is other than in the environment of the test. */
  readonly env?: Readonly<Record<string, string>>
}

/** It is there as long as the scope. */
export const make = ({ command, env, folder, height, width }: Options): Effect.Effect<Tmux, never, Scope.Scope> => {
  const tell = (...args: ReadonlyArray<string>): string =>
    execFileSync("tmux", ["-S", `${folder}/tmux`, ...args], {
      encoding: "utf8",
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"]
    })
  const screen = (): string => tell("capture-pane", "-p")
  const begin = Effect.sync(() =>
    tell("-f", "/dev/null", "-u", "new-session", "-d", "-x", String(width), "-y", String(height), command)
  )
  const end = Effect.ignore(Effect.try(() => tell("kill-server")))
  return Effect.as(
    Effect.acquireRelease(begin, () => end),
    {
      screen,
      shows: (what) =>
        Effect.suspend(() => {
          const seen = screen()
          return what.test(seen) ? Effect.succeed(seen) : Effect.fail(seen)
        }).pipe(
          Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 600 }),
          Effect.mapError((seen) => new Error(`${what} is not on the screen:\n${seen}`)),
          Effect.orDie
        ),
      type: (text) => void tell("send-keys", "-l", text),
      press: (...keys) => void tell("send-keys", ...keys),
      tell
    }
  )
}
