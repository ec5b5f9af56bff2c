import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { McpConnection, McpTransport } from "@mcp-tether/connection"
import { Console, Effect, Layer } from "effect"

const Everything = McpConnection.layer({
  transport: McpTransport.stdio({ command: "mcp-server-everything", args: ["stdio"] })
}).pipe(Layer.provide(NodeServices.layer))

const program = Effect.gen(function* () {
  const mcp = yield* McpConnection.McpConnection
  const result = yield* mcp.callTool({ name: "echo", arguments: { message: "still here" } })
  yield* Console.log(result.content)
})

program.pipe(Effect.provide(Everything), NodeRuntime.runMain)
