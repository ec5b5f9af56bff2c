import { assert, describe, it } from "vitest"
import { trendOf } from "../trend.ts"
import { judgeCounts, judgeGrowth, judgeTrend } from "../verdict.ts"

const limit = { perTurn: 64, unit: "bytes", turn: "turn" }

/** The same noise each time, of up to `size` to either side (a linear congruential generator). */
const noise = (size: number) => {
  let state = 1
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return (state / 2 ** 31 - 0.5) * 2 * size
  }
}

const series = (perTurn: number, size: number, every = 400, points = 26) => {
  const next = noise(size)
  return Array.from(
    { length: points },
    (_, index) => [index * every, 40_000_000 + index * every * perTurn + next()] as const
  )
}

describe("a trend", () => {
  it("is the slope of a line, without any doubt", () => {
    assert.deepStrictEqual(trendOf(series(100, 0)), { slope: 100, low: 100, high: 100 })
  })

  it("is not moved by a few outliers", () => {
    const points = series(0, 1_000).map(([x, y], index) => [x, index % 9 === 4 ? y + 5_000_000 : y] as const)
    assert.isBelow(Math.abs(trendOf(points).slope), 1)
  })

  it("contains the true slope, and is the wider the noisier and the shorter the series", () => {
    const width = ({ high, low }: ReturnType<typeof trendOf>) => high - low
    const quiet = trendOf(series(50, 10_000))
    const noisy = trendOf(series(50, 100_000))
    const short = trendOf(series(50, 10_000, 400, 6))
    for (const { high, low } of [quiet, noisy, short]) assert.isTrue(low <= 50 && high >= 50)
    assert.isBelow(width(quiet), width(noisy))
    assert.isBelow(width(quiet), width(short))
  })
})

describe("what can only be weighed", () => {
  it("is flat when it is noisy and does not grow", () => {
    assert.strictEqual(judgeTrend("heap", series(0, 50_000), limit).verdict, "Flat")
  })

  it("is flat when it falls", () => {
    assert.strictEqual(judgeTrend("heap", series(-500, 50_000), limit).verdict, "Flat")
  })

  it("grows when each turn leaves a listener behind, in the same noise", () => {
    const finding = judgeTrend("heap", series(200, 50_000), limit)
    assert.strictEqual(finding.verdict, "Grows")
    assert.match(finding.text, /^\+(19|20)\d\.\d bytes per turn/)
  })

  it("grows when only one turn in a thousand leaves a session behind", () => {
    const leaky = series(0, 50_000).map(([x, y]) => [x, y + Math.floor(x / 1_000) * 150_000] as const)
    assert.strictEqual(judgeTrend("heap", leaky, limit).verdict, "Grows")
  })

  it("is no pass when the noise could hide a leak", () => {
    assert.strictEqual(judgeTrend("heap", series(0, 1_000_000), limit).verdict, "Unclear")
    assert.strictEqual(judgeTrend("heap", series(0, 50_000, 40, 6), limit).verdict, "Unclear")
  })

  it("is no pass when it was weighed too seldom", () => {
    assert.strictEqual(judgeTrend("heap", [[0, 1]], limit).verdict, "Unclear")
    assert.strictEqual(judgeTrend("heap", [], limit).verdict, "Unclear")
    assert.strictEqual(judgeGrowth("heap", [1], limit).verdict, "Unclear")
  })

  it("grows from round to round, the first of which does not count", () => {
    assert.strictEqual(judgeGrowth("heap", [100, 110, 120], limit).verdict, "Flat")
    assert.strictEqual(judgeGrowth("heap", [100, 190, 280], limit).verdict, "Grows")
    assert.strictEqual(judgeGrowth("heap", [100, 50, 50], limit).verdict, "Flat")
  })
})

describe("what can be counted", () => {
  const rests = (...counts: ReadonlyArray<number>) => counts.map((count, index) => ({ at: `turn ${index}`, count }))

  it("is flat when it is always the same", () => {
    assert.strictEqual(judgeCounts("fibers", rests(23, 23, 23)).verdict, "Flat")
  })

  it("differs when there is one more, and says where", () => {
    const finding = judgeCounts("fibers", rests(23, 23, 24, 25))
    assert.strictEqual(finding.verdict, "Differs")
    assert.strictEqual(finding.text, "23 at turn 0, but 24 at turn 2, and 25 at turn 3")
  })

  it("differs when there is one less, or another kind", () => {
    assert.strictEqual(judgeCounts("fibers", rests(23, 22)).text, "23 at turn 0, but 22 at turn 1")
    const fds = [
      { at: "turn 0", count: { pipe: 2, socket: 1 } },
      { at: "turn 1", count: { pipe: 1, socket: 2 } }
    ]
    assert.strictEqual(judgeCounts("file descriptors", fds).verdict, "Differs")
  })

  it("is no pass when it was never counted", () => {
    assert.strictEqual(judgeCounts("fibers", []).verdict, "Unclear")
  })
})
