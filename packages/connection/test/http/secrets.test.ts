/** What must never be told: in headers, in the URL, from an auth provider; and what a server makes of it. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { inspect } from "node:util"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import * as Proxy from "./proxy.ts"
import * as Replies from "./replies.ts"
import { call, eventsOf, failureOf, generationOf, type Rig, scenario, settled, until } from "./rig.ts"
import type { Exchange, Reply } from "./server.ts"

const secrets = { token: "hunter-token", key: "hunter-key", plain: "hunter-plain", query: "hunter-query" }

const headers = {
  Authorization: Redacted.make(`Bearer ${secrets.token}`),
  "X-Api-Key": Redacted.make(secrets.key),
  "X-Plain": secrets.plain
}

/** Every way in which people print things. */
const print = (value: unknown): string =>
  [
    String(value),
    JSON.stringify(value),
    inspect(value, { depth: Infinity, showHidden: true, maxStringLength: Infinity, maxArrayLength: Infinity }),
    value instanceof Error ? `${value.message}\n${value.stack}` : ""
  ].join("\n")

const assertSecretive = (rig: Rig, told: ReadonlyArray<unknown>): void => {
  for (const text of [...told.map(print), ...rig.logs]) assert.notMatch(text, /hunter/)
}

/** What a careless server says: the headers that came, as they came. */
const echo = ({ seen }: Exchange): string =>
  `denied: ${String(seen.headers.authorization)} and ${String(seen.headers["x-api-key"])}`

const echoed = (status: number): Reply =>
  Replies.status(
    status,
    {
      "content-type": "text/plain",
      "www-authenticate": `Bearer error="${secrets.key} and Bearer ${secrets.token} are bad"`
    },
    echo
  )

/** Faults whose answers repeat the secrets. */
const faults: Record<string, Reply> = {
  "a reset": Replies.drop("rst"),
  "a 401 that repeats them": echoed(401),
  "a 403 that repeats them": echoed(403),
  "a 400 that repeats them": echoed(400),
  "a 500 that repeats them": echoed(500),
  "a 502 that repeats them": echoed(502),
  "a 503 that repeats them": echoed(503),
  "a 404 that repeats them": echoed(404),
  "HTML that repeats them": Replies.status(200, { "content-type": "text/html" }, echo),
  "a content type that repeats them": Replies.status(200, { "content-type": `text/${secrets.key}` }, "no"),
  "broken JSON that repeats them": Replies.status(200, { "content-type": "application/json" }, echo),
  "an event that repeats them and is no JSON": (exchange) => {
    Replies.stream("end", { message: echo(exchange) })(exchange)
  },
  "a redirect that repeats them": Replies.status(302, { location: `http://localhost:1/?token=${secrets.key}` }),
  "a JSON-RPC error of nobody that repeats them": (exchange) => {
    Replies.rpcError(400, "null", { code: -32000, message: echo(exchange) })(exchange)
  }
}

