/** What a simulated server offers, and how it carries out a request: the part that works. */
import { RequestError, type McpSession } from "@mcp-tether/connection"
import type { Tool } from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Book, Call, Options, Performed, Release } from "../../SimulatedServer.ts"

/** The key of `_meta` in which a `ConnectionProbe` numbers its calls. */
export const callKey = "mcp-tether.testing/call"

/** A tool, as a server lists it. */
export const tool = (name: string, annotations?: Tool["annotations"]): Tool => ({
  name,
  inputSchema: { type: "object" },
  ...(annotations === undefined ? {} : { annotations })
})

/** The tool that a request names. */
export const toolOf = ({ method, params }: McpSession.RequestTicket): string | undefined => toolIn(method, params)

export const toolIn = (method: string, params: unknown): string | undefined =>
  method === "tools/call" && Predicate.hasProperty(params, "name") && Predicate.isString(params.name)
    ? params.name
    : undefined

/** What a server offers with this release: what the release does not say is as in the options. */
export const releaseOf = (options: Options, release: string | undefined): Release => {
  const { prompts, resources, tools } = options
  const named = release === undefined ? undefined : options.releases?.[release]
  return {
    tools: named?.tools ?? tools,
    resources: named?.resources ?? resources,
    prompts: named?.prompts ?? prompts
  }
}

export const listedTools = ({ tools = {} }: Release): ReadonlyArray<Tool> =>
  Object.entries(tools).map(([name, { annotations, description, inputSchema = { type: "object" as const } }]) => ({
    name,
    inputSchema,
    ...(description === undefined ? {} : { description }),
    ...(annotations === undefined ? {} : { annotations })
  }))

/** Where the work leaves its traces. */
export interface Desk {
  readonly server: string
  readonly release: Release
  readonly listed: ReadonlyArray<Tool>
  readonly book: Book
  readonly now: () => number
  /** Waits until the server does something again. */
  readonly awake: Effect.Effect<void>
  readonly perform: (performed: Omit<Performed, "order">) => void
}

/** The server carries out a request. */
export const carryOut = (desk: Desk, call: Call): Effect.Effect<unknown, McpSession.SessionFailure> => {
  const { book, listed, release } = desk
  const { method, params } = call.ticket
  const uri = textAt(params, "uri")
  switch (method) {
    case "tools/list":
      return Effect.succeed({ tools: listed })
    case "prompts/list":
      return Effect.succeed({ prompts: release.prompts ?? [] })
    case "resources/list":
      return Effect.succeed({ resources: release.resources ?? [] })
    case "resources/templates/list":
      return Effect.succeed({ resourceTemplates: [] })
    case "resources/read":
      return Effect.succeed({ contents: [{ uri: uri ?? "?", text: `${uri ?? "?"} on ${call.generation}` }] })
    case "logging/setLevel":
      return Effect.sync(() => {
        const level = textAt(params, "level")
        // What the connection sends is what its user gave it.
        book.level = level as Book["level"]
        return {}
      })
    case "resources/subscribe":
      return Effect.sync(() => {
        if (uri !== undefined) book.subscriptions = new Set([...book.subscriptions, uri])
        return {}
      })
    case "resources/unsubscribe":
      return Effect.sync(() => {
        book.subscriptions = new Set([...book.subscriptions].filter((subscribed) => subscribed !== uri))
        return {}
      })
    case "tools/call":
      return callTool(desk, call)
    default:
      return Effect.succeed({})
  }
}

const callTool = (desk: Desk, call: Call): Effect.Effect<unknown, McpSession.SessionFailure> => {
  const { generation, ticket } = call
  const name = call.tool ?? "?"
  const tools = desk.release.tools ?? {}
  const declared = Object.hasOwn(tools, name) ? tools[name] : undefined
  if (desk.release.tools !== undefined && declared === undefined) {
    return Effect.fail(
      new RequestError.ServerRejected({
        server: desk.server,
        method: ticket.method,
        tool: name,
        code: -32_602,
        description: `Unknown tool: ${name}`
      })
    )
  }
  const args = argumentsOf(ticket.params)
  const key = textAt(args, "key") ?? name
  const perform = Effect.suspend(() => {
    const annotations = declared?.annotations ?? desk.listed.find((tool) => tool.name === name)?.annotations
    desk.perform({
      at: desk.now(),
      generation,
      tool: name,
      requestId: ticket.requestId,
      arguments: args,
      key,
      call: callOf(ticket.params),
      safe: annotations?.readOnlyHint === true || annotations?.idempotentHint === true
    })
    const answer = declared?.handler?.(args, call) ?? Effect.succeed(`${key} on ${generation}`)
    return Effect.map(answer, (result) =>
      Predicate.isString(result) ? { content: [{ type: "text", text: result }] } : result
    )
  })
  const latency = Duration.fromInputUnsafe(declared?.latency ?? 0)
  return Duration.isZero(latency)
    ? perform
    : Effect.sleep(latency).pipe(Effect.andThen(desk.awake), Effect.andThen(perform))
}

const argumentsOf = (params: unknown): Readonly<Record<string, unknown>> =>
  Predicate.hasProperty(params, "arguments") && Predicate.isObject(params.arguments)
    ? (params.arguments as Readonly<Record<string, unknown>>)
    : {}

/** The number that a probe gave the call. */
export const callOf = (params: unknown): number | undefined =>
  Predicate.hasProperty(params, "_meta") &&
  Predicate.hasProperty(params._meta, callKey) &&
  Predicate.isNumber(params._meta[callKey])
    ? params._meta[callKey]
    : undefined

const textAt = (params: unknown, key: string): string | undefined =>
  Predicate.hasProperty(params, key) && Predicate.isString(params[key]) ? params[key] : undefined
