/** One client's turn in one round: a process that plays all scenarios, and another one when that did not survive. */
import { type ChildProcess, fork } from "node:child_process"
import { mkdirSync } from "node:fs"
import * as path from "node:path"
import type { Client } from "./clients.ts"
import { pids, read } from "./folder.ts"
import type { Message, Order, Outcome } from "./observation.ts"
import type { Plan } from "./plan.ts"
import { kill } from "./processes.ts"
import type { Scenario } from "./scenarios.ts"

export interface Setting {
  readonly plan: Plan
  readonly installed: string
  /** Why nothing is installed. */
  readonly missing: string | undefined
  /** The file that is the server. */
  readonly server: string
  /** An empty folder for all that a turn leaves on disk. */
  readonly folder: string
}

/** The processes that are there now, for whoever has to stop in the middle. */
const players = new Set<ChildProcess>()
const folders = new Set<string>()

export const turn = async (
  client: Client,
  scenarios: ReadonlyArray<Scenario>,
  { folder, installed, missing, plan, server }: Setting
): Promise<ReadonlyArray<readonly [scenario: string, outcome: Outcome]>> => {
  const outcomes: Array<readonly [string, Outcome]> = []
  const bare = path.join(folder, "bare")
  mkdirSync(bare, { recursive: true })
  folders.add(bare)
  let player: Player | undefined
  for (const { name, transport } of scenarios) {
    if (!client.transports.includes(transport)) {
      outcomes.push([name, { _tag: "unfit", error: `it does not do ${transport}` }])
      continue
    }
    if (client.from === "npm" && missing !== undefined) {
      outcomes.push([name, { _tag: "unconnected", error: missing }])
      continue
    }
    player ??= start([client.name, installed, server, bare, JSON.stringify(plan)])
    const place = path.join(folder, name)
    mkdirSync(place)
    folders.add(place)
    const outcome = await player.play({ scenario: name, folder: place }, plan.bound)
    outcomes.push([name, outcome])
    if (player.isGone()) player = undefined
    sweep(place)
  }
  await player?.end()
  sweep(bare)
  return outcomes
}

/** Ends what servers have started themselves to be, by the ids that they wrote down. */
const sweep = (folder: string): void => {
  for (const pid of pids(read(folder))) kill(pid)
  folders.delete(folder)
}

export const sweepAll = (): void => {
  for (const player of players) player.kill("SIGKILL")
  for (const folder of folders) sweep(folder)
}

interface Player {
  readonly play: (order: Order, bound: number) => Promise<Outcome>
  readonly isGone: () => boolean
  readonly end: () => Promise<void>
}

const start = (args: ReadonlyArray<string>): Player => {
  const child = fork(path.join(import.meta.dirname, "player.ts"), [...args], {
    execArgv: ["--disable-warning=ExperimentalWarning"],
    stdio: ["ignore", "ignore", "pipe", "ipc"]
  })
  players.add(child)
  child.once("exit", () => players.delete(child))
  let said = ""
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => (said = (said + chunk).slice(-4_000)))
  const isGone = () => child.exitCode !== null || child.signalCode !== null
  const exited = new Promise<void>((resolve) => child.once("exit", () => setTimeout(resolve, 100)))
  const ready = next(child, "ready", 60_000)
  return {
    isGone,
    play: async (order, bound) => {
      const failed = await ready
      if (failed._tag === "gone") return { _tag: "crashed", error: lastWords(child, said) }
      if (failed._tag === "late") return stuck(child, exited, 60_000)
      said = ""
      child.send(order)
      const heard = await next(child, "outcome", bound)
      switch (heard._tag) {
        case "outcome":
          return heard.outcome
        case "gone":
          await exited
          return { _tag: "crashed", error: lastWords(child, said) }
        default:
          return stuck(child, exited, bound)
      }
    },
    end: async () => {
      if (child.connected) child.disconnect()
      const timer = setTimeout(() => child.kill("SIGKILL"), 2_000)
      if (!isGone()) await new Promise((resolve) => child.once("exit", resolve))
      clearTimeout(timer)
    }
  }
}

const stuck = async (child: ChildProcess, exited: Promise<void>, bound: number): Promise<Outcome> => {
  child.kill("SIGKILL")
  await exited
  return { _tag: "stuck", error: `its process did nothing more for ${bound / 1_000} s` }
}

type Heard = Message | { readonly _tag: "gone" | "late" }

const next = (child: ChildProcess, tag: Message["_tag"], bound: number): Promise<Heard> =>
  new Promise((resolve) => {
    const end = (heard: Heard) => {
      clearTimeout(timer)
      child.off("message", onMessage).off("exit", onExit)
      resolve(heard)
    }
    const onMessage = (message: Message) => (message._tag === tag ? end(message) : undefined)
    const onExit = () => end({ _tag: "gone" })
    const timer = setTimeout(end, bound, { _tag: "late" })
    if (child.exitCode !== null || child.signalCode !== null) return end({ _tag: "gone" })
    child.on("message", onMessage).once("exit", onExit)
  })

/** The line of the error that ended it, if there is one. */
const lastWords = (child: ChildProcess, said: string): string => {
  const lines = said.split("\n").map((line) => line.trim())
  const error = lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.findLast((line) => line !== "") ?? ""
  return `its process ended with ${child.signalCode ?? child.exitCode}: ${error.slice(0, 300)}`
}
