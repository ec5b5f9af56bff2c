import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { inspect } from "node:util"
import * as McpConnection from "../../src/McpConnection.ts"
import * as McpTransport from "../../src/McpTransport.ts"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import type { Config, Script } from "../fixtures/config.ts"
import { type Connection, eventsOf, failureOf, kill, pidOf, type Rig, scenario, transportOf } from "./rig.ts"

/** What must never be told: in an argument, a variable, and the arguments of a call; each plain and redacted where it can be. */
const secrets = {
  argument: "hunter-argument",
  redactedArgument: "hunter-redacted-argument",
  variable: "hunter-variable",
  redactedVariable: "hunter-redacted-variable",
  callArgument: "hunter-call-argument"
}

const stdioWith = (rig: Rig, server: Partial<Config>): McpTransport.StdioOptions => ({
  ...rig.stdio(server),
  args: [...(rig.stdio(server).args ?? []), secrets.argument, Redacted.make(secrets.redactedArgument)],
  env: { PLAIN: secrets.variable, REDACTED: Redacted.make(secrets.redactedVariable) },
  closeGrace: "200 millis"
})

const optionsWith = (
  rig: Rig,
  stdio: McpTransport.StdioOptions,
  options: Partial<McpConnection.Options>
): McpConnection.Options<never> =>
  ({
    name: "secretive",
    heartbeat: "off",
    policy: ReconnectPolicy.bounded(1),
    ...options,
    transport: transportOf(rig, stdio)
  }) as McpConnection.Options<never>

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

const callWith = (connection: Connection, name: string, script: Script, options?: McpConnection.RequestOptions) =>
  connection.callTool({ name, arguments: { ...script, payload: secrets.callArgument } }, options)

/** Makes a first session fail. */
const attempt = (
  name: string,
  tag: string,
  stdio: (rig: Rig) => McpTransport.StdioOptions,
  options: Partial<McpConnection.Options> = {}
): void =>
  scenario(`are not told by ${name}`, (rig) =>
    Effect.gen(function* () {
      const required = yield* failureOf(McpConnection.make(optionsWith(rig, stdio(rig), options)))
      assert(required._tag === "ConnectionError", required.message)
      assert.strictEqual(required.reason._tag, tag)
      const connection = yield* McpConnection.make(optionsWith(rig, stdio(rig), { ...options, start: "lazy" }))
      const events = yield* eventsOf(connection)
      const error = yield* failureOf(callWith(connection, "write", {}))
      assert.strictEqual(error._tag, "ConnectionUnavailable")
      assert.isAbove(rig.logs.length, 0)
      assertSecretive(rig, [required, error, ...events, yield* connection.state])
    })
  )

/** Makes calls fail, one after the other. */
const requests = (
  name: string,
  server: Partial<Config>,
  options: Partial<McpConnection.Options>,
  fail: (
    connection: Connection,
    rig: Rig
  ) => Effect.Effect<ReadonlyArray<readonly [expected: string, error: { readonly _tag: string }]>>
): void =>
  scenario(`are not told by ${name}`, (rig) =>
    Effect.gen(function* () {
      const connection = yield* McpConnection.make(
        optionsWith(rig, stdioWith(rig, server), { policy: ReconnectPolicy.default, ...options })
      )
      const events = yield* eventsOf(connection)
      const errors = yield* fail(connection, rig)
      assert.deepStrictEqual(
        errors.map(([, error]) => error._tag),
        errors.map(([expected]) => expected)
      )
      assertSecretive(rig, [...errors.map(([, error]) => error), ...events, yield* connection.state])
    })
  )

