/** OAuth, against a real authorization server on the loopback: who asks for a token, how often, and who is told what. */
import { ClientCredentialsProvider, type OAuthClientProvider } from "@modelcontextprotocol/client"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { inspect } from "node:util"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import {
  type Connection,
  eventsOf,
  failureOf,
  fast,
  nothingHeld,
  resources,
  tagsOf,
  textOf,
  until
} from "../driver/rig.ts"
import * as AuthServer from "./authServer.ts"
import { providerOf, wallet as emptyWallet } from "./wallet.ts"

interface Rig {
  readonly server: AuthServer.AuthServer
  readonly connect: (
    http: Partial<McpTransport.HttpOptions>,
    options?: Partial<McpConnection.Options>
  ) => Effect.Effect<Connection, Effect.Error<ReturnType<typeof McpConnection.make>>, Scope.Scope>
  /** Every line that was logged, at any level, every span, and every line on the console. */
  readonly told: ReadonlyArray<unknown>
}

/** A behaviour on real sockets and the real clock. In the end no socket, timer or handle of it may be left. */
const scenario = <A, E>(name: string, body: (rig: Rig) => Effect.Effect<A, E, Scope.Scope>): void =>
  it.live(name, () =>
    Effect.suspend(() => {
      const before = resources()
      const told: Array<unknown> = []
      const logger = Logger.make(({ cause, fiber, logLevel, message }) => {
        told.push([logLevel, message, fiber.getRef(References.CurrentLogAnnotations), Cause.pretty(cause)])
      })
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          told.push(span)
          return span
        }
      })
      return Effect.gen(function* () {
        const server = yield* AuthServer.make
        const connect: Rig["connect"] = (http, options) =>
          McpConnection.make({
            name: "vault",
            policy: fast,
            heartbeat: "off",
            requestTimeout: "15 seconds",
            wait: "15 seconds",
            ...options,
            transport: McpTransport.streamableHttp({ url: server.url, ...http })
          })
        yield* Effect.scoped(
          Effect.andThen(
            Effect.acquireRelease(
              Effect.sync(() => listenToConsole(told)),
              (restore) => Effect.sync(restore)
            ),
            body({ server, connect, told })
          )
        ).pipe(
          Effect.provide(Logger.layer([logger])),
          Effect.withTracer(tracer),
          Effect.provideService(References.MinimumLogLevel, "All")
        )
      }).pipe(Effect.scoped, Effect.andThen(nothingHeld(before)))
    })
  )

/** The SDK has a few lines for the console. */
const listenToConsole = (told: Array<unknown>): (() => void) => {
  const original = { warn: console.warn, log: console.log, error: console.error, info: console.info }
  const note = (...line: ReadonlyArray<unknown>): void => void told.push(["console", ...line])
  Object.assign(console, { warn: note, log: note, error: note, info: note })
  return () => void Object.assign(console, original)
}

/** Tokens as the SDK saves them: with the name of the server that they are from. */
const stamped = (server: AuthServer.AuthServer, tokens: AuthServer.Tokens) => ({ ...tokens, issuer: server.issuer })

const call = (connection: Connection, name: string, args: Record<string, unknown> = {}) =>
  Effect.map(connection.callTool({ name, arguments: args }), textOf)

/** What a caller is told of a connection that failed it. */
const unauthorizedOf = Effect.fnUntraced(function* <A>(effect: Effect.Effect<A, { readonly _tag: string }>) {
  const error = yield* failureOf(effect)
  assert.strictEqual(error._tag, "ConnectionUnavailable", inspect(error))
  const { because, cause, delivery } = error as Extract<
    Effect.Error<ReturnType<Connection["callTool"]>>,
    { readonly _tag: "ConnectionUnavailable" }
  >
  assert(cause?.reason._tag === "Unauthorized", inspect(cause))
  return { because, delivery, reason: cause.reason }
})

const walletOf = (server: AuthServer.AuthServer) => emptyWallet(stamped(server, server.issue()), server.issuer)

