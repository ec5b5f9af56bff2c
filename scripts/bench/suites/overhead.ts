/** What a call costs over the raw client of the SDK: latency one after the other, throughput with many in flight, and CPU. */
import * as Effect from "effect/Effect"
import { round, type Round } from "../interleave.ts"
import * as LightServer from "../lightServer.ts"
import { difference, medianOf, ratio, type Row, type Suite, type Target } from "../measurement.ts"
import type { Random } from "../random.ts"
import type { Target as Where } from "../subjects/subject.ts"
import { median, quantile } from "../statistics.ts"
import * as WorkerHost from "../workerHost.ts"

export interface Plan {
  /** How often all processes are started anew. */
  readonly starts: number
  readonly rounds: number
  readonly calls: Readonly<Record<LightServer.Kind, number>>
}

export const quick: Plan = { starts: 3, rounds: 8, calls: { stdio: 200, http: 40, memory: 600 } }
export const full: Plan = { starts: 8, rounds: 24, calls: { stdio: 500, http: 120, memory: 1_500 } }

export const inFlight = [1, 16, 64, 256] as const

type Subject = "tether" | "raw" | "control" | "runPromise"

type Workers = Readonly<Record<Subject, WorkerHost.Worker>>

/** What one subject measured in one round: serial calls, and throughput by the number in flight. */
interface Sample {
  readonly serial: WorkerHost.SerialCost
  readonly floods: Readonly<Record<number, WorkerHost.Cost>>
}

type Rounds = ReadonlyArray<ReadonlyArray<Round<Subject, Sample>>>

/** Enough calls at once that it is about those in the middle, and not about the first and the last. */
const flood = (worker: WorkerHost.Worker, calls: number, many: number) => worker.flood(Math.max(calls, 2 * many), many)

/**
 * One round. What is compared is measured right after one another, in a new order each time: first the serial calls of all, then what
 * each does with many calls at a time.
 */
const measure = Effect.fnUntraced(function* (workers: Workers, calls: number, random: Random) {
  const { control, raw, runPromise, tether } = workers
  const serial = yield* round(
    {
      tether: tether.serial(calls),
      raw: raw.serial(calls),
      control: control.serial(calls),
      runPromise: runPromise.serial(calls)
    },
    random
  )
  const floods: Record<Subject, Record<number, WorkerHost.Cost>> = { tether: {}, raw: {}, control: {}, runPromise: {} }
  for (const many of inFlight) {
    // The others are there for a single call.
    const both = yield* round({ tether: flood(tether, calls, many), raw: flood(raw, calls, many) }, random)
    floods.tether[many] = both.tether
    floods.raw[many] = both.raw
  }
  const sample = (subject: Subject): Sample => ({ serial: serial[subject], floods: floods[subject] })
  return {
    tether: sample("tether"),
    raw: sample("raw"),
    control: sample("control"),
    runPromise: sample("runPromise")
  } satisfies Round<Subject, Sample>
})

/** Enough calls for V8 to have compiled what it will: the same for all, whatever is measured then. */
const warmUp = Effect.fnUntraced(function* (worker: WorkerHost.Worker, target: Where, calls: number) {
  yield* worker.open(target)
  // More often where calls are so quick that few would be enough to be measured, and too few to be compiled.
  for (let time = 0; time < (target._tag === "http" ? 1 : 2); time += 1) {
    yield* worker.serial(calls)
    for (const many of inFlight) yield* flood(worker, calls, many)
  }
})

/** One start: a process for each subject on one kind of transport, warmed up, and measured in turn. */
const start = Effect.fnUntraced(function* (kind: LightServer.Kind, plan: Plan, random: Random) {
  const target = yield* LightServer.target(kind)
  const workers: Workers = {
    tether: yield* WorkerHost.make("tether"),
    raw: yield* WorkerHost.make("raw"),
    control: yield* WorkerHost.make("control"),
    runPromise: yield* WorkerHost.make("runPromise")
  }
  const calls = plan.calls[kind]
  const all = Object.values(workers)
  yield* Effect.forEach(all, (worker) => warmUp(worker, target, calls))
  const measured: Array<Round<Subject, Sample>> = []
  while (measured.length < plan.rounds) measured.push(yield* measure(workers, calls, random))
  yield* Effect.forEach(all, (worker) => worker.close)
  return measured
}, Effect.scoped)

