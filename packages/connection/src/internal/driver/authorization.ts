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
import { HeadersFailed, Unauthorized } from "../reasons.ts"
import * as AuthorizationServer from "./authorizationServer.ts"
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
  /** Called with every secret in use, so that it can be kept out of what is told. */
  readonly onSecret: (secret: string) => void
  readonly conceal: (text: string) => string
}

export interface Authorization {
  /** A `fetch` whose requests carry the provider's credentials, and that gives the provider its one turn when they are refused. */
  readonly fetch: FetchLike
  /** The turn that was begun here and is not over: what it is given is lost if it cannot be saved. */
  readonly turn: () => Promise<void> | undefined
}

/** What a provider is asked for: a token that is accepted, or one that allows more. */
type Purpose = "renew" | `scope ${string}`

interface Turn {
  readonly purpose: Purpose
  readonly end: Promise<void>
}

/** That new credentials could not be had. It stands until there is another token, or a session is opened anew. */
interface Refusal {
  readonly purpose: Purpose
  readonly error: unknown
  /** The token there was when it was over. */
  readonly token: string | undefined
  readonly at: number
}

/** The turns under way, and their last refusal: a provider's credentials are one thing, however many sessions and connections use them. */
const turns = new WeakMap<Provider, Turn>()
const refusals = new WeakMap<Provider, Refusal>()

/** Counts sessions and refusals, to tell which came first. */
let ticks = 0

