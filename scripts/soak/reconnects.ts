/** One connection that loses its session again and again, and is called again at once each time. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Census from "./census.ts"
import * as Checkpoint from "./checkpoint.ts"
import { ask, connect, SoakFailed, type Subject } from "./subject.ts"
import { type Finding, judgeCounts, judgeTrend } from "./verdict.ts"

export interface Plan {
  /** How many turns come before the first checkpoint: the engine compiles and the caches fill. */
  readonly warmUp: number
  readonly turns: number
  /** How many turns are between two checkpoints. */
  readonly every: number
  /** At every how many checkpoints objects in memory are looked for, which takes seconds; at the first and the last in any case. */
  readonly lookEvery: number
  /** The largest growth for each turn, in bytes, that still counts as flat: of the heap, and of resident memory. */
  readonly heapPerTurn: number
  readonly rssPerTurn: number
}

export interface Report {
  readonly part: string
  readonly about: string
  readonly turns: number
  readonly millis: number
  /** What the connection itself told of, warm-up included. */
  readonly told: { readonly SessionLost: number; readonly SessionReady: number; readonly RequestReplayed: number }
  readonly checkpoints: ReadonlyArray<Checkpoint.Checkpoint>
  readonly findings: ReadonlyArray<Finding>
}

export const run = Effect.fnUntraced(function* (
  subject: Subject,
  plan: Plan,
  progress: (line: string) => Effect.Effect<void>
) {
  const part = `${subject.name} reconnects`
  // What the first connection of a process opens for all that follow is no leak of the second.
  yield* Effect.scoped(Effect.flatMap(connect(subject, part), (connection) => ask(subject, connection, "first")))
  const before = yield* Checkpoint.rest
  const report = yield* Effect.scoped(soak(subject, plan, part, progress))
  const after = yield* Checkpoint.restLike(before)
  return {
    ...report,
    findings: [
      ...report.findings,
      ...Checkpoint.kinds.map((kind) =>
        judgeCounts(`${Checkpoint.nameOf[kind]}, when closed`, [
          { at: "the beginning", count: before[kind] },
          { at: "the end", count: after[kind] }
        ])
      )
    ]
  } satisfies Report
})

const soak = Effect.fnUntraced(function* (
  subject: Subject,
  plan: Plan,
  part: string,
  progress: (line: string) => Effect.Effect<void>
) {
  const connection = yield* connect(subject, part)
  const told = { SessionLost: 0, SessionReady: 1, RequestReplayed: 0 }
  yield* connection.events.pipe(
    Stream.runForEach(({ _tag }) =>
      Effect.sync(() => {
        if (_tag === "SessionLost" || _tag === "SessionReady" || _tag === "RequestReplayed") told[_tag] += 1
      })
    ),
    Effect.forkScoped({ startImmediately: true })
  )
  let ready = yield* ask(subject, connection, "0")
  let lost = 0

  const loseAndAsk = Effect.fnUntraced(function* (index: number) {
    const what = yield* subject.lose(index, ready)
    const next = yield* ask(subject, connection, String(index))
    const isNew = subject.whoOf(next) !== subject.whoOf(ready)
    if (isNew !== (what === "session")) {
      return yield* new SoakFailed({
        description: `${part}, turn ${index}: the ${what} was lost, but the session is ${isNew ? "another" : "the same"} one`
      })
    }
    if (isNew) lost += 1
    ready = next
  })

  const checkpoints: Array<Checkpoint.Checkpoint> = []
  let millis = 0
  // The first time, measuring throws away what the start has left behind, and takes memory of its own.
  yield* Checkpoint.weigh({ turn: 0, counting: Checkpoint.rest, withObjects: true })
  for (let done = 0; done <= plan.warmUp + plan.turns;) {
    if (done >= plan.warmUp) {
      const [first] = checkpoints
      const atRest = first === undefined ? Checkpoint.rest : Checkpoint.restLike(first.counts)
      const turn = done - plan.warmUp
      const checkpoint = yield* Checkpoint.weigh({
        turn,
        counting: Effect.andThen(subject.settle, atRest),
        withObjects: turn === plan.turns || checkpoints.length % plan.lookEvery === 0,
        serverRss: subject.serverRss(ready)
      })
      checkpoints.push(checkpoint)
      yield* progress(
        `${part}: ${checkpoint.turn} of ${plan.turns}, heap ${(checkpoint.memory.heap / 1024).toFixed(0)} KiB, ${checkpoint.counts.fibers} fibers, ${Census.total(checkpoint.counts.fds)} fds`
      )
    }
    const until = done < plan.warmUp ? plan.warmUp : done + plan.every
    if (until > plan.warmUp + plan.turns) break
    const begin = yield* Clock.currentTimeMillis
    while (done < until) yield* loseAndAsk((done += 1))
    if (done > plan.warmUp) millis += (yield* Clock.currentTimeMillis) - begin
  }
  const { generation } = ready
  if (generation !== lost + 1 || told.SessionLost !== lost || told.SessionReady !== lost + 1) {
    return yield* new SoakFailed({
      description: `${part}: ${lost} sessions were lost, but this is generation ${generation}, and the connection told of ${told.SessionLost} losses and ${told.SessionReady} sessions`
    })
  }
  const report: Report = {
    part,
    about: subject.about,
    turns: plan.turns,
    millis,
    told,
    checkpoints,
    findings: judge(checkpoints, plan)
  }
  return report
})

/** What is in memory is not let go of at a moment of ours, so it is weighed like memory: one for every hundred turns is a leak. */
const objectsPerTurn = 0.01

const judge = (checkpoints: ReadonlyArray<Checkpoint.Checkpoint>, plan: Plan): ReadonlyArray<Finding> => {
  const points = (weigh: (checkpoint: Checkpoint.Checkpoint) => number) =>
    checkpoints.map((checkpoint) => [checkpoint.turn, weigh(checkpoint)] as const)
  const bytes = (perTurn: number) => ({ perTurn, unit: "bytes", turn: "turn" })
  const looked = (kind: keyof Census.Objects) =>
    checkpoints.flatMap(({ objects, turn }) => (objects === undefined ? [] : [[turn, objects[kind]] as const]))
  return [
    judgeTrend(
      "heap",
      points(({ memory }) => memory.heap),
      bytes(plan.heapPerTurn)
    ),
    judgeTrend(
      "external memory",
      points(({ memory }) => memory.external),
      bytes(plan.heapPerTurn)
    ),
    judgeTrend(
      "resident memory",
      points(({ memory }) => memory.rss),
      bytes(plan.rssPerTurn)
    ),
    ...Census.objectKinds.map((kind) =>
      judgeTrend(`${Census.objectNameOf[kind]} in memory`, looked(kind), {
        perTurn: objectsPerTurn,
        unit: "of them",
        turn: "turn"
      })
    ),
    ...Checkpoint.kinds.map((kind) =>
      judgeCounts(
        Checkpoint.nameOf[kind],
        checkpoints.map(({ counts, turn }) => ({ at: `turn ${turn}`, count: counts[kind] }))
      )
    )
  ]
}
