/** Starts a subject in a process of its own, and has it do one task at a time. */
import * as Effect from "effect/Effect"
import { BenchFailed } from "./failed.ts"
import * as Child from "./child.ts"
import type { Target } from "./subjects/subject.ts"

/** `control` is the raw client once more: how it differs from itself is what this machine cannot tell apart. */
export type SubjectName = "raw" | "control" | "bare" | "tether" | "runPromise"

/** Microseconds for each call: on the clock, and of this process's CPU. */
export interface Cost {
  readonly wall: number
  readonly cpu: number
}

export interface SerialCost extends Cost {
  /** How long each call took. */
  readonly took: ReadonlyArray<number>
}

export type Direction = "Receive" | "Send"

export type Task =
  | { readonly _tag: "Open"; readonly target: Target }
  | { readonly _tag: "Serial"; readonly calls: number }
  | { readonly _tag: "Flood"; readonly calls: number; readonly inFlight: number }
  | { readonly _tag: Direction; readonly bytes: number; readonly times: number }
  | { readonly _tag: "Again" }
  | { readonly _tag: "Close" }

export type Outcome =
  | { readonly _tag: "Done"; readonly value: unknown }
  | { readonly _tag: "Failed"; readonly message: string }

export interface Worker {
  readonly subject: SubjectName
  readonly open: (target: Target) => Effect.Effect<void, BenchFailed>
  readonly serial: (calls: number) => Effect.Effect<SerialCost, BenchFailed>
  readonly flood: (calls: number, inFlight: number) => Effect.Effect<Cost, BenchFailed>
  /** How long each of some large messages took, in one direction. */
  readonly transfer: (direction: Direction, bytes: number, times: number) => Effect.Effect<Cost, BenchFailed>
  /** How long it took until a new session has answered a call, in microseconds. */
  readonly again: Effect.Effect<number, BenchFailed>
  readonly close: Effect.Effect<void, BenchFailed>
}

/** Runs until the scope is closed. */
export const make = Effect.fnUntraced(function* (subject: SubjectName) {
  const child = yield* Child.fork(subject, new URL("worker.ts", import.meta.url), [subject])
  const ask = <A = void>(task: Task): Effect.Effect<A, BenchFailed> =>
    Effect.flatMap(child.ask<Outcome>(task), (outcome) =>
      outcome._tag === "Done"
        ? Effect.succeed(outcome.value as A)
        : Effect.fail(new BenchFailed({ description: `${subject}, ${task._tag}: ${outcome.message}` }))
    )
  return {
    subject,
    open: (target) => ask({ _tag: "Open", target }),
    serial: (calls) => ask({ _tag: "Serial", calls }),
    flood: (calls, inFlight) => ask({ _tag: "Flood", calls, inFlight }),
    transfer: (direction, bytes, times) => ask({ _tag: direction, bytes, times }),
    again: ask({ _tag: "Again" }),
    close: ask({ _tag: "Close" })
  } satisfies Worker as Worker
})
