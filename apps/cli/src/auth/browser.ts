/** The platform's own way to open a page. */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"

const openers: Partial<Record<NodeJS.Platform, readonly [command: string, ...args: ReadonlyArray<string>]>> = {
  darwin: ["open"],
  // Not `start`: it would need a shell, which gives a meaning to `&`.
  win32: ["rundll32", "url.dll,FileProtocolHandler"]
}

/** Tries to; whether a browser opens, nobody can say. It is a process of its own, and stays when this one ends. */
export const open = (url: URL): Effect.Effect<void> =>
  Effect.sync(() => {
    const [command, ...args] = openers[process.platform] ?? ["xdg-open"]
    const child = spawn(command, [...args, url.href], { stdio: "ignore", detached: true })
    // No opener, no browser: the address was printed.
    child.on("error", () => {})
    child.unref()
  })
