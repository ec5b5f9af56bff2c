/** What a large message costs over stdio, in both directions, beside the SDK's own transport and beside no client at all. */
import * as Effect from "effect/Effect"
import { type Round, rounds } from "../interleave.ts"
import * as LightServer from "../lightServer.ts"
import { type Curve, difference, medianOf, over, ratio, type Row, type Suite, type Target } from "../measurement.ts"
import type { Random } from "../random.ts"
import { line } from "../statistics.ts"
import * as WorkerHost from "../workerHost.ts"

export interface Plan {
  readonly starts: number
  readonly rounds: number
  /** In how many rounds, over all starts, 64 MB are received: the SDK's transport takes half a minute for it. None: without it. */
  readonly hugeRounds: number
}

export const quick: Plan = { starts: 2, rounds: 2, hugeRounds: 0 }
export const full: Plan = { starts: 4, rounds: 3, hugeRounds: 4 }

export const sizes = [1_000, 16_000, 256_000, 1_000_000, 4_000_000, 16_000_000, 64_000_000] as const

const directions: ReadonlyArray<WorkerHost.Direction> = ["Receive", "Send"]

/** From here on, the SDK's transport takes seconds for one message. */
const huge = 64_000_000

/** So many messages at once that a round takes some dozen milliseconds. */
const timesOf = (bytes: number): number => Math.max(1, Math.min(50, Math.floor(4_000_000 / bytes)))

type Subject = "tether" | "raw" | "bare"
type Rounds = Array<Array<Round<Subject, number>>>

/** Microseconds for a message, by subject: for each start, its rounds. */
interface Cell {
  readonly direction: WorkerHost.Direction
  readonly bytes: number
  readonly starts: Rounds
}

const nameOf = (bytes: number): string => (bytes >= 1_000_000 ? `${bytes / 1_000_000} MB` : `${bytes / 1_000} KB`)

const wordOf: Readonly<Record<WorkerHost.Direction, string>> = { Receive: "received", Send: "sent" }

/** One start: the three processes, and all sizes in both directions, in turn. */
const start = Effect.fnUntraced(function* (
  plan: Plan,
  cells: ReadonlyArray<Cell>,
  random: Random,
  progress: (line: string) => Effect.Effect<void>
) {
  const tether = yield* WorkerHost.make("tether")
  const raw = yield* WorkerHost.make("raw")
  const bare = yield* WorkerHost.make("bare")
  const workers = [tether, raw, bare]
  yield* Effect.forEach(workers, (worker) => worker.open(LightServer.stdio))
  // The server makes its texts, and V8 has seen all of it.
  for (const direction of directions) {
    for (const bytes of sizes.filter((bytes) => bytes < 4_000_000)) {
      yield* Effect.forEach(workers, (worker) => worker.transfer(direction, bytes, 2 * timesOf(bytes)))
    }
  }
  for (const { bytes, direction, starts } of cells) {
    const wall = (worker: WorkerHost.Worker) =>
      Effect.map(worker.transfer(direction, bytes, timesOf(bytes)), ({ wall }) => wall)
    // The server makes the largest texts now, and that is not measured.
    yield* Effect.forEach([tether, bare], wall)
    const isHuge = bytes >= huge && direction === "Receive"
    if (!isHuge) yield* wall(raw)
    const withRaw = isHuge ? Math.ceil((plan.hugeRounds - starts.flat().length) / plan.starts) : plan.rounds
    const subjects = { tether: wall(tether), bare: wall(bare) }
    starts.push(
      withRaw > 0
        ? yield* rounds({ ...subjects, raw: wall(raw) }, withRaw, random)
        : (yield* rounds(subjects, plan.rounds, random)).map((round) => ({ ...round, raw: Number.NaN }))
    )
    if (bytes >= 16_000_000) yield* progress(`large: ${nameOf(bytes)} ${wordOf[direction]}`)
  }
  yield* Effect.forEach(workers, (worker) => worker.close)
}, Effect.scoped)

const againstRaw: Partial<Record<number, Target>> = {
  16_000_000: { at: "least", bound: 4 },
  64_000_000: { at: "least", bound: 30 }
}
const againstBare: Target = { at: "most", bound: 1.5 }

