/** The official SDK's client, as its documentation has it used: `await client.callTool(…)`. */
import { Client, StreamableHTTPClientTransport, type Transport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import * as InMemory from "../servers/inMemory.ts"
import { check, type Open, type Target, textOf } from "./subject.ts"

export const transportOf = (target: Target): Transport => {
  switch (target._tag) {
    case "stdio":
      return new StdioClientTransport({ command: target.command, args: [...target.args], stderr: "inherit" })
    case "http":
      return new StreamableHTTPClientTransport(new URL(target.url))
    case "memory":
      return InMemory.connect()
  }
}

export const open: Open = async (target) => {
  const client = new Client({ name: "bench", version: "1.0.0" })
  await client.connect(transportOf(target))

  const echo = async (call: number): Promise<void> => {
    const text = textOf(call)
    check(await client.callTool({ name: "echo", arguments: { text } }), text)
  }

  return {
    serial: async (calls) => {
      const took = new Float64Array(calls)
      for (let call = 0; call < calls; call += 1) {
        const begin = performance.now()
        await echo(call)
        took[call] = (performance.now() - begin) * 1_000
      }
      return took
    },
    flood: async (calls, inFlight) => {
      let next = 0
      const lane = async (): Promise<void> => {
        while (next < calls) await echo(next++)
      }
      await Promise.all(Array.from({ length: inFlight }, lane))
    },
    close: () => client.close()
  }
}
