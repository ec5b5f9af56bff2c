/** A connection as an `McpClient` of `effect/ai`. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as AiClient from "effect/ai/McpClient"
import {
  ClosedError,
  ConfigurationError,
  HttpError,
  McpClientError,
  ProtocolError,
  TimeoutError,
  ToolError,
  TransportError,
  ValidationError
} from "effect/ai/McpClientError"
import * as McpSchema from "effect/ai/McpSchema"
import type { Shape } from "../../McpConnection.ts"
import type { SessionInfo } from "../../McpSession.ts"
import type { ConnectionUnavailable, RequestError } from "../../RequestError.ts"
import { isCallable } from "./callable.ts"
import { mayHaveBegun } from "./words.ts"

/** By which `effect/ai` knows its clients; it does not export it. */
const typeId = "~effect/ai/McpClient"

type Timeout = { readonly timeout?: Duration.Input | undefined } | undefined

export const make = (connection: Shape): AiClient.McpClient => {
  let last: SessionInfo | undefined = undefined
  /** Of the session that serves, or that was last seen to. Asking for the state takes no time and cannot fail. */
  const info = (): SessionInfo | undefined => {
    const state = Effect.runSync(connection.state)
    if (state._tag === "Ready") last = state.server
    return last
  }
  info()
  /** Whoever answered a request is the last one that is known, also when nobody asks who it was before it is gone. */
  const asked = <A>(request: Effect.Effect<A, RequestError>): Effect.Effect<A, McpClientError> =>
    mapped(Effect.tap(request, () => Effect.sync(info)))
  const list = <S extends Schema.Top>(item: S, listed: Effect.Effect<ReadonlyArray<unknown>, RequestError>) =>
    Effect.flatMap(asked(listed), (items) => decoded(Schema.Array(item), items))
  const callTool = Effect.fnUntraced(function* <S extends Schema.Top>(
    params: {
      readonly tool: McpSchema.Tool
      readonly schema?: S | undefined
      readonly arguments?: Readonly<Record<string, unknown>> | undefined
    },
    options?: Timeout
  ) {
    const { arguments: args, schema, tool } = params
    const answer = yield* asked(
      connection.callTool(
        { name: tool.name, ...(args === undefined ? {} : { arguments: { ...args } }) },
        optionsOf(options)
      )
    )
    const result = yield* decoded(McpSchema.CallToolResult, answer)
    if (schema === undefined) return result
    if (result.isError === true) return yield* fail(new ToolError({ result }))
    return yield* decoded(schema, result.structuredContent)
  })

  return {
    [typeId]: typeId,
    get protocolVersion() {
      return info()?.era === "modern" ? "2026-07-28" : "2025-11-25"
    },
    get serverInfo() {
      const known = info()
      return known === undefined ? undefined : { name: known.name, version: known.version }
    },
    get instructions() {
      return info()?.instructions
    },
    listTools: (options) =>
      list(
        McpSchema.Tool,
        // As `effect/ai`'s own client does.
        Effect.map(connection.listTools(optionsOf(options)), (tools) => tools.filter(isCallable))
      ),
    listPrompts: (options) => list(McpSchema.Prompt, connection.listPrompts(optionsOf(options))),
    listResources: (options) => list(McpSchema.Resource, connection.listResources(optionsOf(options))),
    getPrompt: ({ arguments: args, prompt }, options) =>
      Effect.flatMap(
        asked(
          connection.getPrompt(
            { name: prompt.name, ...(args === undefined ? {} : { arguments: { ...args } }) },
            optionsOf(options)
          )
        ),
        (answer) => decoded(McpSchema.GetPromptResult, answer)
      ),
    readResource: ({ uri }, options) =>
      Effect.flatMap(asked(connection.readResource({ uri }, optionsOf(options))), (answer) =>
        decoded(McpSchema.ReadResourceResult, answer)
      ),
    // Its overloads are the schema's: with one, its type is the answer's.
    callTool: callTool as AiClient.McpClient["callTool"]
  }
}

const optionsOf = (options: Timeout) => (options?.timeout === undefined ? undefined : { timeout: options.timeout })

const decoded = <S extends Schema.Top>(
  schema: S,
  value: unknown
): Effect.Effect<S["Type"], McpClientError, S["DecodingServices"]> =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(value),
    (cause) =>
      new McpClientError({ reason: new ValidationError({ description: "the server's answer is not valid", cause }) })
  )

const fail = (reason: McpClientError["reason"]) => Effect.fail(new McpClientError({ reason }))

const mapped = <A>(effect: Effect.Effect<A, RequestError>): Effect.Effect<A, McpClientError> =>
  Effect.mapError(effect, (error) => new McpClientError({ reason: reasonOf(error) }))

const reasonOf = (error: RequestError): McpClientError["reason"] => {
  switch (error._tag) {
    case "OutcomeUnknown":
      return new TransportError({ description: error.message, cause: error })
    case "ConnectionUnavailable":
      return unavailable(error)
    case "ConnectionClosed":
      return new ClosedError({ description: saying(error.message, error.delivery === "Unknown") })
    case "RequestTimeout":
      return new TimeoutError({
        operation: `${error.tool ?? error.method}${error.delivery === "Unknown" ? ", which may have run," : ""}`
      })
    case "ServerRejected":
      return new ProtocolError({
        // JSON-RPC 2.0 §5.1 asks for an integer; the constructor insists, and a server may send anything.
        ...(Number.isInteger(error.code) ? { code: error.code } : {}),
        data: error.data,
        description: saying(error.description, error.tool !== undefined && mayHaveBegun(error)),
        cause: error
      })
    case "InvalidResult":
      return new ValidationError({ description: saying(error.message, error.tool !== undefined), cause: error })
    case "InvalidRequest":
      return new ConfigurationError({ description: error.message, cause: error })
  }
}

/** Where the server was heard over HTTP, what it said is a part of the error. */
const unavailable = (error: ConnectionUnavailable): McpClientError["reason"] => {
  const description = saying(error.message, error.delivery === "Unknown")
  const reason = error.cause?.reason
  switch (reason?._tag) {
    case "Unauthorized":
      return new HttpError({
        status: reason.status,
        description,
        ...(reason.challenge === undefined ? {} : { wwwAuthenticate: reason.challenge })
      })
    case "ServerUnavailable":
      return new HttpError({
        status: reason.status,
        description,
        // As in its header (RFC 9110 §10.2.3): whole seconds.
        ...(reason.retryAfter === undefined
          ? {}
          : { retryAfter: String(Math.ceil(Duration.toSeconds(reason.retryAfter))) })
      })
    case "UnexpectedStatus":
      return new HttpError({ status: reason.status, description })
    default:
      return new TransportError({ description, cause: error })
  }
}

const saying = (text: string, mayHaveRun: boolean): string => (mayHaveRun ? `${text}; it may have run` : text)
