/** The SDK's `OAuthClientProvider` over one login: the SDK runs the flow, this says who we are and keeps what comes of it. */
import type {
  OAuthClientMetadata,
  OAuthClientProvider,
  OAuthDiscoveryState,
  StoredOAuthClientInformation
} from "@modelcontextprotocol/client"
import type { Client, Credentials, Tokens } from "./Credentials.ts"

export interface Options {
  readonly credentials: Credentials
  /** The client's secret, of client credentials. */
  readonly secret: string | undefined
  /** Where the browser comes back to, in a login. */
  readonly redirectUrl?: string | undefined
  readonly state?: string | undefined
  /** The user has to open this. */
  readonly onRedirect: (url: URL) => void
  /** There are new tokens; the flow waits until they are safe. */
  readonly onTokens: (credentials: Credentials) => Promise<void>
}

/** A loopback redirect has any port (RFC 8252 §7.3). */
const anyRedirect = "http://127.0.0.1/callback"

export const make = (options: Options): OAuthClientProvider => {
  let { client, tokens } = options.credentials
  let verifier = ""
  let discovery: OAuthDiscoveryState | undefined
  const interactive = options.credentials.grant._tag === "AuthorizationCode"
  const redirectUrl = interactive ? (options.redirectUrl ?? anyRedirect) : undefined
  const registered = client !== undefined
  const clientMetadata: OAuthClientMetadata = {
    client_name: "mcp-tether",
    redirect_uris: redirectUrl === undefined ? [] : [redirectUrl],
    grant_types: interactive ? ["authorization_code", "refresh_token"] : ["client_credentials"],
    response_types: interactive ? ["code"] : [],
    token_endpoint_auth_method: interactive ? "none" : "client_secret_basic",
    ...(options.credentials.scope === undefined ? {} : { scope: options.credentials.scope })
  }
  const { state } = options

  return {
    redirectUrl,
    clientMetadata,
    ...(state === undefined ? {} : { state: () => state }),
    clientInformation: () =>
      client === undefined
        ? undefined
        : { ...client, ...(options.secret === undefined ? {} : { client_secret: options.secret }) },
    // A client that somebody else has registered is not registered anew.
    ...(registered
      ? {}
      : {
          saveClientInformation: (information: StoredOAuthClientInformation) => {
            client = clientOf(information)
          }
        }),
    tokens: () => tokens,
    saveTokens: ({ access_token, expires_in, issuer, refresh_token, scope, token_type }) => {
      tokens = defined<Tokens>({ access_token, token_type, expires_in, scope, refresh_token, issuer })
      // From now on the client is shown to no other authorization server.
      client = client === undefined ? undefined : defined<Client>({ ...client, issuer: client.issuer ?? issuer })
      return options.onTokens({ ...options.credentials, ...(client === undefined ? {} : { client }), tokens })
    },
    saveCodeVerifier: (made) => {
      verifier = made
    },
    codeVerifier: () => verifier,
    saveDiscoveryState: (found) => {
      discovery = found
    },
    discoveryState: () => discovery,
    redirectToAuthorization: options.onRedirect,
    ...(interactive
      ? {}
      : {
          prepareTokenRequest: (scope?: string) =>
            new URLSearchParams({ grant_type: "client_credentials", ...(scope === undefined ? {} : { scope }) })
        })
  }
}

const clientOf = (information: StoredOAuthClientInformation): Client => {
  const method = "token_endpoint_auth_method" in information ? information.token_endpoint_auth_method : undefined
  return defined<Client>({
    client_id: information.client_id,
    client_secret: information.client_secret,
    token_endpoint_auth_method: method,
    issuer: information.issuer
  })
}

/** Without the fields that are not there. */
const defined = <A extends object>(fields: { readonly [K in keyof A]: A[K] | undefined }): A =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as A
