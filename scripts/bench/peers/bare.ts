/** What a new connection costs the raw SDK: what everybody who reconnects has to pay. */
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import { http, now, server } from "./stage.ts"

export interface Bare {
  readonly stdio: () => Promise<number>
  readonly http: () => Promise<number>
  readonly end: () => void
}

const cost = async (transport: StdioClientTransport | StreamableHTTPClientTransport): Promise<number> => {
  const client = new Client({ name: "bare", version: "1.0.0" })
  const begin = now()
  await client.connect(transport)
  await client.callTool({ name: "look", arguments: { n: 0 } })
  const took = now() - begin
  await client.close()
  return took
}

export const make = async (folder: string): Promise<Bare> => {
  const { end, target } = await http(folder)
  const url = new URL(target._tag === "http" ? target.url : "")
  const bare: Bare = {
    stdio: () =>
      cost(new StdioClientTransport({ command: process.execPath, args: [server, folder, "stdio"], stderr: "ignore" })),
    http: () => cost(new StreamableHTTPClientTransport(url)),
    end
  }
  // The first of each loads and compiles.
  await bare.stdio()
  await bare.http()
  return bare
}
