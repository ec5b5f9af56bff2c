import { connecting, type Sdk } from "./sdk.ts"

export const connect = connecting(async (load) => {
  const { Client, StreamableHTTPClientTransport } =
    await load<Pick<Sdk, "Client" | "StreamableHTTPClientTransport">>("@modelcontextprotocol/client")
  const { StdioClientTransport } = await load<Pick<Sdk, "StdioClientTransport">>("@modelcontextprotocol/client/stdio")
  return { Client, StdioClientTransport, StreamableHTTPClientTransport }
})
