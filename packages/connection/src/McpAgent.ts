/**
 * Connections for agents: as an `effect/ai` `McpClient`, as a `Toolkit` over many servers, and as plain functions.
 *
 * It is imported as `@mcp-tether/connection/McpAgent`, and not part of the package's main module: programs without agents need not load
 * `effect/ai`, which takes as long as the rest.
 *
 * A tool that fails is no end of an agent's run. The model is told in words what is known of the call: that it did not run, and may be made
 * again, or that it *may have run*, and what it did has to be looked at first.
 *
 * @example
 * ```ts
 * import { McpFleet } from "@mcp-tether/connection"
 * import * as McpAgent from "@mcp-tether/connection/McpAgent"
 * import { Effect } from "effect"
 * import { LanguageModel } from "effect/ai"
 *
 * // One turn of an agent. The tools are those of all servers, as they are now.
 * export const turn = Effect.gen(function* () {
 *   const agent = McpAgent.make(yield* McpFleet.McpFleet)
 *   return yield* LanguageModel.generateText({ prompt: "Tidy up my files.", toolkit: yield* agent.toolkit })
 * })
 * ```
 *
 * Plain functions suit any other agent. For the Vercel AI SDK:
 *
 * @example
 * ```ts
 * import type * as McpAgent from "@mcp-tether/connection/McpAgent"
 * import { dynamicTool, jsonSchema } from "ai"
 *
 * export const toolOf = ({ ask, description, inputSchema }: McpAgent.AgentFunction) =>
 *   dynamicTool({
 *     description,
 *     inputSchema: jsonSchema(inputSchema),
 *     execute: (args, { abortSignal }) => ask(args as Record<string, unknown>, { signal: abortSignal }),
 *     toModelOutput: ({ output }) => shown(output as McpAgent.Answer)
 *   })
 *
 * const shown = ({ isFailure, parts, text }: McpAgent.Answer) =>
 *   isFailure
 *     ? { type: "error-text" as const, value: text }
 *     : { type: "content" as const, value: parts.map((part) => (part.type === "text" ? part : asData(part))) }
 *
 * const asData = ({ data, mediaType }: { readonly data: string; readonly mediaType: string }) =>
 *   ({ type: "file", mediaType, data: { type: "data", data } }) as const
 *
 * export const toolsOf = (functions: ReadonlyArray<McpAgent.AgentFunction>) =>
 *   Object.fromEntries(functions.map((tool) => [tool.name, toolOf(tool)]))
 * ```
 *
 * @since 0.1.0
 */
import type { CallToolResult, Tool } from "@modelcontextprotocol/client"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import * as AiClient from "effect/ai/McpClient"
import type * as AiTool from "effect/ai/Tool"
import type * as AiToolkit from "effect/ai/Toolkit"
import * as Client from "./internal/agent/client.ts"
import * as Offers from "./internal/agent/offers.ts"
import * as McpConnection from "./McpConnection.ts"

/**
 * What of a fleet (`McpFleet.Shape`) an agent needs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fleet {
  readonly connections: Effect.Effect<ReadonlyMap<string, McpConnection.Shape>>
}

/**
 * Where the tools of an agent come from: a fleet, or connections by name, in a map or in a record.
 *
 * @category models
 * @since 0.1.0
 */
export type Source = Fleet | ReadonlyMap<string, McpConnection.Shape> | Readonly<Record<string, McpConnection.Shape>>

/**
 * Options of {@link make}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * How long the first list of a server's tools is waited for, in one turn of each of its sessions. A server that has none by then has none
   * in this turn, holds up no other one, and has them as soon as it says. Default: 5 seconds.
   */
  readonly listWithin?: Duration.Input | undefined
}

/**
 * A tool of one of the servers, under the name that a model has for it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Offer {
  /** `server__tool`: at most 64 letters, digits, `_` and `-`, and no other tool's. */
  readonly name: string
  readonly server: string
  readonly tool: Tool
}

/**
 * What a model is given of an answer: texts, and pictures and PDFs with their data in base64.
 *
 * @category models
 * @since 0.1.0
 */
export type AnswerPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "file"; readonly mediaType: string; readonly data: string }

/**
 * What came of a call: plain data, fit for JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  /** All of it in words, and never none. What is no text is named. */
  readonly text: string
  /** What is known of the call: that the server answered it, that it did not run, or that it may have run. */
  readonly fate: "Answered" | "DidNotRun" | "MayHaveRun"
  /** Whether there is no result, or one that the tool itself calls an error (`isError`). */
  readonly isFailure: boolean
  /** What to show a model that can look at files, at least one part. */
  readonly parts: ReadonlyArray<AnswerPart>
  /** What the tool answered, unchanged; empty where it did not. */
  readonly content: CallToolResult["content"]
  readonly structuredContent?: CallToolResult["structuredContent"]
}

/**
 * A tool as a plain function.
 *
 * @category models
 * @since 0.1.0
 */
export interface AgentFunction {
  readonly name: string
  readonly description: string
  /** JSON Schema of the arguments. */
  readonly inputSchema: Tool["inputSchema"]
  /**
   * Calls the tool, and answers in words for a model, also where it fails. Rejects only when `signal` was aborted, with its
   * reason; that cancels the call, which may have run.
   */
  readonly execute: (
    args: Readonly<Record<string, unknown>>,
    options?: { readonly signal?: AbortSignal | undefined }
  ) => Promise<string>
  /** The same with all that is known, for agents whose models see pictures, and for programs. */
  readonly ask: (
    args: Readonly<Record<string, unknown>>,
    options?: { readonly signal?: AbortSignal | undefined }
  ) => Promise<Answer>
}

