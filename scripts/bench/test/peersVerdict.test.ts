import { assert, describe, it } from "vitest"
import type { Observation, Outcome } from "../peers/observation.ts"
import { cell } from "../peers/report.ts"
import { verdict } from "../peers/verdict.ts"

const observed = (observation: Partial<Observation>): Outcome => ({
  _tag: "observed",
  observation: { first: "answered", later: true, calls: 1, lost: 0, ...observation }
})

const scenario = { name: "pay-in-flight" }

describe("the verdict on the rounds of a client", () => {
  it("divides each recovery by the cost of its own round", () => {
    const { recovery } = verdict([
      observed({ recovery: 100, bare: 100 }),
      observed({ recovery: 400, bare: 200 }),
      observed({ recovery: 90, bare: 30 })
    ])
    assert.deepStrictEqual(recovery, { median: 2, low: 1, high: 3 })
  })

  it("counts a round without an end as one without an answer", () => {
    const outcomes: ReadonlyArray<Outcome> = [observed({}), { _tag: "crashed", error: "it was killed" }]
    const { broken, errors, first, later } = verdict(outcomes)
    assert.deepStrictEqual(first, { yes: 1, of: 2 })
    assert.deepStrictEqual(later, { yes: 1, of: 2 })
    assert.deepStrictEqual(broken, ["crashed"])
    assert.deepStrictEqual(errors, ["it was killed"])
  })

  it("says in how many rounds one call had its effect twice", () => {
    const { duplicated, effects } = verdict([
      observed({ effects: 2 }),
      observed({ effects: 1 }),
      observed({ effects: 2 })
    ])
    assert.strictEqual(duplicated, 2)
    assert.deepStrictEqual(effects, { median: 2, low: 1, high: 2 })
  })

  it("takes no recovery for one that never came", () => {
    assert.isUndefined(verdict([observed({ first: "failed", later: false, lost: 5, calls: 5 })]).recovery)
  })
})

describe("a cell of the table", () => {
  it("shows how many rounds were answered where they disagree, and that a payment was doubled", () => {
    const outcomes = [
      observed({ recovery: 100, bare: 100, effects: 2 }),
      observed({ first: "failed", recovery: 300, bare: 100, effects: 1 })
    ]
    assert.strictEqual(cell(scenario, verdict(outcomes)), "1/2/✓ 2.0 (1.0–3.0)× paid 1–2 !")
  })

  it("shows what did not end as that, and what does not fit as nothing", () => {
    assert.strictEqual(cell(scenario, verdict([{ _tag: "stuck", error: "" }])), "stuck")
    assert.strictEqual(cell(scenario, verdict([{ _tag: "unfit", error: "" }])), "–")
  })

  it("shows what is left after a close", () => {
    assert.strictEqual(cell({ name: "close" }, verdict([observed({ left: 2 }), observed({ left: 0 })])), "2 left")
  })
})