const untilFailed = (connection: Connection) =>
  Effect.gen(function* () {
    let state = yield* connection.state
    yield* Effect.whileLoop({
      while: () => state._tag !== "Failed",
      body: () => Effect.delay(connection.state, "2 millis"),
      step: (next) => {
        state = next
      }
    })
    assert(state._tag === "Failed")
    return state.error
  }).pipe(Effect.timeout("10 seconds"), Effect.orDie)

const generationOf = (connection: Connection) =>
  Effect.map(Effect.orDie(connection.awaitReady), ({ generation }) => generation)

/** A gate for `behaviour.hold`. */
const gate = () => Promise.withResolvers<void>()

const fifty = Array.from({ length: 50 }, (_, index) => `caller ${index}`)

describe("an expired token", () => {
  scenario("is refreshed once for fifty callers in flight, in the same session", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      const connection = yield* connect({ authProvider: providerOf(store) })
      const open = gate()
      server.expire()
      server.behaviour.hold = open.promise
      const before = server.counts.unauthorized
      const callers = yield* Effect.forEach(fifty, (text) => call(connection, "write", { text }), {
        concurrency: "unbounded"
      }).pipe(Effect.forkChild({ startImmediately: true }))
      yield* server.reached("unauthorized", before + fifty.length)
      open.resolve()
      assert.deepStrictEqual(yield* Fiber.join(callers), fifty)
      assert.strictEqual(server.counts.refresh, 1)
      assert.strictEqual(server.counts.reuses, 0)
      assert.strictEqual(server.counts.calls, fifty.length)
      assert.strictEqual(server.counts.sessions, 1)
      assert.strictEqual(store.saved, 1)
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("is refreshed once, again and again", ({ connect, server }) =>
    Effect.gen(function* () {
      const connection = yield* connect({ authProvider: providerOf(walletOf(server)) })
      for (const round of [1, 2, 3]) {
        server.expire()
        yield* Effect.forEach(fifty, (text) => call(connection, "write", { text }), { concurrency: "unbounded" })
        assert.strictEqual(server.counts.refresh, round)
      }
      assert.strictEqual(server.counts.reuses, 0)
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("is refreshed once for two connections that share a provider", ({ connect, server }) =>
    Effect.gen(function* () {
      const authProvider = providerOf(walletOf(server))
      const connections = [yield* connect({ authProvider }), yield* connect({ authProvider })]
      const open = gate()
      server.expire()
      server.behaviour.hold = open.promise
      const before = server.counts.unauthorized
      const callers = yield* Effect.forEach(connections, (connection) => call(connection, "write"), {
        concurrency: "unbounded"
      }).pipe(Effect.forkChild({ startImmediately: true }))
      yield* server.reached("unauthorized", before + 2)
      open.resolve()
      yield* Fiber.join(callers)
      assert.strictEqual(server.counts.refresh, 1)
      assert.strictEqual(server.counts.reuses, 0)
    })
  )

  scenario("at the start is refreshed before the handshake", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      server.expire()
      const connection = yield* connect({ authProvider: providerOf(store) })
      assert.strictEqual(yield* call(connection, "write"), "write")
      assert.strictEqual(server.counts.refresh, 1)
    })
  )

  scenario("that another process has replaced is read from the store, without a refresh", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      const connection = yield* connect({ authProvider: providerOf(store) })
      assert(store.tokens !== undefined)
      const mine = store.tokens
      server.expire()
      store.tokens = stamped(server, server.rotate(mine as AuthServer.Tokens))
      assert.strictEqual(yield* call(connection, "write"), "write")
      assert.strictEqual(server.counts.refresh, 0)
      assert.strictEqual(server.counts.reuses, 0)
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("that another process replaces while this one asks is not forgotten", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      const connection = yield* connect({ authProvider: providerOf(store) })
      const open = gate()
      server.expire()
      server.behaviour.hold = open.promise
      const caller = yield* Effect.forkChild(call(connection, "write"), { startImmediately: true })
      yield* server.reached("token", 1)
      // The other one was faster; the server that this one asks does not take reuse for theft.
      store.tokens = stamped(server, server.issue())
      server.revoke()
      const theirs = server.issue()
      store.tokens = stamped(server, theirs)
      open.resolve()
      assert.strictEqual(yield* Fiber.join(caller), "write")
      assert.strictEqual(store.tokens.access_token, theirs.access_token)
      assert.strictEqual(store.prompts, 0)
    })
  )

  scenario("is refreshed to the end although the caller who asked first has left", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      const connection = yield* connect({ authProvider: providerOf(store) })
      const open = gate()
      server.expire()
      server.behaviour.hold = open.promise
      const first = yield* Effect.forkChild(call(connection, "write"), { startImmediately: true })
      yield* server.reached("token", 1)
      const second = yield* Effect.forkChild(call(connection, "echo"), { startImmediately: true })
      yield* Fiber.interrupt(first)
      open.resolve()
      assert.strictEqual(yield* Fiber.join(second), "echo")
      assert.strictEqual(server.counts.refresh, 1)
      assert.strictEqual(server.counts.calls, 1)
    })
  )

  scenario("is saved although the connection closes meanwhile", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      const open = gate()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* connect({ authProvider: providerOf(store) })
          server.expire()
          server.behaviour.hold = open.promise
          yield* Effect.forkScoped(Effect.ignore(call(connection, "write")), { startImmediately: true })
          yield* server.reached("token", 1)
          // Runs before the connection closes.
          yield* Effect.addFinalizer(() => Effect.sync(() => void setImmediate(open.resolve)))
        })
      )
      assert.strictEqual(store.saved, 1)
      assert.strictEqual(server.counts.refresh, 1)
    })
  )
})

