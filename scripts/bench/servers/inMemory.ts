/** The light server in the client's own process. */
import { InMemoryTransport, type Transport } from "@modelcontextprotocol/client"
import * as Light from "./light.ts"

/** The client's end of a new pair, with the server on the other. */
export const connect = (): Transport => {
  const [client, server] = InMemoryTransport.createLinkedPair()
  server.onmessage = (message) => {
    const reply = Light.reply(message as Light.Message)
    if (reply !== undefined) void server.send(reply as Parameters<Transport["send"]>[0])
  }
  void server.start()
  return client
}
