/**
 * "Transient connection failures are retried once after reconnecting the affected server" (configuration.d.ts, `listTools`): always on, no
 * option. The tools are held as an agent holds them.
 */
import { type CallToolResult, type Connect, textOf } from "../adapter.ts"

interface Mastra {
  readonly MCPClient: new (options: object) => {
    readonly listTools: () => Promise<
      Record<string, { readonly execute: (input: object, context: object) => Promise<CallToolResult> }>
    >
    readonly disconnect: () => Promise<void>
  }
}

export const connect: Connect = async (target, { folder, load }) => {
  const { MCPClient } = await load<Mastra>("@mastra/mcp")
  const client = new MCPClient({
    id: folder,
    servers: {
      peers: target._tag === "stdio" ? { command: target.command, args: target.args } : { url: new URL(target.url) }
    }
  })
  const tools = await client.listTools()
  return {
    call: async (name, args) => {
      const tool = tools[`peers_${name}`]
      if (tool === undefined) throw new Error(`no tool ${name}`)
      return textOf(await tool.execute(args, {}))
    },
    close: () => client.disconnect()
  }
}
