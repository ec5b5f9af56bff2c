/** What is called: the ledger's tools, a tool that the user names, or whatever does no harm. */
import type { McpConnection, RequestError } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import { CommandFailed } from "../CommandFailed.ts"
import * as Arguments from "../commands/arguments.ts"

export interface Workload {
  /** For people. */
  readonly about: string
  readonly next: (number: number, draw: () => number) => Planned
}

export interface Planned {
  /** The tool's name, or the method. */
  readonly what: string
  /** How it is called in the ledger, if it has an effect there. */
  readonly order: string | undefined
  /** Succeeds with whether the answer is the one to this call, where that can be told. */
  readonly run: (connection: McpConnection.Shape) => Effect.Effect<boolean | null, RequestError.RequestError>
}

type Result = Effect.Success<ReturnType<McpConnection.Shape["callTool"]>>
type Tool = Effect.Success<ReturnType<McpConnection.Shape["listTools"]>>[number]

const textOf = ({ content }: Result): string =>
  content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n")

/** Half of it pays, and half looks. They work for a while, so that kills find them before, between and above all after their effect. */
export const ledger: Workload = {
  about: "pay (an effect, not to be repeated; up to 440 ms) and look (read-only; up to 160 ms)",
  next: (number, draw) => {
    const pays = draw() < 0.5
    const before = Math.round(40 * draw())
    const after = Math.round((pays ? 400 : 120) * draw())
    const order = `order ${number}`
    return pays
      ? {
          what: "pay",
          order,
          run: (connection) =>
            Effect.map(
              connection.callTool({ name: "pay", arguments: { order, before, after } }),
              (result) => result.isError !== true && textOf(result).includes(`paid ${order}`)
            )
        }
      : {
          what: "look",
          order: undefined,
          run: (connection) =>
            Effect.map(
              connection.callTool({ name: "look", arguments: { order, millis: before + after } }),
              (result) => result.isError !== true && textOf(result).includes(`seen ${order}`)
            )
        }
  }
}

/** `{n}` in an argument is the number of the call. */
const placeholder = "{n}"

const numbered = (value: unknown, token: string): unknown => {
  if (typeof value === "string") return value.replaceAll(placeholder, token)
  if (Array.isArray(value)) return value.map((item) => numbered(item, token))
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, numbered(item, token)]))
  return value
}

/** Nothing else in an answer looks like this. */
const tokenOf = (number: number): string => `call-${number}-of-chaos`

/** One tool, as the user wants it. It has to work once before anything is killed. */
export const named = (name: string, pairs: Readonly<Record<string, string>>) =>
  Effect.fnUntraced(function* (connection: McpConnection.Shape): Effect.fn.Return<Workload, CommandFailed> {
    const tools = yield* Effect.mapError(connection.listTools(), (error) => failed(`tools/list`, error))
    const tool = tools.find((tool) => tool.name === name)
    if (tool === undefined)
      return yield* new CommandFailed({
        description: `the server has no tool ${name}; it has ${tools.map((tool) => tool.name).join(", ") || "none"}`
      })
    const given = yield* Arguments.ofPairs(pairs, tool.inputSchema)
    const asks = JSON.stringify(given).includes(placeholder)
    const call = (number: number) => (connection: McpConnection.Shape) =>
      connection.callTool({ name, arguments: numbered(given, tokenOf(number)) as Record<string, unknown> })
    const first = yield* Effect.mapError(call(0)(connection), (error) => failed(name, error))
    if (first.isError === true)
      return yield* new CommandFailed({
        description: `the tool ${name} says that it fails, before anything is killed: ${textOf(first).split("\n", 1)[0] ?? ""}`
      })
    const tells = asks && textOf(first).includes(tokenOf(0))
    return {
      about: tells ? `${name}, whose answers tell which call they belong to` : name,
      next: (number) => ({
        what: name,
        order: undefined,
        run: (connection) =>
          Effect.map(call(number)(connection), (result) =>
            tells
              ? textOf(result)
                  .split(/[^\w-]+/)
                  .includes(tokenOf(number))
              : null
          )
      })
    }
  })

const failed = (what: string, error: RequestError.RequestError): CommandFailed =>
  new CommandFailed({ description: `${what} fails before anything is killed: ${error.message}` })

/** Changes nothing, needs to be told nothing, and asks no third party. */
const harmless = ({ annotations, inputSchema }: Tool): boolean =>
  annotations?.readOnlyHint === true && annotations.openWorldHint !== true && (inputSchema.required ?? []).length === 0

/** At most so many tools, and none that takes longer than this. */
const mostTools = 8
const quick = "2 seconds"

/** Lists, pings, and the tools that may be called by somebody who knows nothing of them, as far as they work now. */
export const readOnly = Effect.fnUntraced(function* (
  connection: McpConnection.Shape
): Effect.fn.Return<Workload, CommandFailed> {
  const tools = yield* Effect.orElseSucceed(connection.listTools(), () => [])
  const candidates: ReadonlyArray<
    readonly [string, (connection: McpConnection.Shape) => Effect.Effect<unknown, RequestError.RequestError>]
  > = [
    ["ping", (connection) => connection.ping()],
    ["tools/list", (connection) => connection.listTools()],
    ["resources/list", (connection) => connection.listResources()],
    ["prompts/list", (connection) => connection.listPrompts()],
    ...tools
      .filter(harmless)
      .slice(0, mostTools)
      .map(({ name }) => [name, (connection: McpConnection.Shape) => connection.callTool({ name })] as const)
  ]
  const working = yield* Effect.filter(
    candidates,
    ([, run]) =>
      run(connection).pipe(
        Effect.as(true),
        Effect.timeoutOrElse({ duration: quick, orElse: () => Effect.succeed(false) }),
        Effect.orElseSucceed(() => false)
      ),
    { concurrency: "unbounded" }
  )
  if (working.length === 0)
    return yield* new CommandFailed({ description: "the server answers nothing, and nothing has been killed yet" })
  return {
    about: working.map(([what]) => what).join(", "),
    next: (_, draw) => {
      const [what, run] = working[Math.floor(draw() * working.length)] ?? ["ping", (connection) => connection.ping()]
      return { what, order: undefined, run: (connection) => Effect.as(run(connection), null) }
    }
  }
})
