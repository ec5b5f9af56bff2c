/**
 * The folder of one scenario. The server writes what it did into it, one line for each effect, and finds there what is to go wrong: so all
 * of it is on disk, whoever dies.
 */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as path from "node:path"

/** What is to go wrong, once. */
export interface Faults {
  /** The next call has its effect, and the server is killed before it answers. */
  readonly die: true
  /** All sessions are forgotten at the next request, and requests of unknown ones get this status. */
  readonly forget: 404 | 400
  /** From the next request on, everything is refused with 503 for so many seconds, which `Retry-After` says. */
  readonly busy: number
}

const faultFile = (folder: string, fault: keyof Faults): string => path.join(folder, `fault-${fault}`)

export const plant = <Name extends keyof Faults>(folder: string, fault: Name, value: Faults[Name]): void =>
  writeFileSync(faultFile(folder, fault), JSON.stringify(value))

/** What was planted, which is gone then. */
export const take = <Name extends keyof Faults>(folder: string, fault: Name): Faults[Name] | undefined => {
  const file = faultFile(folder, fault)
  if (!existsSync(file)) return undefined
  const value: Faults[Name] = JSON.parse(readFileSync(file, "utf8"))
  rmSync(file)
  return value
}

/** What a server tells of itself. */
export type Entry =
  | { readonly _tag: "process"; readonly pid: number }
  /** It listens, or reads its stdin. */
  | { readonly _tag: "up"; readonly pid: number; readonly at: number; readonly port?: number }
  /** A tool ran. */
  | { readonly _tag: "effect"; readonly pid: number; readonly tool: string; readonly n: number }
  /** A request was refused, and that many milliseconds before the time that the client was told. */
  | { readonly _tag: "refused"; readonly early: number; readonly first: boolean; readonly until: number }

const ledgerFile = (folder: string): string => path.join(folder, "ledger")

export const append = (folder: string, entry: Entry): void =>
  appendFileSync(ledgerFile(folder), `${JSON.stringify(entry)}\n`)

/** Also of a folder whose server has not written anything yet; what is half written is not there yet. */
export const read = (folder: string): ReadonlyArray<Entry> =>
  existsSync(ledgerFile(folder)) ? entriesOf(readFileSync(ledgerFile(folder), "utf8")) : []

export const entriesOf = (text: string): ReadonlyArray<Entry> =>
  text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "")
    .map((line): Entry => JSON.parse(line))

/** How often a call had its effect. */
export const effects = (entries: ReadonlyArray<Entry>, tool: string, n: number): number =>
  entries.filter((entry) => entry._tag === "effect" && entry.tool === tool && entry.n === n).length

/** Every process that ever served in this folder, or stood around one that did. */
export const pids = (entries: ReadonlyArray<Entry>): ReadonlyArray<number> => [
  ...new Set(entries.flatMap((entry) => (entry._tag === "process" ? [entry.pid] : [])))
]

/** How many requests came before the time that the server had asked for. The first one could not know. */
export const tooEarly = (entries: ReadonlyArray<Entry>): number =>
  entries.filter((entry) => entry._tag === "refused" && !entry.first).length
