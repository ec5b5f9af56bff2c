/**
 * An agent that pays invoices, as somebody would write it who knows nothing of the test kit.
 *
 * A model decides what to do next from the conversation so far; the loop calls the tools that it asks for, and hands the answers back. A
 * call that fails is no end of the run: the model is told in words what is known, and decides. What it must not do is pay again what may
 * have been paid.
 */
import type { McpConnection, RequestError } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"

/** What the model wants next: a tool, or to be done. */
export type Decision =
  | { readonly _tag: "Call"; readonly tool: string; readonly arguments: Readonly<Record<string, unknown>> }
  | { readonly _tag: "Done"; readonly report: string }

/** One turn of the conversation: what the model asked for, and what it was told. */
export interface Turn {
  readonly tool: string
  readonly arguments: Readonly<Record<string, unknown>>
  readonly answer: string
  /** What is known of the call: it ran, it did not, or nobody knows. */
  readonly fate: "ran" | "did not run" | "may have run"
}

/** A model: from the conversation to the next decision. */
export type Model = (turns: ReadonlyArray<Turn>) => Decision

/** Runs the model until it is done. */
export const run = (
  mcp: McpConnection.Shape,
  model: Model,
  turns: ReadonlyArray<Turn> = []
): Effect.Effect<{ readonly report: string; readonly turns: ReadonlyArray<Turn> }> =>
  Effect.suspend(() => {
    const decision = model(turns)
    if (decision._tag === "Done") return Effect.succeed({ report: decision.report, turns })
    const asked = { tool: decision.tool, arguments: decision.arguments }
    return mcp.callTool({ name: asked.tool, arguments: asked.arguments }).pipe(
      Effect.map((result): Turn => ({ ...asked, answer: textOf(result.content), fate: "ran" })),
      Effect.catch((error) => Effect.succeed<Turn>({ ...asked, answer: error.message, fate: fateOf(error) })),
      Effect.flatMap((turn) => run(mcp, model, [...turns, turn]))
    )
  })

/** The connection says exactly what is known. */
const fateOf = (error: RequestError.RequestError): Turn["fate"] => {
  switch (error._tag) {
    case "OutcomeUnknown":
      return "may have run"
    case "RequestTimeout":
    case "ConnectionClosed":
    case "ConnectionUnavailable":
      return error.delivery === "Unknown" ? "may have run" : "did not run"
    case "InvalidResult":
      return "ran"
    case "ServerRejected":
    case "InvalidRequest":
      return "did not run"
  }
}

const textOf = (content: ReadonlyArray<{ readonly type: string; readonly text?: unknown }>): string =>
  content.flatMap(({ text }) => (typeof text === "string" ? [text] : [])).join("\n")

/**
 * A careful bookkeeper. It asks which invoices are open, pays each, and where nobody knows whether a payment happened it looks before it
 * pays again.
 */
export const carefulModel: Model = (turns) => {
  const last = turns.at(-1)
  const invoices = turns.find(({ fate, tool }) => tool === "open_invoices" && fate === "ran")?.answer.split(" ")
  if (invoices === undefined) return { _tag: "Call", tool: "open_invoices", arguments: {} }
  const payments = new Map<unknown, boolean | "unclear">()
  for (const {
    answer,
    arguments: { invoice },
    fate,
    tool
  } of turns) {
    if (tool === "pay") payments.set(invoice, fate === "ran" || (fate === "may have run" ? "unclear" : false))
    if (tool === "find_payment" && fate === "ran") payments.set(invoice, answer === "paid")
  }
  const unclear = invoices.find((invoice) => payments.get(invoice) === "unclear")
  if (unclear !== undefined) return { _tag: "Call", tool: "find_payment", arguments: { invoice: unclear } }
  const next = invoices.find((invoice) => payments.get(invoice) !== true)
  if (next !== undefined) return { _tag: "Call", tool: "pay", arguments: { invoice: next } }
  return {
    _tag: "Done",
    report: `${invoices.length} invoices are paid, after ${turns.length} turns; the last was ${last?.tool}`
  }
}

/** A hasty one: what did not answer is simply done again. */
export const hastyModel: Model = (turns) => {
  const forgetful = turns.map((turn): Turn => (turn.fate === "may have run" ? { ...turn, fate: "did not run" } : turn))
  return carefulModel(forgetful)
}
