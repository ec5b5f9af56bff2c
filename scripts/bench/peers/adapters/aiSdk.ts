/**
 * `maxRetries` of `createMCPClient`: "Maximum number of retries for transient MCP tool call failures" (index.d.ts), 0 by default. It is all
 * there is: no option starts a server or a session anew, and `onSessionExpired` only tells that one is needed.
 */
import { type CallToolResult, type Connect, textOf } from "../adapter.ts"

interface Mcp {
  readonly createMCPClient: (options: object) => Promise<{
    readonly callTool: (call: { readonly name: string; readonly arguments: object }) => Promise<CallToolResult>
    readonly close: () => Promise<void>
  }>
}

interface Stdio {
  readonly Experimental_StdioMCPTransport: new (options: object) => object
}

export const connect: Connect = async (target, { load }) => {
  const { createMCPClient } = await load<Mcp>("@ai-sdk/mcp")
  const { Experimental_StdioMCPTransport } = await load<Stdio>("@ai-sdk/mcp/mcp-stdio")
  const client = await createMCPClient({
    transport:
      target._tag === "stdio"
        ? new Experimental_StdioMCPTransport({ command: target.command, args: target.args, stderr: "ignore" })
        : { type: "http", url: target.url },
    maxRetries: 2
  })
  return {
    call: async (name, args) => textOf(await client.callTool({ name, arguments: args })),
    close: () => client.close()
  }
}
