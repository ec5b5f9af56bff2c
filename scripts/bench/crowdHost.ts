/** Starts a process that holds many connections, or loses one many times, and has it do one task at a time. */
import * as Effect from "effect/Effect"
import * as Child from "./child.ts"
import { BenchFailed } from "./failed.ts"

export type Task =
  | { readonly _tag: "Grow"; readonly connections: number }
  | { readonly _tag: "Idle"; readonly millis: number }
  | { readonly _tag: "Reconnect"; readonly turns: number; readonly every: number }

export type Outcome =
  | { readonly _tag: "Done"; readonly value: unknown }
  | { readonly _tag: "Failed"; readonly message: string }

/** What doing nothing cost: microseconds of CPU, and the heartbeats that came meanwhile. */
export interface Idle {
  readonly cpu: number
  readonly beats: number
}

/** The heap is weighed: what V8 drops and makes again of bytecode is heavier than a connection. */
const weighing = ["--expose-gc", "--no-flush-bytecode"]

/** What a lost session leaves behind is a few bytes, if anything; optimized code comes and goes by the kilobyte. */
export const weighingBytes = [...weighing, "--no-opt", "--no-maglev"]

export const make = Effect.fnUntraced(function* (subject: "raw" | "tether", flags: ReadonlyArray<string> = weighing) {
  const child = yield* Child.fork(`${subject} crowd`, new URL("crowdWorker.ts", import.meta.url), [subject], flags)
  const ask = <A>(task: Task): Effect.Effect<A, BenchFailed> =>
    Effect.flatMap(child.ask<Outcome>(task), (outcome) =>
      outcome._tag === "Done"
        ? Effect.succeed(outcome.value as A)
        : Effect.fail(new BenchFailed({ description: `${subject} crowd, ${task._tag}: ${outcome.message}` }))
    )
  return {
    /** Opens connections until there are so many, and weighs the heap, in bytes. */
    grow: (connections: number) => ask<number>({ _tag: "Grow", connections }),
    idle: (millis: number) => ask<Idle>({ _tag: "Idle", millis }),
    /** Has one connection lose its session so often, and weighs the heap each `every` losses. */
    reconnect: (turns: number, every: number) => ask<ReadonlyArray<number>>({ _tag: "Reconnect", turns, every })
  }
})