const latencyTarget: Partial<Record<LightServer.Kind, Target>> = {
  stdio: { at: "most", bound: 1.05 },
  http: { at: "most", bound: 1.05 }
}
const throughputTarget: Partial<Record<LightServer.Kind, Target>> = {
  stdio: { at: "least", bound: 1 },
  http: { at: "least", bound: 1 }
}
const cpuTarget: Partial<Record<LightServer.Kind, Target>> = { memory: { at: "most", bound: 12 } }

/** One call in a hundred is too few for a round: all rounds of a start are taken together. */
const tail = (kind: LightServer.Kind, starts: Rounds): Row => {
  const tails = starts.map((rounds) => {
    const p99 = (subject: "tether" | "raw") =>
      quantile(
        rounds.flatMap((round) => round[subject].serial.took),
        0.99
      )
    return [{ tether: p99("tether"), raw: p99("raw") }]
  })
  return {
    what: `${kind}, serial p99`,
    unit: "µs",
    values: { tether: medianOf(tails, ({ tether }) => tether), raw: medianOf(tails, ({ raw }) => raw) },
    compared: ratio(
      tails,
      ({ tether }) => tether,
      ({ raw }) => raw
    )
  }
}

const rowsOf = (kind: LightServer.Kind, starts: Rounds): ReadonlyArray<Row> => {
  const row = (
    what: string,
    unit: string,
    read: (sample: Sample) => number,
    options: {
      readonly subject?: "tether" | "control" | "runPromise"
      readonly difference?: boolean
      readonly target?: Target | undefined
    } = {}
  ): Row => {
    const { subject = "tether", target } = options
    const compare = options.difference === true ? difference : ratio
    return {
      what: `${kind}, ${what}`,
      unit,
      values: {
        [subject]: medianOf(starts, (round) => read(round[subject])),
        raw: medianOf(starts, (round) => read(round.raw))
      },
      compared: compare(
        starts,
        (round) => read(round[subject]),
        (round) => read(round.raw)
      ),
      target
    }
  }
  const perSecond = (many: number) => (sample: Sample) => 1_000_000 / (sample.floods[many]?.wall ?? Number.NaN)
  return [
    row("serial p50", "µs", ({ serial }) => median(serial.took), { target: latencyTarget[kind] }),
    tail(kind, starts),
    row("CPU of a serial call", "µs", ({ serial }) => serial.cpu, { difference: true, target: cpuTarget[kind] }),
    ...inFlight.map((many) => row(`${many} in flight`, "calls/s", perSecond(many), { target: throughputTarget[kind] })),
    row("CPU of a call, 64 in flight", "µs", ({ floods }) => floods[64]?.cpu ?? Number.NaN, { difference: true }),
    row("serial p50, control: the raw client beside itself", "µs", ({ serial }) => median(serial.took), {
      subject: "control"
    }),
    row("serial p50, runPromise for each call", "µs", ({ serial }) => median(serial.took), { subject: "runPromise" }),
    row("CPU of a serial call, runPromise for each call", "µs", ({ serial }) => serial.cpu, {
      subject: "runPromise",
      difference: true
    })
  ]
}

export const run = Effect.fnUntraced(function* (
  plan: Plan,
  random: Random,
  kinds: ReadonlyArray<LightServer.Kind>,
  progress: (line: string) => Effect.Effect<void>
) {
  const rows: Array<Row> = []
  for (const kind of kinds) {
    const starts: Array<Array<Round<Subject, Sample>>> = []
    for (let count = 1; count <= plan.starts; count += 1) {
      starts.push(yield* start(kind, plan, random))
      yield* progress(`overhead, ${kind}: start ${count} of ${plan.starts}`)
    }
    rows.push(...rowsOf(kind, starts))
  }
  return {
    suite: "overhead",
    about: "calls of `echo`; the same light server for each subject, each subject in a process of its own",
    rows
  } satisfies Suite
})
