/** Logging in to a server (MCP 2025-11-25, Authorization): the SDK's flow, and what a command line has to add to it. */
import {
  auth,
  extractWWWAuthenticateParams,
  type FetchLike,
  OAuthError,
  OAuthErrorCode
} from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { CommandFailed } from "../CommandFailed.ts"
import { type Credentials, serverOf } from "./Credentials.ts"
import * as LoopbackListener from "./LoopbackListener.ts"
import * as OAuthClient from "./OAuthClient.ts"
import { TokenStore } from "./TokenStore.ts"

export interface Options {
  readonly server: URL
  /** A client that is registered already. Default: one is registered. */
  readonly clientId: string | undefined
  readonly scope: string | undefined
}

/** A user decides in a browser: authorization code with PKCE, and a redirect to the loopback. */
export const withBrowser = Effect.fnUntraced(function* (
  options: Options,
  /** Shows the user the address to open. */
  show: (url: URL) => Effect.Effect<void>,
  /** Told how many have come with a wrong state. */
  onListening: (strangers: () => number) => void
): Effect.fn.Return<Credentials, CommandFailed, TokenStore | Scope.Scope> {
  const { server } = options
  const state = randomBytes(32).toString("base64url")
  const listener = yield* LoopbackListener.make(state)
  onListening(listener.strangers)
  const flow = yield* start(
    {
      server: serverOf(server),
      grant: { _tag: "AuthorizationCode" },
      ...(options.scope === undefined ? {} : { scope: options.scope }),
      ...(options.clientId === undefined ? {} : { client: { client_id: options.clientId } })
    },
    { server, secret: undefined, redirectUrl: listener.redirectUrl, state }
  )
  const redirect = yield* flow.run({})
  if (redirect === undefined) return yield* new CommandFailed({ description: "the authorization server asked nobody" })
  if (redirect.protocol !== "https:" && redirect.protocol !== "http:")
    return yield* new CommandFailed({ description: `the server sends the user to a ${redirect.protocol} address` })
  yield* show(redirect)

  const answer = yield* listener.answer
  const code = answer.get("code")
  if (code === null) {
    // Its description is for whoever wrote the page.
    const error = codeOf(answer.get("error") ?? "no code")
    return yield* new CommandFailed({
      description:
        error === "access_denied"
          ? `the authorization was denied: run mcp-tether login ${serverOf(server)} to ask again`
          : `the authorization server refused (${error})`
    })
  }
  flow.conceal(code)
  const issuer = answer.get("iss")
  yield* flow.run({ authorizationCode: code, ...(issuer === null ? {} : { iss: issuer }) })
  return yield* flow.saved
})

/** A program logs in as itself: client credentials. */
export const asClient = Effect.fnUntraced(function* (
  options: Options & { readonly clientId: string; readonly secretEnv: string }
): Effect.fn.Return<Credentials, CommandFailed, TokenStore> {
  const secret = process.env[options.secretEnv]
  if (secret === undefined || secret === "")
    return yield* new CommandFailed({
      description: `set the environment variable ${options.secretEnv} to the client's secret`
    })
  const flow = yield* start(
    {
      server: serverOf(options.server),
      grant: { _tag: "ClientCredentials", secretEnv: options.secretEnv },
      ...(options.scope === undefined ? {} : { scope: options.scope }),
      client: { client_id: options.clientId }
    },
    { server: options.server, secret, redirectUrl: undefined, state: undefined }
  )
  yield* flow.run({})
  return yield* flow.saved
})

/** One login, step by step. The tokens are in the store before the last step ends. */
const start = Effect.fnUntraced(function* (
  credentials: Credentials,
  options: {
    readonly server: URL
    readonly secret: string | undefined
    readonly redirectUrl: string | undefined
    readonly state: string | undefined
  }
) {
  const store = yield* TokenStore
  const run = Effect.runPromiseWith(yield* Effect.context())
  const { server } = options
  const secrets = options.secret === undefined ? [] : [options.secret]
  const resourceMetadataUrl = yield* challengeOf(server)
  let redirect: URL | undefined
  let saved: Credentials | undefined
  const client = OAuthClient.make({
    credentials,
    secret: options.secret,
    redirectUrl: options.redirectUrl,
    state: options.state,
    onRedirect: (url) => {
      redirect = url
    },
    onTokens: (made) =>
      run(store.locked(server, store.write(server, made))).then(() => {
        saved = made
      })
  })
  return {
    conceal: (secret: string) => void secrets.push(secret),
    run: (step: { readonly authorizationCode?: string; readonly iss?: string }) =>
      Effect.tryPromise({
        try: (signal) =>
          auth(client, {
            serverUrl: new URL(serverOf(server)),
            fetchFn: fetchWith(signal),
            ...(resourceMetadataUrl === undefined ? {} : { resourceMetadataUrl }),
            ...(credentials.scope === undefined ? {} : { scope: credentials.scope }),
            ...step
          }),
        catch: (error) =>
          error instanceof CommandFailed ? error : new CommandFailed({ description: explain(server, error, secrets) })
      }).pipe(Effect.map(() => redirect)),
    saved: Effect.suspend(() =>
      saved === undefined
        ? Effect.fail(new CommandFailed({ description: "the authorization server gave no token" }))
        : Effect.succeed(saved)
    )
  }
})

/**
 * The SDK answers some refusals by asking again, and prints what the server says of them, which may be anything that was sent. Here a
 * refusal is the end, and its code is all that is told of it.
 */
const fetchWith =
  (signal: AbortSignal): FetchLike =>
  async (url, init) => {
    const response = await fetch(url, { ...init, signal })
    if (init?.method !== "POST" || response.ok) return response
    const body: unknown = await response.json().catch(() => undefined)
    const error =
      typeof body === "object" && body !== null && "error" in body
        ? codeOf(String(body.error))
        : `HTTP ${response.status}`
    throw new OAuthError(OAuthErrorCode.AccessDenied, `the authorization server refused (${error})`)
  }

/** An OAuth error code (RFC 6749 §5.2), as far as it is one. */
const codeOf = (text: string): string => text.replaceAll(/[^\w -]/g, "").slice(0, 60)

/** Where the server's metadata is, if it says so when it refuses (RFC 9728 §5.1). */
const challengeOf = (server: URL): Effect.Effect<URL | undefined, CommandFailed> =>
  Effect.tryPromise({
    try: async (signal) => {
      const response = await fetch(server, {
        method: "POST",
        signal,
        redirect: "manual",
        headers: { "content-type": "application/json", accept: "application/json, text/event-stream" },
        body: JSON.stringify({ jsonrpc: "2.0", id: 0, method: "ping" })
      })
      await response.body?.cancel()
      return extractWWWAuthenticateParams(response).resourceMetadataUrl
    },
    catch: (error) => new CommandFailed({ description: explain(server, error, []) })
  })

/** How much of what a server says is told. */
const maxWords = 300

const explain = (server: URL, error: unknown, secrets: ReadonlyArray<string>): string => {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : undefined
  const code = cause === undefined || !("code" in cause) ? undefined : String(cause.code)
  if (code !== undefined) return `${server.host} or its authorization server cannot be reached (${code})`
  const words = error instanceof Error ? error.message : "the login failed"
  const told = secrets
    .reduce((text, secret) => text.replaceAll(secret, "<redacted>"), words)
    .replaceAll(/[\p{Cc}\s]+/gu, " ")
    .slice(0, maxWords)
  return `the login to ${serverOf(server)} failed: ${told}`
}
