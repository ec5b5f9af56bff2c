/**
 * Credentials of HTTP requests (MCP 2025-11-25 and 2026-07-28, Authorization), by the SDK's provider interfaces.
 *
 * The SDK's transport lets each request that meets a 401 run a flow of its own: fifty callers with an expired token spend one refresh
 * token fifty times, and a server that detects that revokes them all. So the turn of the provider is taken here, once for all.
 */
import {
  auth,
  type AuthProvider,
  computeScopeUnion,
  extractWWWAuthenticateParams,
  type FetchLike,
  isStrictScopeSuperset,
  type OAuthClientProvider,
  UnauthorizedError,
  withDpopFromProvider
} from "@modelcontextprotocol/client"
import * as Predicate from "effect/Predicate"
import { Unauthorized } from "../reasons.ts"
import { WireFailure } from "./network.ts"

export type Provider = AuthProvider | OAuthClientProvider

export const isOAuth = (provider: Provider): provider is OAuthClientProvider =>
  Predicate.hasProperty(provider, "tokens") && Predicate.hasProperty(provider, "clientInformation")

export interface Options {
  readonly provider: Provider
  readonly serverUrl: URL
  /** For the server; with the credentials of this module. */
  readonly send: FetchLike
  /** For the authorization server. */
  readonly authFetch: FetchLike
  /** Called with every token in use, so that it can be kept out of what is told. */
  readonly onToken: (token: string) => void
}

/** The flows under way: a provider's credentials are one thing, however many sessions and connections use them. */
const turns = new WeakMap<Provider, Promise<void>>()

/** A `fetch` whose requests carry the provider's credentials, and that gives the provider its one turn when they are refused. */
export const make = (options: Options): FetchLike => {
  const { authFetch, onToken, provider, serverUrl } = options
  const send = isOAuth(provider) ? withDpopFromProvider(provider)(options.send) : options.send
  let scope: string | undefined
  let resourceMetadataUrl: URL | undefined
  /** What the user was asked for and has not granted yet: asking again would make the answer worthless (its state, its PKCE verifier). */
  let asked: { readonly token: string | undefined; readonly scope: string | undefined } | undefined

  const currentToken = async (): Promise<string | undefined> => {
    const token = isOAuth(provider) ? (await provider.tokens())?.access_token : await provider.token()
    if (token !== undefined) onToken(token)
    return token
  }

  const authorize = async (
    response: Response,
    used: string | undefined,
    forceReauthorization: boolean
  ): Promise<void> => {
    if (!isOAuth(provider)) {
      if (provider.onUnauthorized === undefined) throw new UnauthorizedError()
      return provider.onUnauthorized({ response, serverUrl, fetchFn: authFetch })
    }
    if (asked !== undefined && asked.token === used && asked.scope === scope) throw new UnauthorizedError(unanswered)
    const result = await auth(provider, {
      serverUrl,
      fetchFn: authFetch,
      forceReauthorization,
      ...(resourceMetadataUrl === undefined ? {} : { resourceMetadataUrl }),
      ...(scope === undefined ? {} : { scope })
    })
    if (result !== "AUTHORIZED") {
      asked = { token: used, scope }
      throw new UnauthorizedError(unanswered)
    }
  }

  /** One flow at a time; whoever comes meanwhile shares its end. */
  const shared = (flow: () => Promise<void>): Promise<void> => {
    const running = turns.get(provider)
    if (running !== undefined) return running
    const turn = flow().finally(() => turns.delete(provider))
    turns.set(provider, turn)
    return turn
  }

  /** New credentials, unless others have got them meanwhile: another caller here, or another process that shares the store. */
  const renew = (response: Response, used: string | undefined): Promise<void> => {
    if (response.headers.has("www-authenticate")) {
      const challenge = extractWWWAuthenticateParams(response)
      resourceMetadataUrl = challenge.resourceMetadataUrl ?? resourceMetadataUrl
      scope = computeScopeUnion(scope, challenge.scope)
    }
    return shared(async () => {
      if ((await currentToken()) !== used) return
      await authorize(response, used, false)
    })
  }

  /** SEP-2350: what was granted and what is asked for, together. */
  const stepUp = (response: Response, used: string | undefined): Promise<void> => {
    const challenge = extractWWWAuthenticateParams(response)
    if (!isOAuth(provider)) throw new UnauthorizedError(challenge.errorDescription ?? "the scope is insufficient")
    resourceMetadataUrl = challenge.resourceMetadataUrl ?? resourceMetadataUrl
    return shared(async () => {
      if ((await currentToken()) !== used) return
      const granted = (await provider.tokens())?.scope
      scope = computeScopeUnion(scope, granted, challenge.scope)
      await authorize(response, used, isStrictScopeSuperset(scope, granted))
    })
  }

  return async (url, init) => {
    let refreshed = false
    let stepped = false
    while (true) {
      const token = await currentToken()
      const headers = new Headers(init?.headers)
      if (token !== undefined) headers.set("authorization", `Bearer ${token}`)
      const response = await send(url, { ...init, headers })
      const insufficient =
        response.status === 403 && extractWWWAuthenticateParams(response).error === "insufficient_scope"
      if ((response.status !== 401 || refreshed) && (!insufficient || stepped)) return response
      try {
        if (response.status === 401) {
          refreshed = true
          await renew(response, token)
        } else {
          stepped = true
          await stepUp(response, token)
        }
      } catch (error) {
        // The authorization server was out of reach: that is no verdict about the credentials.
        if (error instanceof WireFailure && error.reason._tag !== "Unauthorized") throw error
        throw new WireFailure(
          new Unauthorized({
            status: response.status,
            challenge: challengeOf(response),
            description: describe(error)
          })
        )
      } finally {
        await response.body?.cancel().catch(() => {})
      }
    }
  }
}

const unanswered = "the user has to authorize first"

export const challengeOf = (response: Response): string | undefined =>
  response.headers.get("www-authenticate") ?? undefined

/** The SDK's words about OAuth errors are the authorization server's `error` and `error_description`. */
const describe = (error: unknown): string => (error instanceof Error ? error.message : "the provider failed")
