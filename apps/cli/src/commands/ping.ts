/** `mcp-tether ping`: is a server there, and does it answer? */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Output from "./Output.ts"
import { json, timeout, withSession } from "./Session.ts"
import * as Servers from "./Servers.ts"
import * as Target from "./Target.ts"

export const ping = Command.make(
  "ping",
  { server: Target.operands, ...Servers.flags, json, timeout },
  Effect.fnUntraced(function* ({ config, json, project, server, timeout }) {
    const target = yield* Target.parse(server, { config, project })
    const answer = yield* withSession(target, timeout, (connection) =>
      Effect.gen(function* () {
        const before = yield* Clock.currentTimeMillis
        yield* connection.ping()
        const millis = (yield* Clock.currentTimeMillis) - before
        const { name, protocolVersion, version } = (yield* connection.awaitReady).server
        return { name, version, protocolVersion, millis }
      })
    )
    yield* json
      ? Output.jsonLine({ server: Target.nameOf(target), ...answer })
      : Output.line(
          Output.plain(`${answer.name} ${answer.version}, protocol ${answer.protocolVersion}: ${answer.millis} ms`)
        )
  })
).pipe(
  Command.withDescription("Open a session with a server and ask for a sign of life"),
  Command.withExamples([{ command: "mcp-tether ping https://example.com/mcp", description: "Ask a server" }])
)
