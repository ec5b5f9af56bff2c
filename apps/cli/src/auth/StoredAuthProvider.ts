/**
 * The SDK's `AuthProvider` over the store, for connections: it reads the token anew for each request, renews it under the store's
 * lock, and saves what it gets before it is used. It never asks the user: that is what `mcp-tether login` is for.
 */
import { auth, type AuthProvider, extractWWWAuthenticateParams } from "@modelcontextprotocol/client"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { CommandFailed } from "../CommandFailed.ts"
import { serverOf } from "./Credentials.ts"
import * as OAuthClient from "./OAuthClient.ts"
import { TokenStore } from "./TokenStore.ts"

const expired = new CommandFailed({ description: "the login has expired" })

/** How long the end waits for a renewal that the connection has given up, so that its lock is let go. */
const settleWithin = "1 second"

export const make = Effect.fnUntraced(function* (
  server: URL
): Effect.fn.Return<AuthProvider, never, TokenStore | Scope.Scope> {
  const store = yield* TokenStore
  const run = Effect.runPromiseWith(Context.pick(TokenStore)(yield* Effect.context<TokenStore>()))
  let renewal: Promise<void> | undefined
  let used: string | undefined

  const read = Effect.map(store.read(server), (credentials) => {
    used = credentials?.tokens?.access_token
    return used
  })

  const renew: NonNullable<AuthProvider["onUnauthorized"]> = (context) => {
    const refused = used
    return run(
      store.locked(
        server,
        Effect.gen(function* () {
          const credentials = yield* store.read(server)
          if (credentials === undefined) return yield* new CommandFailed({ description: "there is no login" })
          // Another process was faster.
          if (credentials.tokens?.access_token !== refused) return
          const { grant } = credentials
          const secret = grant._tag === "ClientCredentials" ? process.env[grant.secretEnv] : undefined
          if (grant._tag === "ClientCredentials" && secret === undefined)
            return yield* new CommandFailed({ description: `the environment variable ${grant.secretEnv} is not set` })
          if (grant._tag === "AuthorizationCode" && credentials.tokens?.refresh_token === undefined)
            return yield* expired
          const client = OAuthClient.make({
            credentials,
            secret,
            onRedirect: () => {
              throw expired
            },
            onTokens: (renewed) => run(store.write(server, renewed))
          })
          const { resourceMetadataUrl } = extractWWWAuthenticateParams(context.response)
          yield* Effect.tryPromise({
            try: () =>
              auth(client, {
                serverUrl: new URL(serverOf(server)),
                fetchFn: context.fetchFn,
                ...(resourceMetadataUrl === undefined ? {} : { resourceMetadataUrl }),
                ...(credentials.scope === undefined ? {} : { scope: credentials.scope })
              }),
            // The connection keeps secrets out of it, and knows by itself when the authorization server was out of reach.
            catch: (error) => new CommandFailed({ description: error instanceof Error ? error.message : "it failed" })
          })
        })
      )
    )
  }

  yield* Effect.addFinalizer(() => {
    const running = renewal
    return running === undefined
      ? Effect.void
      : Effect.ignore(Effect.timeout(Effect.interruptible(Effect.tryPromise(() => running)), settleWithin))
  })
  return {
    token: () => run(read),
    onUnauthorized: (context) => {
      renewal = renew(context)
      return renewal
    }
  }
})
