/** The official SDK's client, as its documentation has it used: `await client.callTool(…)`. */
import { Client, StreamableHTTPClientTransport, type Transport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import * as InMemory from "../servers/inMemory.ts"
import { awaiting, type Call, echo, type Open, type Target } from "./subject.ts"

const transportOf = (target: Target): Transport => {
  switch (target._tag) {
    case "stdio":
      return new StdioClientTransport({
        command: target.command,
        args: [...target.args],
        stderr: "inherit",
        // Its default of 10 MiB ends the connection with the first larger message.
        maxBufferSize: 128 * 1024 * 1024
      })
    case "http":
      return new StreamableHTTPClientTransport(new URL(target.url))
    case "memory":
      return InMemory.connect()
  }
}

export const connect = async (target: Target): Promise<Client> => {
  const client = new Client({ name: "bench", version: "1.0.0" })
  await client.connect(transportOf(target))
  return client
}

const refused = (call: Promise<unknown>): Promise<void> =>
  call.then(
    () => {
      throw new Error("a session that was forgotten has answered")
    },
    () => {}
  )

/** The largest messages take it longer than its own default allows. */
const patient = { timeout: 600_000 }

export const open: Open = async (target) => {
  let client = await connect(target)
  const calling = (client: Client) => (call: Call) => client.callTool(call, patient)
  let calls = 0
  return {
    ...awaiting(calling(client)),
    again: async () => {
      const old = client
      const question = echo(calls++)
      const begin = performance.now()
      // Over HTTP nobody is told that a server has restarted: a call has to fail first.
      if (target._tag === "http") await refused(calling(old)(question.call))
      client = await connect(target)
      const result = await calling(client)(question.call)
      const took = (performance.now() - begin) * 1_000
      question.check(result)
      await old.close()
      return took
    },
    close: () => client.close()
  }
}
