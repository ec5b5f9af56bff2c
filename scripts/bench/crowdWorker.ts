/**
 * Many idle connections in one process, and one that loses its session many times: a process of its own, told what to do over IPC. The
 * servers are in it, too, and are the same for both subjects.
 */
import { Client } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import { McpConnection, McpTransport } from "./published.ts"
import * as InMemory from "./servers/inMemory.ts"
import type { Idle, Outcome, Task } from "./crowdHost.ts"

const scope = Scope.makeUnsafe()
/** What came in on all servers that shows life: `ping`. */
let beats = 0
const onMessage = (method: string | undefined): void => {
  if (method === "ping") beats += 1
}

/** What holds the connections, so that nothing collects them. */
const open: Array<unknown> = []

const openRaw = async (): Promise<unknown> => {
  const client = new Client({ name: "bench", version: "1.0.0" })
  await client.connect(InMemory.pair(onMessage).client)
  await client.callTool({ name: "echo", arguments: { text: "once" } })
  return client
}

/** Heartbeats come each second instead of each half minute, so that some can be measured. */
const heartbeat = { interval: "1 second" } as const

const openTether = (): Promise<unknown> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const connection = yield* McpConnection.make({
        name: `bench ${open.length}`,
        heartbeat,
        transport: McpTransport.fromSdk({
          label: "memory",
          make: () => Effect.sync(() => InMemory.pair(onMessage).client)
        })
      })
      yield* connection.callTool({ name: "echo", arguments: { text: "once" } })
      return connection
    }).pipe(Scope.provide(scope))
  )

const openOne = process.argv[2] === "raw" ? openRaw : openTether

/** What is left of the heap after garbage collections, in bytes. What finalizers let go of is for the second. */
const heap = async (): Promise<number> => {
  for (let time = 0; time < 3; time += 1) {
    globalThis.gc?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().heapUsed
}

const idle = async (millis: number): Promise<Idle> => {
  const before = beats
  const cpu = process.cpuUsage()
  await new Promise((resolve) => setTimeout(resolve, millis))
  const { system, user } = process.cpuUsage(cpu)
  return { cpu: system + user, beats: beats - before }
}

/** One connection, whose server hangs up again and again; each time it answers a call on a new session. Weighs from time to time. */
const reconnect = (turns: number, every: number): Promise<ReadonlyArray<number>> =>
  Effect.gen(function* () {
    let drop = () => Promise.resolve()
    const connection = yield* McpConnection.make({
      name: "bench",
      stableAfter: 0,
      transport: McpTransport.fromSdk({
        label: "memory",
        make: () =>
          Effect.sync(() => {
            const pair = InMemory.pair()
            drop = pair.drop
            return pair.client
          })
      })
    })
    const heaps: Array<number> = []
    for (let turn = 1; turn <= turns; turn += 1) {
      yield* Effect.promise(() => drop())
      yield* connection.callTool({ name: "echo", arguments: { text: "again" } })
      if (turn % every === 0) heaps.push(yield* Effect.promise(heap))
    }
    const { _tag } = yield* connection.state
    const generation = _tag === "Ready" ? (yield* connection.awaitReady).generation : 0
    if (generation !== turns + 1) return yield* Effect.die(new Error(`${turns} losses made ${generation} sessions`))
    return heaps
  }).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "None"), Effect.runPromise)

const perform = async (task: Task): Promise<unknown> => {
  switch (task._tag) {
    case "Grow":
      while (open.length < task.connections) open.push(await openOne())
      return heap()
    case "Idle":
      return idle(task.millis)
    case "Reconnect":
      return reconnect(task.turns, task.every)
  }
}

const answer = (outcome: Outcome): void => void process.send?.(outcome)

process.on("message", (task: Task) => {
  perform(task).then(
    (value) => answer({ _tag: "Done", value }),
    (error: unknown) => answer({ _tag: "Failed", message: error instanceof Error ? error.message : String(error) })
  )
})
process.on("disconnect", () => process.exit())
