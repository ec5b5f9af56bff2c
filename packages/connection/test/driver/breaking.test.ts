import { assert, describe, it } from "@effect/vitest"
import { TransportClosed } from "../../src/ConnectionError.ts"
import * as Breaking from "../../src/internal/driver/breaking.ts"

const [first, second] = ["first", "second"].map((description) => new TransportClosed({ description }))

describe("the breaking of a transport", () => {
  for (const early of [true, false])
    it(`is told once, with its first reason, to who listens ${early ? "before" : "afterwards"}`, () => {
      const breaking = Breaking.make()
      const heard: Array<unknown> = []
      if (early) breaking.listen((reason) => heard.push(reason))
      assert(first !== undefined && second !== undefined)
      breaking.tell(first)
      breaking.tell(second)
      if (!early) breaking.listen((reason) => heard.push(reason))
      assert.deepStrictEqual(heard, [first])
    })
})
