import { assert, describe, it } from "@effect/vitest"
import { TransportClosed } from "../../src/ConnectionError.ts"
import * as Telling from "../../src/internal/telling.ts"

const [first, second] = ["first", "second"].map((description) => new TransportClosed({ description }))

describe("the breaking of a transport", () => {
  for (const early of [true, false])
    it(`is told once, with its first reason, to who listens ${early ? "before" : "afterwards"}`, () => {
      const telling = Telling.make<TransportClosed>()
      const heard: Array<unknown> = []
      if (early) telling.listen((reason) => heard.push(reason))
      assert(first !== undefined && second !== undefined)
      telling.tell(first)
      telling.tell(second)
      if (!early) telling.listen((reason) => heard.push(reason))
      assert.deepStrictEqual(heard, [first])
    })
})
