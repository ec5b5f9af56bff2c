/** What a model is told: of results, and of what is known of a call that failed. */
import type { CallToolResult, ContentBlock } from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import type { RequestError, ServerRejected } from "../../RequestError.ts"

const unknown = "The tool may have run; its outcome is unknown."

const lookFirst = "Find out whether it had its effect before you call it again."

/** JSON-RPC 2.0 §5.1: what cannot be parsed, is no request, names no method or tool, or has wrong arguments is not carried out. */
const refusals: ReadonlySet<number> = new Set([-32_700, -32_600, -32_601, -32_602])

/** What is known, and what to do. */
export const ofError = (tool: string, error: RequestError): string => {
  switch (error._tag) {
    case "OutcomeUnknown":
      return `The connection was lost while ${tool} was called. ${unknown} ${lookFirst}`
    case "RequestTimeout":
      return error.delivery === "Unknown"
        ? `${tool} gave no answer within ${Duration.format(error.after)}. ${unknown} ${lookFirst}`
        : `${tool} did not run: the server was not reached within ${Duration.format(error.after)}. It may be called again.`
    case "ConnectionUnavailable":
    case "ConnectionClosed":
      if (error.delivery === "Unknown")
        return `The connection was lost while ${tool} was called. ${unknown} ${lookFirst}`
      return error._tag === "ConnectionUnavailable" && error.because !== "Failed"
        ? `${tool} did not run: its server cannot be reached now${because(error)}. It may be called again later.`
        : `${tool} did not run: its server cannot be reached, and nobody tries any more${because(error)}. Do without it, or say that it has to be repaired.`
    case "ServerRejected":
      return mayHaveBegun(error)
        ? `${tool} failed in its server: ${error.description} (${error.code}). It may have run in part. ${lookFirst}`
        : `${tool} did not run, its server refused the call: ${error.description} (${error.code}).`
    case "InvalidResult":
      return `${tool} was called, and its answer is not valid: ${error.description}. It may have run. ${lookFirst}`
    case "InvalidRequest":
      return `${tool} did not run: ${error.description}.`
  }
}

/** Of a tool that its server may have, and that is not for this agent. */
export const turnedOff = (tool: string, refusal: string): string => `${tool} did not run: ${refusal}. Do without it.`

/** Whether nobody can say that a call of a tool did not run. */
export const mayHaveRun = (error: RequestError): boolean => {
  switch (error._tag) {
    case "OutcomeUnknown":
    case "InvalidResult":
      return true
    case "RequestTimeout":
    case "ConnectionUnavailable":
    case "ConnectionClosed":
      return error.delivery === "Unknown"
    case "ServerRejected":
      return mayHaveBegun(error)
    case "InvalidRequest":
      return false
  }
}

/** Whether a server that answered with an error may have done something before. */
export const mayHaveBegun = ({ code }: ServerRejected): boolean => !refusals.has(code)

const because = (error: RequestError): string =>
  error._tag === "ConnectionUnavailable" && error.cause !== undefined ? ` (${error.cause.reason.message})` : ""

/** A result as a text, and never an empty one: some models take none. What is no text is named. */
export const ofResult = (tool: string, result: CallToolResult): string => {
  const structured = ofStructured(result)
  const text = [...result.content.map(ofBlock), ...(structured === undefined ? [] : [structured])].join("\n")
  if (text.trim() !== "") return text
  return result.isError === true ? `${tool} failed, and did not say why.` : `${tool} ran, and answered nothing.`
}

export const ofBlock = (block: ContentBlock): string => {
  switch (block.type) {
    case "text":
      return block.text
    case "image":
    case "audio":
      return `[${block.type}, ${block.mimeType}]`
    case "resource_link":
      return `${block.title ?? block.name}: ${block.uri}`
    case "resource":
      return "text" in block.resource ? block.resource.text : `[${block.resource.uri}]`
  }
}

/** MCP 2025-11-25, Tools, Structured Content: a text says the same. Not every server has it. */
export const ofStructured = ({ content, structuredContent }: CallToolResult): string | undefined =>
  structuredContent === undefined || content.some(({ type }) => type === "text")
    ? undefined
    : JSON.stringify(structuredContent)
