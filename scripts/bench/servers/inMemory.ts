/** The light server in the client's own process. */
import { InMemoryTransport, type Transport } from "@modelcontextprotocol/client"
import * as Light from "./light.ts"

export interface Pair {
  readonly client: Transport
  /** Ends the conversation from the server's side. */
  readonly drop: () => Promise<void>
}

/** A new pair, with the server on its other end. `onMessage` is told of each message that the server gets. */
export const pair = (onMessage: (method: string | undefined) => void = () => {}): Pair => {
  const [client, server] = InMemoryTransport.createLinkedPair()
  server.onmessage = (message) => {
    const { method } = message as Light.Message
    onMessage(method)
    const reply = Light.reply(message as Light.Message)
    if (reply !== undefined) void server.send(reply as Parameters<Transport["send"]>[0])
  }
  void server.start()
  return { client, drop: () => server.close() }
}

export const connect = (): Transport => pair().client