describe("a refresh that is refused", () => {
  for (const forgetful of [true, false])
    scenario(
      `is Unauthorized with the server's challenge for all fifty, once, and Failed: a provider that can${forgetful ? "" : "not"} forget`,
      ({ connect, server }) =>
        Effect.gen(function* () {
          const store = walletOf(server)
          const connection = yield* connect({ authProvider: providerOf(store, forgetful) })
          const events = yield* eventsOf(connection)
          server.expire()
          server.revoke()
          const errors = yield* Effect.forEach(fifty, (text) => unauthorizedOf(call(connection, "write", { text })), {
            concurrency: "unbounded"
          })
          for (const { delivery, reason } of errors) {
            assert.strictEqual(reason.status, 401)
            assert.match(reason.challenge ?? "", /^Bearer error="invalid_token", resource_metadata="http/)
            assert.include(["Refused", "NotSent"], delivery)
          }
          assert.include(errors[0]?.reason.description ?? "", "invalid_grant")
          const error = yield* untilFailed(connection)
          assert.strictEqual(error.reason._tag, "Unauthorized")
          assert.strictEqual(server.counts.refresh, 1)
          assert.strictEqual(store.prompts, 1)
          assert.strictEqual(server.counts.calls, 0)
          assert.deepStrictEqual(
            tagsOf(events).filter((tag) => tag === "AttemptStarted"),
            []
          )
          // Whoever comes later is told at once, and nobody is asked again.
          const asked = server.counts.mcp
          assert.strictEqual((yield* unauthorizedOf(call(connection, "write"))).because, "Failed")
          assert.strictEqual(server.counts.mcp, asked)
          assert.strictEqual(server.counts.refresh, 1)
        })
    )

  scenario("does not go away by refresh, and is healed by a login and refresh", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      const connection = yield* connect({ authProvider: providerOf(store) })
      server.expire()
      server.revoke()
      yield* unauthorizedOf(call(connection, "write"))
      yield* untilFailed(connection)
      const still = yield* failureOf(connection.refresh)
      assert.strictEqual(still._tag, "ConnectionUnavailable")
      assert.strictEqual((yield* connection.state)._tag, "Failed")
      store.tokens = stamped(server, server.issue())
      const ready = yield* connection.refresh
      assert.strictEqual(ready._tag, "Ready")
      assert.strictEqual(yield* call(connection, "write"), "write")
      assert.strictEqual(server.counts.refresh, 1)
    })
  )

  scenario("at the start fails the start", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      server.expire()
      server.revoke()
      const error = yield* failureOf(connect({ authProvider: providerOf(store) }))
      assert(error._tag === "ConnectionError" && error.reason._tag === "Unauthorized", inspect(error))
      assert.strictEqual(server.counts.refresh, 1)
    })
  )

  scenario("for the client, not the token, is told once as well", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      store.client = { client_id: "nobody", issuer: server.issuer }
      const connection = yield* connect({ authProvider: providerOf(store, false) })
      server.expire()
      const { reason } = yield* unauthorizedOf(call(connection, "write"))
      assert.include(reason.description ?? "", "invalid_client")
      yield* untilFailed(connection)
      assert.strictEqual(server.counts.refresh, 1)
    })
  )
})