describe("secrets in headers and in the URL", () => {
  const connect = (rig: Rig, server: { readonly url: string }, options: Parameters<Rig["connect"]>[1] = {}) =>
    rig.connect({ url: `${server.url}?key=${secrets.query}` }, { ...options, http: { headers, ...options.http } })

  scenario("arrive as they are", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const connection = yield* connect(rig, server)
      assert.strictEqual(yield* call(connection, "write", "effect"), "effect")
      for (const { headers, path } of server.seen) {
        assert.strictEqual(headers.authorization, `Bearer ${secrets.token}`)
        assert.strictEqual(headers["x-api-key"], secrets.key)
        assert.strictEqual(headers["x-plain"], secrets.plain)
        assert.strictEqual(path, `/mcp?key=${secrets.query}`)
      }
      assertSecretive(rig, [yield* connection.state, connection])
    })
  )

  for (const [name, reply] of Object.entries(faults)) {
    scenario(`are not told under a call, by ${name}`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        const connection = yield* connect(rig, server)
        const events = yield* eventsOf(connection)
        server.on("call write", 1, reply)
        server.on("tools/list", 1, reply)
        const errors = [
          yield* failureOf(call(connection, "write", secrets.plain, { replay: "never" })),
          yield* failureOf(settled(connection.listTools({ replay: "never" })))
        ]
        assertSecretive(rig, [...errors, ...events, yield* connection.state])
      })
    )

    scenario(`are not told of a session that is lost, by ${name}`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        const connection = yield* connect(rig, server)
        const events = yield* eventsOf(connection)
        server.on("any", "every", reply)
        const error = yield* failureOf(call(connection, "write", secrets.plain, { wait: "500 millis" }))
        yield* until("the loss", () => events.some(({ _tag }) => _tag === "SessionLost"))
        assert.isAbove(rig.logs.length, 0)
        assertSecretive(rig, [error, ...events, yield* connection.state])
      })
    )

    scenario(`are not told of a handshake that fails, by ${name}`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        server.on("any", "every", reply)
        const error = yield* failureOf(settled(connect(rig, server, { startWithin: "500 millis" })))
        assert(error._tag === "ConnectionError", error.message)
        const connection = yield* connect(rig, server, { start: "lazy", wait: "500 millis" })
        const events = yield* eventsOf(connection)
        const failed = yield* failureOf(call(connection, "write", secrets.plain))
        assertSecretive(rig, [error, failed, ...events, yield* connection.state])
      })
    )
  }

  scenario("are not told by a rejection that repeats them", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const connection = yield* connect(rig, server)
      server.on("call write", 1, (exchange) => {
        Replies.rpcError(200, "own", { code: -32000, message: echo(exchange) })(exchange)
      })
      const error = yield* failureOf(call(connection, "write", "effect"))
      assert.strictEqual(error._tag, "ServerRejected")
      assertSecretive(rig, [error])
    })
  )

  scenario("are not told by a server that cannot be reached", (rig) =>
    Effect.gen(function* () {
      const port = yield* rig.around(Proxy.nobody)
      for (const protocol of ["http", "https"]) {
        const error = yield* failureOf(
          settled(connect(rig, { url: `${protocol}://127.0.0.1:${port}/mcp` }, { startWithin: "300 millis" }))
        )
        assertSecretive(rig, [error])
      }
    })
  )

  const bare: Record<string, Reply> = {
    "a challenge": Replies.status(401, { "www-authenticate": `Bearer error="${secrets.token} is bad"` }),
    "the body of a 500": Replies.status(500, {}, `${secrets.token} is bad`),
    "a JSON-RPC error": Replies.rpcError(200, "own", { code: -32000, message: `${secrets.token} is bad` }),
    "a JSON-RPC error of nobody": Replies.rpcError(400, "null", { code: -32000, message: `${secrets.token} is bad` })
  }
  for (const [name, reply] of Object.entries(bare)) {
    scenario(`are not told when a token comes back without its scheme, under a call: ${name}`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        const connection = yield* connect(rig, server)
        const events = yield* eventsOf(connection)
        server.on("call write", 1, reply)
        assertSecretive(rig, [yield* failureOf(call(connection, "write", "effect", { replay: "never" })), ...events])
      })
    )

    scenario(`are not told when a token comes back without its scheme, in the handshake: ${name}`, (rig) =>
      Effect.gen(function* () {
        const server = yield* rig.serve()
        server.on("any", "every", reply)
        assertSecretive(rig, [yield* failureOf(settled(connect(rig, server, { startWithin: "300 millis" })))])
      })
    )
  }

  scenario("of an auth provider are not told", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const authProvider = {
        token: () => Promise.resolve(secrets.token),
        onUnauthorized: () => Promise.reject(new Error(`cannot renew ${secrets.token}`))
      }
      const connection = yield* rig.connect(server, { http: { authProvider } })
      const events = yield* eventsOf(connection)
      server.on("any", "every", Replies.status(401))
      const error = yield* failureOf(call(connection, "write", "effect"))
      assertSecretive(rig, [error, ...events, yield* connection.state])
    })
  )

  scenario("are not told when the headers cannot be had", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const error = yield* failureOf(
        settled(
          rig.connect(server, {
            startWithin: "300 millis",
            http: { headers: Effect.succeed({ Authorization: Redacted.make(`Bearer ${secrets.token}\nX: 1`) }) }
          })
        )
      )
      assertSecretive(rig, [error])
      assert(error._tag === "ConnectionError" && error.reason._tag === "HeadersFailed", error.message)
      assert.include(error.message, "Authorization")
      assert.deepStrictEqual(server.seen, [])
    })
  )
})

