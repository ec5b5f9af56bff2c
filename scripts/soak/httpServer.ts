/**
 * A light MCP server over Streamable HTTP, as a child process of the soak: sessions, and a stream of notifications for each. It
 * does what the soak tells it over IPC, and ends when that channel does, which is whenever the soak is gone, however that ended.
 */
import { randomUUID } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { Socket } from "node:net"
import type { Order, Report } from "./httpHost.ts"

interface Message {
  readonly id?: string | number
  readonly method?: string
  readonly params?: { readonly arguments?: { readonly token?: string } }
}

const sessions = new Set<string>()
const sockets = new Set<Socket>()
/** How many calls are still to be answered by a reset. */
let drops = 0

const resultOf = ({ method, params }: Message, session: string): unknown => {
  switch (method) {
    case "initialize":
      return {
        protocolVersion: "2025-11-25",
        capabilities: { tools: {} },
        serverInfo: { name: "light", version: "1.0.0" }
      }
    case "tools/list":
      return { tools: [{ name: "echo", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } }] }
    case "tools/call":
      // The answer names the one who asked and the session that answered: it can be nobody else's.
      return { content: [{ type: "text", text: `${params?.arguments?.token} ${session}` }] }
    case "ping":
      return {}
    default:
      return undefined
  }
}

const answer = (response: ServerResponse, status: number, body?: unknown, session?: string): void => {
  response.writeHead(status, {
    ...(body === undefined ? {} : { "content-type": "application/json" }),
    ...(session === undefined ? {} : { "mcp-session-id": session })
  })
  response.end(body === undefined ? undefined : JSON.stringify(body))
}

const post = (
  message: Message,
  known: string | undefined,
  request: IncomingMessage,
  response: ServerResponse
): void => {
  const opens = message.method === "initialize"
  // Only the legacy era has sessions, so a question for the modern one is answered without any.
  if (message.method === "server/discover" && known === undefined) {
    return answer(response, 200, {
      jsonrpc: "2.0",
      id: message.id,
      error: { code: -32601, message: "method not found" }
    })
  }
  if (!opens && (known === undefined || !sessions.has(known))) return answer(response, 404)
  if (message.method === "tools/call" && drops > 0) {
    drops -= 1
    request.socket.resetAndDestroy()
    return
  }
  const session = opens || known === undefined ? randomUUID() : known
  if (opens) sessions.add(session)
  if (message.id === undefined) return answer(response, 202)
  const result = resultOf(message, session)
  const outcome = result === undefined ? { error: { code: -32601, message: "method not found" } } : { result }
  answer(response, 200, { jsonrpc: "2.0", id: message.id, ...outcome }, opens ? session : undefined)
}

const server = createServer((request, response) => {
  const header = request.headers["mcp-session-id"]
  const known = Array.isArray(header) ? header[0] : header
  if (request.method === "GET") {
    if (known === undefined || !sessions.has(known)) return answer(response, 404)
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.flushHeaders()
    return
  }
  if (request.method === "DELETE") return answer(response, known !== undefined && sessions.delete(known) ? 200 : 404)
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => post(JSON.parse(Buffer.concat(chunks).toString()), known, request, response))
})
server.on("connection", (socket) => {
  sockets.add(socket)
  // A reset is what is played here; its end is told by `close`.
  socket.on("error", () => {})
  socket.on("close", () => sockets.delete(socket))
})

const report = (message: Report): void => void process.send?.(message)

process.on("message", (order: Order) => {
  switch (order) {
    case "forget":
      sessions.clear()
      break
    case "restart":
      sessions.clear()
      for (const socket of sockets) socket.resetAndDestroy()
      break
    case "drop":
      drops += 1
      break
    case "closeIdle":
      server.closeIdleConnections()
      break
  }
  report({ _tag: "Done" })
})
process.on("disconnect", () => process.exit())
setTimeout(() => process.exit(99), 2 * 60 * 60 * 1000).unref()

// Idle sockets are closed when the soak says so, and not while it counts them.
server.keepAliveTimeout = 600_000
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  const address = server.address()
  if (typeof address === "object" && address !== null) report({ _tag: "Listening", port: address.port })
})
