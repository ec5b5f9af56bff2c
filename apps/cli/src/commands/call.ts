/** `mcp-tether call`: calls one tool. */
import { type McpConnection, ToolFilter } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { CommandFailed } from "../CommandFailed.ts"
import * as Arguments from "./arguments.ts"
import * as Output from "./Output.ts"
import { json, timeout, withSession } from "./Session.ts"
import * as Servers from "./Servers.ts"
import * as Target from "./Target.ts"

const flags = {
  operands: Argument.String("server-and-tool").pipe(
    Argument.withDescription("<server> <tool>, <url> <tool>, or <tool> -- command args…"),
    Argument.variadic({ min: 1 })
  ),
  arg: Flag.KeyValuePair("arg").pipe(
    Flag.withDescription("An argument, like text=hello; where the tool wants no text it is read as JSON"),
    Flag.withDefault({})
  ),
  jsonArgs: Flag.String("json-args").pipe(
    Flag.withDescription("All arguments as a JSON object; --arg adds to them"),
    Flag.optional
  ),
  ...Servers.flags,
  json,
  timeout
}

type Result = Effect.Success<ReturnType<McpConnection.Shape["callTool"]>>

export const call = Command.make(
  "call",
  flags,
  Effect.fnUntraced(function* ({ arg, config, json, jsonArgs, operands, project, timeout }) {
    const [target, name] = yield* Target.parseWith(operands, "tool", { config, project })
    const given = Option.isNone(jsonArgs) ? {} : yield* Arguments.ofJson(jsonArgs.value)
    const result = yield* withSession(target, timeout, (connection) =>
      Effect.gen(function* () {
        // Also what the connection needs to know whether the call may be sent again.
        const tools = yield* connection.listTools()
        const tool = tools.find((tool) => tool.name === name)
        const refusal = ToolFilter.refusal(Target.filterOf(target), name)
        if (refusal !== undefined)
          return yield* new CommandFailed({
            description: `${Target.nameOf(target)} does not offer ${name}: ${refusal}`
          })
        if (tool === undefined)
          return yield* new CommandFailed({
            description: `${Target.nameOf(target)} has no tool ${name}; it has ${tools.map((tool) => tool.name).join(", ") || "none"}`
          })
        const pairs = yield* Arguments.ofPairs(arg, tool.inputSchema)
        return yield* connection.callTool({ name, arguments: { ...given, ...pairs } })
      })
    )
    if (json) yield* Output.jsonLine(result)
    else
      yield* Effect.forEach(result.content, (content) => Output.line(Output.plain(textOf(content))), { discard: true })
    if (result.isError === true)
      return yield* new CommandFailed({ description: `the tool ${name} says that it has failed` })
  })
).pipe(
  Command.withDescription("Call a tool, and print what it answers"),
  Command.withExamples([
    { command: "mcp-tether call https://example.com/mcp echo --arg text=hello", description: "With a text" },
    {
      command: `mcp-tether call add --json-args '{"a":1,"b":2}' -- my-server --stdio`,
      description: "Of a server that is a command"
    }
  ])
)

/** What is no text is named. */
const textOf = (content: Result["content"][number]): string => {
  switch (content.type) {
    case "text":
      return content.text
    case "image":
    case "audio":
      return `[${content.type}, ${content.mimeType}, ${Buffer.byteLength(content.data, "base64")} bytes: see --json]`
    case "resource_link":
      return `[${content.name}: ${content.uri}]`
    case "resource":
      return "text" in content.resource ? content.resource.text : `[${content.resource.uri}: see --json]`
  }
}
