/** `mcp-tether prompts`: what a server suggests to say to a model. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Output from "./Output.ts"
import { json, timeout, withSession } from "./Session.ts"
import * as Servers from "./Servers.ts"
import * as Target from "./Target.ts"

export const prompts = Command.make(
  "prompts",
  { server: Target.operands, ...Servers.flags, json, timeout },
  Effect.fnUntraced(function* ({ config, json, project, server, timeout }) {
    const target = yield* Target.parse(server, { config, project })
    const prompts = yield* withSession(target, timeout, (connection) => connection.listPrompts())
    yield* json
      ? Output.jsonLine(prompts)
      : Output.table(
          prompts.map(({ arguments: args = [], description, name }) => {
            const wanted = args.map(({ name, required }) => (required === true ? `<${name}>` : `[${name}]`))
            return [[name, ...wanted].join(" "), description] as const
          })
        )
  })
).pipe(
  Command.withDescription("List the prompts of a server, with their arguments"),
  Command.withExamples([
    { command: "mcp-tether prompts https://example.com/mcp", description: "Of a server behind HTTP" }
  ])
)
