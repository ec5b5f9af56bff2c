/** What shows while it runs, on stderr: one live line in a terminal, and elsewhere a line now and then. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Output from "../commands/Output.ts"
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

const clear = "\r\u001b[K"

/** Before anything is killed. */
export const announce = (label: string, seed: string): Effect.Effect<void> =>
  Effect.sync(() => void process.stderr.write(`${Output.plain(label)} serves; the kills begin, seed ${seed}\n`))

export const show = (recorder: Recorder, forMillis: number): Effect.Effect<void> => {
  const live = process.stderr.isTTY
  const write = Effect.map(recorder.elapsed, (elapsed) => {
    const line = lineOf(recorder, elapsed ?? 0, forMillis)
    if (live) process.stderr.write(`${clear}${line.slice(0, (process.stderr.columns || 80) - 1)}`)
    else process.stderr.write(`${line}\n`)
  })
  const every = Schedule.spaced(live ? "200 millis" : "5 seconds")
  return Effect.delay(write, live ? 0 : "5 seconds").pipe(
    Effect.repeat(every),
    Effect.asVoid,
    Effect.ensuring(Effect.sync(() => void (live && process.stderr.write(clear))))
  )
}
