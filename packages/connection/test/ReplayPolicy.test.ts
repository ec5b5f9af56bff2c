import { assert, describe, it } from "@effect/vitest"
import * as Delivery from "../src/Delivery.ts"
import * as ReplayPolicy from "../src/ReplayPolicy.ts"

const deliveries = ["NotSent", "Refused", "Unknown"] as const

describe("ReplayPolicy", () => {
  const readers = [
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "tasks/get"
  ]

  it.each(readers)("safe: %s is sent again, whatever is known of its delivery", (method) => {
    for (const delivery of deliveries) assert.strictEqual(ReplayPolicy.decide("safe", method, delivery), "Replay")
  })

  it("safe: a tool call that cannot have run is sent again; of one that may have run, the tool is asked", () => {
    assert.strictEqual(ReplayPolicy.decide("safe", "tools/call", "NotSent"), "Replay")
    assert.strictEqual(ReplayPolicy.decide("safe", "tools/call", "Refused"), "Replay")
    assert.strictEqual(ReplayPolicy.decide("safe", "tools/call", "Unknown"), "AskTool")
  })

  it.each(["x/custom", "tasks/cancel", "toString", "__proto__", ""])(
    "safe: the unknown method %o that may have run is not sent again",
    (method) => {
      assert.strictEqual(ReplayPolicy.decide("safe", method, "NotSent"), "Replay")
      assert.strictEqual(ReplayPolicy.decide("safe", method, "Unknown"), "Fail")
    }
  )

  it("always: everything is sent again; never: nothing is", () => {
    for (const method of [...readers, "tools/call", "x/custom"]) {
      for (const delivery of deliveries) {
        assert.strictEqual(ReplayPolicy.decide("always", method, delivery), "Replay")
        assert.strictEqual(ReplayPolicy.decide("never", method, delivery), "Fail")
      }
    }
  })

  it("a tool is safe when it says that it only reads, or that it is idempotent, and not by anything else", () => {
    assert.isTrue(ReplayPolicy.isSafeTool({ readOnlyHint: true }))
    assert.isTrue(ReplayPolicy.isSafeTool({ idempotentHint: true }))
    assert.isTrue(ReplayPolicy.isSafeTool({ idempotentHint: true, destructiveHint: true }))
    assert.isFalse(ReplayPolicy.isSafeTool({ readOnlyHint: false, idempotentHint: false }))
    assert.isFalse(ReplayPolicy.isSafeTool({ destructiveHint: false, openWorldHint: false }))
    assert.isFalse(ReplayPolicy.isSafeTool({}))
    assert.isFalse(ReplayPolicy.isSafeTool(undefined))
  })
})

describe("Delivery", () => {
  it("the worst of several sendings counts: Unknown, then Refused, then NotSent", () => {
    for (const that of deliveries) {
      assert.strictEqual(Delivery.worst("Unknown", that), "Unknown")
      assert.strictEqual(Delivery.worst(that, "Unknown"), "Unknown")
      assert.strictEqual(Delivery.worst("NotSent", that), that)
      assert.strictEqual(Delivery.worst(that, "NotSent"), that)
    }
    assert.strictEqual(Delivery.worst("Refused", "Refused"), "Refused")
  })
})
