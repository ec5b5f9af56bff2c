/** Where a test's provider keeps what a real one keeps in a file: any number of providers, and the test itself, share it. */
import type {
  OAuthClientMetadata,
  OAuthClientProvider,
  StoredOAuthClientInformation,
  StoredOAuthTokens
} from "@modelcontextprotocol/client"

export interface Wallet {
  tokens: StoredOAuthTokens | undefined
  client: StoredOAuthClientInformation | undefined
  /** How often the user was sent to log in. */
  prompts: number
  /** How often tokens were saved. */
  saved: number
}

export const wallet = (tokens: StoredOAuthTokens, issuer: string): Wallet => ({
  tokens,
  client: { client_id: "public", issuer },
  prompts: 0,
  saved: 0
})

const clientMetadata: OAuthClientMetadata = {
  client_name: "a test",
  redirect_uris: ["http://127.0.0.1/callback"],
  grant_types: ["authorization_code", "refresh_token"],
  token_endpoint_auth_method: "none"
}

/** A provider that has to send the user to a browser for a new login. `forgetful`: it can drop what the server has refused. */
export const providerOf = (store: Wallet, forgetful = true): OAuthClientProvider => ({
  redirectUrl: "http://127.0.0.1/callback",
  clientMetadata,
  clientInformation: () => store.client,
  saveClientInformation: (client) => {
    store.client = client
  },
  tokens: () => store.tokens,
  saveTokens: (tokens) => {
    store.saved += 1
    store.tokens = tokens
  },
  redirectToAuthorization: () => {
    store.prompts += 1
  },
  saveCodeVerifier: () => {},
  codeVerifier: () => "",
  ...(forgetful
    ? {
        invalidateCredentials: (scope: string) => {
          if (scope === "tokens" || scope === "all") store.tokens = undefined
          if (scope === "client" || scope === "all") store.client = undefined
        }
      }
    : {})
})
