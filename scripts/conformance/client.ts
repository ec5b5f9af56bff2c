/**
 * The client that the conformance suites test: `McpConnection` as a program would use it. A suite starts it for each scenario, with
 * the URL of its server as the last argument.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { McpConnection, McpTransport, type RequestError } from "@mcp-tether/connection"
import {
  ClientCredentialsProvider,
  CrossAppAccessProvider,
  type ElicitRequest,
  type OAuthClientProvider,
  PrivateKeyJwtProvider,
  requestJwtAuthorizationGrant
} from "@modelcontextprotocol/client"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Skills from "./skills.ts"
import { type NotAuthorized, User, Workload } from "./user.ts"

type Mcp = McpConnection.Shape
type Answer<A> = Effect.Effect<A, RequestError.RequestError>

interface Scene {
  readonly url: string
  /** What the suite tells of the scenario, besides the URL. */
  readonly context: unknown
}

/** What the host of a client does when a server asks. */
const handlers: McpConnection.Handlers = {
  sampling: () =>
    Effect.succeed({
      model: "none",
      role: "assistant",
      content: { type: "text", text: "an answer" },
      stopReason: "endTurn"
    }),
  elicitation: (params) => Effect.succeed({ action: "accept", content: filledIn(params) })
}

/** A form that the user sends off as it is: what has a default has its default (SEP-1034). */
const filledIn = (params: ElicitRequest["params"]) =>
  "requestedSchema" in params
    ? Object.fromEntries(
        Object.entries(params.requestedSchema.properties).flatMap(([name, field]) =>
          "default" in field && field.default !== undefined ? [[name, field.default]] : []
        )
      )
    : {}

const connect = ({ url }: Scene, authProvider?: OAuthClientProvider) =>
  McpConnection.make({
    name: "conformance",
    client: { name: "mcp-tether-conformance", version: "1.0.0" },
    transport: McpTransport.streamableHttp({ url, authProvider }),
    start: "lazy",
    handlers,
    roots: []
  })

/** How often a user is ready to authorize before the request is given up. */
const patience = 2

/** A request that the user may have to authorize first, and once more when it needs more than was granted. */
const authorizing =
  (scene: Scene, user: User, mcp: Mcp) =>
  <A>(request: Answer<A>, left = patience): Effect.Effect<A, RequestError.RequestError | NotAuthorized> =>
    Effect.catch(request, (error) =>
      left > 0 && user.isAsked
        ? user
            .authorize(scene.url)
            .pipe(
              Effect.andThen(Effect.ignore(mcp.reconnect)),
              Effect.andThen(authorizing(scene, user, mcp)(request, left - 1))
            )
        : Effect.fail(error)
    )

const listAndCall =
  (name: string, args: Record<string, unknown> = {}) =>
  <E>(mcp: Mcp, ask: <A>(request: Answer<A>) => Effect.Effect<A, E>) =>
    Effect.gen(function* () {
      const tools = yield* ask(mcp.listTools())
      if (!tools.some((tool) => tool.name === name))
        return yield* Effect.die(new Error(`the server has no tool ${name}`))
      return yield* ask(mcp.callTool({ name, arguments: args }))
    })

/** What can go wrong while a scenario is played. */
type Failure =
  | Effect.Error<ReturnType<typeof McpConnection.make>>
  | RequestError.RequestError
  | NotAuthorized
  | Skills.Unverified
  | Schema.SchemaError

type Play = (scene: Scene) => Effect.Effect<unknown, Failure, Scope.Scope>

const direct = <A>(request: Answer<A>): Answer<A> => request

const calling =
  (name: string, args?: Record<string, unknown>): Play =>
  (scene) =>
    Effect.flatMap(connect(scene), (mcp) => listAndCall(name, args)(mcp, direct))

