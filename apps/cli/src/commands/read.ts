/** `mcp-tether read`: reads one resource. */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Output from "./Output.ts"
import { json, timeout, withSession } from "./Session.ts"
import * as Servers from "./Servers.ts"
import * as Target from "./Target.ts"

export const read = Command.make(
  "read",
  {
    operands: Argument.String("server-and-uri").pipe(
      Argument.withDescription("<server> <uri>, <url> <uri>, or <uri> -- command args…"),
      Argument.variadic({ min: 1 })
    ),
    ...Servers.flags,
    json,
    timeout
  },
  Effect.fnUntraced(function* ({ config, json, operands, project, timeout }) {
    const [target, uri] = yield* Target.parseWith(operands, "uri", { config, project })
    const result = yield* withSession(target, timeout, (connection) => connection.readResource({ uri }))
    if (json) return yield* Output.jsonLine(result)
    yield* Effect.forEach(
      result.contents,
      (content) =>
        Output.line(
          "text" in content
            ? Output.plain(content.text)
            : `[${content.uri}, ${content.mimeType ?? "no type"}, ${Buffer.byteLength(content.blob, "base64")} bytes: see --json]`
        ),
      { discard: true }
    )
  })
).pipe(
  Command.withDescription("Read a resource, and print it"),
  Command.withExamples([
    {
      command: "mcp-tether read demo://resource/static/document/features.md -- mcp-server-everything stdio",
      description: "Of a server that is a command"
    }
  ])
)