/**
 * The tools of an agent as an `effect/ai` toolkit. What a tool answers and what it fails with are {@link Answer}s for the program; for the
 * model they are texts, and pictures where it is a provider that shows it some.
 *
 * @category models
 * @since 0.1.0
 */
export type Toolkit = AiToolkit.WithHandler<
  Record<
    string,
    AiTool.Tool<
      string,
      {
        readonly parameters: typeof Schema.Unknown
        readonly success: Schema.Codec<Answer, string>
        readonly failure: Schema.Codec<Answer, string>
        readonly failureMode: "return"
      }
    >
  >
>

/**
 * What an agent has of its servers. Each is as it is when it is asked for: a server that is down is there with the tools that it had, and
 * what has changed (`CatalogChanged`) is seen in the next turn. Nothing is asked of a server whose tools are known.
 *
 * @category models
 * @since 0.1.0
 */
export interface Agent {
  readonly offers: Effect.Effect<ReadonlyArray<Offer>>
  /** The same toolkit as long as no tool has changed. */
  readonly toolkit: Effect.Effect<Toolkit>
  /** The tools as plain functions, which run with the services of whoever asks for them. */
  readonly functions: Effect.Effect<ReadonlyArray<AgentFunction>>
  /** Calls a tool by its name among the offers; fails with words for a model. */
  readonly call: (name: string, args: Readonly<Record<string, unknown>>) => Effect.Effect<string, string>
  /** Calls a tool by its name among the offers; the answer says what came of it. */
  readonly ask: (name: string, args: Readonly<Record<string, unknown>>) => Effect.Effect<Answer>
}

/**
 * The tools of many servers, for an agent.
 *
 * A model that calls a tool which is not in its toolkit, because it remembers it from a turn before a deploy, is the one thing that
 * `effect/ai` takes for an error of the turn, and not of the tool. None of that turn's calls was made: with
 * `Effect.catchReason("AiError", "ToolNotFoundError", …)` a loop tells the model, and goes on. Plain functions leave that to the agent.
 *
 * A tool that runs only as a task (`execution.taskSupport: "required"`) refuses plain calls, and is not offered.
 *
 * @example
 * ```ts
 * import { McpConnection } from "@mcp-tether/connection"
 * import * as McpAgent from "@mcp-tether/connection/McpAgent"
 * import { Faults, SimulatedServer } from "@mcp-tether/testing"
 * import { Effect, References } from "effect"
 *
 * const told = await Effect.gen(function* () {
 *   const server = yield* SimulatedServer.make({
 *     tools: { pay: { handler: () => Effect.succeed("paid") } },
 *     // The second time the server dies after it has paid, and before it can say so.
 *     faults: Faults.script(Faults.on({ tool: "pay", nth: 2 }, Faults.crash({ when: "afterEffect" })))
 *   })
 *   const agent = McpAgent.make({ bank: yield* McpConnection.make({ transport: server.transport }) })
 *   const [pay] = yield* agent.functions
 *   return yield* Effect.promise(async () => [pay?.name, await pay?.execute({}), await pay?.execute({}), await pay?.execute({})])
 * }).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "None"), Effect.runPromise)
 *
 * told[0] // => "bank__pay"
 * told[1] // => "paid"
 * told[2]?.includes("The tool may have run; its outcome is unknown.") // => true
 * told[3] // => "paid"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (source: Source, options?: Options) => Agent = Offers.make

/**
 * A connection as an `effect/ai` `McpClient`: whatever takes one heals itself, `McpClient.toolkit` above all.
 *
 * What a call fails with is the `cause` of the error's reason where that has one, and its words say whether it may have run. A call without
 * a `timeout` has the connection's `requestTimeout`; either is for the answer, and for a session a call waits as the connection does (`wait`).
 * Tools that run only as tasks are not listed, as `effect/ai`'s own client does not list them.
 *
 * @example
 * ```ts
 * import { McpConnection } from "@mcp-tether/connection"
 * import * as McpAgent from "@mcp-tether/connection/McpAgent"
 * import { Faults, SimulatedServer } from "@mcp-tether/testing"
 * import { Effect, References, Stream } from "effect"
 * import { McpClient } from "effect/ai"
 *
 * const answers = await Effect.gen(function* () {
 *   const server = yield* SimulatedServer.make({
 *     tools: { find: { annotations: { readOnlyHint: true }, handler: () => Effect.succeed("found") } },
 *     faults: Faults.script(Faults.on({ tool: "find" }, Faults.crash()))
 *   })
 *   const connection = yield* McpConnection.make({ transport: server.transport })
 *   const toolkit = yield* McpClient.toolkit(McpAgent.client(connection))
 *   return yield* Stream.unwrap(toolkit.handle("find", {})).pipe(Stream.map(({ result }) => result), Stream.runCollect)
 * }).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "None"), Effect.runPromise)
 *
 * answers // => ["found"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const client: (connection: McpConnection.Shape) => AiClient.McpClient = Client.make

/**
 * The `McpClient` of a program, from its connection.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient: Layer.Layer<AiClient.McpClient, never, McpConnection.McpConnection> = Layer.effect(
  AiClient.McpClient,
  Effect.map(McpConnection.McpConnection, client)
)
