/**
 * An authorization server and an MCP server that trusts it, both on the loopback.
 *
 * The authorization server (RFC 8414, 7591, 6749, 7636, 9207): dynamic registration, an authorization endpoint that approves at once,
 * authorization codes with PKCE (S256), refresh tokens that rotate (a second use of one revokes the whole family), client credentials.
 * The MCP server (RFC 9728) is a stateful one of the SDK's v1 line, which asks for a bearer token, and for the scope `admin` for one
 * tool.
 */
import { Server } from "@modelcontextprotocol/sdk/server/index.js"
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js"
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js"
import { CallToolRequestSchema, ErrorCode, ListToolsRequestSchema, McpError } from "@modelcontextprotocol/sdk/types.js"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createHash, randomBytes, randomUUID } from "node:crypto"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"

/** A client that need not register. */
export const machine = { id: "machine", secret: "secret-of-the-machine" }

/** What a test may change at any time. */
export interface Behaviour {
  /** `/authorize` refuses. */
  deny: boolean
  /** `/authorize` sends this state back instead of the one it was given. */
  forgedState: string | undefined
  /** `/token` waits for this before it looks at a request. */
  hold: Promise<void> | undefined
  /** `/token` answers with this status and nothing else. */
  tokenStatus: number | undefined
  /** What goes wrong is told with everything that was sent, secrets and all. */
  echo: boolean
  /** What is said of how long an access token lives, in seconds. */
  expiresIn: number
}

export interface Counts {
  metadata: number
  register: number
  authorize: number
  /** Requests for a token, before they are looked at. */
  token: number
  code: number
  refresh: number
  clientCredentials: number
  /** Refresh tokens that were spent twice. */
  reuses: number
  /** Requests to the MCP endpoint, those that were refused with a 401, and with a 403. */
  mcp: number
  unauthorized: number
  forbidden: number
  /** Sessions of the MCP server. */
  sessions: number
  /** Calls of tools that ran. */
  calls: number
}

export interface AuthServer {
  /** The MCP endpoint. */
  readonly url: string
  readonly issuer: string
  readonly behaviour: Behaviour
  readonly counts: Counts
  /** The tokens that were given out, and the codes: none of them may be told. */
  readonly secrets: ReadonlyArray<string>
  /** The access tokens given out so far are not accepted any more. */
  readonly expire: () => void
  /** The refresh tokens given out so far are not accepted any more. */
  readonly revoke: () => void
  /** Tokens for a client of the test's own, as a login would get them. */
  readonly issue: (scope?: string) => Tokens
  /** Stops the authorization server: its port refuses connections. */
  readonly down: Effect.Effect<void>
  readonly up: Effect.Effect<void>
  /** Completes when a count has reached a number. */
  readonly reached: (count: keyof Counts, number: number) => Effect.Effect<void>
  /** Takes the refresh token as another process would, and answers with the new tokens. */
  readonly rotate: (tokens: Tokens) => Tokens
}

export interface Tokens {
  readonly access_token: string
  readonly token_type: "Bearer"
  readonly expires_in: number
  readonly scope: string
  readonly refresh_token?: string
}

interface Family {
  readonly scope: string
  readonly client: string
  revoked: boolean
}

interface Grant {
  readonly redirectUri: string
  readonly challenge: string
  readonly client: string
  readonly scope: string
}

class Refused extends Error {
  readonly error: string
  constructor(error: string, description: string) {
    super(description)
    this.error = error
  }
}

