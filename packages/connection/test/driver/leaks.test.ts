import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readdirSync } from "node:fs"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { call, children, kill, pidOf, type Rig, scenario, timed, until } from "./rig.ts"

/** What this process holds on to. */
const held = (rig: Rig) => ({
  fds: readdirSync("/proc/self/fd").length,
  listeners: process.eventNames().reduce((count, name) => count + process.listenerCount(name), 0),
  handles: process.getActiveResourcesInfo().filter((kind) => kind !== "Timeout" && kind !== "Immediate").length,
  children: children().length,
  servers: rig.processes().length
})

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

const heap = (): number => {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

const reconnects = 200
const warmUp = 10

describe("reconnecting 200 times", () => {
  scenario(
    "by request and by kill in turn keeps no file descriptor, listener, handle or process",
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
        const heapBefore = heap()
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
        const grown = Math.round((heap() - heapBefore) / 1024)
        rig.measured("heap grew by, KB", grown)
        assert.deepStrictEqual(after, before)
        assert.isBelow(grown, 30 * reconnects, "KB of heap")
        assert.strictEqual((yield* connection.awaitReady).generation, reconnects + warmUp + 1)
      }),
    90_000
  )
})
