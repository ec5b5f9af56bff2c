/**
 * The pipes of a spawned process, to be let go of at the end.
 *
 * Effect's spawner keeps them to itself and lets them go at their end of file. A daemon that a server leaves behind outside of its
 * process group holds that end open, and then each session would leave two pipes and a busy event loop. Node tells of every
 * process it creates (diagnostics channel `child_process`), and that is how the pipes are found.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { ChildProcess } from "node:child_process"
import * as DiagnosticsChannel from "node:diagnostics_channel"

export interface Spawned {
  readonly child: ChildProcessSpawner.ChildProcessHandle
  readonly destroyPipes: Effect.Effect<void>
}

export const track = <E, R>(
  spawn: Effect.Effect<ChildProcessSpawner.ChildProcessHandle, E, R>
): Effect.Effect<Spawned, E, R> =>
  Effect.suspend(() => {
    const created: Array<ChildProcess> = []
    const note = (message: unknown): void => {
      if (Predicate.hasProperty(message, "process") && message.process instanceof ChildProcess)
        created.push(message.process)
    }
    DiagnosticsChannel.subscribe("child_process", note)
    return spawn.pipe(
      Effect.ensuring(Effect.sync(() => DiagnosticsChannel.unsubscribe("child_process", note))),
      Effect.map((child) => {
        const process = created.find(({ pid }) => pid === child.pid)
        return {
          child,
          destroyPipes: Effect.sync(() => {
            process?.stdin?.destroy()
            process?.stdout?.destroy()
            process?.stderr?.destroy()
          })
        }
      })
    )
  })