describe("secrets in arguments, environment and calls", () => {
  attempt("a command that does not exist", "SpawnFailed", (rig) => ({
    ...stdioWith(rig, {}),
    command: "no-such-command"
  }))
  attempt("a missing working directory", "SpawnFailed", (rig) => ({
    ...stdioWith(rig, {}),
    cwd: join(rig.dir, "missing")
  }))
  attempt("a working directory that is a file", "SpawnFailed", (rig) => {
    const cwd = join(rig.dir, "file")
    writeFileSync(cwd, "")
    return { ...stdioWith(rig, {}), cwd }
  })
  attempt("a file that is not executable", "SpawnFailed", (rig) => {
    const command = join(rig.dir, "plain")
    writeFileSync(command, "", { mode: 0o644 })
    return { ...stdioWith(rig, {}), command }
  })
  attempt("an argument that no process can be given", "SpawnFailed", (rig) => ({
    ...stdioWith(rig, {}),
    args: [`${secrets.argument}\0`]
  }))
  attempt("an argument that is too long for a process", "SpawnFailed", (rig) => ({
    ...stdioWith(rig, {}),
    args: [secrets.argument.repeat(20_000)]
  }))
  attempt("an exit at start", "ProcessExited", (rig) => stdioWith(rig, { exit: 1, stderr: "no\n" }))
  attempt("a rejected handshake", "HandshakeRejected", (rig) =>
    stdioWith(rig, { initialize: { reject: { code: -32000, message: "no" } } })
  )
  attempt("an unsupported protocol", "UnsupportedProtocol", (rig) =>
    stdioWith(rig, { initialize: { version: "1999-01-01" } })
  )
  attempt("an invalid handshake", "MalformedResponse", (rig) => stdioWith(rig, { initialize: "invalid" }))
  attempt("a handshake that hangs", "StartupTimeout", (rig) => stdioWith(rig, { initialize: "hang" }), {
    startupTimeout: "300 millis"
  })

  scenario("are not told by options that are wrong", (rig) =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<Record<string, unknown>> = [
        { env: { TOKEN: [secrets.variable] } },
        { env: secrets.variable },
        { args: secrets.argument },
        { args: [secrets.argument, { value: secrets.redactedArgument }] },
        { arguments: [secrets.argument] },
        { environment: { TOKEN: secrets.variable } }
      ]
      const errors = yield* Effect.forEach(wrong, (stdio) =>
        failureOf(
          McpConnection.make({
            transport: McpTransport.stdio({ command: "true", ...stdio } as McpTransport.StdioOptions)
          })
        )
      )
      for (const error of errors) assert.strictEqual(error._tag, "InvalidOptions", error.message)
      assertSecretive(rig, errors)
    })
  )

  requests("answers that are errors", {}, {}, (connection) =>
    Effect.gen(function* () {
      yield* Effect.orDie(connection.listTools())
      return [
        ["ServerRejected", yield* failureOf(callWith(connection, "write", { reply: "reject" }))],
        ["InvalidResult", yield* failureOf(callWith(connection, "write", { raw: '{"jsonrpc":"2.0","id":$id}' }))],
        ["InvalidResult", yield* failureOf(callWith(connection, "strict", { reply: "unstructured" }))],
        [
          "RequestTimeout",
          yield* failureOf(callWith(connection, "write", { reply: "hang" }, { timeout: "100 millis" }))
        ]
      ]
    })
  )

  requests("calls that cannot be sent", {}, {}, (connection) =>
    Effect.gen(function* () {
      const invalid = (parameters: Record<string, unknown>) =>
        failureOf(connection.callTool({ name: "write", arguments: parameters }))
      const circular: Record<string, unknown> = { value: secrets.callArgument }
      circular["self"] = circular
      const keyed: Record<string, unknown> = {}
      keyed[secrets.callArgument] = keyed
      return [
        ["InvalidRequest", yield* invalid({ count: 1n, value: secrets.callArgument })],
        ["InvalidRequest", yield* invalid(circular)],
        ["InvalidRequest", yield* invalid(keyed)],
        ["InvalidRequest", yield* failureOf(callWith(connection, "write", {}, { replay: "often" as "never" }))]
      ]
    })
  )

  requests("losses under a call", {}, {}, (connection, rig) =>
    Effect.gen(function* () {
      const killed = yield* Effect.forkChild(failureOf(callWith(connection, "write", { reply: "hang" })))
      yield* rig.untilCalled("write")
      kill(yield* pidOf(connection), "SIGKILL")
      return [
        ["OutcomeUnknown", yield* Fiber.join(killed)],
        ["OutcomeUnknown", yield* failureOf(callWith(connection, "write", { reply: "die" }))],
        ["OutcomeUnknown", yield* failureOf(callWith(connection, "write", { close: "stdout", reply: "hang" }))]
      ]
    })
  )

  requests(
    "a server that freezes",
    {},
    { heartbeat: { interval: "100 millis", timeout: "200 millis", misses: 1, busyGrace: "100 millis" } },
    (connection) =>
      Effect.gen(function* () {
        kill(yield* pidOf(connection), "SIGSTOP")
        return [["OutcomeUnknown", yield* failureOf(callWith(connection, "write", { reply: "hang" }))]]
      })
  )

  scenario("are not told by a connection that is closed under a call", (rig) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const connection = yield* McpConnection.make(optionsWith(rig, stdioWith(rig, {}), {})).pipe(Scope.provide(scope))
      const pending = yield* Effect.forkChild(failureOf(callWith(connection, "write", { reply: "hang" })))
      yield* rig.untilCalled("write")
      yield* Scope.close(scope, Exit.void)
      const error = yield* Fiber.join(pending)
      assert.strictEqual(error._tag, "ConnectionClosed")
      assertSecretive(rig, [error])
    })
  )

  const echo = `the token ${secrets.redactedVariable} of ${secrets.redactedArgument} is bad`

  /** The configuration is redacted as well: what it makes the server say is in it. */
  const redacted = (rig: Rig, server: Partial<Config>): McpTransport.StdioOptions => {
    const [script = "", ...configuration] = rig.stdio(server).args ?? []
    return {
      ...rig.stdio(),
      args: [
        script,
        ...configuration.map((arg) => (typeof arg === "string" ? Redacted.make(arg) : arg)),
        Redacted.make(secrets.redactedArgument)
      ],
      env: { REDACTED: Redacted.make(secrets.redactedVariable) }
    }
  }

  scenario("stay redacted where the server prints them, on stderr and on stdout", (rig) =>
    Effect.gen(function* () {
      const errors = yield* Effect.forEach(
        [
          { exit: 1, stderr: `${echo}\n` },
          { exit: 1, stderr: echo },
          { exit: 1, stdout: [echo] }
        ],
        (server) => failureOf(McpConnection.make(optionsWith(rig, redacted(rig, server), {})))
      )
      for (const error of errors) assert.include(error.message, "the token <redacted> of <redacted> is bad")
      assert.isTrue(rig.logs.some((line) => line.startsWith("Debug") && line.includes("<redacted>")))
      assertSecretive(rig, errors)
    })
  )

  const key = ["-----BEGIN KEY-----", "hunterMIIEvQIBADANBgkqhkiG9w0", "hunterAgEAAoIBAQC7", "-----END KEY-----"]
  /** What is secret, and what the server makes of it: on stderr, or as a line on stdout. */
  const forms: Record<string, readonly [env: Readonly<Record<string, string>>, printed: Partial<Config>]> = {
    "line by line": [{ KEY: `${key.join("\n")}\n` }, { stderr: `using:\n${key.join("\n")}\n` }],
    "line by line, indented and without their other half of a line end": [
      { KEY: `${key.join("\r\n")}\r\n` },
      { stderr: key.map((line) => `  ${line}\n`).join("") }
    ],
    "cut off where the quote of a long line ends": [
      { TOKEN: "hunter-token" },
      { stdout: [`${"x".repeat(490)}hunter-token`] }
    ],
    "where another secret is how they begin": [
      { SHORT: "abc", LONG: "abcdef-hunter-token" },
      { stderr: "no access with abcdef-hunter-token\n" }
    ],
    "where another secret is how they end": [
      { SHORT: "token", LONG: "hunter-token" },
      { stderr: "no access with hunter-token\n" }
    ],
    "as JSON": [
      { TOKEN: 'a"hunter\\token', KEY: key.join("\n") },
      { stderr: `${JSON.stringify({ TOKEN: 'a"hunter\\token', KEY: key.join("\n") })}\n` }
    ]
  }
  for (const [form, [env, printed]] of Object.entries(forms)) {
    scenario(`stay redacted where the server prints them ${form}`, (rig) =>
      Effect.gen(function* () {
        const stdio = redacted(rig, { exit: 1, ...printed })
        const hidden = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, Redacted.make(value)]))
        const error = yield* failureOf(
          McpConnection.make(optionsWith(rig, { ...stdio, env: { ...stdio.env, ...hidden } }, {}))
        )
        assert(error._tag === "ConnectionError", error.message)
        assert.include(error.stderrTail, printed.stdout === undefined ? "<redacted>" : "<redact")
        if (printed.stdout === undefined) assert.isTrue(rig.logs.some((line) => line.startsWith("Debug")))
        assertSecretive(rig, [error])
      })
    )
  }

  scenario("stay redacted where the server rejects the handshake with them", (rig) =>
    Effect.gen(function* () {
      const error = yield* failureOf(
        McpConnection.make(
          optionsWith(rig, redacted(rig, { initialize: { reject: { code: -32000, message: echo } } }), {})
        )
      )
      assert.strictEqual(error._tag, "ConnectionError")
      assertSecretive(rig, [error])
    })
  )

  scenario("stay redacted where the server rejects a call with them", (rig) =>
    Effect.gen(function* () {
      const connection = yield* McpConnection.make(optionsWith(rig, redacted(rig, {}), {}))
      const raw = `{"jsonrpc":"2.0","id":$id,"error":{"code":1,"message":${JSON.stringify(echo)}}}`
      const error = yield* failureOf(connection.callTool({ name: "write", arguments: { raw } }))
      assert.strictEqual(error._tag, "ServerRejected")
      assertSecretive(rig, [error])
    })
  )
})
