import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { figuresOf, spreadOf } from "../src/chaos/figures.ts"
import { page } from "../src/chaos/page.ts"
import { drawnOf, pictureOf } from "../src/chaos/picture.ts"
import * as Plan from "../src/chaos/plan.ts"
import type { Run } from "../src/chaos/Run.ts"
import { documentOf, headlineOf, linesOf } from "../src/chaos/summary.ts"
import { holds, verdictOf } from "../src/chaos/verdict.ts"
import { call, good, kill, unknown } from "./support/chaosRun.ts"

const withCall = (number: number, fields: Parameters<typeof call>[1]): Run => ({
  ...good,
  calls: good.calls.map((other) => (other.number === number ? { ...other, ...fields } : other))
})

const marks = (svg: string, pattern: RegExp): number => svg.match(pattern)?.length ?? 0

describe("the verdict of chaos", () => {
  it("holds for a run that went well", () => {
    const verdict = verdictOf(good)
    assert.deepStrictEqual(
      verdict.filter((check) => !check.holds),
      []
    )
    assert.deepStrictEqual(
      verdict.map(({ name }) => name),
      ["answers", "own", "failures", "ledger", "reconnects", "recovered", "processes"]
    )
    assert.include(linesOf(documentOf(good)).join("\n"), "“it may have run” was said of 2 (1 had run, 1 had not)")
  })

  it.each<readonly [string, Run, RegExp]>([
    ["a charge that ran twice", withCall(9, { charged: 2 }), /^1 charge ran more than once: pay #9$/],
    [
      "an answered charge that is in no ledger",
      withCall(3, { charged: 0 }),
      /answered as paid and not in the ledger: pay #3/
    ],
    [
      "a charge that ran, and whose caller was told that it did not",
      withCall(5, { outcome: "failed", error: "ConnectionUnavailable", delivery: "NotSent", charged: 1 }),
      /^1 charge ran, and the caller was told that not: pay #5$/
    ],
    [
      "a charge that nobody has ordered",
      { ...good, foreignCharges: 1 },
      /^1 charge in the ledger that nobody has ordered$/
    ],
    [
      "a call without an answer",
      withCall(4, { outcome: "pending", tookMillis: null }),
      /^1 call had no answer at all: look #4$/
    ],
    [
      "an answer that comes too late",
      withCall(4, { tookMillis: 10_001 }),
      /^1 call had the answer later than 10.00 s$/
    ],
    [
      "no answer to anything",
      { ...good, calls: good.calls.map((each) => ({ ...each, ...unknown(0) })) },
      /not answered a single/
    ],
    ["the answer to another call", withCall(4, { right: false }), /^1 call got the answer to something else: look #4$/],
    [
      "a call that failed",
      withCall(4, { outcome: "failed", error: "RequestTimeout", delivery: "Unknown" }),
      /^1 call failed: 1 × RequestTimeout$/
    ],
    [
      "a session that was not replaced",
      { ...good, kills: [kill(1010, { healedAt: null })] },
      /^1 session ended and not replaced$/
    ],
    [
      "a session that was lost without a kill",
      { ...good, outages: [...good.outages, { lostAt: 2500, readyAt: 2600, cause: "TransportClosed", attempts: 1 }] },
      /^1 session ended here, but 2 were lost \(ProcessExited, TransportClosed\)$/
    ],
    ["a connection that does not serve at the end", { ...good, answersAtEnd: false }, /does not serve at the end/],
    ["a process that is left", { ...good, leftProcesses: [77] }, /^processes are left: 77$/]
  ])("does not hold with %s", (_, run, says) => {
    const broken = verdictOf(run).filter((check) => !check.holds)
    assert.isTrue(
      broken.some(({ text }) => says.test(text)),
      broken.map(({ text }) => text).join("\n")
    )
    const document = documentOf(run)
    assert.isFalse(document.holds)
    assert.match(headlineOf(document), /^The verdict does not hold: \d of [67] are broken$/)
    assert.include(linesOf(document).join("\n"), `✗ ${broken[0]?.text}`)
    assert.include(page(document), `<h1 class="broken">✗`)
  })

  it("lets the server reject what it likes, and who ends the run early cut calls off", () => {
    const rejected = withCall(4, { outcome: "failed", error: "ServerRejected", right: null })
    assert.isTrue(holds(verdictOf(rejected)))
    const early: Run = {
      ...good,
      interrupted: true,
      answersAtEnd: null,
      kills: [...good.kills, kill(2990, { healedAt: null })],
      calls: [...good.calls, call(17, { outcome: "cutOff", tookMillis: null, right: null })]
    }
    assert.isTrue(holds(verdictOf(early)))
    assert.strictEqual(headlineOf(documentOf(early)), "The verdict holds, as far as it went")
  })

  it("says nothing of a ledger where there is none, and says so", () => {
    const run: Run = {
      ...good,
      server: { ...good.server, bundled: false },
      foreignCharges: null,
      calls: good.calls.map((each) => ({ ...each, charged: null }))
    }
    assert.notInclude(
      verdictOf(run).map(({ name }) => name),
      "ledger"
    )
    assert.include(linesOf(documentOf(run)).join("\n"), "There is no ledger")
  })
})

describe("the figures of chaos", () => {
  it("add up, and keep calls apart that a disturbance has met", () => {
    const figures = figuresOf(good)
    assert.strictEqual(figures.answered + figures.outcomeUnknown + figures.failed, figures.calls)
    assert.deepStrictEqual(
      [figures.answered, figures.replayed, figures.outcomeUnknown, figures.reconnects, figures.sessionsEnded],
      [14, 1, 2, 1, 1]
    )
    // Numbers 10 (sent again), 12 and 13 (the outage), none in the freeze's 200 ms after call 16.
    assert.strictEqual(figures.latencyMillis.count + figures.latencyAcrossMillis.count, 14)
    assert.strictEqual(figures.latencyAcrossMillis.max, 450)
    assert.deepStrictEqual(figures.ledger, { charges: 8, once: 7, never: 1, more: 0, foreign: 0 })
  })

  it("take percentiles by nearest rank", () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)
    assert.deepStrictEqual(spreadOf(hundred), { count: 100, p50: 50, p99: 99, max: 100 })
    assert.deepStrictEqual(spreadOf([]), { count: 0, p50: null, p99: null, max: null })
  })
})

