import { assert, describe } from "@effect/vitest"
import { Client } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import { ChildProcess } from "node:child_process"
import { readdirSync } from "node:fs"
import { Socket } from "node:net"
import { queryObjects } from "node:v8"
import { call, children, eventsOf, kill, pidOf, type Rig, scenario, timed, until } from "./rig.ts"

/** What this process holds on to. */
const held = (rig: Rig) => ({
  fds: readdirSync("/proc/self/fd").length,
  listeners: process.eventNames().reduce((count, name) => count + process.listenerCount(name), 0),
  handles: process.getActiveResourcesInfo().filter((kind) => kind !== "Timeout" && kind !== "Immediate").length,
  children: children().length,
  servers: rig.processes().length
})

/** How many are in memory, after a garbage collection. */
const inMemory = () => ({
  clients: queryObjects(Client, { format: "count" }),
  processes: queryObjects(ChildProcess, { format: "count" }),
  sockets: queryObjects(Socket, { format: "count" })
})

const reconnects = 200
const warmUp = 10

describe("reconnecting 200 times", () => {
  scenario(
    "by request and by kill in turn keeps no file descriptor, listener, handle, process or session",
    (rig) =>
      Effect.gen(function* () {
        const connection = yield* rig.connect()
        const turn = (index: number) =>
          Effect.gen(function* () {
            if (index % 2 === 0) yield* connection.reconnect
            else kill(-(yield* pidOf(connection)), "SIGKILL")
            assert.strictEqual(yield* call(connection, "read"), "ok")
          })
        const settled = until("the old sessions to be closed", () => rig.processes().length === 1)

        yield* Effect.forEach(Array.from({ length: warmUp }).keys(), turn, { discard: true })
        yield* settled
        const before = held(rig)
        const memoryBefore = inMemory()
        const [, took] = yield* timed(
          Effect.forEach(Array.from({ length: reconnects }).keys(), turn, { discard: true })
        )
        yield* settled
        const after = yield* until("everything to be let go", () => {
          const now = held(rig)
          return now.fds <= before.fds && now.handles <= before.handles && now.children <= before.children && now
        }).pipe(Effect.catchDefect(() => Effect.sync(() => held(rig))))

        rig.measured("before", JSON.stringify(before))
        rig.measured("after", JSON.stringify(after))
        rig.measured("200 reconnects, ms", took)
        const memory = inMemory()
        rig.measured("in memory before", JSON.stringify(memoryBefore))
        rig.measured("in memory after", JSON.stringify(memory))
        assert.deepStrictEqual(after, before)
        // A fiber that has just ended may still hold the last of them; what leaks would be 200.
        assert.isAtMost(memory.clients, memoryBefore.clients + 5)
        assert.isAtMost(memory.processes, memoryBefore.processes + 5)
        assert.isAtMost(memory.sockets, memoryBefore.sockets + 15)
        assert.strictEqual((yield* connection.awaitReady).generation, reconnects + warmUp + 1)
      }),
    240_000
  )
})

describe("a loss that somebody keeps", () => {
  scenario("keeps no session in memory", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      const turn = Effect.gen(function* () {
        kill(-(yield* pidOf(connection)), "SIGKILL")
        assert.strictEqual(yield* call(connection, "read"), "ok")
      })

      yield* turn
      const before = inMemory()
      yield* Effect.repeat(turn, { times: 9 })
      yield* until("the old sessions to be closed", () => rig.processes().length === 1)
      const memory = inMemory()
      rig.measured("in memory", JSON.stringify({ before, memory }))

      const losses = events.flatMap((event) => (event._tag === "SessionLost" ? [event.error] : []))
      assert.isAtLeast(losses.length, 11)
      assert.isAtMost(memory.clients, before.clients + 2)
      assert.isTrue(losses.every(({ reason, stack }) => stack !== undefined && reason.stack !== undefined))
    })
  )
})