/** Those rounds in which the SDK's transport was measured, too. */
const withRawOf = (starts: Rounds): Rounds =>
  starts.map((rounds) => rounds.filter(({ raw }) => !Number.isNaN(raw))).filter((rounds) => rounds.length > 0)

/** The SDK's transport is slow at receiving, which is what the targets are about; in the other direction there is nothing to win. */
const rowsOf = ({ bytes, direction, starts }: Cell): ReadonlyArray<Row> => {
  const what = `${nameOf(bytes)} ${wordOf[direction]}`
  const milli = (subject: Subject) => medianOf(starts, (round) => round[subject] / 1_000)
  const complete = withRawOf(starts)
  const besideRaw = (): ReadonlyArray<Row> => [
    {
      what: `${what}: times faster than the SDK's transport`,
      unit: "ms",
      values: { tether: milli("tether"), raw: medianOf(complete, ({ raw }) => raw / 1_000) },
      compared: ratio(
        complete,
        (round) => round.raw,
        (round) => round.tether
      ),
      target: direction === "Receive" ? againstRaw[bytes] : undefined
    }
  ]
  return [
    ...(complete.length === 0 ? [] : besideRaw()),
    {
      what: `${what}: beside a bare line splitter`,
      unit: "ms",
      values: { tether: milli("tether"), bare: milli("bare") },
      compared: ratio(
        starts,
        (round) => round.tether,
        (round) => round.bare
      ),
      target: bytes >= 1_000_000 ? againstBare : undefined
    }
  ]
}

/**
 * With which power of the size the time grows, from 1 MB on: 1 is linear, 2 is quadratic. Caches and the garbage collector bend
 * everybody's line, so ours is held against that of the bare splitter.
 */
const growthOf = (cells: ReadonlyArray<Cell>, direction: WorkerHost.Direction): Row => {
  const large = cells.filter((cell) => cell.direction === direction && cell.bytes >= 1_000_000)
  const starts = Math.min(...large.map(({ starts }) => starts.length))
  const power = (subject: Subject, start: number) =>
    line(
      large
        .map(({ bytes, starts }) => [bytes, medianOf([starts[start] ?? []], (round) => round[subject])] as const)
        .filter(([, time]) => !Number.isNaN(time))
        .map(([bytes, time]) => [Math.log(bytes), Math.log(time)])
    ).slope
  const powers = Array.from({ length: starts }, (_, start) => [
    { tether: power("tether", start), raw: power("raw", start), bare: power("bare", start) }
  ])
  return {
    what: `power of the size with which time grows, ${wordOf[direction]}`,
    unit: "",
    values: {
      tether: medianOf(powers, ({ tether }) => tether),
      raw: medianOf(powers, ({ raw }) => raw),
      bare: medianOf(powers, ({ bare }) => bare)
    },
    compared: difference(
      powers,
      ({ tether }) => tether,
      ({ bare }) => bare
    ),
    target: { at: "most", bound: 0.1 }
  }
}

export const run = Effect.fnUntraced(function* (
  plan: Plan,
  random: Random,
  progress: (line: string) => Effect.Effect<void>
) {
  const cells = directions.flatMap((direction) => sizes.map((bytes): Cell => ({ direction, bytes, starts: [] })))
  for (let count = 1; count <= plan.starts; count += 1) {
    yield* start(plan, cells, random, progress)
    yield* progress(`large: start ${count} of ${plan.starts}`)
  }
  const subjects = ["tether", "raw", "bare"] as const
  const curves = directions.map((direction): Curve => ({
    name: `large-${wordOf[direction]}`,
    title: `A text ${wordOf[direction]} over stdio`,
    x: { title: "bytes", log: true },
    y: { title: "milliseconds", log: true },
    points: cells
      .filter((cell) => cell.direction === direction)
      .flatMap(({ bytes, starts }) =>
        subjects.flatMap((series) => {
          const measured = series === "raw" ? withRawOf(starts) : starts
          return measured.length === 0
            ? []
            : [{ series, x: bytes, ...over(measured, (round) => round[series] / 1_000) }]
        })
      )
  }))
  return {
    suite: "large",
    about: "a text in one message over stdio; the same light server, one process for each subject",
    rows: [...cells.flatMap(rowsOf), ...directions.map((direction) => growthOf(cells, direction))],
    curves
  } satisfies Suite
})
