/**
 * What the light server of these benchmarks answers: the least that an MCP server of the legacy era can. It computes next to nothing,
 * so that what is measured is the client's; no real server is this fast, so beside one a client's share is smaller.
 */
export interface Message {
  readonly id?: string | number
  readonly method?: string
  readonly params?: { readonly name?: string; readonly arguments?: Readonly<Record<string, unknown>> }
}

const tools = ["echo", "produce", "consume"].map((name) => ({
  name,
  inputSchema: { type: "object" },
  annotations: { readOnlyHint: true }
}))

const text = (value: string) => ({ content: [{ type: "text", text: value }] })

const call = (name: string | undefined, args: Readonly<Record<string, unknown>>): unknown => {
  switch (name) {
    case "echo":
      return text(String(args["text"]))
    case "produce":
      return text("x".repeat(Number(args["bytes"])))
    case "consume":
      return text(String(String(args["text"]).length))
    default:
      return undefined
  }
}

const resultOf = ({ method, params }: Message): unknown => {
  switch (method) {
    case "initialize":
      return {
        protocolVersion: "2025-11-25",
        capabilities: { tools: {} },
        serverInfo: { name: "light", version: "1.0.0" }
      }
    case "tools/list":
      return { tools }
    case "tools/call":
      return call(params?.name, params?.arguments ?? {})
    case "ping":
      return {}
    default:
      return undefined
  }
}

/** The answer to a message, or nothing to a notification. */
export const reply = (message: Message) => {
  if (message.id === undefined) return undefined
  const result = resultOf(message)
  return result === undefined
    ? { jsonrpc: "2.0" as const, id: message.id, error: { code: -32601, message: "method not found" } }
    : { jsonrpc: "2.0" as const, id: message.id, result }
}
