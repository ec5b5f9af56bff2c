/** The processes of servers: signals for their groups, and what is left of them. */
import * as Effect from "effect/Effect"
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

/** Who is left of these groups, and which children this process has. What was killed a moment ago has half a second to go. */
export const left = (groups: ReadonlyArray<number>): Effect.Effect<ReadonlyArray<number>> =>
  Effect.gen(function* () {
    let found: ReadonlyArray<number> = []
    for (let look = 0; look < 10; look++) {
      found = lookFor(groups)
      if (found.length === 0) return found
      yield* Effect.sleep("50 millis")
    }
    return found
  })

const lookFor = (groups: ReadonlyArray<number>): ReadonlyArray<number> => {
  const wanted = new Set(groups)
  const all = listed()
  if (all === undefined) return groups.filter(answers)
  return all.flatMap(({ group, parent, pid, state }) =>
    state !== "Z" && state !== "X" && (wanted.has(group) || parent === process.pid) ? [pid] : []
  )
}

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

/** All processes, where there is a `/proc`. */
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
    return state === "" ? [] : [{ pid, state, parent: Number(parent), group: Number(group) }]
  } catch {
    return []
  }
}
