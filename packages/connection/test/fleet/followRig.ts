/** A fleet that follows files in a folder of the test's own, on the real file system. */
import { assert } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as McpFleet from "../../src/McpFleet.ts"
import type { Rig } from "../driver/rig.ts"

/** A file with these servers: each is a simulated one, and its arguments are what is changed about it. */
export const config = (servers: Readonly<Record<string, string | Readonly<Record<string, unknown>>>>): string =>
  JSON.stringify(
    {
      mcpServers: Object.fromEntries(
        Object.entries(servers).map(([name, entry]) => [
          name,
          typeof entry === "string" ? { command: name, args: [entry] } : entry
        ])
      )
    },
    undefined,
    2
  )

type Tag = McpFleet.FleetEvent["_tag"]
type Event<T extends Tag> = Extract<McpFleet.FleetEvent, { readonly _tag: T }>

/** Hears what a fleet tells from now on. */
export const hear = Effect.fnUntraced(function* <R>(fleet: McpFleet.Shape<R>) {
  const events = yield* Queue.unbounded<McpFleet.FleetEvent>()
  yield* fleet.events.pipe(
    Stream.runForEach((event) => Queue.offer(events, event)),
    Effect.forkScoped({ startImmediately: true })
  )
  /** The next event of a kind, whatever was told before it. */
  const next = <T extends Tag>(tag: T): Effect.Effect<Event<T>> =>
    Effect.flatMap(Queue.take(events), (event) => (isA(event, tag) ? Effect.succeed(event) : next(tag))).pipe(
      Effect.timeoutOrElse({
        duration: "10 seconds",
        orElse: () => Effect.die(new Error(`waited in vain for ${tag}`))
      })
    )
  /** What became of so many servers. */
  const changes = (count: number): Effect.Effect<Readonly<Record<string, McpFleet.Change>>> =>
    Effect.map(
      Effect.forEach(Array.from({ length: count }), () => next("ServerChanged")),
      (all) => Object.fromEntries(all.map(({ change, server }) => [server, change]))
    )
  /** What was told and not asked for yet, without what the servers have told. */
  const left = Effect.map(Queue.clear(events), (all) =>
    all.map(({ _tag }) => _tag).filter((tag) => tag !== "ServerEvent")
  )
  return { fleet, next, changes, left }
})

/** Files, and the simulated servers that they are about. */
export const make = (rig: Rig) => {
  const simulated = new Map<string, SimulatedServer.SimulatedServer>()
  const server = (name: string): SimulatedServer.SimulatedServer => {
    const known = simulated.get(name) ?? SimulatedServer.makeUnsafe({ tools: { a: {}, b: {} } })
    simulated.set(name, known)
    return known
  }
  const file = join(rig.dir, "config", "mcp.json")
  return {
    file,
    server,
    /** Writes a file in place, and its folder where there is none. */
    write: (text: string, path = file): void => {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
    },
    follow: (options: Partial<McpFleet.FileOptions> = {}) =>
      McpFleet.fromFiles({ files: file, settle: "50 millis", ...options }, (member, { name }) => ({
        ...member,
        heartbeat: "off",
        transport: server(name).transport
      })).pipe(
        Effect.flatMap(hear),
        Effect.map((heard) => ({
          ...heard,
          ready: (name: string) => Effect.flatMap(heard.fleet.connection(name), ({ awaitReady }) => awaitReady)
        }))
      )
  }
}

const isA = <T extends Tag>(event: McpFleet.FleetEvent, tag: T): event is Event<T> => event._tag === tag

/** What the file is said to be wrong with. */
export const assertRejected = (event: Event<"FileRejected">, ...parts: ReadonlyArray<string>): void => {
  for (const part of parts) assert.include(event.error.message, part)
}