describe("options that are wrong", () => {
  const make = (options: McpTransport.HttpOptions) =>
    failureOf(Effect.scoped(McpConnection.make({ transport: McpTransport.streamableHttp(options) })))
  const wrong: Record<string, readonly [options: Record<string, unknown>, option: string]> = {
    "no URL": [{ url: `${secrets.query} is no URL` }, "url"],
    "another protocol": [{ url: `ftp://127.0.0.1/${secrets.query}` }, "url"],
    "a file": [{ url: `file:///${secrets.query}` }, "url"],
    "credentials in the URL": [{ url: `http://user:${secrets.token}@127.0.0.1/mcp` }, "url"],
    "a user in the URL": [{ url: `http://${secrets.token}@127.0.0.1/mcp` }, "url"],
    "a header that is no string": [{ url: "http://127.0.0.1/", headers: { "x-key": [secrets.key] } }, "headers"],
    "a connectTimeout that is none": [{ url: "http://127.0.0.1/", connectTimeout: "soon" }, "connectTimeout"],
    "a negative maxMessageBytes": [{ url: "http://127.0.0.1/", maxMessageBytes: -1 }, "maxMessageBytes"],
    "a fractional maxMessageBytes": [{ url: "http://127.0.0.1/", maxMessageBytes: 1.5 }, "maxMessageBytes"]
  }
  for (const [name, [options, option]] of Object.entries(wrong))
    scenario(`are InvalidOptions, which name the option and tell no secret: ${name}`, (rig) =>
      Effect.gen(function* () {
        const error = yield* make(options as unknown as McpTransport.HttpOptions)
        assert.strictEqual(error._tag, "InvalidOptions", error.message)
        assert.include(error.message, option)
        assertSecretive(rig, [error])
      })
    )

  for (const [name, headers] of Object.entries({
    "a name with a blank": { "x key": secrets.key },
    "a value with a line end": { "x-key": Redacted.make(`${secrets.key}\r\nx: 1`) }
  }))
    scenario(
      `and headers that cannot be sent end the start, typed, with nothing told and nothing sent: ${name}`,
      (rig) =>
        Effect.gen(function* () {
          const server = yield* rig.serve()
          const error = yield* failureOf(settled(rig.connect(server, { startWithin: "500 millis", http: { headers } })))
          assert.include(["InvalidOptions", "ConnectionError"], error._tag)
          assertSecretive(rig, [error])
          assert.deepStrictEqual(server.seen, [])
        })
    )

  scenario("the label is the host, without the rest of the URL", () =>
    Effect.sync(() => {
      const transport = McpTransport.streamableHttp({ url: `https://mcp.example.com:8443/a/b?key=${secrets.query}#x` })
      assert.include(transport.label, "mcp.example.com")
      assert.notMatch(transport.label, /hunter|\/a\/b/)
    })
  )

  scenario("a URL may be a URL", (rig) =>
    Effect.gen(function* () {
      const server = yield* rig.serve()
      const connection = yield* McpConnection.make({
        transport: McpTransport.streamableHttp({ url: new URL(server.url) })
      })
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )
})
