/**
 * The pipes of a spawned process: read and written without a detour, and let go of at the end.
 *
 * Effect's spawner keeps them to itself. It reads through another stream and hands chunks from fiber to fiber, which takes a fifth of a
 * call; and it lets go of them at their end of file only: a daemon that a server leaves behind outside of its process group holds that end
 * open, and then each session would leave two pipes and a busy event loop. Node tells of every process it creates (diagnostics channel
 * `child_process`), and that is how the pipes are found. Where they are not, all goes the spawner's way.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import { ChildProcess } from "node:child_process"
import * as DiagnosticsChannel from "node:diagnostics_channel"
import type { Readable, Writable } from "node:stream"
import type { Reason } from "../../ConnectionError.ts"
import type { Outbox } from "./outbox.ts"

export interface Spawned {
  readonly child: ChildProcessSpawner.ChildProcessHandle
  /** Writes what the outbox has, as fast as the pipe takes it. Ends the pipe when the outbox is closed; fails when it breaks. */
  readonly write: (outbox: Outbox) => Effect.Effect<void, PlatformError.PlatformError | PipeClosed>
  /** Reads until the end, or until there is a reason to stop. */
  readonly read: (onChunk: (chunk: Uint8Array) => Reason | undefined) => Effect.Effect<Reason | undefined>
  readonly destroyPipes: Effect.Effect<void>
}

export interface PipeClosed {
  readonly _tag: "PipeClosed"
}

export const track = <E, R>(
  spawn: Effect.Effect<ChildProcessSpawner.ChildProcessHandle, E, R>
): Effect.Effect<Spawned, E, R> =>
  Effect.withFiber((fiber) => {
    const created: Array<ChildProcess> = []
    const holds = new Map<ChildProcess, Hold>()
    let spawned = false
    const note = (message: unknown): void => {
      if (!Predicate.hasProperty(message, "process") || !(message.process instanceof ChildProcess)) return
      const { process } = message
      created.push(process)
      // Others create processes, too, and who reads those is none of our business.
      if (Fiber.getCurrent() !== fiber) return
      // The first to hear of it, and so before the spawner reads.
      process.once("spawn", () => {
        if (!spawned && process.stdout !== null) holds.set(process, hold(process.stdout))
      })
    }
    DiagnosticsChannel.subscribe("child_process", note)
    return spawn.pipe(
      Effect.map((child) => {
        const process = created.find(({ pid }) => pid === child.pid)
        const { stderr, stdin, stdout } = process ?? {}
        const held = process === undefined ? undefined : holds.get(process)
        held?.keep()
        return {
          child,
          write: stdin ? writeInto(stdin) : sinkInto(child),
          read: stdout && held !== undefined ? readFrom(stdout) : streamFrom(child),
          destroyPipes: Effect.sync(() => {
            stdin?.destroy()
            stdout?.destroy()
            stderr?.destroy()
          })
        }
      }),
      Effect.ensuring(
        Effect.sync(() => {
          spawned = true
          DiagnosticsChannel.unsubscribe("child_process", note)
          for (const held of holds.values()) held.release()
        })
      )
    )
  })

interface Hold {
  /** Lets others pipe it from now on, and whoever asked to meanwhile never. */
  readonly keep: () => void
  /** Lets others pipe it, also those who asked to meanwhile; unless it was kept. */
  readonly release: () => void
}

/** Keeps a stream from being piped anywhere, until it is known whose it is. */
const hold = (stream: Readable): Hold => {
  const pipe = stream.pipe.bind(stream)
  const asked: Array<() => void> = []
  stream.pipe = (destination, options) => {
    asked.push(() => pipe(destination, options))
    return destination
  }
  const end = (then: ReadonlyArray<() => void>): void => {
    stream.pipe = pipe
    for (const start of then) start()
    asked.length = 0
  }
  return { keep: () => end([]), release: () => end(asked) }
}

const writeInto =
  (stdin: Writable): Spawned["write"] =>
  (outbox) =>
    Effect.callback((resume) => {
      const write = (): void => {
        // What is taken counts as sent: nothing is, once there is no pipe.
        while (stdin.writable && !stdin.writableNeedDrain) {
          const text = outbox.take()
          if (text === undefined) return outbox.isClosed() ? void stdin.end() : outbox.onReady(write)
          stdin.write(text)
        }
      }
      const over = (): void => {
        stdin.off("drain", write)
        stdin.off("error", over)
        stdin.off("close", over)
        outbox.onReady(undefined)
        resume(outbox.isClosed() ? Effect.void : Effect.fail({ _tag: "PipeClosed" }))
      }
      stdin.on("drain", write)
      stdin.on("error", over)
      stdin.on("close", over)
      if (!stdin.writable) return over()
      write()
      return Effect.sync(over)
    })

const sinkInto =
  (child: ChildProcessSpawner.ChildProcessHandle): Spawned["write"] =>
  (outbox) => {
    const encoder = new TextEncoder()
    const pull: Pull.Pull<readonly [Uint8Array]> = Effect.suspend(() => {
      const text = outbox.take()
      if (text !== undefined) return Effect.succeed([encoder.encode(text)] as const)
      return outbox.isClosed() ? Cause.done() : Effect.andThen(ready, pull)
    })
    const ready = Effect.callback<void>((resume) => {
      outbox.onReady(() => resume(Effect.void))
      return Effect.sync(() => outbox.onReady(undefined))
    })
    return Stream.run(Stream.fromPull(Effect.succeed(pull)), child.stdin)
  }

const readFrom =
  (stdout: Readable): Spawned["read"] =>
  (onChunk) =>
    Effect.callback((resume) => {
      const read = (chunk: Uint8Array): void => {
        const reason = onChunk(chunk)
        if (reason !== undefined) over(reason)
      }
      const end = (): void => over(undefined)
      const over = (reason: Reason | undefined): void => {
        stdout.off("data", read)
        stdout.off("end", end)
        stdout.off("close", end)
        // Whoever ends may still have something to say, and must not wait for somebody to read it.
        stdout.resume()
        resume(Effect.succeed(reason))
      }
      stdout.on("error", end)
      stdout.on("end", end)
      stdout.on("close", end)
      stdout.on("data", read)
      if (stdout.destroyed) return end()
      return Effect.sync(end)
    })

const streamFrom =
  ({ stdout }: ChildProcessSpawner.ChildProcessHandle): Spawned["read"] =>
  (onChunk) =>
    stdout.pipe(
      Stream.runForEach((chunk) =>
        Effect.suspend(() => {
          const reason = onChunk(chunk)
          return reason === undefined ? Effect.void : Effect.fail({ _tag: "Stopped" as const, reason })
        })
      ),
      Effect.matchEffect({
        onSuccess: () => Effect.undefined,
        onFailure: (error) => (error._tag === "Stopped" ? Effect.succeed(error.reason) : Effect.undefined)
      })
    )