describe("the picture of chaos", () => {
  it("has a mark for each call, kill and outage", () => {
    const svg = pictureOf(good)
    assert.strictEqual(marks(svg, /class="call"/g), good.calls.length)
    assert.strictEqual(marks(svg, /class="dot /g), good.calls.length)
    assert.strictEqual(marks(svg, /class="kill /g), good.kills.length)
    assert.strictEqual(marks(svg, /class="outage"/g), good.outages.length)
    assert.notMatch(svg, /NaN|undefined|Infinity/)
  })

  it("is drawn of nothing too", () => {
    const svg = pictureOf({ ...good, elapsedMillis: 0, calls: [], kills: [], outages: [], states: [] })
    assert.notMatch(svg, /NaN|undefined|Infinity/)
  })

  it("of very many calls draws all that are out of the ordinary, and says what it leaves out", () => {
    const calls = Array.from({ length: 50_000 }, (_, index) =>
      call(index + 1, index % 1000 === 0 ? { ...unknown(1), at: index / 20 } : { at: index / 20 })
    )
    const run = { ...good, calls }
    const drawn = drawnOf(calls)
    assert.isAtMost(drawn.calls.length, 4000)
    assert.lengthOf(
      drawn.calls.filter(({ outcome }) => outcome === "unknown"),
      50
    )
    assert.include(page(documentOf(run)), `every ${drawn.oneIn}th is drawn`)
    assert.isBelow(pictureOf(run).length, 1_500_000)
  })
})

describe("the plan of chaos", () => {
  const options = { forMillis: 60_000, everyMillis: 2000, weights: { kill: 5, hang: 2, freeze: 2 } }

  it.effect("is the same for the same seed, and another for another", () =>
    Effect.gen(function* () {
      const [first, second, other] = yield* Effect.all([
        Plan.kills({ ...options, seed: "a" }),
        Plan.kills({ ...options, seed: "a" }),
        Plan.kills({ ...options, seed: "b" })
      ])
      assert.deepStrictEqual(first, second)
      assert.notDeepEqual(first, other)
    })
  )

  it.effect("keeps its pauses, and does only what it may", () =>
    Effect.gen(function* () {
      const plan = yield* Plan.kills({ ...options, seed: "a" })
      assert.isAtLeast(plan.length, 20)
      for (const { afterMillis, holdMillis, kind } of plan) {
        assert.isTrue(afterMillis >= 1000 && afterMillis <= 3000)
        assert.isAtMost(holdMillis, 1000)
        assert.include(["kill", "hang", "freeze"], kind)
      }
      assert.strictEqual(new Set(plan.map(({ kind }) => kind)).size, 3)
    })
  )
})
