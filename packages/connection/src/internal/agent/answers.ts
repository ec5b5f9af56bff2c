/** What came of a call: the words for a model, what it may look at, and what is known, as data. */
import type { CallToolResult, ContentBlock } from "@modelcontextprotocol/client"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Prompt from "effect/ai/Prompt"
import type { Answer, AnswerPart } from "../../McpAgent.ts"
import type { RequestError } from "../../RequestError.ts"
import * as Words from "./words.ts"

export const ofResult = (tool: string, result: CallToolResult): Answer => ({
  text: Words.ofResult(tool, result),
  fate: "Answered",
  isFailure: result.isError === true,
  parts: partsOf(tool, result),
  content: result.content,
  ...(result.structuredContent === undefined ? {} : { structuredContent: result.structuredContent })
})

export const ofError = (tool: string, error: RequestError): Answer => ({
  ...failed(Words.ofError(tool, error)),
  fate: Words.mayHaveRun(error) ? "MayHaveRun" : "DidNotRun"
})

/** A call that was never made. */
export const failed = (text: string): Answer => ({
  text,
  fate: "DidNotRun",
  isFailure: true,
  parts: [{ type: "text", text }],
  content: []
})

/** In a conversation an answer is its text. */
export const schema: Schema.Codec<Answer, string> = Schema.String.pipe(
  Schema.decodeTo(
    Schema.declare((value): value is Answer => Predicate.hasProperty(value, "fate")),
    SchemaTransformation.transform<Answer, string>({
      decode: (text) => ({ ...failed(text), fate: "Answered", isFailure: false }),
      encode: ({ text }) => text
    })
  )
)

/** The same parts as `effect/ai` has them. */
export const modelOutput = ({ parts }: Answer): ReadonlyArray<Prompt.ToolModelOutputPart> =>
  parts.map((part) =>
    part.type === "text"
      ? Prompt.textPart({ text: part.text })
      : Prompt.filePart({ mediaType: part.mediaType, data: part.data })
  )

const partsOf = (tool: string, result: CallToolResult): ReadonlyArray<AnswerPart> => {
  const files = result.content.map(fileOf)
  if (files.every(Predicate.isUndefined)) return [{ type: "text", text: Words.ofResult(tool, result) }]
  const parts = result.content.map(
    (block, index) => files[index] ?? ({ type: "text", text: Words.ofBlock(block) } as const)
  )
  const structured = Words.ofStructured(result)
  return structured === undefined ? parts : [...parts, { type: "text", text: structured }]
}

/** Models look at pictures and PDFs; what else is binary, many providers refuse, and with it the whole turn. */
const fileOf = (block: ContentBlock): AnswerPart | undefined => {
  const [mediaType, data] =
    block.type === "image"
      ? [block.mimeType, block.data]
      : block.type === "resource" && "blob" in block.resource
        ? [block.resource.mimeType, block.resource.blob]
        : []
  return mediaType !== undefined && data !== undefined && /^image\/|^application\/pdf$/.test(mediaType)
    ? { type: "file", mediaType, data }
    : undefined
}
