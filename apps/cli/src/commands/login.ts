/** `mcp-tether login`: gets tokens for a server, and keeps them. */
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Browser from "../auth/browser.ts"
import { serverOf } from "../auth/Credentials.ts"
import * as Login from "../auth/login.ts"
import { TokenStore } from "../auth/TokenStore.ts"
import { CommandFailed } from "../CommandFailed.ts"
import * as Output from "./Output.ts"
import * as Progress from "./Progress.ts"
import { durationFlag, json } from "./Session.ts"
import * as Target from "./Target.ts"

const flags = {
  url: Target.url,
  clientId: Flag.String("client-id").pipe(
    Flag.withDescription(
      "A client that is registered with the authorization server, for the redirect http://127.0.0.1/callback on any port. Default: one is registered"
    ),
    Flag.optional
  ),
  clientSecretEnv: Flag.String("client-secret-env").pipe(
    Flag.withDescription(
      "Log in as the client itself (client credentials); its secret is in this environment variable, and stays there"
    ),
    Flag.withMetavar("name"),
    Flag.optional
  ),
  scope: Flag.String("scope").pipe(
    Flag.withDescription("What to ask for, separated by spaces. Default: what the server names"),
    Flag.optional
  ),
  browser: Flag.Boolean("browser").pipe(
    Flag.withDescription("Try to open a browser; --no-browser only prints the address"),
    Flag.withDefault(true)
  ),
  timeout: durationFlag("timeout", "How long the user may take", "5 minutes"),
  json
}

export const login = Command.make(
  "login",
  flags,
  Effect.fnUntraced(function* ({ browser, clientId, clientSecretEnv, json, scope, timeout, url }) {
    const server = yield* Target.server(url)
    const options = { server, clientId: Option.getOrUndefined(clientId), scope: Option.getOrUndefined(scope) }
    const secretEnv = Option.getOrUndefined(clientSecretEnv)
    let strangers = (): number => 0

    const show = (address: URL) =>
      Progress.aside(
        json
          ? Output.jsonLine({ server: serverOf(server), authorizationUrl: address.href })
          : Console.log(`Open this address to log in to ${serverOf(server)}:\n\n  ${address.href}\n`)
      ).pipe(Effect.andThen(browser ? Browser.open(address) : Effect.void))

    const late = Effect.suspend(() => {
      const forged = strangers() === 0 ? "" : "; an answer came with a wrong state, and was refused"
      return Effect.fail(
        new CommandFailed({
          description: `nobody has logged in within ${Duration.format(timeout)}${forged}: run mcp-tether login ${serverOf(server)} again`
        })
      )
    })

    if (secretEnv !== undefined && options.clientId === undefined)
      return yield* new CommandFailed({ description: "--client-secret-env needs --client-id" })
    const credentials = yield* (
      secretEnv !== undefined && options.clientId !== undefined
        ? Login.asClient({ ...options, clientId: options.clientId, secretEnv })
        : Login.withBrowser(options, show, (count) => {
            strangers = count
          })
    ).pipe(Effect.timeoutOrElse({ duration: timeout, orElse: () => late }), Effect.scoped, (waiting) =>
      Progress.during(waiting, () => `waiting for the login to ${serverOf(server)}`)
    )

    const granted = credentials.tokens?.scope
    yield* json
      ? Output.jsonLine({
          server: credentials.server,
          loggedIn: true,
          ...(granted === undefined ? {} : { scope: granted }),
          file: yield* (yield* TokenStore).pathOf(server)
        })
      : Console.log(`Logged in to ${credentials.server}${granted === undefined ? "" : ` (${Output.plain(granted)})`}.`)
  })
).pipe(
  Command.withDescription(
    "Log in to a server: in the browser (authorization code with PKCE), or as a client (client credentials)"
  ),
  Command.withExamples([
    { command: "mcp-tether login https://example.com/mcp", description: "Log in with a browser" },
    {
      command: "mcp-tether login https://example.com/mcp --client-id ci --client-secret-env CI_SECRET",
      description: "Log in as a program"
    }
  ])
)
