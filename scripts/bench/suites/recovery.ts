/**
 * From the loss of a session to the first answered call, beside what that costs at the least: a new session and a call on it, by the raw
 * client of the SDK, told to at the very moment.
 */
import * as Effect from "effect/Effect"
import { type Round, rounds } from "../interleave.ts"
import * as LightServer from "../lightServer.ts"
import { medianOf, ratio, type Row, type Suite } from "../measurement.ts"
import type { Random } from "../random.ts"
import type { Target } from "../subjects/subject.ts"
import * as WorkerHost from "../workerHost.ts"

export interface Plan {
  readonly starts: number
  readonly rounds: number
}

export const quick: Plan = { starts: 2, rounds: 8 }
export const full: Plan = { starts: 6, rounds: 15 }

type Subject = "tether" | "raw"

/** One start: both subjects on one target, warmed up, and measured in turn. */
const start = Effect.fnUntraced(function* <E>(
  target: Target,
  lose: Effect.Effect<void, E>,
  plan: Plan,
  random: Random
) {
  const tether = yield* WorkerHost.make("tether")
  const raw = yield* WorkerHost.make("raw")
  yield* Effect.forEach([tether, raw], (worker) => worker.open(target))
  const measured = yield* rounds(
    { tether: Effect.andThen(lose, tether.again), raw: Effect.andThen(lose, raw.again) },
    // The first rounds are for V8.
    plan.rounds + warmUp,
    random
  )
  yield* Effect.forEach([tether, raw], (worker) => worker.close)
  return measured.slice(warmUp)
}, Effect.scoped)

const warmUp = 4

const rowOf = (what: string, starts: ReadonlyArray<ReadonlyArray<Round<Subject, number>>>): Row => ({
  what,
  unit: "ms",
  values: {
    tether: medianOf(starts, ({ tether }) => tether / 1_000),
    raw: medianOf(starts, ({ raw }) => raw / 1_000)
  },
  compared: ratio(
    starts,
    ({ tether }) => tether,
    ({ raw }) => raw
  ),
  target: { at: "most", bound: 1.15 }
})

export const run = Effect.fnUntraced(function* (
  plan: Plan,
  random: Random,
  progress: (line: string) => Effect.Effect<void>
) {
  const lasts: Array<{ what: string; starts: Array<Array<Round<Subject, number>>> }> = [
    { what: "stdio: kill -9 of a Node server, to the first answered call", starts: [] },
    { what: "stdio: kill -9 of a server that starts at once, to the first answered call", starts: [] },
    { what: "http: a server back from a restart, to the first answered call", starts: [] }
  ]
  for (let count = 1; count <= plan.starts; count += 1) {
    lasts[0]?.starts.push(yield* start(LightServer.stdio, Effect.void, plan, random))
    lasts[1]?.starts.push(yield* start(LightServer.instant, Effect.void, plan, random))
    lasts[2]?.starts.push(
      yield* Effect.scoped(
        Effect.flatMap(LightServer.http, ({ restart, target }) => start(target, restart, plan, random))
      )
    )
    yield* progress(`recovery: start ${count} of ${plan.starts}`)
  }
  return {
    suite: "recovery",
    about: "beside a new session and one call on it by the raw client, which is told when to start",
    rows: lasts.map(({ starts, what }) => rowOf(what, starts))
  } satisfies Suite
})
