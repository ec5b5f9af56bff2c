/**
 * The light server over Streamable HTTP, one process for all clients, which answers with JSON and offers no stream of notifications.
 * It tells its port over IPC, and ends when that channel does.
 */
import { randomUUID } from "node:crypto"
import { createServer, type ServerResponse } from "node:http"
import type { Socket } from "node:net"
import * as Light from "./light.ts"

const sessions = new Set<string>()
const sockets = new Set<Socket>()

const answer = (response: ServerResponse, status: number, body?: unknown, session?: string): void => {
  const text = body === undefined ? "" : JSON.stringify(body)
  response.writeHead(status, {
    "content-length": Buffer.byteLength(text),
    ...(body === undefined ? {} : { "content-type": "application/json" }),
    ...(session === undefined ? {} : { "mcp-session-id": session })
  })
  response.end(text)
}

const post = (message: Light.Message, known: string | undefined, response: ServerResponse): void => {
  if (message.method === "initialize") {
    const session = randomUUID()
    sessions.add(session)
    return answer(response, 200, Light.reply(message), session)
  }
  // A question for the modern era, which has no sessions; anything else belongs to one.
  if (message.method !== "server/discover" && (known === undefined || !sessions.has(known))) {
    return answer(response, 404)
  }
  const reply = Light.reply(message)
  return reply === undefined ? answer(response, 202) : answer(response, 200, reply)
}

const server = createServer((request, response) => {
  const header = request.headers["mcp-session-id"]
  const known = Array.isArray(header) ? header[0] : header
  if (request.method === "GET") return answer(response, 405)
  if (request.method === "DELETE") return answer(response, known !== undefined && sessions.delete(known) ? 200 : 404)
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => post(JSON.parse(Buffer.concat(chunks).toString()), known, response))
})

// A restart, as clients see it: no session is known any more, and all sockets are reset.
process.on("message", () => {
  sessions.clear()
  for (const socket of sockets) socket.resetAndDestroy()
  process.send?.({ _tag: "Done" })
})
process.on("disconnect", () => process.exit())
server.on("connection", (socket) => {
  sockets.add(socket)
  // A reset is what is played here; its end is told by `close`.
  socket.on("error", () => {})
  socket.on("close", () => sockets.delete(socket))
})
server.keepAliveTimeout = 600_000
server.listen({ port: Number(process.argv[2] ?? 0), host: "127.0.0.1", backlog: 4096 }, () => {
  const address = server.address()
  if (typeof address === "object" && address !== null) process.send?.({ _tag: "Listening", port: address.port })
})
