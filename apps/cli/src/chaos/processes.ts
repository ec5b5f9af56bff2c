/** The processes of servers: signals for their groups, and what is left of them. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { readdirSync, readFileSync } from "node:fs"

/** Signals a whole group. A group that is gone already needs none. */
export const signal = (group: number, name: NodeJS.Signals): Effect.Effect<void> =>
  Effect.sync(() => {
    try {
      process.kill(-group, name)
    } catch {
      // ESRCH: it is gone.
    }
  })

/** Who is left of these groups after a while; whoever goes meanwhile is waited for. */
export const left = (groups: ReadonlyArray<number>, within: Duration.Input): Effect.Effect<ReadonlyArray<number>> =>
  untilGone((process) => groups.includes(process.group), groups, within)

/** As {@link left}, and which children this process has. What was killed a moment ago has half a second to go. */
export const leftOfAll = (groups: ReadonlyArray<number>): Effect.Effect<ReadonlyArray<number>> =>
  untilGone(({ group, parent }) => groups.includes(group) || parent === process.pid, groups, "500 millis")

const untilGone = Effect.fnUntraced(function* (
  which: (process: Listed) => boolean,
  groups: ReadonlyArray<number>,
  within: Duration.Input
) {
  const look = Effect.sync(
    () => listed()?.flatMap((process) => (which(process) ? [process.pid] : [])) ?? groups.filter(answers)
  )
  yield* look.pipe(
    Effect.repeat({ until: (found) => found.length === 0, schedule: Schedule.spaced("25 millis") }),
    Effect.timeoutOption(within)
  )
  return yield* look
})

const answers = (group: number): boolean => {
  try {
    return process.kill(-group, 0)
  } catch {
    return false
  }
}

interface Listed {
  readonly pid: number
  readonly state: string
  readonly parent: number
  readonly group: number
}

/** All processes that live, where there is a `/proc`. */
const listed = (): ReadonlyArray<Listed> | undefined => {
  try {
    return readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? statOf(Number(name)) : []))
  } catch {
    return undefined
  }
}

/** After the name, which may hold anything, come the state, the parent and the group. A process may go while it is read. */
const statOf = (pid: number): ReadonlyArray<Listed> => {
  try {
    const [, state = "", parent, group] =
      /\) (\S) (\d+) (\d+) [^)]*$/.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? []
    return state === "" || state === "Z" || state === "X"
      ? []
      : [{ pid, state, parent: Number(parent), group: Number(group) }]
  } catch {
    return []
  }
}