describe("an authorization server that is out of reach", () => {
  const troubles: ReadonlyArray<
    readonly [name: string, break_: (server: AuthServer.AuthServer) => Effect.Effect<void>, code: string]
  > = [
    ["down", (server) => server.down, "ECONNREFUSED"],
    ["failing with 500", (server) => Effect.sync(() => void (server.behaviour.tokenStatus = 500)), "HTTP_500"],
    ["behind a broken gateway", (server) => Effect.sync(() => void (server.behaviour.tokenStatus = 502)), "HTTP_502"]
  ]
  for (const [name, break_, code] of troubles)
    scenario(
      `${name}: NetworkFailed, retried, and never Failed; the call is answered when it is back`,
      ({ connect, server }) =>
        Effect.gen(function* () {
          const store = walletOf(server)
          const connection = yield* connect({ authProvider: providerOf(store) })
          const events = yield* eventsOf(connection)
          server.expire()
          yield* break_(server)
          const caller = yield* Effect.forkChild(call(connection, "write"), { startImmediately: true })
          const failed = yield* until("two failed attempts", () => {
            const errors = events.flatMap((event) => (event._tag === "AttemptFailed" ? [event.error.reason] : []))
            return errors.length >= 2 && errors
          })
          for (const reason of failed) assert.deepInclude(reason, { _tag: "NetworkFailed", code })
          assert.strictEqual((yield* connection.state)._tag, "Reconnecting")
          assert.strictEqual(store.prompts, 0)
          if (code === "ECONNREFUSED") yield* server.up
          else server.behaviour.tokenStatus = undefined
          assert.strictEqual(yield* Fiber.join(caller), "write")
          assert.strictEqual(server.counts.calls, 1)
          assert.strictEqual(server.counts.reuses, 0)
          assert.notInclude(tagsOf(events), "GaveUp")
        })
    )

  scenario("overloaded is left alone for as long as it asks", ({ connect, server }) =>
    Effect.gen(function* () {
      const connection = yield* connect({ authProvider: providerOf(walletOf(server)) })
      const events = yield* eventsOf(connection)
      server.expire()
      server.behaviour.tokenStatus = 503
      const caller = yield* Effect.forkChild(call(connection, "write"), { startImmediately: true })
      yield* until("a loss", () => events.some(({ _tag }) => _tag === "SessionLost"))
      server.behaviour.tokenStatus = undefined
      assert.strictEqual(yield* Fiber.join(caller), "write")
      const lost = events.find((event) => event._tag === "SessionLost")
      assert(lost?._tag === "SessionLost")
      assert.strictEqual(lost.error.reason._tag, "ServerUnavailable")
    })
  )
})

