/**
 * From the loss of a session to the first answered call, beside what that costs at the least, by the raw client of the SDK: a new session
 * and a call on it. Over stdio the raw client is told to at the very moment; over HTTP a call has to fail first, as for anybody.
 */
import * as Effect from "effect/Effect"
import { type Round, rounds } from "../interleave.ts"
import * as LightServer from "../lightServer.ts"
import { difference, medianOf, ratio, type Row, type Suite } from "../measurement.ts"
import type { Random } from "../random.ts"
import type { Target } from "../subjects/subject.ts"
import * as WorkerHost from "../workerHost.ts"

export interface Plan {
  readonly starts: number
  readonly rounds: number
}

export const quick: Plan = { starts: 2, rounds: 6 }
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

const warmUp = 10

/** What is still under way when a server restarts tells of the loss before the call that is measured does. */
const rest = "30 millis"

/** A server that starts at once is not to be found outside of this benchmark: it shows what is added, and there the ratio says little. */
const instant = 1

const rowOf = (
  what: string,
  starts: ReadonlyArray<ReadonlyArray<Round<Subject, number>>>,
  isInstant: boolean
): Row => ({
  what,
  unit: "ms",
  values: {
    tether: medianOf(starts, ({ tether }) => tether / 1_000),
    raw: medianOf(starts, ({ raw }) => raw / 1_000)
  },
  compared: (isInstant ? difference : ratio)(
    starts,
    ({ tether }) => (isInstant ? tether / 1_000 : tether),
    ({ raw }) => (isInstant ? raw / 1_000 : raw)
  ),
  target: isInstant ? undefined : { at: "most", bound: 1.15 }
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
        Effect.flatMap(LightServer.http, ({ restart, target }) =>
          start(target, Effect.delay(restart, rest), plan, random)
        )
      )
    )
    yield* progress(`recovery: start ${count} of ${plan.starts}`)
  }
  return {
    suite: "recovery",
    about:
      "beside a new session and one call on it by the raw client: at the very moment over stdio, and over HTTP after a call that failed",
    rows: lasts.map(({ starts, what }, index) => rowOf(what, starts, index === instant))
  } satisfies Suite
})
