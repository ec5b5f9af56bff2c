/** The processes of this machine. */
import { readdirSync, readFileSync } from "node:fs"

/** Those whose command line has this in it. */
export const withText = (text: string): ReadonlyArray<string> =>
  readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      return readFileSync(`/proc/${name}/cmdline`, "utf8").includes(text)
    } catch {
      return false
    }
  })
