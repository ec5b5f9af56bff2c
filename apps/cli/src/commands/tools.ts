/** `mcp-tether tools`: what a server offers. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Output from "./Output.ts"
import { json, timeout, withSession } from "./Session.ts"
import * as Servers from "./Servers.ts"
import * as Target from "./Target.ts"

export const tools = Command.make(
  "tools",
  { server: Target.operands, ...Servers.flags, json, timeout },
  Effect.fnUntraced(function* ({ config, json, project, server, timeout }) {
    const target = yield* Target.parse(server, { config, project })
    const tools = yield* withSession(target, timeout, (connection) => connection.listTools())
    yield* json
      ? Output.jsonLine(tools)
      : Output.table(tools.map(({ description, name }) => [name, description] as const))
  })
).pipe(
  Command.withDescription("List the tools of a server"),
  Command.withExamples([
    { command: "mcp-tether tools https://example.com/mcp", description: "Of a server behind HTTP" },
    {
      command: "mcp-tether tools -- npx -y @modelcontextprotocol/server-everything",
      description: "Of a server that is a command"
    }
  ])
)
