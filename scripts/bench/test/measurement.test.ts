import { assert, describe, it } from "vitest"
import { difference, ratio, type Suite, verdict } from "../measurement.ts"
import { reportOf } from "../peers.ts"
import { plots } from "../report/plots.ts"
import { table } from "../report/table.ts"
import { verdicts } from "../report/verdicts.ts"

const most = { at: "most", bound: 1.05 } as const
const least = { at: "least", bound: 4 } as const

const starts = [
  [
    { ours: 2, theirs: 1 },
    { ours: 30, theirs: 10 }
  ],
  [{ ours: 4, theirs: 1 }]
]
const ours = (round: { readonly ours: number }) => round.ours
const theirs = (round: { readonly theirs: number }) => round.theirs

describe("verdict", () => {
  it("goes by the median, and says when the interval leaves it open", () => {
    assert.strictEqual(verdict({ low: 0.9, median: 1, high: 1.05 }, most), "reached")
    assert.strictEqual(verdict({ low: 0.9, median: 1, high: 1.06 }, most), "reached, within the noise")
    assert.strictEqual(verdict({ low: 1, median: 1.06, high: 1.2 }, most), "missed, within the noise")
    assert.strictEqual(verdict({ low: 1.06, median: 1.1, high: 1.2 }, most), "missed")
  })

  it("knows targets that are to be passed", () => {
    assert.strictEqual(verdict({ low: 4, median: 5, high: 6 }, least), "reached")
    assert.strictEqual(verdict({ low: 3, median: 5, high: 6 }, least), "reached, within the noise")
    assert.strictEqual(verdict({ low: 3, median: 3.9, high: 4.5 }, least), "missed, within the noise")
    assert.strictEqual(verdict({ low: 1, median: 2, high: 3 }, least), "missed")
  })
})

describe("comparisons", () => {
  it("are made within each round, and not between the medians of all", () => {
    assert.strictEqual(ratio(starts, ours, theirs).estimate.median, 3)
    assert.strictEqual(difference(starts, ours, theirs).estimate.median, 3)
    assert.strictEqual(ratio(starts, ours, theirs).estimate.rounds, 3)
    assert.strictEqual(ratio(starts, ours, theirs).estimate.starts, 2)
  })
})

describe("report", () => {
  const suite: Suite = {
    suite: "overhead",
    about: "calls",
    rows: [
      { what: "p50", unit: "µs", values: { tether: 3, raw: 1 }, compared: ratio(starts, ours, theirs), target: most },
      { what: "p99", unit: "µs", values: { tether: 3, raw: 1 }, compared: ratio(starts, ours, theirs) }
    ],
    curves: [
      {
        name: "growth",
        title: "Growth",
        x: { title: "bytes", log: true },
        y: { title: "ms", log: true },
        points: [
          { series: "tether", x: 10, median: 1, low: 0.5, high: 2 },
          { series: "tether", x: 100, median: 10, low: 5, high: 20 }
        ]
      }
    ]
  }

  it("shows a row with its target and its verdict, and one without", () => {
    const lines = table(suite).split("\n")
    assert.match(lines[2] ?? "", /^p50 +tether 3\.00, raw 1\.00 +µs +3\.000× .* ≤ 1\.05: missed$/)
    assert.notMatch(lines[3] ?? "", /missed|reached/)
  })

  it("names every target once", () => {
    assert.match(verdicts([suite]), /^missed: p50: 3\.000× \(.*\), to be at most 1\.05$/)
  })

  it("draws the ratios and each curve", async () => {
    const drawn = await plots(suite, ["here", "and now"])
    assert.deepStrictEqual(
      drawn.map(({ name }) => name),
      ["overhead", "growth"]
    )
    for (const { svg } of drawn) {
      assert.match(svg, /^<svg /)
      assert.include(svg, "and now")
      assert.notInclude(svg, "NaN")
    }
  })
})

describe("peers", () => {
  it("are read from the last line", () => {
    assert.deepStrictEqual(reportOf('{"suite":"other"}\n{"suite":"peers","rows":[]}\n'), { suite: "peers", rows: [] })
    assert.isUndefined(reportOf('{"suite":"peers"}\nand then words\n'))
    assert.isUndefined(reportOf('{"suite":"other"}\n'))
    assert.isUndefined(reportOf(""))
  })
})
