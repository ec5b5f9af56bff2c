/**
 * The scenario server, over stdio or Streamable HTTP, as most servers are today: protocol 2025-11-25, with sessions over HTTP, and a
 * GET stream. It is written by hand so that it starts at once; what it is asked to do wrong is in `folder.ts`. `serverFile.ts` makes one
 * script of it.
 *
 *     node server.cjs folder stdio [deaf]
 *     node server.cjs folder http port
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import { append, take } from "./folder.ts"

const [folder = ".", transport = "stdio", option = ""] = process.argv.slice(2)

interface Message {
  readonly id?: number | string
  readonly method?: string
  readonly params?: {
    readonly protocolVersion?: string
    readonly name?: string
    readonly arguments?: { readonly n?: number }
  }
}

const versions = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]

const inputSchema = { type: "object", properties: { n: { type: "number" } }, required: ["n"] }
const tools = [
  {
    name: "look",
    description: "Looks at n, and changes nothing",
    inputSchema,
    annotations: { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false }
  },
  {
    name: "pay",
    description: "Pays n. Two calls pay twice",
    inputSchema,
    annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: false }
  }
]

/** Runs a tool, whose effect is on disk before anybody hears of it. */
const run = (name: string, n: number): object => {
  append(folder, { _tag: "effect", pid: process.pid, tool: name, n })
  if (take(folder, "die") === true) process.kill(process.pid, "SIGKILL")
  return { content: [{ type: "text", text: `${name} ${n}` }] }
}

const resultOf = ({ method, params }: Message): object | undefined => {
  switch (method) {
    case "initialize":
      return {
        protocolVersion: versions.find((version) => version === params?.protocolVersion) ?? versions[0],
        capabilities: { tools: {} },
        serverInfo: { name: "peers", version: "1.0.0" }
      }
    case "ping":
      return {}
    case "tools/list":
      return { tools }
    case "tools/call": {
      const tool = tools.find(({ name }) => name === params?.name)
      return tool === undefined ? undefined : run(tool.name, Number(params?.arguments?.n))
    }
    default:
      return undefined
  }
}

/** Nothing to a notification or an answer. */
const answer = (message: Message): object | undefined => {
  if (message.id === undefined || message.method === undefined) return undefined
  const result = resultOf(message)
  return result === undefined
    ? { jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "Method not found" } }
    : { jsonrpc: "2.0", id: message.id, result }
}

const overStdio = (): void => {
  let text = ""
  process.stdin.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = `${text}${chunk}`.split("\n")
    text = lines.pop() ?? ""
    for (const line of lines) {
      const reply = answer(JSON.parse(line))
      if (reply !== undefined) process.stdout.write(`${JSON.stringify(reply)}\n`)
    }
  })
  // Many servers have a timer, a socket or a browser that keeps them alive when their stdin ends.
  if (option === "deaf") setInterval(() => {}, 60_000)
  else process.stdin.on("end", () => process.exit())
  process.stdout.on("error", () => {})
  append(folder, { _tag: "up", pid: process.pid, at: performance.timeOrigin + performance.now() })
}

/** The sessions, each with its open GET streams. */
const sessions = new Map<string, Set<ServerResponse>>()
let unknown: 404 | 400 = 404
let busyUntil = 0

const refuse = (response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}) =>
  response
    .writeHead(status, { "content-type": "application/json", ...headers })
    .end(JSON.stringify({ jsonrpc: "2.0", error: { code: -32000, message }, id: null }))

const isRefused = (response: ServerResponse): boolean => {
  const seconds = take(folder, "busy")
  if (seconds !== undefined) busyUntil = Date.now() + seconds * 1_000
  const early = busyUntil - Date.now()
  if (early <= 0) return false
  append(folder, { _tag: "refused", early, first: seconds !== undefined, until: busyUntil })
  refuse(response, 503, "Service Unavailable", { "retry-after": String(Math.ceil(early / 1_000)) })
  return true
}

const forgetIfAsked = (): void => {
  const status = take(folder, "forget")
  if (status === undefined) return
  unknown = status
  for (const streams of sessions.values()) for (const stream of streams) stream.end()
  sessions.clear()
}

const handle = (request: IncomingMessage, response: ServerResponse, body: string): void => {
  if (isRefused(response)) return
  forgetIfAsked()
  const id = request.headers["mcp-session-id"]
  const message: Message = request.method === "POST" ? JSON.parse(body) : {}
  if (message.method === "initialize") {
    const session = crypto.randomUUID()
    sessions.set(session, new Set())
    response
      .writeHead(200, { "content-type": "application/json", "mcp-session-id": session })
      .end(JSON.stringify(answer(message)))
    return
  }
  if (typeof id !== "string") {
    refuse(response, 400, "Bad Request: Mcp-Session-Id header is required")
    return
  }
  const streams = sessions.get(id)
  if (streams === undefined) {
    // The two ways of the official SDK's transport and of its examples.
    refuse(response, unknown, unknown === 404 ? "Session not found" : "Bad Request: No valid session ID provided")
    return
  }
  if (request.method === "GET") {
    response.writeHead(200, { "content-type": "text/event-stream" }).write(": open\n\n")
    streams.add(response)
    response.once("close", () => streams.delete(response))
    return
  }
  if (request.method === "DELETE") {
    sessions.delete(id)
    for (const stream of streams) stream.end()
    response.writeHead(200).end()
    return
  }
  const reply = answer(message)
  if (reply === undefined) response.writeHead(202).end()
  else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(reply))
}

const overHttp = async (): Promise<void> => {
  // Not needed over stdio, where it would only make the start slower.
  const { createServer } = await import("node:http")
  const server = createServer((request, response) => {
    if (request.url !== "/mcp") {
      response.writeHead(404).end()
      return
    }
    let body = ""
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk))
    request.once("end", () => handle(request, response, body))
  })
  server.listen(Number(option), "127.0.0.1", () => {
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : Number(option)
    append(folder, { _tag: "up", pid: process.pid, at: performance.timeOrigin + performance.now(), port })
  })
}

append(folder, { _tag: "process", pid: process.pid })
if (transport === "http") void overHttp()
else overStdio()