const asUser =
  (user: (scene: Scene) => User): Play =>
  (scene) =>
    Effect.gen(function* () {
      const somebody = user(scene)
      const mcp = yield* connect(scene, somebody)
      return yield* listAndCall("test-tool")(mcp, authorizing(scene, somebody, mcp))
    })

/** Programs that have credentials of their own, and nobody to ask. */
const asProgram =
  <A>(context: Schema.ConstraintDecoder<A>, provider: (context: A) => OAuthClientProvider): Play =>
  (scene) =>
    Effect.gen(function* () {
      const mcp = yield* connect(scene, provider(yield* Schema.decodeUnknownEffect(context)(scene.context)))
      return yield* listAndCall("test-tool")(mcp, direct)
    })

const plays: Readonly<Record<string, Play>> = {
  initialize: (scene) => Effect.flatMap(connect(scene), (mcp) => mcp.listTools()),
  tools_call: calling("add_numbers", { a: 5, b: 3 }),
  "elicitation-sep1034-client-defaults": calling("test_client_elicitation_defaults"),
  "sse-retry": calling("test_reconnection"),
  "request-metadata": (scene) => Effect.flatMap(connect(scene), (mcp) => mcp.listTools()),
  "json-schema-ref-no-deref": (scene) => Effect.flatMap(connect(scene), (mcp) => mcp.listTools()),

  "json-schema-2020-12-preservation": Effect.fnUntraced(function* (scene) {
    const mcp = yield* connect(scene)
    const tools = yield* mcp.listTools()
    const schema = tools.find(({ name }) => name === "json_schema_2020_12_tool")?.inputSchema
    return yield* mcp.callTool({ name: "json_schema_echo", arguments: { schema } })
  }),

  "sep-2322-client-request-state": Effect.fnUntraced(function* (scene) {
    const mcp = yield* connect(scene)
    const tools = yield* mcp.listTools()
    return yield* Effect.forEach(
      tools,
      ({ name }) =>
        // One of them answers without `resultType`, which a 2026-07-28 server may not: the SDK says so, and a host goes on.
        Effect.catchTag(mcp.callTool({ name, arguments: {} }), "InvalidResult", (error) =>
          Effect.logWarning(error.message)
        ),
      { concurrency: "unbounded" }
    )
  }),

  "http-standard-headers": Effect.fnUntraced(function* (scene) {
    const mcp = yield* connect(scene)
    for (const { name } of yield* mcp.listTools()) yield* mcp.callTool({ name, arguments: {} })
    for (const { uri } of yield* mcp.listResources()) yield* mcp.readResource({ uri })
    for (const { name } of yield* mcp.listPrompts()) yield* mcp.getPrompt({ name })
  }),

  "http-custom-headers": Effect.fnUntraced(function* (scene) {
    const { toolCalls } = yield* Schema.decodeUnknownEffect(
      Schema.Struct({
        toolCalls: Schema.Array(
          Schema.Struct({ name: Schema.String, arguments: Schema.Record(Schema.String, Schema.Unknown) })
        )
      })
    )(scene.context)
    const mcp = yield* connect(scene)
    yield* mcp.listTools()
    return yield* Effect.forEach(toolCalls, (call) => mcp.callTool({ ...call, arguments: { ...call.arguments } }))
  }),

  // Whatever the client shows of such a list can be called.
  "http-invalid-tool-headers": Effect.fnUntraced(function* (scene) {
    const mcp = yield* connect(scene)
    const tools = yield* mcp.listTools()
    return yield* Effect.forEach(tools, ({ inputSchema, name }) =>
      mcp.callTool({
        name,
        arguments: Object.fromEntries(Object.keys(inputSchema.properties ?? {}).map((key) => [key, "value"]))
      })
    )
  }),

  "sep-2640-client-no-prefetch": (scene) => Effect.flatMap(connect(scene), Skills.list),
  "sep-2640-client-verify-digest": (scene) => Effect.flatMap(connect(scene), Skills.load),
  "sep-2640-client-verify-size": (scene) => Effect.flatMap(connect(scene), Skills.load),
  "sep-2640-client-verify-frontmatter": (scene) => Effect.flatMap(connect(scene), Skills.load),

  // Its document is at no host that exists, so it is named to the server that asks for it alone.
  "auth/basic-cimd": asUser(
    () => new User({ clientMetadataUrl: "https://conformance-test.local/client-metadata.json" })
  ),
  "auth/pre-registration": Effect.fnUntraced(function* (scene) {
    const client = yield* Schema.decodeUnknownEffect(
      Schema.Struct({ client_id: Schema.String, client_secret: Schema.String })
    )(scene.context)
    return yield* asUser(() => new User({ client }))(scene)
  }),
  "auth/dpop": asUser(() => new User({ dpop: true })),
  "auth/dpop-nonce": asUser(() => new User({ dpop: true })),

  "auth/client-credentials-basic": asProgram(
    Schema.Struct({ client_id: Schema.String, client_secret: Schema.String }),
    ({ client_id, client_secret }) =>
      new ClientCredentialsProvider({ clientId: client_id, clientSecret: client_secret })
  ),
  "auth/client-credentials-jwt": asProgram(
    Schema.Struct({ client_id: Schema.String, private_key_pem: Schema.String, signing_algorithm: Schema.String }),
    ({ client_id, private_key_pem, signing_algorithm }) =>
      new PrivateKeyJwtProvider({ clientId: client_id, privateKey: private_key_pem, algorithm: signing_algorithm })
  ),
  "auth/wif-jwt-bearer": asProgram(
    Schema.Struct({ client_id: Schema.String, valid_jwt: Schema.String }),
    ({ client_id, valid_jwt }) => new Workload(client_id, valid_jwt)
  ),
  "auth/cross-app-access-complete-flow": (scene) => enterprise(scene),
  "auth/enterprise-managed-authorization": (scene) => enterprise(scene)
}

