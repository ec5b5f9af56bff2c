/** What the client side of every session offers to the server: the user's handlers, and the roots. */
import type { ClientCapabilities, ElicitRequest } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import type * as Context from "effect/Context"
import type { Handlers } from "../../McpConnection.ts"
import type { Refusal, ServerNotification, SessionHost } from "../../McpSession.ts"
import type * as Desired from "./desired.ts"
import type { Questions } from "./patience.ts"

export const make = <R>(options: {
  readonly handlers: Handlers<R>
  readonly context: Context.Context<R>
  readonly desired: Desired.Desired
  readonly questions: Questions
  readonly onNotification: (notification: ServerNotification) => void
}): SessionHost => {
  const { context, desired, handlers, onNotification, questions } = options
  if (handlers.sampling === undefined && handlers.elicitation === undefined && desired.roots === undefined) {
    return { capabilities: {}, handlers: noAnswers, onNotification, logLevel: () => desired.logLevel }
  }
  const answers = new Map<string, Answer>()
  const install = <Params>(
    method: string,
    handler: ((params: Params) => Effect.Effect<unknown, Refusal, R>) | undefined,
    read: (params: unknown) => params is Params
  ) => {
    if (handler === undefined) return
    answers.set(method, (params) =>
      read(params)
        ? Effect.provideContext(
            Effect.suspend(() => handler(params)),
            context
          )
        : Effect.fail({ code: invalidParams, message: `${method} without parameters` })
    )
  }
  install("sampling/createMessage", handlers.sampling, isParams)
  const { elicitation } = handlers
  install(
    "elicitation/create",
    elicitation === undefined
      ? undefined
      : (params: ElicitRequest["params"]) => questions.during(Effect.suspend(() => elicitation(params))),
    isParams
  )
  if (desired.roots !== undefined) {
    answers.set("roots/list", () => Effect.sync(() => ({ roots: desired.roots ?? [] })))
  }

  const capabilities: ClientCapabilities = {
    ...(handlers.sampling === undefined ? {} : { sampling: {} }),
    ...(handlers.elicitation === undefined ? {} : { elicitation: { form: {}, url: {} } }),
    ...(desired.roots === undefined ? {} : { roots: { listChanged: true } })
  }
  return { capabilities, handlers: answers, onNotification, logLevel: () => desired.logLevel }
}

type Answer = (params: unknown) => Effect.Effect<unknown, Refusal>

const noAnswers: ReadonlyMap<string, Answer> = new Map()

const invalidParams = -32602

/** The SDK has checked them against the specification's schema before it calls a handler. */
const isParams = <Params>(params: unknown): params is Params => typeof params === "object" && params !== null
