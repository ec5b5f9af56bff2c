/**
 * `restart` for stdio and `reconnect` for HTTP (README, "Reconnection Strategies"), with the values of the README. A restart makes new
 * tools, so `getTools()` is called before each call, which costs nothing while nothing changed: who holds the tools, as the README's own
 * example does, keeps those of the dead server (`langchainHeld.ts`).
 */
import type { Connect } from "../adapter.ts"

interface Tool {
  readonly name: string
  readonly invoke: (input: object) => Promise<unknown>
}

interface Adapters {
  readonly MultiServerMCPClient: new (options: object) => {
    readonly getTools: () => Promise<ReadonlyArray<Tool>>
    readonly close: () => Promise<void>
  }
}

export const connecting =
  (held: boolean): Connect =>
  async (target, { load }) => {
    const { MultiServerMCPClient } = await load<Adapters>("@langchain/mcp-adapters")
    const client = new MultiServerMCPClient({
      mcpServers: {
        peers:
          target._tag === "stdio"
            ? {
                transport: "stdio",
                command: target.command,
                args: target.args,
                stderr: "ignore",
                restart: { enabled: true, maxAttempts: 3, delayMs: 1_000 }
              }
            : {
                transport: "http",
                url: target.url,
                automaticSSEFallback: false,
                reconnect: { enabled: true, maxAttempts: 5, delayMs: 2_000 }
              }
      }
    })
    const first = await client.getTools()
    return {
      call: async (name, args) => {
        const tool = (held ? first : await client.getTools()).find((tool) => tool.name === name)
        if (tool === undefined) throw new Error(`no tool ${name}`)
        return String(await tool.invoke(args))
      },
      close: () => client.close()
    }
  }

export const connect = connecting(false)