/** Both servers, until the scope closes. */
export const make: Effect.Effect<AuthServer, never, Scope.Scope> = Effect.gen(function* () {
  const behaviour: Behaviour = {
    deny: false,
    forgedState: undefined,
    hold: undefined,
    tokenStatus: undefined,
    echo: false,
    expiresIn: 3600
  }
  const watchers = new Set<() => void>()
  const counts: Counts = new Proxy(
    {
      metadata: 0,
      register: 0,
      authorize: 0,
      token: 0,
      code: 0,
      refresh: 0,
      clientCredentials: 0,
      reuses: 0,
      mcp: 0,
      unauthorized: 0,
      forbidden: 0,
      sessions: 0,
      calls: 0
    },
    {
      set: (target, key, value) => {
        const done = Reflect.set(target, key, value)
        for (const watcher of watchers) watcher()
        return done
      }
    }
  )
  const secrets: Array<string> = []
  const secret = (kind: string): string => {
    const made = `${kind}-${randomBytes(18).toString("base64url")}`
    secrets.push(made)
    return made
  }
  const clients = new Map<
    string,
    { readonly secret: string | undefined; readonly redirectUris: ReadonlyArray<string> }
  >([
    [machine.id, { secret: machine.secret, redirectUris: [] }],
    ["public", { secret: undefined, redirectUris: ["http://127.0.0.1/callback"] }]
  ])
  const codes = new Map<string, Grant>()
  const accessTokens = new Map<string, Family>()
  const refreshTokens = new Map<string, { readonly family: Family; spent: boolean }>()

  const give = (family: Family, renewable: boolean): Tokens => {
    const access_token = secret("access")
    accessTokens.set(access_token, family)
    const tokens = {
      access_token,
      token_type: "Bearer" as const,
      expires_in: behaviour.expiresIn,
      scope: family.scope
    }
    if (!renewable) return tokens
    const refresh_token = secret("refresh")
    refreshTokens.set(refresh_token, { family, spent: false })
    return { ...tokens, refresh_token }
  }

  const spend = (token: string): Tokens => {
    const known = refreshTokens.get(token)
    if (known === undefined) throw new Refused("invalid_grant", "the refresh token is not known")
    if (known.spent) {
      counts.reuses += 1
      known.family.revoked = true
      throw new Refused("invalid_grant", "the refresh token was spent before")
    }
    if (known.family.revoked) throw new Refused("invalid_grant", "the refresh token is revoked")
    known.spent = true
    return give(known.family, true)
  }

  const authenticate = (form: URLSearchParams, authorization: string | undefined): string => {
    const [id, given] =
      authorization?.startsWith("Basic ") === true
        ? Buffer.from(authorization.slice(6), "base64").toString().split(":")
        : [form.get("client_id") ?? "", form.get("client_secret") ?? undefined]
    const client = clients.get(id ?? "")
    if (id === undefined || client === undefined || client.secret !== given)
      throw new Refused("invalid_client", "the client is not known, or not by this secret")
    return id
  }

  const token = (form: URLSearchParams, authorization: string | undefined): Tokens => {
    const grant = form.get("grant_type")
    if (grant === "refresh_token") counts.refresh += 1
    if (grant === "authorization_code") counts.code += 1
    if (grant === "client_credentials") counts.clientCredentials += 1
    const client = authenticate(form, authorization)
    switch (grant) {
      case "refresh_token":
        return spend(form.get("refresh_token") ?? "")
      case "client_credentials":
        if (clients.get(client)?.secret === undefined) throw new Refused("unauthorized_client", "a public client")
        return give({ scope: form.get("scope") ?? "mcp", client, revoked: false }, false)
      case "authorization_code": {
        const code = form.get("code") ?? ""
        const known = codes.get(code)
        codes.delete(code)
        const verifier = form.get("code_verifier") ?? ""
        secrets.push(verifier)
        if (
          known === undefined ||
          known.client !== client ||
          known.redirectUri !== form.get("redirect_uri") ||
          known.challenge !== createHash("sha256").update(verifier).digest("base64url")
        )
          throw new Refused("invalid_grant", "the code does not belong to this request")
        return give({ scope: known.scope, client, revoked: false }, true)
      }
      default:
        throw new Refused("unsupported_grant_type", `${grant}`)
    }
  }

  const matches = (registered: string, given: string): boolean => {
    // RFC 8252 §7.3: any port of the loopback.
    const one = new URL(registered)
    const other = new URL(given)
    return one.hostname === other.hostname && one.pathname === other.pathname
  }

  const authorize = (query: URLSearchParams): string => {
    const redirectUri = query.get("redirect_uri") ?? ""
    const client = query.get("client_id") ?? ""
    if (clients.get(client)?.redirectUris.some((registered) => matches(registered, redirectUri)) !== true)
      throw new Refused("invalid_request", "the redirect is not registered")
    const back = new URL(redirectUri)
    back.searchParams.set("state", behaviour.forgedState ?? query.get("state") ?? "")
    back.searchParams.set("iss", issuer)
    if (behaviour.deny) {
      back.searchParams.set("error", "access_denied")
    } else if (query.get("code_challenge_method") !== "S256" || query.get("response_type") !== "code") {
      back.searchParams.set("error", "invalid_request")
    } else {
      const code = secret("code")
      codes.set(code, {
        redirectUri,
        client,
        challenge: query.get("code_challenge") ?? "",
        scope: query.get("scope") ?? "mcp"
      })
      back.searchParams.set("code", code)
    }
    return back.href
  }

  const serveAuthorization: Serve = async (request, response, url) => {
    if (url.pathname === "/.well-known/oauth-authorization-server") {
      counts.metadata += 1
      return json(response, 200, {
        issuer,
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        registration_endpoint: `${issuer}/register`,
        response_types_supported: ["code"],
        grant_types_supported: ["authorization_code", "refresh_token", "client_credentials"],
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true
      })
    }
    if (url.pathname === "/register" && request.method === "POST") {
      counts.register += 1
      const metadata = JSON.parse(await textOf(request)) as { readonly redirect_uris?: ReadonlyArray<string> }
      const id = `client-${randomUUID()}`
      clients.set(id, { secret: undefined, redirectUris: metadata.redirect_uris ?? [] })
      return json(response, 201, { ...metadata, client_id: id, token_endpoint_auth_method: "none" })
    }
    if (url.pathname === "/authorize") {
      counts.authorize += 1
      response.writeHead(302, { location: authorize(url.searchParams) })
      response.end()
      return
    }
    if (url.pathname === "/token" && request.method === "POST") {
      const text = await textOf(request)
      counts.token += 1
      await behaviour.hold
      if (behaviour.tokenStatus !== undefined) return json(response, behaviour.tokenStatus, "no")
      try {
        return json(response, 200, token(new URLSearchParams(text), request.headers.authorization))
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        const said = behaviour.echo
          ? `${error.message}: ${[...new URLSearchParams(text).values()].join(" ")} ${request.headers.authorization} ${Buffer.from((request.headers.authorization ?? "").slice(6), "base64").toString()}`
          : error.message
        return json(response, error.error === "invalid_client" ? 401 : 400, {
          error: error.error,
          error_description: said
        })
      }
    }
    return json(response, 404, {})
  }

  const sessions = new Map<string, StreamableHTTPServerTransport>()
  const serveMcp: Serve = async (request, response, url) => {
    if (url.pathname === "/.well-known/oauth-protected-resource/mcp") {
      return json(response, 200, { resource: mcpUrl(), authorization_servers: [issuer], scopes_supported: ["mcp"] })
    }
    if (url.pathname !== "/mcp") return json(response, 404, {})
    counts.mcp += 1
    const bearer = request.headers.authorization?.replace(/^Bearer /, "")
    const family = bearer === undefined ? undefined : accessTokens.get(bearer)
    const metadata = `resource_metadata="${origin(mcp)}/.well-known/oauth-protected-resource/mcp"`
    const echoed = behaviour.echo ? `, error_description="you sent ${bearer}"` : ""
    if (family === undefined || family.revoked) {
      counts.unauthorized += 1
      response.setHeader("www-authenticate", `Bearer error="invalid_token"${echoed}, ${metadata}`)
      return json(response, 401, { error: "invalid_token" })
    }
    const text = request.method === "POST" ? await textOf(request) : ""
    const message: unknown = text === "" ? undefined : JSON.parse(text)
    if (isCallOf(message, "administrate") && !family.scope.split(" ").includes("admin")) {
      counts.forbidden += 1
      response.setHeader("www-authenticate", `Bearer error="insufficient_scope", scope="admin"${echoed}, ${metadata}`)
      return json(response, 403, { error: "insufficient_scope" })
    }
    const id = request.headers["mcp-session-id"]
    if (typeof id === "string") {
      const session = sessions.get(id)
      if (session === undefined) return json(response, 404, {})
      return session.handleRequest(request, response, message)
    }
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (made) => {
        counts.sessions += 1
        sessions.set(made, transport)
      },
      onsessionclosed: (closed) => void sessions.delete(closed)
    })
    await toolServer(counts).connect(transport as Transport)
    return transport.handleRequest(request, response, message)
  }

  const authorization = yield* serve(serveAuthorization)
  const mcp = yield* serve(serveMcp)
  const issuer = origin(authorization)
  const port = (authorization.address() as AddressInfo).port
  const mcpUrl = (): string => `${origin(mcp)}/mcp`

  return {
    url: mcpUrl(),
    issuer,
    behaviour,
    counts,
    secrets,
    expire: () => accessTokens.clear(),
    revoke: () => {
      for (const { family } of refreshTokens.values()) family.revoked = true
    },
    issue: (scope = "mcp") => give({ scope, client: "public", revoked: false }, true),
    rotate: ({ refresh_token }) => spend(refresh_token ?? ""),
    down: stop(authorization),
    up: start(authorization, port),
    reached: (count, number) =>
      Effect.callback<void>((resume) => {
        const look = (): void => {
          if (counts[count] < number) return
          watchers.delete(look)
          resume(Effect.void)
        }
        watchers.add(look)
        look()
        return Effect.sync(() => watchers.delete(look))
      })
  }
})

