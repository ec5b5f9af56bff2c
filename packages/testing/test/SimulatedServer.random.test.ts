/** Bad days drawn from seeds: they are the same every time, and on none of them a caller is told what is not so. */
import { assert, describe, it } from "@effect/vitest"
import { McpConnection, type RequestError } from "@mcp-tether/connection"
import { Faults, SimulatedServer } from "@mcp-tether/testing"
import { Clock, Effect, Exit, Fiber, Random, Result, Scope, Stream } from "effect"
import { inVirtualTime } from "./support/play.ts"

const over = ["stdio", "http"] as const
const during = "2 minutes"
const duringMillis = 120_000
const names = ["pay", "read", "work"] as const
const wait = 5_000
const timeout = 4_000

/** Waiting and being sent, twice, and the time that a probe of a suspect session takes. */
const bound = 2 * (wait + timeout) + 6_000

interface Told {
  readonly key: string
  readonly tool: (typeof names)[number]
  readonly answer: Result.Result<unknown, RequestError.RequestError>
  readonly took: number
}

/** One bad day: what everyone was told, and what the server knows. */
const day = (seed: number, transport: (typeof over)[number], calls = 40) =>
  Effect.gen(function* () {
    const options = { during, tools: ["pay", "read"] } as const
    const server = yield* SimulatedServer.make({
      over: transport,
      era: yield* Random.choice(["legacy", "modern"] as const),
      tools: { pay: {}, read: { annotations: { readOnlyHint: true } }, work: { latency: "700 millis" } },
      faults:
        transport === "stdio"
          ? Faults.random(seed, { ...options, over: "stdio" })
          : Faults.random(seed, { ...options, over: "http" })
    })
    const scope = yield* Scope.make()
    const connection = yield* McpConnection.make({
      transport: server.transport,
      start: "background",
      startupTimeout: "10 seconds",
      heartbeat: { interval: "5 seconds", timeout: "2 seconds", misses: 2 },
      wait,
      requestTimeout: timeout
    }).pipe(Scope.provide(scope))
    const events: Array<unknown> = []
    yield* connection.events.pipe(
      Stream.runForEach((event) => Effect.sync(() => events.push(event))),
      Effect.forkIn(scope, { startImmediately: true })
    )
    const one = Effect.fnUntraced(function* (index: number) {
      yield* Effect.sleep(yield* Random.nextIntBetween(0, duringMillis))
      const tool = yield* Random.choice(names)
      const key = `${tool} ${index}`
      const start = yield* Clock.currentTimeMillis
      const answer = yield* Effect.result(connection.callTool({ name: tool, arguments: { key } }))
      return { key, tool, answer, took: (yield* Clock.currentTimeMillis) - start } satisfies Told
    })
    const told = yield* Effect.forEach(
      Array.from({ length: calls }, (_, index) => index),
      one,
      { concurrency: "unbounded" }
    )
    const late = yield* Effect.forkChild(
      Effect.result(connection.callTool({ name: "work", arguments: { key: "late" } }))
    )
    yield* Effect.yieldNow
    yield* Scope.close(scope, Exit.void)
    yield* Fiber.join(late)
    yield* Effect.sleep("10 minutes")
    return { told, server, events }
  }).pipe(Random.withSeed(seed), inVirtualTime)

/** Whether what a caller was told promises that its call did not run. */
const promisesNothingRan = (error: RequestError.RequestError): boolean =>
  error._tag === "ServerRejected" ||
  error._tag === "InvalidRequest" ||
  ("delivery" in error && error.delivery !== "Unknown")

const judge = (name: string, { server, told }: Effect.Success<ReturnType<typeof day>>): void => {
  for (const { answer, key, tool, took } of told) {
    const runs = server.ran.filter((ran) => ran === key).length
    const call = `${name}, ${key}, which ran ${runs} times`
    assert.isAtMost(took, bound, call)
    if (tool !== "read") assert.isAtMost(runs, 1, call)
    if (Result.isSuccess(answer)) assert.isAtLeast(runs, 1, call)
    else {
      assert.include(["ConnectionUnavailable", "OutcomeUnknown", "RequestTimeout"], answer.failure._tag, call)
      if (promisesNothingRan(answer.failure)) assert.strictEqual(runs, 0, `${call}: ${answer.failure.message}`)
    }
  }
  assert.strictEqual(server.live, 0, name)
  assert.strictEqual(server.opening, 0, name)
  assert.isAtMost(server.mostOpening, 1, name)
}

describe("on a bad day", () => {
  it.live(
    "is nobody told what is not so, and nothing is left behind: 300 random scripts over each transport",
    () =>
      Effect.gen(function* () {
        const answers = { right: 0, wrong: 0 }
        const kinds = new Set<string>()
        for (let seed = 1; seed <= 300; seed++) {
          for (const transport of over) {
            const result = yield* day(seed, transport)
            judge(`seed ${seed} over ${transport}`, result)
            for (const { answer } of result.told) answers[Result.isSuccess(answer) ? "right" : "wrong"] += 1
            for (const { fault } of result.server.happened) kinds.add(fault._tag)
          }
        }
        // The days were bad, and not so bad that nothing was proved.
        assert.isAbove(answers.right, 300 * 40)
        assert.isAbove(answers.wrong, 300)
        assert.isAtLeast(kinds.size, 15)
      }),
    60_000
  )

  it.live("everything is the same the second time", () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= 20; seed++) {
        for (const transport of over) {
          const trail = Effect.map(day(seed, transport), ({ events, server, told }) =>
            JSON.stringify([
              server.ledger,
              server.sent.map(({ state, ...sent }) => [sent, state?._tag]),
              server.happened,
              server.log,
              server.attempts,
              server.cancelled,
              events,
              told
            ])
          )
          assert.strictEqual(yield* trail, yield* trail, `seed ${seed} over ${transport}`)
        }
      }
    })
  )
})
