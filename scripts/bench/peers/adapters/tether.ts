/** `@mcp-tether/connection` as `pnpm build` has made it, with its defaults: reconnecting is on, `replay` is "safe". */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { type Connect, textOf } from "../adapter.ts"
import { McpConnection, McpTransport } from "../../published.ts"

export const connect: Connect = async (target) => {
  const transport =
    target._tag === "stdio"
      ? McpTransport.stdio({ command: target.command, args: target.args })
      : McpTransport.streamableHttp({ url: target.url })
  const runtime = ManagedRuntime.make(McpConnection.layer({ transport }).pipe(Layer.provide(NodeServices.layer)))
  const connection = await runtime.runPromise(McpConnection.McpConnection)
  return {
    call: async (name, args) => {
      const { content, isError } = await runtime.runPromise(connection.callTool({ name, arguments: args }))
      return textOf({ content, isError })
    },
    close: () => runtime.dispose()
  }
}
