/** What this process holds: counted where it can be counted, weighed where it can only be weighed. Linux only, for `/proc`. */
import { Client } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { isMap } from "node:util/types"
import { queryObjects } from "node:v8"
import { fibersAlive } from "./fibers.ts"

/** What must be the same, to the last one, whenever nothing happens. */
export interface Counts {
  /** Open file descriptors, by kind. */
  readonly fds: Readonly<Record<string, number>>
  /** Child processes, those included that are dead and that nobody has waited for. */
  readonly children: number
  readonly zombies: number
  /** Listeners on `process`. */
  readonly listeners: number
  /** What keeps the event loop alive, by kind: handles, requests and timers. */
  readonly resources: Readonly<Record<string, number>>
  /** Fibers of Effect. */
  readonly fibers: number
}

/** Bytes, after garbage collections. */
export interface Memory {
  readonly heap: number
  /** What objects of JavaScript hold outside of the heap, like buffers. */
  readonly external: number
  readonly rss: number
}

/** How many are in memory, ended ones that something still holds included. Each kind takes half a second to look for. */
export interface Objects {
  readonly fibers: number
  /** The SDK's clients: one for each session. */
  readonly clients: number
  /** Listeners on any `EventTarget`, `AbortSignal`s among them. */
  readonly targetListeners: number
}

export const objectKinds = ["fibers", "clients", "targetListeners"] as const

export const objectNameOf: Readonly<Record<keyof Objects, string>> = {
  fibers: "fibers",
  clients: "clients of the SDK",
  targetListeners: "listeners on EventTargets"
}

export const total = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0)

export const counts = (): Counts => {
  const states = children()
  return {
    fds: tally(readdirSync("/proc/self/fd").flatMap(fdKind)),
    children: states.length,
    zombies: states.filter((state) => state === "Z").length,
    listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0),
    resources: tally(process.getActiveResourcesInfo()),
    fibers: fibersAlive()
  }
}

/** Weighs what is left after garbage collections. What finalizers let go of, in a turn of the event loop, is for the second. */
export const memory: Effect.Effect<Memory> = Effect.gen(function* () {
  collectGarbage("last-resort")
  yield* Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
  collectGarbage("regular")
  const { external, heapUsed, rss } = process.memoryUsage()
  return { heap: heapUsed, external, rss }
})

export const objects = (fiberClass: Function): Objects => ({
  fibers: inMemory(fiberClass),
  clients: inMemory(Client),
  targetListeners: inMemory(targetListener)
})

/** The class of all fibers, which has no name in Effect's modules. */
export const fiberClass: Effect.Effect<Function> = Effect.withFiber((fiber) => Effect.succeed(fiber.constructor))

/** The resident memory of a process, in bytes; 0 when there is none. */
export const rssOf = (pid: number): number => {
  const [, kilobytes = "0"] = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`)) ?? []
  return Number(kilobytes) * 1024
}

const collectGarbage = (flavor: "regular" | "last-resort"): void => {
  if (globalThis.gc === undefined) throw new Error("node --expose-gc")
  globalThis.gc({ type: "major", execution: "sync", flavor })
}

const inMemory = (constructor: Function): number => queryObjects(constructor, { format: "count" })

/** The class of the listeners of all `EventTarget`s. It has no name in Node's API, so it is taken from a target that has one. */
const targetListener: Function = (() => {
  const target = new EventTarget()
  target.addEventListener("any", () => {})
  const key = Object.getOwnPropertySymbols(target).find(({ description }) => description === "kEvents")
  const events: unknown = key === undefined ? undefined : Reflect.get(target, key)
  // Node's own kind of `Map`, which does not inherit from ours.
  const root: unknown = isMap(events) ? Map.prototype.get.call(events, "any") : undefined
  const listener: unknown = typeof root === "object" && root !== null ? Reflect.get(root, "next") : undefined
  if (typeof listener !== "object" || listener === null) throw new Error("this Node keeps its listeners otherwise")
  return listener.constructor
})()

const tally = (kinds: ReadonlyArray<string>): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const kind of [...kinds].sort()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

/** `pipe`, `socket`, `eventpoll` and the like, or `file`; the descriptor that reads the folder is gone by now. */
const fdKind = (fd: string): ReadonlyArray<string> => {
  try {
    const target = readlinkSync(`/proc/self/fd/${fd}`)
    return [target.startsWith("/") ? "file" : target.replace(/^(?:anon_inode:\[?)?([^:\]]+).*$/, "$1")]
  } catch {
    return []
  }
}

/** The states of the children: the fields after the name, which may hold anything, are the state and the parent. */
const children = (): ReadonlyArray<string> =>
  readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    const [, state = "", parent] = /\) (\S) (\d+) [^)]*$/.exec(read(`/proc/${name}/stat`)) ?? []
    return Number(parent) === process.pid ? [state] : []
  })

/** A process may go while its file is read. */
const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}
