/** Calls at a rate: half of the time one, and half of the time many at once. */
import type { McpConnection } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Semaphore from "effect/Semaphore"
import type { Recorder } from "./Recorder.ts"
import type { Workload } from "./workload.ts"

export interface Options {
  readonly connection: McpConnection.Shape
  readonly recorder: Recorder
  readonly workload: Workload
  readonly draw: () => number
  readonly forMillis: number
  /** Calls a second, on the average. */
  readonly rate: number
  /** How many may be under way at a time. */
  readonly concurrency: number
}

/** Makes calls for a while, and succeeds with what waits for their answers. */
export const run = Effect.fnUntraced(function* (options: Options) {
  const { concurrency, connection, draw, forMillis, rate, recorder, workload } = options
  const calls = yield* FiberSet.make()
  const room = yield* Semaphore.make(concurrency)
  const elapsed = Effect.map(recorder.elapsed, (millis) => millis ?? 0)
  let number = 0

  yield* Effect.gen(function* () {
    let due = 0
    for (;;) {
      const size = draw() < 0.5 ? 1 : 1 + Math.floor(draw() * concurrency)
      for (let i = 0; i < size; i++) {
        yield* room.take(1)
        number += 1
        const call = recorder.call(workload.next(number, draw), connection)
        yield* FiberSet.run(calls, Effect.ensuring(call, room.release(1)), { startImmediately: true })
      }
      // What could not be called in an outage is not made up for: that would be a load of its own.
      due = Math.max(due + (size * 1000) / rate, yield* elapsed)
      yield* Effect.sleep(due - (yield* elapsed))
    }
  }).pipe(Effect.timeoutOption(forMillis))
  return { settled: FiberSet.awaitEmpty(calls) }
})
