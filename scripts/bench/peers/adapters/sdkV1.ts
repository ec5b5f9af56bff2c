import type { Load } from "../adapter.ts"
import { connecting, type Sdk } from "./sdk.ts"

export const loadSdk = async (load: Load): Promise<Sdk> => {
  const { Client } = await load<Pick<Sdk, "Client">>("@modelcontextprotocol/sdk/client/index.js")
  const { StdioClientTransport } = await load<Pick<Sdk, "StdioClientTransport">>(
    "@modelcontextprotocol/sdk/client/stdio.js"
  )
  const { StreamableHTTPClientTransport } = await load<Pick<Sdk, "StreamableHTTPClientTransport">>(
    "@modelcontextprotocol/sdk/client/streamableHttp.js"
  )
  return { Client, StdioClientTransport, StreamableHTTPClientTransport }
}

export const connect = connecting(loadSdk)
