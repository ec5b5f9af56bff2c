/** Runs the command line. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import { run } from "./cli.ts"

// Whoever reads us has seen enough (`| head`): end as if told to, so that no server is left behind.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Nothing can be told any more, whatever the reason; but a full disk is no reader who has left.
  if (error.code !== "EPIPE") process.exitCode = 1
  process.emit("SIGTERM", "SIGTERM")
})
// The window is closed: Node would end at once, and leave servers behind that do not go by themselves.
process.on("SIGHUP", () => process.emit("SIGTERM", "SIGTERM"))
// What is said into a window that is gone is heard by nobody, and no reason to die of.
process.stderr.on("error", () => undefined)

run(process.argv.slice(2)).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
