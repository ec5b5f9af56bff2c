import { assert, describe, it } from "vitest"
import { seeded, shuffled } from "../random.ts"
import { estimate, line, median, quantile } from "../statistics.ts"

describe("statistics", () => {
  it("interpolates quantiles between neighbours", () => {
    assert.strictEqual(quantile([4, 1, 3, 2], 0), 1)
    assert.strictEqual(quantile([4, 1, 3, 2], 1), 4)
    assert.strictEqual(median([4, 1, 3, 2]), 2.5)
    assert.strictEqual(quantile([10, 20], 0.25), 12.5)
  })

  it("refuses a quantile of nothing", () => {
    assert.throws(() => quantile([], 0.5), RangeError)
  })

  it("leaves what it was given as it was", () => {
    const values = [3, 1, 2]
    median(values)
    assert.deepStrictEqual(values, [3, 1, 2])
  })

  it("has no spread when all rounds agree", () => {
    const starts = [
      [1.5, 1.5],
      [1.5, 1.5]
    ]
    assert.deepStrictEqual(estimate(starts), { median: 1.5, low: 1.5, high: 1.5, rounds: 4, starts: 2 })
  })

  it("has an interval that covers the true median in about 95 of 100 experiments", () => {
    const random = seeded(7)
    // The median of this exponential distribution is ln 2.
    const round = () => -Math.log(1 - random())
    const experiments = 120
    let covered = 0
    for (let experiment = 0; experiment < experiments; experiment += 1) {
      const { high, low } = estimate([Array.from({ length: 30 }, round)], seeded(experiment))
      if (low <= Math.LN2 && Math.LN2 <= high) covered += 1
    }
    assert.isAtLeast(covered / experiments, 0.9)
    assert.isAtMost(covered / experiments, 0.99)
  })

  it("does not take the rounds of one start for independent witnesses", () => {
    // Each start has its own level, and its rounds agree with each other.
    const starts = [1, 2, 3, 4, 5].map((level) => Array.from({ length: 50 }, (_, round) => level + round / 1_000))
    const clustered = estimate(starts)
    const pooled = estimate([starts.flat()])
    assert.isAbove(clustered.high - clustered.low, 1.5)
    assert.isAbove(clustered.high - clustered.low, 1.5 * (pooled.high - pooled.low))
  })

  it("finds the line through points", () => {
    const found = line([
      [0, 1],
      [1, 3],
      [2, 5]
    ])
    assert.closeTo(found.slope, 2, 1e-12)
    assert.closeTo(found.intercept, 1, 1e-12)
  })
})

describe("order", () => {
  it("is the same for the same seed, and holds each once", () => {
    const items = ["a", "b", "c", "d"]
    assert.deepStrictEqual(shuffled(seeded(3), items), shuffled(seeded(3), items))
    assert.deepStrictEqual(shuffled(seeded(3), items).sort(), items)
  })

  it("puts each subject first about as often as any other", () => {
    const random = seeded(1)
    const turns = 3_000
    let first = 0
    for (let turn = 0; turn < turns; turn += 1) if (shuffled(random, ["a", "b"])[0] === "a") first += 1
    assert.closeTo(first / turns, 0.5, 0.05)
  })
})
