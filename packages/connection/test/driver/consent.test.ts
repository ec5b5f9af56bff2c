/** A user who has to be asked is asked once, however many requests meet the refusal. */
import { assert, it } from "@effect/vitest"
import type { OAuthClientProvider, StoredOAuthTokens } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { json } from "node:stream/consumers"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"

/** A modern server and its own authorization server, that accepts the tokens in `accepted`. */
const makeServer = (accepted: Set<string>) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const server = createServer((request, response) => void answer(request, response))
      const origin = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      const send = (response: ServerResponse, status: number, body: unknown, headers = {}) => {
        response.writeHead(status, { "content-type": "application/json", ...headers })
        response.end(JSON.stringify(body))
      }
      const answer = async (request: IncomingMessage, response: ServerResponse) => {
        if (request.url?.startsWith("/.well-known/oauth-protected-resource") === true)
          return send(response, 200, { resource: `${origin()}/mcp`, authorization_servers: [origin()] })
        if (request.url === "/.well-known/oauth-authorization-server")
          return send(response, 200, {
            issuer: origin(),
            authorization_endpoint: `${origin()}/authorize`,
            token_endpoint: `${origin()}/token`,
            response_types_supported: ["code"],
            code_challenge_methods_supported: ["S256"]
          })
        if (request.url !== "/mcp" || request.method !== "POST") return send(response, 405, {})
        const { id, method } = (await json(request)) as { readonly id: number; readonly method: string }
        if (!accepted.has(request.headers.authorization?.replace("Bearer ", "") ?? ""))
          return send(response, 401, {}, { "www-authenticate": `Bearer error="invalid_token"` })
        const common = { resultType: "complete", ttlMs: 0, cacheScope: "private" }
        const result =
          method === "server/discover"
            ? {
                ...common,
                supportedVersions: ["2026-07-28"],
                capabilities: { tools: {} },
                serverInfo: { name: "consent", version: "1.0.0" }
              }
            : { ...common, content: [{ type: "text", text: "done" }] }
        send(response, 200, { jsonrpc: "2.0", id, result })
      }
      server.listen(0, "127.0.0.1", () =>
        resume(
          Effect.succeed({
            url: `${origin()}/mcp`,
            close: () => {
              server.closeAllConnections()
              server.close()
            }
          })
        )
      )
    }),
    ({ close }) => Effect.sync(close)
  )

const makeUser = () => {
  const asked: Array<URL> = []
  let tokens: StoredOAuthTokens = { access_token: "first-token", token_type: "Bearer" }
  const provider: OAuthClientProvider = {
    redirectUrl: "http://127.0.0.1/callback",
    clientMetadata: { redirect_uris: ["http://127.0.0.1/callback"] },
    clientInformation: () => ({ client_id: "client" }),
    tokens: () => tokens,
    saveTokens: (saved) => {
      tokens = saved
    },
    saveCodeVerifier: () => {},
    codeVerifier: () => "verifier",
    redirectToAuthorization: (url) => {
      asked.push(url)
    }
  }
  const grant = (token: string): void => {
    tokens = { access_token: token, token_type: "Bearer" }
  }
  return { asked, provider, grant }
}

const connect = (url: string, authProvider: OAuthClientProvider) =>
  McpConnection.make({ transport: McpTransport.streamableHttp({ url, authProvider }), heartbeat: "off" })

const call = (mcp: McpConnection.Shape) => mcp.callTool({ name: "anything" })

/** Waits until the session that is doubted has been probed, and given up. */
const failed = (mcp: McpConnection.Shape) =>
  mcp.changes.pipe(
    Stream.filter(({ _tag }) => _tag === "Failed"),
    Stream.runHead
  )

it.live("a session whose token is refused asks the user once, though it is probed", () =>
  Effect.gen(function* () {
    const accepted = new Set(["first-token"])
    const { url } = yield* makeServer(accepted)
    const user = makeUser()
    const mcp = yield* connect(url, user.provider)
    accepted.clear()

    const error = yield* Effect.flip(call(mcp))
    assert.strictEqual(error._tag, "ConnectionUnavailable")
    yield* failed(mcp)
    assert.lengthOf(user.asked, 1)

    accepted.add("second-token")
    user.grant("second-token")
    yield* mcp.reconnect
    assert.deepEqual((yield* call(mcp)).content, [{ type: "text", text: "done" }])
    assert.lengthOf(user.asked, 1)
  })
)

it.live("who reconnects without having been authorized is asked again", () =>
  Effect.gen(function* () {
    const accepted = new Set(["first-token"])
    const { url } = yield* makeServer(accepted)
    const user = makeUser()
    const mcp = yield* connect(url, user.provider)
    accepted.clear()

    yield* Effect.flip(call(mcp))
    yield* failed(mcp)
    yield* Effect.flip(mcp.reconnect)
    assert.lengthOf(user.asked, 2)
  })
)
