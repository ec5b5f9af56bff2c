import { assert, describe, it } from "@effect/vitest"
import { setImmediate } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Tail from "../../src/internal/driver/tail.ts"

const tailOf = (maxBytes: number, ...chunks: ReadonlyArray<string>): string | undefined => {
  const tail = Tail.make(maxBytes)
  for (const chunk of chunks) tail.push(Buffer.from(chunk))
  return tail.text()
}

describe("tail", () => {
  it("is undefined until something was said", () => {
    assert.isUndefined(tailOf(10))
    assert.isUndefined(tailOf(10, ""))
  })

  it("keeps everything that fits, as it is", () => {
    assert.strictEqual(tailOf(10, "abc\n", "def"), "abc\ndef")
    assert.strictEqual(tailOf(10, "0123456789"), "0123456789")
  })

  it("keeps the last whole lines when something was dropped", () => {
    assert.strictEqual(tailOf(10, "first\n", "second\n"), "second\n")
    assert.strictEqual(tailOf(10, "first\nseconds\nx\n"), "x\n")
    assert.strictEqual(tailOf(10, "aaaa\n", "bbb\n", "cccc\n"), "bbb\ncccc\n")
  })

  it("drops the beginning of a cut line, which could be the end of a secret, where it is told to", () => {
    const tail = Tail.make(10, 4)
    tail.push(Buffer.from("0123456789abcdef"))
    assert.strictEqual(tail.text(), "abcdef")
  })

  it("keeps the end of a line that is longer than all it may keep", () => {
    assert.strictEqual(tailOf(10, "0123456789abcdef"), "6789abcdef")
    assert.strictEqual(tailOf(10, "0123456789", "abcdef"), "6789abcdef")
  })

  it("never keeps more than it may, however the text comes, and always the last", () => {
    const text = Array.from({ length: 500 }, (_, index) => `line ${index} ${"é".repeat(index % 7)}\n`).join("")
    for (const size of [1, 3, 64, 100, 1000, text.length]) {
      const tail = Tail.make(100)
      const bytes = Buffer.from(text)
      for (let start = 0; start < bytes.length; start += size) tail.push(bytes.subarray(start, start + size))
      const kept = tail.text() ?? ""
      assert.isAtMost(Buffer.byteLength(kept), 100)
      assert.isTrue(kept !== "" && text.endsWith(kept))
      assert.isTrue(text.endsWith(`\n${kept}`), "it begins with a whole line")
    }
  })

  it("lets go of the chunks that it dropped", async () => {
    setFlagsFromString("--expose-gc")
    const collectGarbage = runInNewContext("gc") as () => void
    const tail = Tail.make(64 * 1024)
    const chunks = Array.from({ length: 100 }, () => {
      const chunk = Buffer.alloc(64 * 1024, "x")
      tail.push(chunk)
      return new WeakRef(chunk)
    })
    await setImmediate()
    collectGarbage()
    assert.isAtMost(chunks.filter((chunk) => chunk.deref() !== undefined).length, 2)
    assert.lengthOf(tail.text() ?? "", 64 * 1024)
  })

  it("can be read, and goes on", () => {
    const tail = Tail.make(10)
    tail.push(Buffer.from("a\n"))
    assert.strictEqual(tail.text(), "a\n")
    tail.push(Buffer.from("b\n"))
    assert.strictEqual(tail.text(), "a\nb\n")
  })
})
