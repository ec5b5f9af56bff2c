/** What shows while it runs, on stderr: one live line in a terminal, and elsewhere a line now and then. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Output from "../commands/Output.ts"
import * as Progress from "../commands/Progress.ts"
import type { Recorder } from "./Recorder.ts"

export const lineOf = (recorder: Recorder, elapsedMillis: number, forMillis: number): string => {
  const of = (outcome: string) => recorder.calls.filter((call) => call.outcome === outcome).length
  const failed = of("failed")
  return [
    `${(elapsedMillis / 1000).toFixed(1)} of ${(forMillis / 1000).toFixed(0)} s`,
    `${recorder.calls.length} calls`,
    `${of("answered")} answered`,
    `${of("unknown")} unknown`,
    ...(failed === 0 ? [] : [`${failed} failed`]),
    `${recorder.outages.filter(({ readyAt }) => readyAt !== null).length} reconnects`,
    recorder.states.at(-1)?.state ?? "Connecting"
  ].join(" · ")
}

/** Before anything is killed. */
export const announce = (label: string, seed: string): Effect.Effect<void> =>
  Effect.sync(() => void process.stderr.write(`${Output.plain(label)} serves; the kills begin, seed ${seed}\n`))

export const show = (recorder: Recorder, forMillis: number): Effect.Effect<void> => {
  const line = Effect.map(recorder.elapsed, (elapsed) => lineOf(recorder, elapsed ?? 0, forMillis))
  if (Progress.isWatched()) return Progress.show(line)
  const write = Effect.map(line, (text) => void process.stderr.write(`${text}\n`))
  return Effect.delay(write, "5 seconds").pipe(Effect.repeat(Schedule.spaced("5 seconds")), Effect.asVoid)
}
