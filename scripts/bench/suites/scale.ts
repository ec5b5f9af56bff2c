/** What idle connections weigh and cost, as their number grows; and what is left behind by sessions that were lost. */
import * as Effect from "effect/Effect"
import * as CrowdHost from "../crowdHost.ts"
import { rounds } from "../interleave.ts"
import { type Curve, difference, medianOf, over, type Row, type Suite } from "../measurement.ts"
import type { Random } from "../random.ts"
import { line } from "../statistics.ts"

export interface Plan {
  readonly starts: number
  /** How long idle connections are watched. */
  readonly idleMillis: number
  readonly reconnects: number
}

export const quick: Plan = { starts: 2, idleMillis: 2_000, reconnects: 2_000 }
export const full: Plan = { starts: 5, idleMillis: 10_000, reconnects: 10_000 }

/** One connection first: what all of them share is loaded with it. */
const counts = [1, 10, 100, 1_000] as const
type Count = (typeof counts)[number]
type Subject = "tether" | "raw"

interface Crowd {
  readonly heaps: Readonly<Record<Count, number>>
  readonly idles: Readonly<Record<Count, CrowdHost.Idle>>
}

const crowd = Effect.fnUntraced(function* (subject: Subject, { idleMillis }: Plan) {
  const host = yield* CrowdHost.make(subject)
  const heaps = {} as Record<Count, number>
  const idles = {} as Record<Count, CrowdHost.Idle>
  for (const count of counts) {
    heaps[count] = yield* host.grow(count)
    // A raw client does nothing when nobody asks.
    if (subject === "tether" && count > 1) idles[count] = yield* host.idle(idleMillis)
  }
  return { heaps, idles } satisfies Crowd
}, Effect.scoped)

/** What one more connection weighs, in bytes: the slope over all counts. */
const weightOf = ({ heaps }: Crowd): number => line(counts.map((count) => [count, heaps[count]])).slope

const perBeat =
  (count: Count) =>
  (crowd: Crowd): number =>
    crowd.idles[count].cpu / crowd.idles[count].beats

const checkpoints = 10

export const run = Effect.fnUntraced(function* (
  plan: Plan,
  random: Random,
  progress: (line: string) => Effect.Effect<void>
) {
  const crowds: Array<Array<Readonly<Record<Subject, Crowd>>>> = []
  const lost: Array<ReadonlyArray<number>> = []
  const every = plan.reconnects / checkpoints
  for (let count = 1; count <= plan.starts; count += 1) {
    crowds.push(yield* rounds({ tether: crowd("tether", plan), raw: crowd("raw", plan) }, 1, random))
    const heaps = Effect.flatMap(CrowdHost.make("tether", CrowdHost.weighingBytes), (host) =>
      host.reconnect(plan.reconnects, every)
    )
    lost.push(yield* Effect.scoped(heaps))
    yield* progress(`scale: start ${count} of ${plan.starts}`)
  }
  const kib = (bytes: number) => bytes / 1_024
  const above = (heaps: Crowd["heaps"], count: Count) => kib(heaps[count] - heaps[1])
  // The first tenth is for V8.
  const leaks = lost.map((heaps) => [line(heaps.slice(1).map((heap, index) => [index * every, heap])).slope])
  const rows: ReadonlyArray<Row> = [
    {
      what: "heap of an idle connection, above the raw client's",
      unit: "KiB",
      values: {
        tether: medianOf(crowds, ({ tether }) => kib(weightOf(tether))),
        raw: medianOf(crowds, ({ raw }) => kib(weightOf(raw)))
      },
      compared: difference(
        crowds,
        ({ tether }) => kib(weightOf(tether)),
        ({ raw }) => kib(weightOf(raw))
      ),
      target: { at: "most", bound: 40 }
    },
    ...([10, 100, 1_000] as const).map((count): Row => ({
      what: `CPU of a heartbeat, ${count} connections`,
      unit: "µs",
      values: {
        "per second, at the default of one in 30 s": medianOf(crowds, ({ tether }) => perBeat(count)(tether) / 30)
      },
      compared: { how: "=", estimate: over(crowds, ({ tether }) => perBeat(count)(tether)) }
    })),
    {
      what: `heap left behind by each of ${plan.reconnects.toLocaleString("en-US")} reconnects`,
      unit: "bytes",
      values: {},
      compared: { how: "=", estimate: over(leaks, (leak) => leak) },
      target: { at: "most", bound: 10 }
    }
  ]
  const curves: ReadonlyArray<Curve> = [
    {
      name: "scale-heap",
      title: "Heap of idle connections, heartbeats on",
      x: { title: "connections", log: true },
      y: { title: "KiB of heap above one connection", log: true },
      points: ([10, 100, 1_000] as const).flatMap((count) =>
        (["tether", "raw"] as const).map((series) => ({
          series,
          x: count,
          ...over(crowds, (round) => above(round[series].heaps, count))
        }))
      )
    },
    {
      name: "scale-reconnects",
      title: "Heap of one connection that loses its session again and again",
      x: { title: "reconnects", log: false },
      y: { title: "MiB of heap", log: false },
      points: Array.from({ length: checkpoints }, (_, index) => ({
        series: "tether",
        x: (index + 1) * every,
        ...over(
          lost.map((heaps) => [heaps[index] ?? Number.NaN]),
          (heap) => heap / 1_048_576
        )
      }))
    }
  ]
  return {
    suite: "scale",
    about:
      "connections in memory, each with a server of its own, all in one process; weighed after garbage collections",
    rows,
    curves
  } satisfies Suite
})