const toolServer = (counts: Counts): Server => {
  const server = new Server({ name: "vault", version: "1.0.0" }, { capabilities: { tools: {} } })
  const inputSchema = {
    type: "object" as const,
    properties: { text: { type: "string" }, times: { type: "integer" }, loud: { type: "boolean" } }
  }
  server.setRequestHandler(ListToolsRequestSchema, () => ({
    tools: [
      { name: "echo", description: "Answers with the text", inputSchema, annotations: { readOnlyHint: true } },
      { name: "write", description: "Has an effect\nand says so", inputSchema },
      { name: "fail", description: "Answers that it has failed", inputSchema },
      { name: "administrate", description: "Needs the scope admin", inputSchema },
      { name: "confess", description: "Answers with an error that tells the token", inputSchema }
    ]
  }))
  server.setRequestHandler(CallToolRequestSchema, ({ params }, extra) => {
    counts.calls += 1
    const { loud, text, times } = params.arguments ?? {}
    if (params.name === "confess")
      throw new McpError(ErrorCode.InternalError, `you sent ${String(extra.requestInfo?.headers["authorization"])}`)
    const said = Array.from({ length: Number(times ?? 1) }, () => (typeof text === "string" ? text : params.name)).join(
      " "
    )
    return {
      content: [{ type: "text" as const, text: loud === true ? said.toUpperCase() : said }],
      isError: params.name === "fail"
    }
  })
  return server
}

const isCallOf = (message: unknown, tool: string): boolean =>
  (message as { readonly params?: { readonly name?: unknown } } | undefined)?.params?.name === tool

type Serve = (request: Http.IncomingMessage, response: Http.ServerResponse, url: URL) => Promise<void>

const serve = (handle: Serve): Effect.Effect<Http.Server, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const server = Http.createServer((request, response) => {
        handle(request, response, new URL(request.url ?? "/", "http://127.0.0.1")).catch((error: unknown) => {
          json(response, error instanceof Refused ? 400 : 500, {
            error: "server_error",
            error_description: String(error)
          })
        })
      })
      return Effect.as(start(server, 0), server)
    }),
    stop
  )

const start = (server: Http.Server, port: number): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    server.listen(port, "127.0.0.1", () => resume(Effect.void))
  })

const stop = (server: Http.Server): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })

const origin = (server: Http.Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

const textOf = async (request: Http.IncomingMessage): Promise<string> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

const json = (response: Http.ServerResponse, status: number, body: unknown): void => {
  response.setHeader("content-type", "application/json")
  response.writeHead(status)
  response.end(JSON.stringify(body))
}
