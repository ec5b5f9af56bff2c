/** What a model is told: of results, and of what is known of a call that failed. */
import type { CallToolResult } from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import type { RequestError } from "../../RequestError.ts"

const lookFirst = "Find out whether it had its effect before you call it again."

/** One or two sentences: what is known, and what to do. */
export const ofError = (tool: string, error: RequestError): string => {
  switch (error._tag) {
    case "OutcomeUnknown":
      return `The connection was lost while ${tool} was called. The tool may have run; its outcome is unknown. ${lookFirst}`
    case "RequestTimeout":
      return error.delivery === "Unknown"
        ? `${tool} gave no answer within ${Duration.format(error.after)}. The tool may have run; its outcome is unknown. ${lookFirst}`
        : `${tool} did not run: the server was not reached within ${Duration.format(error.after)}. It may be called again.`
    case "ConnectionUnavailable":
    case "ConnectionClosed":
      return error.delivery === "Unknown"
        ? `The connection was lost while ${tool} was called. The tool may have run; its outcome is unknown. ${lookFirst}`
        : `${tool} did not run: its server cannot be reached now${because(error)}. It may be called again later.`
    case "ServerRejected":
      return `${tool} was rejected: ${error.description} (${error.code}).`
    case "InvalidResult":
      return `${tool} ran, but its answer is not valid: ${error.description}.`
    case "InvalidRequest":
      return `${tool} did not run: ${error.description}.`
  }
}

const because = (error: RequestError): string =>
  error._tag === "ConnectionUnavailable" && error.cause !== undefined ? ` (${error.cause.reason.message})` : ""

/** A result as a text. What is no text is named. */
export const ofResult = ({ content, structuredContent }: CallToolResult): string => {
  const texts = content.map((block): string => {
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
  })
  return texts.length === 0 && structuredContent !== undefined ? JSON.stringify(structuredContent) : texts.join("\n")
}
