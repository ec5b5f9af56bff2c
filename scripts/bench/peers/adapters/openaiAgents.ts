/**
 * `reconnectionOptions` of `MCPServerStreamableHttp` (mcp.d.ts), handed to the SDK's transport; a closed session is reopened without an
 * option. For stdio there is none: `MCPServers.reconnect()` is for the user to call, who has to notice first.
 */
import { type CallToolResult, type Connect, textOf } from "../adapter.ts"
import { reconnectionOptions } from "./sdk.ts"

interface Server {
  readonly connect: () => Promise<void>
  readonly callTool: (name: string, args: object) => Promise<CallToolResult["content"] | CallToolResult>
  readonly close: () => Promise<void>
}

interface Agents {
  readonly MCPServerStdio: new (options: object) => Server
  readonly MCPServerStreamableHttp: new (options: object) => Server
}

export const connect: Connect = async (target, { load }) => {
  const { MCPServerStdio, MCPServerStreamableHttp } = await load<Agents>("@openai/agents")
  const server =
    target._tag === "stdio"
      ? new MCPServerStdio({ name: "peers", command: target.command, args: target.args })
      : new MCPServerStreamableHttp({ name: "peers", url: target.url, reconnectionOptions })
  await server.connect()
  return {
    call: async (name, args) => {
      const result = await server.callTool(name, args)
      return textOf("content" in (result ?? {}) ? (result as CallToolResult) : { content: result as [] })
    },
    close: () => server.close()
  }
}
