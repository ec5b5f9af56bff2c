/** Many connections at once, which all lose their session at the same moment, all recover, and are all closed. */
import type { McpConnection } from "@mcp-tether/connection"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Census from "./census.ts"
import * as Checkpoint from "./checkpoint.ts"
import { ask, connect, SoakFailed, type Subject } from "./subject.ts"
import { type Finding, judgeCounts, judgeGrowth } from "./verdict.ts"

export interface Plan {
  readonly connections: number
  /** How often all of it is done. After the first round, everything that is kept for good is there. */
  readonly rounds: number
  /** Whether objects in memory are looked for in the last round, which takes seconds. */
  readonly look: boolean
  /** The largest growth of the heap from round to round, in bytes for each connection, that still counts as flat. */
  readonly heapPerConnection: number
}

export interface Round {
  /** How long it took, in milliseconds. */
  readonly opened: number
  readonly recovered: number
  readonly closed: number
  /** With all connections open, and again when all have recovered. */
  readonly open: Checkpoint.Checkpoint
  readonly again: Checkpoint.Checkpoint
  /** What one of the connections weighs, in bytes. */
  readonly heapPerConnection: { readonly open: number; readonly again: number }
  readonly after: Checkpoint.Checkpoint
}

export interface Report {
  readonly part: string
  readonly connections: number
  readonly rounds: ReadonlyArray<Round>
  readonly findings: ReadonlyArray<Finding>
}

/** How many connections are being opened at a time: a program would not start a thousand processes at once either. */
const atATime = 32

export const run = Effect.fnUntraced(function* (
  subject: Subject,
  plan: Plan,
  progress: (line: string) => Effect.Effect<void>
): Effect.fn.Return<Report, SoakFailed, Effect.Services<ReturnType<typeof connect>>> {
  const part = `${subject.name} crowd`
  yield* Effect.scoped(Effect.flatMap(connect(subject, part), (connection) => ask(subject, connection, "first")))
  const before = yield* Checkpoint.weigh({ turn: 0, counting: Checkpoint.rest, withObjects: false })
  const rounds: Array<Round> = []
  while (rounds.length < plan.rounds) {
    const look = plan.look && rounds.length === plan.rounds - 1
    // Not weighed inside, where the connections are still at hand.
    const played = yield* play(subject, plan, look)
    const counting = Effect.andThen(subject.settle, Checkpoint.restLike(before.counts))
    const after = yield* Checkpoint.weigh({ turn: 0, counting, withObjects: look })
    const empty = rounds.at(-1)?.after ?? before
    const perConnection = (full: Checkpoint.Checkpoint) => (full.memory.heap - empty.memory.heap) / plan.connections
    const round: Round = {
      ...played,
      after,
      heapPerConnection: { open: perConnection(played.open), again: perConnection(played.again) }
    }
    rounds.push(round)
    yield* progress(
      `${part}: round ${rounds.length} of ${plan.rounds}, ${plan.connections} connections opened in ${seconds(round.opened)}, back in ${seconds(round.recovered)}, closed in ${seconds(round.closed)}, ${(round.heapPerConnection.again / 1024).toFixed(1)} KiB each`
    )
  }
  return { part, connections: plan.connections, rounds, findings: judge(before, rounds, plan) }
})

const play = Effect.fnUntraced(function* (subject: Subject, { connections }: Plan, look: boolean) {
  const settled = (counting: Effect.Effect<Census.Counts>) => Effect.andThen(subject.settle, counting)
  // All are closed at the same time, each in its own order.
  const all = yield* Effect.acquireRelease(Scope.make("parallel"), (scope, exit) => Scope.close(scope, exit))
  const [members, opened] = yield* timed(
    Effect.forEach(
      Array.from({ length: connections }).keys(),
      (index) =>
        Effect.flatMap(Scope.fork(all, "sequential"), (scope) =>
          Scope.provide(connect(subject, `${subject.name} ${index}`), scope)
        ),
      { concurrency: atATime }
    )
  )
  const first = yield* askAll(subject, members, "first")
  const open = yield* Checkpoint.weigh({ turn: connections, counting: settled(Checkpoint.rest), withObjects: look })
  yield* subject.loseAll(first)
  const [second, recovered] = yield* timed(askAll(subject, members, "second"))
  const same = second.findIndex((ready, index) => ready.generation !== (first[index]?.generation ?? 0) + 1)
  if (same !== -1) {
    return yield* new SoakFailed({
      description: `${members[same]?.name}: lost once, its session is generation ${second[same]?.generation}`
    })
  }
  const again = yield* Checkpoint.weigh({
    turn: connections,
    counting: settled(Checkpoint.restLike(open.counts)),
    withObjects: look
  })
  const [, closed] = yield* timed(Scope.close(all, Exit.void))
  return { opened, recovered, closed, open, again }
}, Effect.scoped)

const askAll = (subject: Subject, members: ReadonlyArray<McpConnection.Shape>, word: string) =>
  Effect.forEach(members, (member, index) => ask(subject, member, `${word}-${index}`), { concurrency: "unbounded" })

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.gen(function* () {
    const begin = yield* Clock.currentTimeMillis
    const value = yield* effect
    return [value, (yield* Clock.currentTimeMillis) - begin] as const
  })

const judge = (before: Checkpoint.Checkpoint, rounds: ReadonlyArray<Round>, plan: Plan): ReadonlyArray<Finding> => {
  const named = rounds.map((round, index) => ({ ...round, at: `round ${index + 1}` }))
  return [
    judgeGrowth(
      "heap from round to round",
      rounds.map(({ after }) => after.memory.heap / plan.connections),
      { perTurn: plan.heapPerConnection, unit: "bytes", turn: "connection" }
    ),
    ...held(named),
    ...Checkpoint.kinds.flatMap((kind) => [
      judgeCounts(
        `${Checkpoint.nameOf[kind]}, with all open`,
        named.flatMap(({ again, at, open }) => [
          { at: `${at}, opened`, count: open.counts[kind] },
          { at: `${at}, recovered`, count: again.counts[kind] }
        ])
      ),
      judgeCounts(`${Checkpoint.nameOf[kind]}, with all closed`, [
        { at: "the beginning", count: before.counts[kind] },
        ...named.map(({ after, at }) => ({ at, count: after.counts[kind] }))
      ])
    ])
  ]
}

/** One for every hundred connections is a leak: that each holds on to the session it has lost was one. */
const objectsPerConnection = 0.01

/** What is in memory when all have recovered, and was not when all had just been opened. */
const held = (rounds: ReadonlyArray<Round>): ReadonlyArray<Finding> =>
  rounds.flatMap(({ again, open }) => {
    const { objects: before } = open
    const { objects: after } = again
    if (before === undefined || after === undefined) return []
    return Census.objectKinds.map((kind) =>
      judgeGrowth(
        `${Census.objectNameOf[kind]} in memory, recovered after opened`,
        [before[kind] / open.turn, after[kind] / open.turn],
        { perTurn: objectsPerConnection, unit: "of them", turn: "connection" }
      )
    )
  })

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`
