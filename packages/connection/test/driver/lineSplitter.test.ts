import { assert, describe, it } from "@effect/vitest"
import * as LineSplitter from "../../src/internal/driver/lineSplitter.ts"

const split = (chunks: ReadonlyArray<Uint8Array | string>, maxBytes = 1000) => {
  const lines: Array<string> = []
  const splitter = LineSplitter.make({ maxBytes, onLine: (line) => lines.push(line) })
  const pushes = chunks.map((chunk) => splitter.push(Buffer.from(chunk)))
  return { lines, pushes }
}

describe("lineSplitter", () => {
  it("hands on each line once its end has come", () => {
    assert.deepStrictEqual(split(["a", "b\nc", "\n", "d"]), { lines: ["ab", "c"], pushes: ["ok", "ok", "ok", "ok"] })
    assert.deepStrictEqual(split(["a\nb\n\nc\n"]).lines, ["a", "b", "", "c"])
    assert.deepStrictEqual(split([""]), { lines: [], pushes: ["ok"] })
  })

  it("keeps a carriage return and Unicode line separators in the line: only a newline ends it", () => {
    assert.deepStrictEqual(split(["a\r\nb\u2028c\u0085d\n"]).lines, ["a\r", "b\u2028c\u0085d"])
  })

  it("joins characters that were cut at any byte", () => {
    const text = "aé漢😀z"
    const bytes = Buffer.from(`${text}\n${text}\n`)
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      assert.deepStrictEqual(split([bytes.subarray(0, cut), bytes.subarray(cut)]).lines, [text, text])
    }
    assert.deepStrictEqual(split([...bytes].map((byte) => Uint8Array.of(byte))).lines, [text, text])
  })

  it("takes a line of exactly maxBytes, and overflows at one more, whether its end has come or not", () => {
    assert.deepStrictEqual(split(["12345\n12345\n"], 5), { lines: ["12345", "12345"], pushes: ["ok"] })
    assert.deepStrictEqual(split(["123456\n"], 5), { lines: [], pushes: ["overflow"] })
    assert.deepStrictEqual(split(["123", "456"], 5), { lines: [], pushes: ["ok", "overflow"] })
    assert.deepStrictEqual(split(["1\n123456"], 5), { lines: ["1"], pushes: ["overflow"] })
    assert.deepStrictEqual(split(["漢漢\n"], 5).pushes, ["overflow"])
  })

  it("is not changed by a chunk that is overwritten once its line was handed on", () => {
    const lines: Array<string> = []
    const splitter = LineSplitter.make({ maxBytes: 100, onLine: (line) => lines.push(line) })
    const chunk = Buffer.from("first\n")
    splitter.push(chunk)
    chunk.fill(0)
    assert.deepStrictEqual(lines, ["first"])
  })

  it("is linear: a message of 2 MB in 30,000 chunks is no work", () => {
    const chunk = Buffer.alloc(64, "x")
    const splitter = LineSplitter.make({ maxBytes: 2 ** 30, onLine: () => {} })
    const begin = performance.now()
    for (let index = 0; index < 30_000; index += 1) splitter.push(chunk)
    splitter.push(Buffer.from("\n"))
    // Joining on every chunk would copy 29 GB.
    assert.isBelow(performance.now() - begin, 1000)
  })
})
