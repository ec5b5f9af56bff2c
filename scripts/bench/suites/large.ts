/** What a large message costs over stdio, in both directions, beside the SDK's own transport and beside no client at all. */
import * as Effect from "effect/Effect"
import { type Round, rounds } from "../interleave.ts"
import * as LightServer from "../lightServer.ts"
import { type Curve, medianOf, over, ratio, type Row, type Suite, type Target } from "../measurement.ts"
import type { Random } from "../random.ts"
import { line } from "../statistics.ts"
import * as WorkerHost from "../workerHost.ts"

export interface Plan {
  readonly starts: number
  readonly rounds: number
  /** Above so many bytes, only the first start measures the SDK's transport, once for each round. */
  readonly rawRoundsAtMost: number
}

export const quick: Plan = { starts: 2, rounds: 2, rawRoundsAtMost: 1 }
export const full: Plan = { starts: 4, rounds: 3, rawRoundsAtMost: 3 }

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
    const slow = bytes >= huge && direction === "Receive"
    if (!slow && bytes >= 4_000_000) yield* wall(raw)
    const isEnough = slow && starts.flat().length >= plan.rawRoundsAtMost * plan.starts
    if (isEnough) continue
    const count = slow ? plan.rawRoundsAtMost : plan.rounds
    starts.push(yield* rounds({ tether: wall(tether), raw: wall(raw), bare: wall(bare) }, count, random))
    if (bytes >= 16_000_000) yield* progress(`large: ${nameOf(bytes)} ${wordOf[direction]}`)
  }
  yield* Effect.forEach(workers, (worker) => worker.close)
}, Effect.scoped)

const againstRaw: Partial<Record<number, Target>> = {
  16_000_000: { at: "least", bound: 4 },
  64_000_000: { at: "least", bound: 30 }
}
const againstBare: Target = { at: "most", bound: 1.5 }

/** The SDK's transport is slow at receiving, which is what the targets are about; in the other direction there is nothing to win. */
const rowsOf = ({ bytes, direction, starts }: Cell): ReadonlyArray<Row> => {
  const what = `${nameOf(bytes)} ${wordOf[direction]}`
  const milli = (subject: Subject) => medianOf(starts, (round) => round[subject] / 1_000)
  return [
    {
      what: `${what}: times faster than the SDK's transport`,
      unit: "ms",
      values: { tether: milli("tether"), raw: milli("raw") },
      compared: ratio(
        starts,
        (round) => round.raw,
        (round) => round.tether
      ),
      target: direction === "Receive" ? againstRaw[bytes] : undefined
    },
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

/** With which power of the size the time grows, from 1 MB on: 1 is linear, 2 is quadratic. */
const growthOf = (cells: ReadonlyArray<Cell>, direction: WorkerHost.Direction, subject: Subject): Row => {
  const large = cells.filter((cell) => cell.direction === direction && cell.bytes >= 1_000_000)
  const powers = Array.from({ length: Math.min(...large.map(({ starts }) => starts.length)) }, (_, start) => [
    line(
      large.map(({ bytes, starts }) => [
        Math.log(bytes),
        Math.log(medianOf([starts[start] ?? []], (round) => round[subject]))
      ])
    ).slope
  ])
  return {
    what: `power of the size with which time grows, ${wordOf[direction]}, ${subject}`,
    unit: "",
    values: {},
    compared: { how: "^", estimate: over(powers, (power) => power) },
    target: subject === "tether" ? { at: "most", bound: 1.1 } : undefined
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
        subjects.map((series) => ({
          series,
          x: bytes,
          ...over(starts, (round) => round[series] / 1_000)
        }))
      )
  }))
  return {
    suite: "large",
    about: "a text in one message over stdio; the same light server, one process for each subject",
    rows: [
      ...cells.flatMap(rowsOf),
      ...directions.flatMap((direction) => subjects.map((subject) => growthOf(cells, direction, subject)))
    ],
    curves
  } satisfies Suite
})
