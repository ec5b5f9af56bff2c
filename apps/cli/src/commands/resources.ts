/** `mcp-tether resources`: what a server has to read. */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Output from "./Output.ts"
import { json, timeout, withSession } from "./Session.ts"
import * as Servers from "./Servers.ts"
import * as Target from "./Target.ts"

export const resources = Command.make(
  "resources",
  { server: Target.operands, ...Servers.flags, json, timeout },
  Effect.fnUntraced(function* ({ config, json, project, server, timeout }) {
    const target = yield* Target.parse(server, { config, project })
    const { resources, templates } = yield* withSession(target, timeout, (connection) =>
      Effect.all({ resources: connection.listResources(), templates: connection.listResourceTemplates() })
    )
    yield* json
      ? Output.jsonLine({ resources, templates })
      : Output.table([
          ...resources.map(({ name, title, uri }) => [uri, title ?? name] as const),
          ...templates.map(({ name, title, uriTemplate }) => [uriTemplate, title ?? name] as const)
        ])
  })
).pipe(
  Command.withDescription("List the resources of a server, and the templates of those that it makes on demand"),
  Command.withExamples([
    { command: "mcp-tether resources https://example.com/mcp", description: "Of a server behind HTTP" }
  ])
)
