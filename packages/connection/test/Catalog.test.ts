import { assert, describe, it } from "@effect/vitest"
import { tool } from "@mcp-tether/testing/SimulatedServer"
import type { Tool } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Catalog from "../src/Catalog.ts"

const nothing = { added: [], removed: [], schemaChanged: [], annotationsChanged: [] }

describe("Catalog.diff", () => {
  it("of nothing and nothing, and of a list and itself, is nothing", () => {
    assert.isUndefined(Catalog.diff([], []))
    const list = [tool("a", { readOnlyHint: true }), tool("b")]
    assert.isUndefined(Catalog.diff(list, structuredClone(list)))
  })

  it("the order of entries, and of the keys in a schema, is no change", () => {
    const schema = (order: ReadonlyArray<string>): Tool => ({
      name: "a",
      inputSchema: {
        type: "object",
        properties: Object.fromEntries(order.map((key) => [key, { type: "string" }]))
      }
    })
    assert.isUndefined(Catalog.diff([tool("x"), schema(["p", "q"])], [schema(["q", "p"]), tool("x")]))
  })

  it("names what came and what went", () => {
    assert.deepStrictEqual(Catalog.diff([tool("a"), tool("b")], [tool("b"), tool("c")]), {
      ...nothing,
      added: ["c"],
      removed: ["a"]
    })
  })

  it("what came is not also changed", () => {
    assert.deepStrictEqual(Catalog.diff([], [tool("a", { readOnlyHint: true })]), { ...nothing, added: ["a"] })
  })

  it("names tools whose input or output schema changed, however deep", () => {
    const deep = (type: string): Tool => ({
      name: "a",
      inputSchema: { type: "object", properties: { x: { anyOf: [{ type }] } } }
    })
    assert.deepStrictEqual(Catalog.diff([deep("string")], [deep("number")]), { ...nothing, schemaChanged: ["a"] })
    const output: Tool = { ...tool("a"), outputSchema: { type: "object" } }
    assert.deepStrictEqual(Catalog.diff([tool("a")], [output]), { ...nothing, schemaChanged: ["a"] })
    assert.deepStrictEqual(Catalog.diff([output], [tool("a")]), { ...nothing, schemaChanged: ["a"] })
  })

  it("names tools whose annotations came, went, or changed", () => {
    const change = { ...nothing, annotationsChanged: ["a"] }
    assert.deepStrictEqual(Catalog.diff([tool("a")], [tool("a", { idempotentHint: true })]), change)
    assert.deepStrictEqual(Catalog.diff([tool("a", { idempotentHint: true })], [tool("a")]), change)
    assert.deepStrictEqual(
      Catalog.diff([tool("a", { idempotentHint: true })], [tool("a", { idempotentHint: false })]),
      change
    )
  })

  it("names prompts whose arguments changed", () => {
    const before = [{ name: "p" }]
    const after = [{ name: "p", arguments: [{ name: "x", required: true }] }]
    assert.deepStrictEqual(Catalog.diff(before, after), { ...nothing, schemaChanged: ["p"] })
  })

  it("knows resources by uri and templates by uriTemplate, not by name", () => {
    assert.deepStrictEqual(Catalog.diff([{ uri: "file:///a", name: "n" }], [{ uri: "file:///b", name: "n" }]), {
      ...nothing,
      added: ["file:///b"],
      removed: ["file:///a"]
    })
    assert.deepStrictEqual(
      Catalog.diff([{ uriTemplate: "file:///{a}", name: "n" }], [{ uriTemplate: "file:///{b}", name: "n" }]),
      { ...nothing, added: ["file:///{b}"], removed: ["file:///{a}"] }
    )
  })

  it("names like __proto__ and constructor are names", () => {
    assert.deepStrictEqual(Catalog.diff([tool("constructor")], [tool("__proto__")]), {
      ...nothing,
      added: ["__proto__"],
      removed: ["constructor"]
    })
  })

  const Names = Schema.Array(Schema.Literals(["a", "b", "c", "d", "e"])).check(Schema.isMaxLength(5))
  it.effect.prop(
    "forth and back: what came there went here",
    { before: Names, after: Names },
    ({ after, before }) =>
      Effect.sync(() => {
        const forth = Catalog.diff(
          before.map((name) => tool(name)),
          after.map((name) => tool(name))
        )
        const back = Catalog.diff(
          after.map((name) => tool(name)),
          before.map((name) => tool(name))
        )
        assert.deepStrictEqual(forth?.added, back?.removed)
        assert.deepStrictEqual(forth?.removed, back?.added)
        const come = [...new Set(after)].filter((name) => !before.includes(name))
        assert.deepStrictEqual([...(forth?.added ?? [])].toSorted(), come.toSorted())
      }),
    { arbitrary: { runs: 200, seed: 3 } }
  )
})
