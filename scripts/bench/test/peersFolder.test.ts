import { assert, describe, it } from "vitest"
import { effects, entriesOf, type Entry, pids, tooEarly } from "../peers/folder.ts"
import { stateOf } from "../peers/processes.ts"

const lines = (...entries: ReadonlyArray<Entry>): string =>
  entries.map((entry) => `${JSON.stringify(entry)}\n`).join("")

describe("the ledger of a scenario", () => {
  it("does not count a line that is still being written", () => {
    const text = lines({ _tag: "effect", pid: 1, tool: "pay", n: 1 }, { _tag: "effect", pid: 1, tool: "pay", n: 2 })
    assert.strictEqual(effects(entriesOf(text), "pay", 2), 1)
    assert.strictEqual(effects(entriesOf(text.slice(0, -1)), "pay", 2), 0)
    assert.deepStrictEqual(entriesOf('{"_tag":'), [])
  })

  it("counts the effects of one call, whoever had them", () => {
    const entries: ReadonlyArray<Entry> = [
      { _tag: "effect", pid: 1, tool: "look", n: 7 },
      { _tag: "effect", pid: 1, tool: "pay", n: 7 },
      { _tag: "effect", pid: 2, tool: "pay", n: 7 },
      { _tag: "effect", pid: 2, tool: "pay", n: 8 }
    ]
    assert.strictEqual(effects(entries, "pay", 7), 2)
  })

  it("names each process once", () => {
    const entries: ReadonlyArray<Entry> = [
      { _tag: "process", pid: 1 },
      { _tag: "up", pid: 1, at: 0 },
      { _tag: "process", pid: 2 },
      { _tag: "process", pid: 1 }
    ]
    assert.deepStrictEqual(pids(entries), [1, 2])
  })

  it("does not blame the request that was told when to come back", () => {
    const entries: ReadonlyArray<Entry> = [
      { _tag: "refused", early: 1_000, first: true, until: 1_000 },
      { _tag: "refused", early: 400, first: false, until: 1_000 }
    ]
    assert.strictEqual(tooEarly(entries), 1)
  })
})

describe("the state of a process", () => {
  it("stands behind a name that has parentheses itself", () => {
    assert.strictEqual(stateOf("12 (node) S 1 12"), "S")
    assert.strictEqual(stateOf("12 (a (b) Z) Z 1 12"), "Z")
  })
})
