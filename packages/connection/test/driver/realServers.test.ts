import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as McpConnection from "../../src/McpConnection.ts"
import type { StdioOptions } from "../../src/McpTransport.ts"
import {
  eventsOf,
  everything,
  fast,
  kill,
  pidOf,
  type Rig,
  scenario,
  tagsOf,
  textOf,
  transportOf,
  until,
  v1Server
} from "./rig.ts"

const connect = (rig: Rig, args: StdioOptions["args"]) =>
  McpConnection.make({
    policy: fast,
    heartbeat: "off",
    transport: transportOf(rig, { command: process.execPath, args })
  })

describe("@modelcontextprotocol/server-everything", () => {
  scenario("is listed, called, and called again right after kill -9", (rig) =>
    Effect.gen(function* () {
      const connection = yield* connect(rig, everything)
      const tools = yield* connection.listTools()
      assert.includeMembers(
        tools.map(({ name }) => name),
        ["echo", "get-sum"]
      )
      const echo = connection.callTool({ name: "echo", arguments: { message: "hello" } })
      assert.strictEqual(textOf(yield* echo), "Echo: hello")
      kill(-(yield* pidOf(connection)), "SIGKILL")
      assert.strictEqual(textOf(yield* echo), "Echo: hello")
      const { generation, server } = yield* connection.awaitReady
      assert.strictEqual(generation, 2)
      assert.strictEqual(server.name, "mcp-servers/everything")
      yield* connection.ping()
    })
  )

  scenario(
    "has its long-running operation, which it says is read-only, replayed when it is killed in the middle",
    (rig) =>
      Effect.gen(function* () {
        const connection = yield* connect(rig, everything)
        const events = yield* eventsOf(connection)
        yield* connection.listTools()
        const pid = yield* pidOf(connection)
        const pending = yield* Effect.forkChild(
          connection.callTool({ name: "trigger-long-running-operation", arguments: { duration: 1, steps: 2 } }),
          { startImmediately: true }
        )
        // A reply to a later request: the server has the call.
        yield* connection.ping()
        kill(-pid, "SIGKILL")
        assert.include(textOf(yield* Fiber.join(pending)), "Long running operation completed")
        yield* until("the replay", () => tagsOf(events).includes("RequestReplayed"))
      })
  )
})

describe("a server of the SDK's v1 line", () => {
  scenario("is listed, called, and called again after it was killed; a tool's own error is a result", (rig) =>
    Effect.gen(function* () {
      const connection = yield* connect(rig, [v1Server])
      assert.deepStrictEqual(
        (yield* connection.listTools()).map(({ name }) => name),
        ["add", "fail"]
      )
      const add = connection.callTool({ name: "add", arguments: { a: 19, b: 23 } })
      assert.strictEqual(textOf(yield* add), "42")
      const failed = yield* connection.callTool({ name: "fail", arguments: {} })
      assert.isTrue(failed.isError)
      assert.strictEqual(textOf(failed), "it failed")
      kill(yield* pidOf(connection), "SIGTERM")
      assert.strictEqual(textOf(yield* add), "42")
      const { server } = yield* connection.awaitReady
      assert.strictEqual(server.name, "v1-fixture")
      assert.strictEqual(server.era, "legacy")
    })
  )
})
