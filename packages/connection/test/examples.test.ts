import { assert, describe, it } from "@effect/vitest"
import { fileURLToPath } from "node:url"
import { check } from "../../../scripts/examples.ts"

describe("the examples in the docs", () => {
  it("compile, and give what they say", async () => {
    const files = await check(fileURLToPath(new URL("..", import.meta.url)))
    assert.includeMembers(
      [...files],
      ["Health.ts", "McpConnection.ts", "McpTransport.ts", "ConnectionError.ts", "ReconnectPolicy.ts"]
    )
    // A compiler and a program of their own: seconds, or many on a busy machine.
  }, 120_000)
})