const enterprise = asProgram(
  Schema.Struct({
    client_id: Schema.String,
    client_secret: Schema.String,
    idp_client_id: Schema.String,
    idp_id_token: Schema.String,
    idp_token_endpoint: Schema.String
  }),
  (context) =>
    new CrossAppAccessProvider({
      clientId: context.client_id,
      clientSecret: context.client_secret,
      assertion: async ({ authorizationServerUrl, fetchFn, resourceUrl, scope }) => {
        const { jwtAuthGrant } = await requestJwtAuthorizationGrant({
          tokenEndpoint: context.idp_token_endpoint,
          audience: authorizationServerUrl,
          resource: resourceUrl,
          idToken: context.idp_id_token,
          clientId: context.idp_client_id,
          fetchFn,
          ...(scope === undefined ? {} : { scope })
        })
        return jwtAuthGrant
      }
    })
)

/** Scenarios that are about one thing each are played the same way: a user who is asked, and says yes. */
const playOf = (scenario: string): Play | undefined =>
  plays[scenario] ?? (scenario.startsWith("auth/") ? asUser(() => new User()) : undefined)

const program = Effect.gen(function* () {
  const scenario = yield* Config.String("MCP_CONFORMANCE_SCENARIO")
  const context = yield* Schema.decodeEffect(Schema.fromJsonString(Schema.Unknown))(
    yield* Config.String("MCP_CONFORMANCE_CONTEXT").pipe(Config.withDefault("{}"))
  )
  const url = process.argv.at(-1)
  const play = playOf(scenario)
  if (url === undefined || play === undefined) return yield* Effect.die(new Error(`no such scenario: ${scenario}`))
  const result = yield* play({ url, context })
  yield* Effect.logInfo(Predicate.isUndefined(result) ? "played" : JSON.stringify(result))
})

// A bound of its own, below the suite's: whatever happens, the process ends.
program.pipe(Effect.scoped, Effect.timeout("20 seconds"), NodeRuntime.runMain)
