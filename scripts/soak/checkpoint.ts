/** Measuring at rest: nothing is weighed before everything that was let go of is gone. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Census from "./census.ts"

export interface Checkpoint {
  /** How many turns are behind. */
  readonly turn: number
  readonly counts: Census.Counts
  readonly memory: Census.Memory
  /** Not looked for at each, since it takes seconds. */
  readonly objects: Census.Objects | undefined
  readonly serverRss: number
}

/** A closed handle is let go of some turns of the event loop later, and an old session over HTTP some dozen milliseconds. */
const pause = "10 millis"
/** What is not let go of by then is held. */
const patience = "5 seconds"
/** So often in a row the same, and it is taken for rest. */
const stillness = 20

/** Waits until nothing moves any more, and counts. */
export const rest: Effect.Effect<Census.Counts> = Effect.suspend(() => {
  let last = Census.counts()
  let same = 0
  return Effect.sync(() => {
    const now = Census.counts()
    same = isSame(now, last) ? same + 1 : 0
    last = now
    return now
  }).pipe(
    Effect.repeat({ until: () => same >= stillness, schedule: Schedule.spaced(pause) }),
    Effect.timeoutOption(patience),
    Effect.map(() => last)
  )
})

/** Waits until everything is as it was at rest, and counts; what does not come to that is counted as it is. */
export const restLike = (expected: Census.Counts): Effect.Effect<Census.Counts> =>
  Effect.suspend(() => {
    let last = Census.counts()
    return Effect.sync(() => (last = Census.counts())).pipe(
      Effect.repeat({ until: (now) => isSame(now, expected), schedule: Schedule.spaced(pause) }),
      Effect.timeoutOption(patience),
      Effect.map(() => last)
    )
  })

export interface Options {
  readonly turn: number
  readonly counting: Effect.Effect<Census.Counts>
  readonly withObjects: boolean
  readonly serverRss?: number
}

/** Counts at rest, and weighs. */
export const weigh = Effect.fnUntraced(function* ({ counting, serverRss = 0, turn, withObjects }: Options) {
  const counts = yield* counting
  const memory = yield* Census.memory
  const objects = withObjects ? Census.objects(yield* Census.fiberClass) : undefined
  return { turn, counts, memory, objects, serverRss } satisfies Checkpoint
})

/** What is counted, as people call it. */
export const nameOf: Readonly<Record<keyof Census.Counts, string>> = {
  fds: "file descriptors",
  children: "child processes",
  zombies: "zombies",
  listeners: "listeners on process",
  resources: "what keeps the event loop alive",
  fibers: "fibers"
}

export const kinds: ReadonlyArray<keyof Census.Counts> = [
  "fds",
  "children",
  "zombies",
  "listeners",
  "resources",
  "fibers"
]

const isSame = (a: Census.Counts, b: Census.Counts): boolean => JSON.stringify(a) === JSON.stringify(b)
