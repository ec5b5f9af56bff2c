/**
 * An agent that pays invoices, as somebody would write it who knows nothing of the test kit.
 *
 * A model decides what to do next from the conversation so far; the loop calls the tools that it asks for, and hands the answers back. A
 * call that fails is no end of the run: the model is told in words what is known, and decides. What it must not do is pay again what may
 * have been paid.
 */
import type { McpConnection, RequestError } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"

export interface Call {
  readonly tool: string
  readonly arguments: Readonly<Record<string, unknown>>
}

/** What the model wants next: a tool, or to be done. */
export type Decision = ({ readonly _tag: "Call" } & Call) | { readonly _tag: "Done"; readonly report: string }

/** One turn of the conversation: what the model asked for, and what it was told. */
export interface Turn extends Call {
  readonly answer: string
  /** What is known of the call: it ran, it did not, it says itself that it failed, or nobody knows. */
  readonly fate: "ran" | "did not run" | "failed" | "may have run"
}

/** A model: from the conversation to the next decision, for which it takes its time. */
export type Model = (turns: ReadonlyArray<Turn>) => Effect.Effect<Decision>

/** Runs the model until it is done. */
export const run = Effect.fnUntraced(function* (mcp: McpConnection.Shape, model: Model) {
  const turns: Array<Turn> = []
  while (true) {
    const decision = yield* model(turns)
    if (decision._tag === "Done") return { report: decision.report, turns }
    turns.push(yield* call(mcp, decision))
  }
})

/** Calls a tool, once. Whatever comes of it is an answer for the model. */
const call = (mcp: McpConnection.Shape, { arguments: args, tool }: Call): Effect.Effect<Turn> =>
  mcp.callTool({ name: tool, arguments: args }).pipe(
    Effect.match({
      onSuccess: ({ content, isError }) => ({
        tool,
        arguments: args,
        answer: content.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("\n"),
        fate: isError === true ? ("failed" as const) : ("ran" as const)
      }),
      onFailure: (error) => ({ tool, arguments: args, answer: error.message, fate: fateOf(error) })
    })
  )

/** The connection says exactly what is known. */
const fateOf = (error: RequestError.RequestError): Turn["fate"] => {
  switch (error._tag) {
    case "OutcomeUnknown":
    case "InvalidResult":
      return "may have run"
    case "RequestTimeout":
    case "ConnectionClosed":
    case "ConnectionUnavailable":
      return error.delivery === "Unknown" ? "may have run" : "did not run"
    case "ServerRejected":
      return "failed"
    case "InvalidRequest":
      return "did not run"
  }
}

/** After so many turns about one thing that came to nothing, a bookkeeper leaves it to a human. */
const patience = 50

/**
 * A careful bookkeeper. It asks which invoices are open, and pays each. Where it does not know whether a payment happened, it looks
 * before it pays again.
 */
const careful = (turns: ReadonlyArray<Turn>): Decision => {
  const about = (invoice: string | undefined) => turns.filter((turn) => turn.arguments["invoice"] === invoice)
  const isHopeless = (invoice: string | undefined) => about(invoice).length >= patience

  const list = turns.find(({ fate, tool }) => tool === "open_invoices" && fate === "ran")
  if (list === undefined)
    return isHopeless(undefined)
      ? { _tag: "Done", report: "nobody says which invoices are open" }
      : { _tag: "Call", tool: "open_invoices", arguments: {} }

  const invoices = list.answer.split(" ")
  const isPaid = new Map(invoices.map((invoice) => [invoice, about(invoice).reduce(learn, "no")]))
  const next = invoices.find((invoice) => isPaid.get(invoice) !== "yes" && !isHopeless(invoice))
  const tool = next !== undefined && isPaid.get(next) === "unclear" ? "find_payment" : "pay"
  if (next !== undefined) return { _tag: "Call", tool, arguments: { invoice: next } }

  const left = invoices.filter((invoice) => isPaid.get(invoice) !== "yes")
  const open = left.length === 0 ? "" : `, for a human: ${left.join(" ")}`
  return { _tag: "Done", report: `${invoices.length - left.length} of ${invoices.length} invoices are paid${open}` }
}

/** Whether an invoice is paid, after one more turn about it. */
const learn = (paid: "yes" | "no" | "unclear", { answer, fate, tool }: Turn): typeof paid => {
  if (tool === "find_payment") return fate === "ran" ? (answer === "paid" ? "yes" : "no") : paid
  return fate === "ran" ? "yes" : fate === "did not run" ? "no" : "unclear"
}

/** A model that thinks for a while. */
const thinking =
  (decide: (turns: ReadonlyArray<Turn>) => Decision): Model =>
  (turns) =>
    Effect.delay(
      Effect.sync(() => decide(turns)),
      "2 seconds"
    )

export const carefulModel = thinking(careful)

/** A hasty one: what did not answer is simply done again. */
export const hastyModel = thinking((turns) =>
  careful(turns.map((turn): Turn => (turn.fate === "ran" ? turn : { ...turn, fate: "did not run" })))
)
