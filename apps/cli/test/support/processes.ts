/** The processes of this machine. */
import { readdirSync, readFileSync } from "node:fs"

const having = (file: "cmdline" | "environ", text: string): ReadonlyArray<string> =>
  readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      return readFileSync(`/proc/${name}/${file}`, "utf8").includes(text)
    } catch {
      return false
    }
  })

/** Those whose command line has this in it. */
export const withText = (text: string): ReadonlyArray<string> => having("cmdline", text)

/** Those that live in this home, which servers inherit from whoever starts them. */
export const at = (home: string): ReadonlyArray<string> => having("environ", `HOME=${home}\0`)

/** The groups of those that live in this home. */
export const groupsAt = (home: string): ReadonlyArray<number> =>
  at(home).flatMap((pid) => {
    try {
      // After the name, which may hold anything, come the state, the parent and the group.
      const [, group] = /\) \S \d+ (\d+) [^)]*$/.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? []
      return group === undefined ? [] : [Number(group)]
    } catch {
      return []
    }
  })
