/** Which of the processes that wrote down their ids are still there, and an end to them, one by one. */
import { existsSync, readFileSync } from "node:fs"

/** A zombie is dead: its parent has not looked yet, or there is nobody to look. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  const file = `/proc/${pid}/stat`
  if (!existsSync("/proc/self/stat")) return true
  try {
    return stateOf(readFileSync(file, "utf8")) !== "Z"
  } catch {
    return false
  }
}

/** The state stands behind the name, which is in parentheses and may contain some. */
export const stateOf = (stat: string): string | undefined => stat.slice(stat.lastIndexOf(")") + 2)[0]

export const kill = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It is gone already.
  }
}
