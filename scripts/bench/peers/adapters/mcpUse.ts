/**
 * `reconnectionOptions` (connectors/base.d.ts), handed to the SDK's HTTP transport. "After disconnecting, the session cannot be used until
 * reconnected" (session.d.ts): by the user.
 */
import { type CallToolResult, type Connect, textOf } from "../adapter.ts"
import { reconnectionOptions } from "./sdk.ts"

interface McpUse {
  readonly MCPClient: new (options: object) => {
    readonly createSession: (name: string) => Promise<{
      readonly callTool: (name: string, args: object) => Promise<CallToolResult>
    }>
    readonly closeAllSessions: () => Promise<void>
  }
}

export const connect: Connect = async (target, { load }) => {
  process.env["MCP_USE_ANONYMIZED_TELEMETRY"] = "false"
  const { MCPClient } = await load<McpUse>("mcp-use/client")
  const client = new MCPClient({
    mcpServers: {
      peers:
        target._tag === "stdio"
          ? { command: target.command, args: target.args }
          : { url: target.url, reconnectionOptions, disableSseFallback: true }
    }
  })
  const session = await client.createSession("peers")
  return {
    call: async (name, args) => textOf(await session.callTool(name, args)),
    close: () => client.closeAllSessions()
  }
}