describe("a tool that asks for more", () => {
  scenario("gets a wider token once, where nobody has to be asked", ({ connect, server }) =>
    Effect.gen(function* () {
      const { id, secret } = AuthServer.machine
      const authProvider = new ClientCredentialsProvider({
        clientId: id,
        clientSecret: secret,
        scope: "mcp",
        expectedIssuer: server.issuer
      })
      const connection = yield* connect({ authProvider })
      assert.strictEqual(server.counts.clientCredentials, 1)
      assert.strictEqual(yield* call(connection, "administrate"), "administrate")
      assert.strictEqual(server.counts.clientCredentials, 2)
      assert.strictEqual(server.counts.forbidden, 1)
      assert.strictEqual(yield* call(connection, "administrate"), "administrate")
      assert.strictEqual(server.counts.forbidden, 1)
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("sends the user to log in once, and the session goes on", ({ connect, server }) =>
    Effect.gen(function* () {
      const store = walletOf(server)
      const connection = yield* connect({ authProvider: providerOf(store) })
      for (const _ of [1, 2]) {
        const { delivery, reason } = yield* unauthorizedOf(call(connection, "administrate"))
        assert.strictEqual(reason.status, 403)
        assert.include(reason.challenge ?? "", 'scope="admin"')
        assert.strictEqual(delivery, "Refused")
      }
      assert.strictEqual(store.prompts, 1)
      assert.strictEqual(server.counts.refresh, 0)
      assert.strictEqual(yield* call(connection, "write"), "write")
      assert.strictEqual(yield* generationOf(connection), 1)
      // The login brings a wider token: it is taken up at once.
      store.tokens = stamped(server, server.issue("mcp admin"))
      assert.strictEqual(yield* call(connection, "administrate"), "administrate")
    })
  )
})

describe("client credentials", () => {
  scenario("get a new token once for fifty callers", ({ connect, server }) =>
    Effect.gen(function* () {
      const { id, secret } = AuthServer.machine
      const authProvider = new ClientCredentialsProvider({
        clientId: id,
        clientSecret: secret,
        expectedIssuer: server.issuer
      })
      const connection = yield* connect({ authProvider })
      server.expire()
      yield* Effect.forEach(fifty, (text) => call(connection, "write", { text }), { concurrency: "unbounded" })
      assert.strictEqual(server.counts.clientCredentials, 2)
      assert.strictEqual(server.counts.calls, fifty.length)
      assert.strictEqual(yield* generationOf(connection), 1)
    })
  )

  scenario("that are wrong are told once", ({ connect, server }) =>
    Effect.gen(function* () {
      const authProvider = new ClientCredentialsProvider({
        clientId: AuthServer.machine.id,
        clientSecret: "hunter-secret",
        expectedIssuer: server.issuer
      })
      server.behaviour.echo = true
      const error = yield* failureOf(connect({ authProvider }))
      assert(error._tag === "ConnectionError" && error.reason._tag === "Unauthorized", inspect(error))
      assert.include(error.reason.description ?? "", "invalid_client")
      assert.strictEqual(server.counts.clientCredentials, 1)
      assert.notInclude(inspect(error, { depth: Infinity }), "hunter")
    })
  )
})

describe("a plain AuthProvider", () => {
  scenario("has one turn for fifty callers", ({ connect, server }) =>
    Effect.gen(function* () {
      let tokens = server.issue()
      let turns = 0
      const connection = yield* connect({
        authProvider: {
          token: () => Promise.resolve(tokens.access_token),
          onUnauthorized: ({ response, serverUrl }) => {
            assert.strictEqual(response.status, 401)
            assert.strictEqual(serverUrl.href, server.url)
            turns += 1
            tokens = server.issue()
            return Promise.resolve()
          }
        }
      })
      server.expire()
      yield* Effect.forEach(fifty, (text) => call(connection, "write", { text }), { concurrency: "unbounded" })
      assert.strictEqual(turns, 1)
      assert.strictEqual(server.counts.calls, fifty.length)
    })
  )

  scenario("without a turn: the token is read anew, and that is all", ({ connect, server }) =>
    Effect.gen(function* () {
      let tokens = server.issue()
      const connection = yield* connect({ authProvider: { token: () => Promise.resolve(tokens.access_token) } })
      server.expire()
      tokens = server.issue()
      assert.strictEqual(yield* call(connection, "write"), "write")
      server.expire()
      const { reason } = yield* unauthorizedOf(call(connection, "write"))
      assert.include(reason.challenge ?? "", "resource_metadata")
      yield* untilFailed(connection)
      tokens = server.issue()
      assert.strictEqual((yield* connection.refresh)._tag, "Ready")
    })
  )
})

describe("a provider that cannot read its token", () => {
  scenario("is no refusal: nothing is sent, and it is asked again", ({ connect, server }) =>
    Effect.gen(function* () {
      const { access_token } = server.issue()
      let locked = true
      const connection = yield* connect(
        {
          authProvider: {
            token: () => (locked ? Promise.reject(new Error("the keychain is locked")) : Promise.resolve(access_token))
          }
        },
        { start: "background" }
      )
      const events = yield* eventsOf(connection)
      const failed = yield* until("a failed attempt", () => events.find((event) => event._tag === "AttemptFailed"))
      assert(failed._tag === "AttemptFailed")
      assert.strictEqual(failed.error.reason._tag, "HeadersFailed")
      assert.include(failed.error.message, "the keychain is locked")
      assert.strictEqual(server.counts.mcp, 0)
      locked = false
      assert.strictEqual(yield* call(connection, "write"), "write")
    })
  )
})

describe("headers as an Effect", () => {
  scenario("are made once a session: refresh picks up a rotated one", ({ connect, server }) =>
    Effect.gen(function* () {
      let made = 0
      let token = server.issue().access_token
      const connection = yield* connect({
        headers: Effect.sync(() => {
          made += 1
          return { authorization: Redacted.make(`Bearer ${token}`) }
        })
      })
      yield* Effect.forEach(fifty, (text) => call(connection, "write", { text }), { concurrency: 10 })
      assert.strictEqual(made, 1)
      token = server.issue().access_token
      yield* connection.refresh
      assert.strictEqual(made, 2)
      server.expire()
      token = server.issue().access_token
      yield* unauthorizedOf(call(connection, "write"))
      yield* untilFailed(connection)
      yield* connection.refresh
      assert.strictEqual(yield* call(connection, "write"), "write")
      assert.strictEqual(made, 3)
    })
  )
})

describe("secrets", () => {
  /** Every way in which people print things. */
  const print = (value: unknown): string =>
    [
      String(value),
      inspect(value, { depth: Infinity, showHidden: true, maxStringLength: Infinity, maxArrayLength: Infinity }),
      value instanceof Error ? `${value.message}\n${value.stack}\n${JSON.stringify(value)}` : ""
    ].join("\n")

  const kept = (server: AuthServer.AuthServer, told: ReadonlyArray<unknown>): void => {
    assert.isAbove(told.length, 0)
    const text = told.map(print).join("\n")
    for (const secret of [...server.secrets, AuthServer.machine.secret, "hunter"]) {
      if (secret !== "") assert.notInclude(text, secret)
    }
  }

  const providers: ReadonlyArray<
    readonly [name: string, make: (server: AuthServer.AuthServer) => OAuthClientProvider]
  > = [
    ["a refresh token", (server) => providerOf(walletOf(server))],
    ["a refresh token that cannot be forgotten", (server) => providerOf(walletOf(server), false)],
    [
      "a client secret",
      (server) => {
        const store = walletOf(server)
        store.client = {
          client_id: AuthServer.machine.id,
          client_secret: AuthServer.machine.secret,
          issuer: server.issuer
        }
        return providerOf(store)
      }
    ],
    [
      "a wrong client secret",
      (server) => {
        const store = walletOf(server)
        store.client = { client_id: AuthServer.machine.id, client_secret: "hunter two/+%", issuer: server.issuer }
        return providerOf(store)
      }
    ]
  ]
  for (const [name, make] of providers)
    scenario(`are in nothing that is told, though both servers repeat them: ${name}`, (rig) =>
      Effect.gen(function* () {
        const { connect, server, told } = rig
        server.behaviour.echo = true
        const connection = yield* connect({ authProvider: make(server) })
        const events = yield* eventsOf(connection)
        const errors: Array<unknown> = [
          yield* failureOf(call(connection, "confess")),
          yield* failureOf(call(connection, "administrate"))
        ]
        server.expire()
        server.revoke()
        errors.push(yield* failureOf(call(connection, "write")), yield* untilFailed(connection))
        errors.push(yield* failureOf(connection.refresh), yield* connection.health)
        yield* until("the end", () => tagsOf(events).includes("GaveUp"))
        kept(server, [...told, ...events, ...errors, yield* connection.state])
        assert.deepStrictEqual(
          told.filter((line) => Array.isArray(line) && line[0] === "console"),
          []
        )
      })
    )
})
