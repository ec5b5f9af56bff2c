/**
 * The same agent on `effect/ai`: the model gets the tools of all servers as a toolkit, and is told in words what became of its calls. The
 * loop knows nothing of connections that break.
 */
import type * as McpAgent from "@mcp-tether/connection/McpAgent"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Chat from "effect/ai/Chat"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import type { Model, Turn } from "./agent.ts"

/** Talks with the model until it asks for no more tools, and hands its last words on. */
export const run = Effect.fnUntraced(function* (agent: McpAgent.Agent, task: string) {
  const chat = yield* Chat.empty
  let prompt = Prompt.make(task)
  while (true) {
    // The tools as they are now: what was deployed meanwhile is there in the next turn.
    const turn = chat.generateText({ prompt, toolkit: yield* agent.toolkit })
    const next = yield* turn.pipe(
      Effect.map(({ text, toolCalls }) => (toolCalls.length === 0 ? text : Prompt.empty)),
      // The model remembers a tool that is gone: nothing of this turn was done. It is told, and decides anew.
      Effect.catchReason("AiError", "ToolNotFoundError", ({ message }) =>
        Effect.succeed(Prompt.concat(prompt, message))
      )
    )
    if (typeof next === "string") return next
    prompt = next
  }
})

/** A provider whose model is a script: it decides by what its tools have answered so far. */
export const scriptedModel = (server: string, model: Model) =>
  LanguageModel.make({
    generateText: ({ prompt }) =>
      Effect.map(model(turnsOf(prompt, server)), (decision) =>
        decision._tag === "Done"
          ? [{ type: "text" as const, text: decision.report }]
          : [
              {
                type: "tool-call" as const,
                id: `call ${prompt.content.length}`,
                name: `${server}__${decision.tool}`,
                params: decision.arguments,
                providerExecuted: false
              }
            ]
      ),
    streamText: () => Stream.empty
  })

/** What the connection says of a call that it has no result of. */
const known = ["did not run", "may have run"] as const

/** What a model reads in a conversation: its calls, and what it was told of each. */
const turnsOf = (prompt: Prompt.Prompt, server: string): ReadonlyArray<Turn> => {
  const calls = new Map<string, Readonly<Record<string, unknown>>>()
  return prompt.content.flatMap((message) =>
    message.role === "assistant" || message.role === "tool"
      ? message.content.flatMap((part): ReadonlyArray<Turn> => {
          if (part.type === "tool-call") calls.set(part.id, part.params as Readonly<Record<string, unknown>>)
          if (part.type !== "tool-result") return []
          const answer = String(part.result)
          return [
            {
              tool: part.name.slice(server.length + 2),
              arguments: calls.get(part.id) ?? {},
              answer,
              fate: part.isFailure ? (known.find((fate) => answer.includes(fate)) ?? "failed") : "ran"
            }
          ]
        })
      : []
  )
}
