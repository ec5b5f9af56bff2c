/** The tools of many connections, under names of their own, as they are now. */
import type { Tool } from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as AiTool from "effect/ai/Tool"
import * as AiToolkit from "effect/ai/Toolkit"
import type { Agent, Answer, Fleet, Offer, Options, Source, Toolkit } from "../../McpAgent.ts"
import type * as McpConnection from "../../McpConnection.ts"
import * as ToolFilter from "../../ToolFilter.ts"
import * as Answers from "./answers.ts"
import { isCallable } from "./callable.ts"
import * as FirstList from "./firstList.ts"
import * as Names from "./names.ts"
import * as Words from "./words.ts"

interface Known extends Offer {
  readonly connection: McpConnection.Shape
}

/** What was made of the tools, and of which ones. */
interface Made {
  readonly of: ReadonlyArray<ReadonlyArray<Tool> | McpConnection.Shape | string>
  readonly offers: ReadonlyArray<Known>
  toolkit: Toolkit | undefined
}

export const make = (source: Source, options: Options = {}): Agent => {
  const toolsOf = FirstList.make(Duration.fromInputUnsafe(options.listWithin ?? "5 seconds"))
  const connections = connectionsOf(source)
  let made: Made = { of: [], offers: [], toolkit: undefined }

  const current = Effect.gen(function* () {
    const members = [...(yield* connections)]
    const lists = yield* Effect.forEach(members, ([, connection]) => toolsOf(connection), {
      concurrency: "unbounded"
    })
    const of = members.flatMap(([server, connection], index) => [server, connection, lists[index] ?? none])
    if (of.length === made.of.length && of.every((part, index) => part === made.of[index])) return made
    const tools = members.flatMap(([server, connection], index) =>
      (lists[index] ?? none).filter(isCallable).map((tool) => ({ server, connection, tool }))
    )
    const names = Names.qualified(tools.map(({ server, tool }) => ({ server, tool: tool.name })))
    made = { of, offers: tools.map((tool, index) => ({ name: names[index] ?? "", ...tool })), toolkit: undefined }
    return made
  })

  const askByName = (name: string, args: unknown): Effect.Effect<Answer> =>
    Effect.flatMap(current, ({ offers }) => {
      const offer = offers.find((offer) => offer.name === name)
      return offer === undefined ? notOffered(name) : ask(offer, args)
    })

  /** A tool that is turned off is one that the model may know from before. */
  const notOffered = Effect.fnUntraced(function* (name: string): Effect.fn.Return<Answer> {
    for (const [server, connection] of yield* connections) {
      const filter = yield* connection.toolFilter
      const tool = filter?.except?.find((tool) => Names.isPlain(name, server, tool)) ?? Names.toolOf(name, server) ?? ""
      const refusal = tool === "" ? undefined : ToolFilter.refusal(filter, tool)
      if (refusal !== undefined) return Answers.failed(Words.turnedOff(name, refusal))
    }
    return Answers.failed(`There is no tool ${name}.`)
  })

  return {
    offers: Effect.map(current, ({ offers }) => offers.map(({ name, server, tool }) => ({ name, server, tool }))),
    toolkit: Effect.flatMap(current, (made) =>
      made.toolkit === undefined
        ? Effect.map(toolkitOf(made.offers), (toolkit) => (made.toolkit = toolkit))
        : Effect.succeed(made.toolkit)
    ),
    functions: Effect.gen(function* () {
      const { offers } = yield* current
      const run = Effect.runPromiseWith(yield* Effect.context())
      return offers.map((offer) => ({
        name: offer.name,
        description: offer.tool.description ?? "",
        inputSchema: offer.tool.inputSchema,
        execute: (args, { signal } = {}) => cancelledBy(signal, run, Effect.map(ask(offer, args), textOf)),
        ask: (args, { signal } = {}) => cancelledBy(signal, run, ask(offer, args))
      }))
    }),
    call: (name, args) =>
      Effect.flatMap(askByName(name, args), (answer) =>
        answer.isFailure ? Effect.fail(answer.text) : Effect.succeed(answer.text)
      ),
    ask: askByName
  }
}

const none: ReadonlyArray<Tool> = []

const connectionsOf = (source: Source): Effect.Effect<Iterable<readonly [string, McpConnection.Shape]>> =>
  isFleet(source) ? source.connections : Effect.sync(() => (isMap(source) ? source : Object.entries(source)))

/** A server of a record may be called `connections`; it is no effect. */
const isFleet = (source: Source): source is Fleet =>
  Predicate.hasProperty(source, "connections") && Effect.isEffect(source.connections)

const isMap = (source: Exclude<Source, Fleet>): source is ReadonlyMap<string, McpConnection.Shape> =>
  source instanceof Map

/** Calls a tool; both ends are answers. The arguments are a model's: they can be anything. */
const ask = ({ connection, tool }: Known, args: unknown): Effect.Effect<Answer> =>
  Predicate.isObject(args)
    ? Effect.match(connection.callTool({ name: tool.name, arguments: { ...args } }), {
        onSuccess: (result) => Answers.ofResult(tool.name, result),
        onFailure: (error) => Answers.ofError(tool.name, error)
      })
    : Effect.succeed(Answers.failed(`${tool.name} did not run: its arguments have to be a JSON object.`))

const textOf = ({ text }: Answer): string => text

/**
 * Agents tell by the reason (an `AbortError`) that they were the ones who cancelled. A fiber runs up to its first pause before it looks at
 * the signal: a call that was cancelled before must not get that far.
 */
const cancelledBy = <A>(
  signal: AbortSignal | undefined,
  run: (effect: Effect.Effect<A>, options?: { readonly signal: AbortSignal }) => Promise<A>,
  effect: Effect.Effect<A>
): Promise<A> => {
  if (signal === undefined) return run(effect)
  return signal.aborted
    ? Promise.reject(signal.reason)
    : run(effect, { signal }).catch((cause) => Promise.reject(signal.aborted ? signal.reason : cause))
}

const toolkitOf = Effect.fnUntraced(function* (offers: ReadonlyArray<Known>): Effect.fn.Return<Toolkit> {
  const tools = offers.map(({ name, tool }) =>
    AiTool.dynamic(name, {
      ...(tool.description === undefined ? {} : { description: tool.description }),
      parameters: { ...tool.inputSchema },
      success: Answers.schema,
      failure: Answers.schema,
      failureMode: "return",
      toModelOutput: Answers.modelOutput
    }).annotate(AiTool.Strict, false)
  )
  const handlers = Object.fromEntries(
    offers.map((offer) => [
      offer.name,
      (params: unknown) =>
        Effect.flatMap(ask(offer, params), (answer) =>
          answer.isFailure ? Effect.fail(answer) : Effect.succeed(answer)
        )
    ])
  )
  const toolkit = AiToolkit.make(...tools)
  return yield* toolkit.pipe(Effect.provideContext(yield* toolkit.toHandlers(handlers)))
})
