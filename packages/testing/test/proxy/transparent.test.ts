/** What a proxy does when there is no fault in the script: nothing. */
import { assert, describe, it } from "@effect/vitest"
import { Faults, FaultProxy } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { connect } from "node:net"
import { call, generation, http, stdio, timed, until } from "./rig.ts"

const separators = "one\u2028two\u2029three"

describe("a process in between", () => {
  stdio("hands on what other readers take for the end of a line", [], (rig) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* call(rig, "pay", separators), `pay ${separators}`)
      assert.strictEqual(yield* generation(rig), 1)
    })
  )

  stdio(
    "delays what is on its way together by the same time, not one after the other",
    [Faults.on({ tool: "read" }, Faults.slowLink({ latency: "300 millis", for: "1 minute" }))],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        const [, millis] = yield* timed(
          Effect.all(
            ["a", "b", "c", "d", "e", "f"].map((key) => call(rig, "read", key)),
            { concurrency: "unbounded" }
          )
        )
        assert.isBelow(millis, 1_500)
      })
  )

  it.live("is asked for its word, and a stranger is shown the door", () =>
    Effect.gen(function* () {
      const proxy = yield* FaultProxy.stdio({ command: "none" })
      const address = Object.values(proxy.options.env ?? {}).flatMap((value) =>
        Redacted.isRedacted(value) ? [value] : []
      )[0]
      assert(address !== undefined)
      const [port] = String(Redacted.value(address)).split(" ")
      for (const words of ["hello\n", "null\n", "5\n", '{"_tag":"Hello","token":"guessed"}\n']) {
        let isClosed = false
        const socket = connect(Number(port), "127.0.0.1", () => socket.write(words))
        socket.on("close", () => {
          isClosed = true
        })
        socket.on("error", () => {})
        yield* until("the door", () => isClosed)
      }
    })
  )
})

describe("a proxy over HTTP", () => {
  http("adds no listeners to a socket that is used again and again", [], (rig) =>
    Effect.gen(function* () {
      const warnings: Array<string> = []
      const note = (warning: Error): void => void warnings.push(warning.message)
      process.on("warning", note)
      yield* Effect.forEach(Array.from({ length: 30 }), () => rig.connection.ping(), { discard: true })
      yield* Effect.sleep("10 millis")
      process.off("warning", note)
      assert.deepStrictEqual(warnings, [])
    })
  )
})
