/** A user with credentials in memory, who says yes to whatever an authorization server asks, without a browser. */
import {
  auth,
  DpopSession,
  type OAuthClientMetadata,
  type OAuthClientProvider,
  type OAuthDiscoveryState,
  type StoredOAuthClientInformation,
  type StoredOAuthTokens
} from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"

export class NotAuthorized extends Schema.TaggedError<NotAuthorized>()("NotAuthorized", { message: Schema.String }) {}

export interface Options {
  /** What has been registered with the authorization server before. Default: nothing. */
  readonly client?: { readonly client_id: string; readonly client_secret?: string } | undefined
  /** The client's own metadata document (SEP-991). Default: none. */
  readonly clientMetadataUrl?: string | undefined
  /** Whether tokens are bound to a key (RFC 9449). Default: no. */
  readonly dpop?: boolean | undefined
}

/** The provider of such a user, and how the user follows where it was sent. */
export class User implements OAuthClientProvider {
  readonly redirectUrl = "http://localhost:3000/callback"
  readonly clientMetadata: OAuthClientMetadata = {
    client_name: "mcp-tether-conformance",
    redirect_uris: [this.redirectUrl],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"]
  }
  readonly clientMetadataUrl?: string
  readonly dpop?: () => Promise<DpopSession>
  #client: StoredOAuthClientInformation | undefined
  #tokens: StoredOAuthTokens | undefined
  #verifier = ""
  #state = ""
  #discovery: OAuthDiscoveryState | undefined
  #sentTo: URL | undefined

  constructor({ client, clientMetadataUrl, dpop = false }: Options = {}) {
    this.#client = client
    if (clientMetadataUrl !== undefined) this.clientMetadataUrl = clientMetadataUrl
    if (dpop) {
      const session = DpopSession.create()
      this.dpop = () => session
    }
  }

  clientInformation() {
    return this.#client
  }
  saveClientInformation(client: StoredOAuthClientInformation) {
    this.#client = client
  }
  tokens() {
    return this.#tokens
  }
  saveTokens(tokens: StoredOAuthTokens) {
    this.#tokens = tokens
    // It belongs to the flow that has ended: the next one has to find out anew where to go (SEP-2352).
    this.#discovery = undefined
  }
  state() {
    this.#state = randomUUID()
    return this.#state
  }
  saveCodeVerifier(verifier: string) {
    this.#verifier = verifier
  }
  codeVerifier() {
    return this.#verifier
  }
  saveDiscoveryState(discovery: OAuthDiscoveryState) {
    this.#discovery = discovery
  }
  discoveryState() {
    return this.#discovery
  }
  invalidateCredentials(what: "all" | "client" | "tokens" | "verifier" | "discovery") {
    if (what === "all" || what === "client") this.#client = undefined
    if (what === "all" || what === "tokens") this.#tokens = undefined
    if (what === "all" || what === "discovery") this.#discovery = undefined
  }
  redirectToAuthorization(url: URL) {
    this.#sentTo = url
  }

  /** Whether somebody waits for the user. */
  get isAsked(): boolean {
    return this.#sentTo !== undefined
  }

  /** Says yes, and brings the code back. */
  readonly authorize = (serverUrl: string): Effect.Effect<void, NotAuthorized> =>
    Effect.tryPromise({
      try: async () => {
        const url = this.#sentTo
        if (url === undefined) throw new Error("nobody asked")
        this.#sentTo = undefined
        const response = await fetch(url, { redirect: "manual" })
        await response.body?.cancel()
        const location = response.headers.get("location")
        if (location === null) throw new Error(`no redirect from ${url.origin}: HTTP ${response.status}`)
        const { searchParams } = new URL(location, url)
        const [code, iss, state] = ["code", "iss", "state"].map((name) => searchParams.get(name))
        // An authorization server need not know about `state`, but if it repeats one, it is ours.
        if (state !== null && state !== this.#state) throw new Error("a redirect that we did not ask for")
        if (code === null || code === undefined) throw new Error("the redirect has no code")
        await auth(this, { serverUrl, authorizationCode: code, ...(iss === null || iss === undefined ? {} : { iss }) })
      },
      catch: (error) => new NotAuthorized({ message: error instanceof Error ? error.message : String(error) })
    })
}

/** A program with an identity that its platform vouches for (SEP-1933). */
export class Workload implements OAuthClientProvider {
  readonly redirectUrl = undefined
  readonly clientMetadata: OAuthClientMetadata = {
    client_name: "mcp-tether-conformance-workload",
    redirect_uris: [],
    grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
    token_endpoint_auth_method: "none"
  }
  readonly #id: string
  readonly #assertion: string
  #tokens: StoredOAuthTokens | undefined

  constructor(id: string, assertion: string) {
    this.#id = id
    this.#assertion = assertion
  }

  clientInformation() {
    return { client_id: this.#id }
  }
  tokens() {
    return this.#tokens
  }
  saveTokens(tokens: StoredOAuthTokens) {
    this.#tokens = tokens
  }
  prepareTokenRequest(scope?: string) {
    return new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      assertion: this.#assertion,
      ...(scope === undefined ? {} : { scope })
    })
  }
  redirectToAuthorization() {
    throw new Error("there is nobody to ask")
  }
  saveCodeVerifier() {}
  codeVerifier(): string {
    throw new Error("there is no code")
  }
}
