/** What a new connection costs the raw SDK: what everybody who reconnects has to pay. */
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import { http, now, stdio } from "./stage.ts"

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

export const make = async (place: { readonly folder: string; readonly server: string }): Promise<Bare> => {
  const { end, target } = await http(place)
  const url = new URL(target._tag === "http" ? target.url : "")
  const command = stdio(place)
  const measure = {
    stdio: () => cost(new StdioClientTransport({ ...command, args: [...command.args], stderr: "ignore" })),
    http: () => cost(new StreamableHTTPClientTransport(url))
  }
  // The first of each loads and compiles.
  const warm = new Set<string>()
  const warmed = (transport: "stdio" | "http") => async () => {
    if (!warm.has(transport)) await measure[transport]()
    warm.add(transport)
    return measure[transport]()
  }
  return { stdio: warmed("stdio"), http: warmed("http"), end }
}
