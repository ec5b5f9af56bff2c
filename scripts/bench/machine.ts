/** Where and with what it was measured: figures are only as good as that. */
import { execFileSync } from "node:child_process"
import { createRequire } from "node:module"
import { readFileSync } from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

export interface Machine {
  readonly date: string
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  /** Runnable processes over the last minute, before the run and after it: more than the cores, and others were at work. */
  readonly load: { readonly before: number; readonly after: number }
  readonly node: string
  readonly effect: string
  readonly sdk: string
  readonly commit: string
}

export const load = (): number => Number((os.loadavg()[0] ?? 0).toFixed(2))

const from = path.resolve(import.meta.dirname, "../../packages/connection/package.json")

/** The version of a dependency that the library uses. */
const versionOf = (name: string): string => {
  let directory = path.dirname(createRequire(from).resolve(name))
  while (true) {
    try {
      const manifest = JSON.parse(readFileSync(path.join(directory, "package.json"), "utf8"))
      if (manifest.name === name) return manifest.version
    } catch {
      // No manifest here.
    }
    directory = path.dirname(directory)
    if (directory === path.dirname(directory)) throw new Error(`${name} is not installed`)
  }
}

const git = (...args: ReadonlyArray<string>): string =>
  execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8" }).trim()

const commit = (): string => {
  try {
    const sources = ["packages", "apps"].map((directory) => `:/${directory}`)
    const changed = git("status", "--porcelain", "--", ...sources) !== ""
    return `${git("rev-parse", "--short", "HEAD")}${changed ? ", with changes" : ""}`
  } catch {
    return "unknown"
  }
}

/** Taken before the run: what is committed meanwhile is not what is measured. */
export const describe = (): Omit<Machine, "load"> => ({
  date: new Date().toISOString().slice(0, 10),
  cpu: os.cpus()[0]?.model ?? "unknown",
  cores: os.availableParallelism(),
  memoryGiB: Math.round(os.totalmem() / 2 ** 30),
  system: `${os.type()} ${os.release()} ${os.arch()}`,
  node: process.versions.node,
  effect: versionOf("effect"),
  sdk: versionOf("@modelcontextprotocol/client"),
  commit: commit()
})

/** In two lines, as it is quoted: where, and with what. */
export const lines = ({ commit, cores, cpu, date, effect, load, memoryGiB, node, sdk, system }: Machine) =>
  [
    `${date}, ${cpu}, ${cores} cores, ${memoryGiB} GiB, ${system}, load ${load.before} to ${load.after}`,
    `mcp-tether ${commit}, Node ${node}, effect ${effect}, @modelcontextprotocol/client ${sdk}`
  ] as const
