/** `mcp-tether logout`: forgets the tokens for a server. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import { serverOf } from "../auth/Credentials.ts"
import { TokenStore } from "../auth/TokenStore.ts"
import * as Output from "./Output.ts"
import * as Progress from "./Progress.ts"
import { json } from "./Session.ts"
import * as Target from "./Target.ts"

export const logout = Command.make(
  "logout",
  { url: Target.url, json },
  Effect.fnUntraced(function* ({ json, url }) {
    const server = yield* Target.server(url)
    const store = yield* TokenStore
    const removed = yield* Progress.during(
      store.locked(server, store.remove(server)),
      () => `waiting for the login to ${serverOf(server)}`
    )
    yield* json
      ? Output.jsonLine({ server: serverOf(server), removed })
      : Console.log(removed ? `Logged out of ${serverOf(server)}.` : `There was no login for ${serverOf(server)}.`)
  })
).pipe(
  Command.withDescription("Forget the login to a server. The authorization server is not told"),
  Command.withExamples([{ command: "mcp-tether logout https://example.com/mcp", description: "Forget the tokens" }])
)