export const make = (options: Options): Authorization => {
  const { conceal, onSecret, provider, serverUrl } = options
  const send = isOAuth(provider) ? withDpopFromProvider(provider)(options.send) : options.send
  ticks += 1
  const opened = ticks
  let own: Promise<void> | undefined
  let scope: string | undefined
  let resourceMetadataUrl: URL | undefined

  const currentToken = async (): Promise<string | undefined> => {
    try {
      const token = isOAuth(provider) ? (await provider.tokens())?.access_token : await provider.token()
      if (token !== undefined) onSecret(token)
      return token
    } catch (error) {
      // Nothing was sent, and nobody has refused anything: a keychain may be locked for now.
      const description = `the auth provider cannot read its token: ${describe(error, conceal)}`
      throw new WireFailure(new HeadersFailed({ description }))
    }
  }

  /** One turn of the provider. Ends when there may be other credentials than `used`. */
  const authorize = async (
    response: Response,
    used: string | undefined,
    forceReauthorization: boolean
  ): Promise<void> => {
    const server = AuthorizationServer.make({ fetch: options.authFetch, onSecret, conceal })
    const run = async (as: OAuthClientProvider): Promise<void> => {
      const result = await auth(as, {
        serverUrl,
        fetchFn: server.fetch,
        forceReauthorization,
        ...(resourceMetadataUrl === undefined ? {} : { resourceMetadataUrl }),
        ...(scope === undefined ? {} : { scope })
      })
      if (result !== "AUTHORIZED") throw new UnauthorizedError("the user has to authorize first")
    }
    try {
      if (isOAuth(provider)) {
        await run(provider).catch(async (error: unknown) => {
          if (!(error instanceof AuthorizationServer.CredentialsRefused)) throw error
          // Another process may have spent the refresh token first, and saved what it got for it.
          if ((await currentToken()) !== used) return
          await invalidate(provider, error)
          // Nobody can be asked, or nothing would be asked differently.
          if (provider.redirectUrl === undefined || (error.ofClient && provider.invalidateCredentials === undefined))
            throw error
          await run(withoutTokens(provider)).catch((next: unknown) => {
            throw next instanceof UnauthorizedError ? new UnauthorizedError(`${error.message}; ${next.message}`) : next
          })
        })
      } else if (provider.onUnauthorized === undefined) {
        throw new UnauthorizedError("there is no other token")
      } else {
        await provider.onUnauthorized({ response, serverUrl, fetchFn: server.fetch })
      }
    } catch (error) {
      // The authorization server was out of reach: that is no verdict about the credentials.
      const trouble = server.trouble()
      throw trouble === undefined ? error : new WireFailure(trouble)
    }
  }

  /** One turn at a time; whoever comes meanwhile with the same purpose shares its end. */
  const take = (purpose: Purpose, used: string | undefined, turn: () => Promise<void>): Promise<void> => {
    const running = turns.get(provider)
    if (running?.purpose === purpose) return running.end
    const attempt = async (): Promise<void> => {
      const current = await currentToken()
      const refusal = refusals.get(provider)
      if (refusal !== undefined && refusal.purpose === purpose && refusal.token === current && refusal.at > opened)
        throw refusal.error
      // Others have got a new one meanwhile: another caller here, or another process that shares the store.
      if (current !== used) return
      try {
        await turn()
        refusals.delete(provider)
      } catch (error) {
        if (!(error instanceof WireFailure)) {
          const token = await currentToken().catch(() => undefined)
          ticks += 1
          refusals.set(provider, { purpose, error, token, at: ticks })
        }
        throw error
      }
    }
    const end = (running === undefined ? attempt() : running.end.then(attempt, attempt)).finally(() => {
      if (turns.get(provider)?.end === end) turns.delete(provider)
      if (own === end) own = undefined
    })
    turns.set(provider, { purpose, end })
    own = end
    return end
  }

  const renew = (response: Response, used: string | undefined): Promise<void> => {
    if (response.headers.has("www-authenticate")) {
      const challenge = extractWWWAuthenticateParams(response)
      resourceMetadataUrl = challenge.resourceMetadataUrl ?? resourceMetadataUrl
      scope = computeScopeUnion(scope, challenge.scope)
    }
    return take("renew", used, () => authorize(response, used, false))
  }

  /** SEP-2350: what was granted and what is asked for, together. */
  const stepUp = (response: Response, used: string | undefined): Promise<void> => {
    const challenge = extractWWWAuthenticateParams(response)
    if (!isOAuth(provider))
      return Promise.reject(new UnauthorizedError(challenge.errorDescription ?? "the scope is insufficient"))
    resourceMetadataUrl = challenge.resourceMetadataUrl ?? resourceMetadataUrl
    return take(`scope ${challenge.scope ?? ""}`, used, async () => {
      const granted = (await provider.tokens())?.scope
      scope = computeScopeUnion(scope, granted, challenge.scope)
      await authorize(response, used, isStrictScopeSuperset(scope, granted))
    })
  }

  return {
    turn: () => own,
    fetch: async (url, init) => {
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
          if (error instanceof WireFailure) throw error
          const challenge = challengeOf(response)
          throw new WireFailure(
            new Unauthorized({
              status: response.status,
              challenge: challenge === undefined ? undefined : conceal(challenge),
              description: describe(error, conceal)
            })
          )
        } finally {
          await response.body?.cancel().catch(() => {})
        }
      }
    }
  }
}

/** What the SDK does when its own provider interface is told of a refusal, without its line on the console. */
const invalidate = async (
  provider: OAuthClientProvider,
  { ofClient }: AuthorizationServer.CredentialsRefused
): Promise<void> => {
  if (ofClient) await provider.invalidateCredentials?.("client")
  await provider.invalidateCredentials?.("tokens")
}

/** A provider may be unable to forget a refresh token; it must not be spent again. */
const withoutTokens = (provider: OAuthClientProvider): OAuthClientProvider =>
  new Proxy(provider, {
    get: (target, key) => {
      if (key === "tokens") return () => undefined
      const value: unknown = Reflect.get(target, key, target)
      return Predicate.isFunction(value) ? value.bind(target) : value
    }
  })

export const challengeOf = (response: Response): string | undefined =>
  response.headers.get("www-authenticate") ?? undefined

/** How much of what others say is told. */
const maxDescription = 300

/** The SDK's words about OAuth errors are the authorization server's `error` and `error_description`. */
const describe = (error: unknown, conceal: (text: string) => string): string =>
  error instanceof Error
    ? conceal(error.message)
        .replaceAll(/[\p{Cc}\s]+/gu, " ")
        .slice(0, maxDescription)
    : "the provider failed"
