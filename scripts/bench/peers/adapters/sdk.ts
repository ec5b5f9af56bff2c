/** What both generations of the official SDK have in common. */
import { type CallToolResult, type Connect, type Connected, type Load, type Target, textOf } from "../adapter.ts"

interface Transport {
  readonly close: () => Promise<void>
}

export interface Sdk {
  readonly Client: new (info: object) => {
    readonly connect: (transport: Transport) => Promise<void>
    readonly callTool: (params: object) => Promise<CallToolResult>
    readonly close: () => Promise<void>
  }
  readonly StdioClientTransport: new (options: object) => Transport
  readonly StreamableHTTPClientTransport: new (url: URL, options: object) => Transport
}

/**
 * The only option there is: `reconnectionOptions` of `StreamableHTTPClientTransport` ("Options to configure the reconnection behavior",
 * streamableHttp.d.ts), which reopens an SSE stream. With the default delays, and more than the two retries. There is none for stdio.
 */
export const reconnectionOptions = {
  initialReconnectionDelay: 1_000,
  maxReconnectionDelay: 30_000,
  reconnectionDelayGrowFactor: 1.5,
  maxRetries: 100
}

export const open = async (sdk: Sdk, target: Target): Promise<Connected> => {
  const client = new sdk.Client({ name: "peers", version: "1.0.0" })
  await client.connect(
    target._tag === "stdio"
      ? new sdk.StdioClientTransport({ command: target.command, args: target.args, stderr: "ignore" })
      : new sdk.StreamableHTTPClientTransport(new URL(target.url), { reconnectionOptions })
  )
  return {
    call: async (name, args) => textOf(await client.callTool({ name, arguments: args })),
    close: () => client.close()
  }
}

export const connecting =
  (sdk: (load: Load) => Promise<Sdk>): Connect =>
  async (target, { load }) =>
    open(await sdk(load), target)
