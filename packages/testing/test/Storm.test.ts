import { ReconnectPolicy } from "@mcp-tether/connection"
import { Storm } from "@mcp-tether/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"

const names = ["default", "no-jitter", "aggressive", "patient", "every-second"] as const

/** The caps of the policies, in milliseconds. */
const caps = { default: 30_000, "no-jitter": 30_000, aggressive: 2_000, patient: 300_000, "every-second": 1_000 }

const small = { clients: 400, outage: "60 seconds", capacity: 4, backlog: 2 } as const

const only = (options: Partial<Storm.Options>) =>
  Storm.simulate({ ...small, policy: ReconnectPolicy.default, fidelity: "policy", ...options })

describe("Storm", () => {
  it.live.each(names)("%s: connections and their bare policies do the same, number by number", (name) =>
    Effect.gen(function* () {
      const options = { ...small, clients: 200, policy: Storm.policies[name], duration: "10 minutes" } as const
      const connections = yield* Storm.simulate(options)
      const policies = yield* Storm.simulate({ ...options, fidelity: "policy" })
      assert.isAbove(connections.recovered, 0)
      assert.deepStrictEqual(policies, connections)
    })
  )

  it.live("is the same with the same seed, and another with another", () =>
    Effect.gen(function* () {
      const [first, again, other] = [yield* only({ seed: 1 }), yield* only({ seed: 1 }), yield* only({ seed: 2 })]
      assert.deepStrictEqual(again, first)
      assert.notDeepEqual(other.attemptsPerSecond, first.attemptsPerSecond)
    })
  )

  it.live("gives each client its own randomness: more clients change nothing for those who were there", () =>
    Effect.gen(function* () {
      // While the server is away, nothing depends on the others.
      const [few, many] = [yield* only({ clients: 100 }), yield* only({ clients: 200 })]
      const outage = few.attemptsPerSecond.slice(0, 60)
      assert.isTrue(outage.every((count, second) => count <= (many.attemptsPerSecond[second] ?? 0)))
      assert.isTrue(few.attemptsPerSecond[1] !== many.attemptsPerSecond[1])
    })
  )

  it.live("jitter keeps the peak far below that of clients in step, and brings everyone back", () =>
    Effect.gen(function* () {
      const storm = { clients: 5_000, capacity: 50, backlog: 25, duration: "20 minutes" } as const
      const jittered = yield* only(storm)
      const inStep = yield* only({ ...storm, policy: Storm.noJitter })
      assert.strictEqual(inStep.peakAfterOutage, 5_000)
      assert.isAbove(inStep.peakAfterOutage / jittered.peakAfterOutage, 10)
      assert.strictEqual(jittered.recovered, 5_000)
      assert.isBelow(inStep.recovered, 2_500)
      assert.isAbove(inStep.attempts, 2 * jittered.attempts)
    })
  )

  it.live.each(names)("%s: no client ever waits longer than the cap (rule 7)", (name) =>
    Effect.gen(function* () {
      for (let seed = 0; seed < 5; seed += 1) {
        const report = yield* only({ seed, policy: Storm.policies[name] })
        assert.isAbove(report.longestDelayMillis, 0)
        assert.isAtMost(report.longestDelayMillis, caps[name])
      }
    })
  )

  it.live("the server serves no more than it can, and everyone once", () =>
    Effect.gen(function* () {
      const report = yield* only({})
      assert.isAtMost(Math.max(...report.servedPerSecond), report.capacity + 1)
      assert.strictEqual(
        report.servedPerSecond.reduce((sum, count) => sum + count, 0),
        report.clients
      )
      assert.isTrue(report.servedPerSecond.slice(0, 60).every((count) => count === 0))
      // 400 clients at 4 a second: nobody can be done before 100 seconds.
      assert.isAtLeast(report.recovery.max ?? 0, 99_000)
      assert.deepStrictEqual(Object.keys(report.recovery), ["p50", "p99", "max"])
    })
  )

  it.live("tells of those who gave up, or were too late", () =>
    Effect.gen(function* () {
      const never = yield* only({ policy: ReconnectPolicy.never })
      assert.deepStrictEqual([never.attempts, never.recovered, never.recovery], [0, 0, {}])
      const short = yield* only({ duration: "80 seconds" })
      assert.isBelow(short.recovered, 100)
      assert.deepStrictEqual(short.recovery, {})
      assert.strictEqual(short.attemptsPerSecond.length, 80)
    })
  )

  it.live("does not let a policy that waits while it decides pass for one that does not", () =>
    Effect.gen(function* () {
      const policy = Schedule.modifyDelay(ReconnectPolicy.default, ({ duration }) =>
        Effect.as(Effect.sleep(1), duration)
      )
      const error = yield* Effect.flip(only({ clients: 2, policy }))
      assert.deepStrictEqual(
        error.issues.map(({ option }) => option),
        ["policy"]
      )
      assert.strictEqual((yield* only({ clients: 2, policy, fidelity: "connection" })).recovered, 2)
    })
  )

  it.live("names the options that make no sense", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(only({ clients: 0, capacity: 0, backlog: 0.5, outage: "2 hours" }))
      assert.deepStrictEqual(
        error.issues.map(({ option }) => option),
        ["clients", "capacity", "backlog", "outage"]
      )
    })
  )
})
