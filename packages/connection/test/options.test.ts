import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { constants } from "node:buffer"
import manifest from "../package.json" with { type: "json" }
import * as McpConnection from "../src/McpConnection.ts"
import * as McpTransport from "../src/McpTransport.ts"

/** What JavaScript callers, and decoded JSON, may pass. */
const untyped = (options: unknown) => options as McpConnection.Options

const issuesOf = (options: Record<string, unknown>, simulation = SimulatedServer.makeUnsafe()) =>
  McpConnection.make(untyped({ transport: simulation.transport, ...options })).pipe(
    Effect.flip,
    Effect.map((error) => {
      assert(error._tag === "InvalidOptions")
      assert.strictEqual(error.of, "McpConnection")
      assert.lengthOf(simulation.attempts, 0)
      return error
    })
  )

const duration = /duration/
const wrong: ReadonlyArray<readonly [path: string, options: Record<string, unknown>, takes: RegExp, got: string]> = [
  ["transport", { transport: 42 }, /McpTransport/, "42"],
  ["transport", { transport: { open: () => Effect.die("it was opened") } }, /McpTransport/, "an object"],
  [
    "transport",
    { transport: { open: () => Effect.die("it was opened"), validate: Effect.void } },
    /McpTransport/,
    "an object"
  ],
  [
    "transport",
    { transport: { open: () => Effect.die("it was opened"), label: "files" } },
    /McpTransport/,
    "an object"
  ],
  ["name", { name: 7 }, /string/, "7"],
  ["name", { name: "" }, /./, '""'],
  ["client.version", { client: { name: "me", version: 1 } }, /string/, "1"],
  ["client.version", { client: { name: "me" } }, /required/, "nothing"],
  ["start", { start: "eager" }, /"required".*"background".*"lazy"/, '"eager"'],
  ["startWithin", { startWithin: "soon" }, duration, '"soon"'],
  ["startupTimeout", { startupTimeout: true }, duration, "true"],
  ["policy", { policy: { retries: 3 } }, /Schedule/, "an object"],
  ["stableAfter", { stableAfter: [1, 2, 3] }, duration, "an array"],
  ["requestTimeout", { requestTimeout: null }, duration, "null"],
  ["wait", { wait: "never" }, /"none".*duration/, '"never"'],
  ["maxWaiting", { maxWaiting: -1 }, /whole number of at least 0/, "-1"],
  ["maxWaiting", { maxWaiting: 1.5 }, /whole number of at least 0/, "1.5"],
  ["replay", { replay: "sometimes" }, /"always".*"safe".*"never"/, '"sometimes"'],
  ["maxReplays", { maxReplays: "1" }, /whole number of at least 0/, '"1"'],
  ["limits.maxPages", { limits: { maxPages: 0 } }, /whole number of at least 1/, "0"],
  ["limits.maxItems", { limits: { maxItems: "10" } }, /whole number of at least 1/, '"10"'],
  ["limits.maxTools", { limits: { maxTools: 10 } }, /no such option/, "a number"],
  ["limits", { limits: 10 }, /./, "10"],
  ["closeTimeout", { closeTimeout: "later" }, duration, '"later"'],
  ["heartbeat", { heartbeat: "on" }, /off/, '"on"'],
  ["heartbeat.interval", { heartbeat: { interval: "often" } }, duration, '"often"'],
  ["heartbeat.timeout", { heartbeat: { timeout: false } }, duration, "false"],
  ["heartbeat.interval", { heartbeat: { interval: 0 } }, /duration of more than nothing/, "0"],
  ["heartbeat.timeout", { heartbeat: { timeout: "0 seconds" } }, /duration of more than nothing/, '"0 seconds"'],
  ["heartbeat.busyGrace", { heartbeat: { busyGrace: 0 } }, /duration of more than nothing/, "0"],
  ["heartbeat.misses", { heartbeat: { misses: 0 } }, /whole number of at least 1/, "0"],
  ["heartbeat.busyGrace", { heartbeat: { busyGrace: "long" } }, duration, '"long"']
]

describe("options of McpConnection", () => {
  for (const [path, options, takes, got] of wrong) {
    it.effect(`${JSON.stringify(options)} fails, and names ${path}, what it got and what it takes`, () =>
      Effect.gen(function* () {
        const error = yield* issuesOf(options)
        assert.deepStrictEqual(
          error.issues.map((issue) => issue.option),
          [path]
        )
        assert.match(error.issues[0].expected, takes)
        assert.strictEqual(error.issues[0].actual, got)
        assert.include(error.message, path)
        assert.include(error.message, got)
      })
    )
  }

  it.effect("an option that does not exist is named", () =>
    Effect.gen(function* () {
      const error = yield* issuesOf({ retries: 3 })
      assert.deepStrictEqual(
        error.issues.map((issue) => issue.option),
        ["retries"]
      )
      assert.match(error.message, /retries: .*no such option/)
    })
  )

  it.effect("an unknown option of heartbeat is named with its path", () =>
    Effect.gen(function* () {
      const error = yield* issuesOf({ heartbeat: { every: 3 } })
      assert.deepStrictEqual(
        error.issues.map((issue) => issue.option),
        ["heartbeat.every"]
      )
    })
  )

  it.effect("all wrong options are named at once", () =>
    Effect.gen(function* () {
      const error = yield* issuesOf({ wait: "x", replay: "y", retries: 1 })
      assert.deepStrictEqual(error.issues.map((issue) => issue.option).toSorted(), ["replay", "retries", "wait"])
    })
  )

  it.effect("the value of an option that does not exist is not printed: it may be a secret", () =>
    Effect.gen(function* () {
      const error = yield* issuesOf({ apiKey: "sk-hush" })
      assert.notInclude(error.message, "sk-hush")
      assert.notInclude(JSON.stringify(error), "sk-hush")
    })
  )

  it.effect("every documented form of a duration is taken", () =>
    Effect.gen(function* () {
      for (const wait of ["30 seconds", 500, 500n, Duration.seconds(3), [1, 500], "none", Duration.infinity]) {
        const simulation = SimulatedServer.makeUnsafe()
        yield* McpConnection.make(untyped({ transport: simulation.transport, wait })).pipe(Effect.scoped)
        assert.deepStrictEqual(simulation.log, ["open 1", "close 1"])
      }
    })
  )

  it.effect(
    "options left out or undefined have their defaults: the name is the transport's label, the version that of package.json",
    () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        let client: unknown = undefined
        let limits: unknown = undefined
        simulation.behavior.open = (_, context) =>
          Effect.sync(() => {
            client = context.client
            limits = context.limits
          })
        const connection = yield* McpConnection.make({
          transport: simulation.transport,
          name: undefined,
          wait: undefined
        })
        assert.strictEqual(connection.name, "simulated")
        assert.deepStrictEqual(client, { name: "mcp-tether", version: manifest.version })
        assert.deepStrictEqual(limits, { maxPages: 100, maxItems: 10_000 })
      })
  )

  it.effect("the transport is told the connection's name, how the program introduces itself, and the limits", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const told: Array<unknown> = []
      simulation.behavior.open = (_, { client, generation, limits, server }) =>
        Effect.sync(() => {
          told.push({ client, generation, limits, server })
        })
      const client = { name: "me", version: "2" }
      const options = { transport: simulation.transport, name: "files", client }
      for (const limits of [{ maxPages: 3, maxItems: 7 }, { maxPages: 3 }, { maxItems: 7 }]) {
        yield* McpConnection.make({ ...options, limits })
      }
      const same = { client, generation: 1, server: "files" }
      assert.deepStrictEqual(told, [
        { ...same, limits: { maxPages: 3, maxItems: 7 } },
        { ...same, limits: { maxPages: 3, maxItems: 10_000 } },
        { ...same, limits: { maxPages: 100, maxItems: 7 } }
      ])
    })
  )
})

describe("options of one request", () => {
  const wrong: ReadonlyArray<readonly [option: string, options: unknown]> = [
    ["timeout", { timeout: "soon" }],
    ["wait", { wait: "never" }],
    ["replay", { replay: "twice" }],
    ["maxWaiting", { maxWaiting: 3 }]
  ]
  for (const [option, options] of wrong) {
    it.effect(`${JSON.stringify(options)} fails with InvalidRequest that names it, and nothing is sent`, () =>
      Effect.gen(function* () {
        const simulation = SimulatedServer.makeUnsafe()
        const connection = yield* McpConnection.make({ transport: simulation.transport })
        const error = yield* Effect.flip(connection.callTool({ name: "pay" }, options as McpConnection.RequestOptions))
        assert(error._tag === "InvalidRequest")
        assert.strictEqual(error.method, "tools/call")
        assert.include(error.message, option)
        assert.lengthOf(simulation.sent, 0)
      })
    )
  }
})

describe("options of McpTransport.stdio", () => {
  const secret = "sk-hush-hush"
  const issuesOf = (options: Record<string, unknown>) =>
    McpTransport.stdio({ command: "server", ...options } as McpTransport.StdioOptions).validate.pipe(Effect.flip)

  const wrong: ReadonlyArray<readonly [path: string, options: Record<string, unknown>]> = [
    ["command", { command: 7 }],
    ["command", { command: undefined }],
    ["args", { args: secret }],
    ["args[1]", { args: [secret, 7] }],
    ["env.TOKEN", { env: { TOKEN: 12_345_678, OTHER: secret } }],
    ["env.TOKEN", { env: { TOKEN: { value: secret } } }],
    ["env.TOKEN", { env: { TOKEN: [secret] } }],
    ["cwd", { cwd: 7 }],
    ["maxMessageBytes", { maxMessageBytes: 0 }],
    ["closeGrace", { closeGrace: "soon" }]
  ]
  for (const [path, options] of wrong) {
    it.effect(`a wrong ${path} is named, and no argument or variable is printed (${Object.keys(options).join()})`, () =>
      Effect.gen(function* () {
        const error = yield* issuesOf({ args: [secret], env: { OTHER: Redacted.make(secret) }, ...options })
        assert.strictEqual(error.of, "McpTransport.stdio")
        assert.include(
          error.issues.map((issue) => issue.option),
          path
        )
        for (const text of [error.message, JSON.stringify(error), String(error)]) {
          assert.notInclude(text, "hush")
          assert.notInclude(text, "12345678")
        }
      })
    )
  }

  it.effect("maxMessageBytes may be as large as a string can be, and not larger", () =>
    Effect.gen(function* () {
      const { MAX_STRING_LENGTH } = constants
      const error = yield* issuesOf({ maxMessageBytes: MAX_STRING_LENGTH + 1 })
      assert.deepStrictEqual(error.issues, [
        {
          option: "maxMessageBytes",
          expected: `a whole number of at least 1 and at most ${MAX_STRING_LENGTH}`,
          actual: String(MAX_STRING_LENGTH + 1)
        }
      ])
      yield* McpTransport.stdio({ command: "server", maxMessageBytes: MAX_STRING_LENGTH }).validate
    })
  )

  it.effect("the value of an option that does not exist is not printed: it may be a secret", () =>
    Effect.gen(function* () {
      const error = yield* issuesOf({ token: secret })
      assert.include(
        error.issues.map((issue) => issue.option),
        "token"
      )
      assert.notInclude(error.message, secret)
    })
  )

  it.effect("make checks them before anything is opened", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      const broken = McpTransport.stdio({ command: "" })
      const transport = { ...simulation.transport, validate: broken.validate }
      const error = yield* Effect.flip(McpConnection.make({ transport }))
      assert(error._tag === "InvalidOptions")
      assert.strictEqual(error.of, "McpTransport.stdio")
      assert.lengthOf(simulation.attempts, 0)
    })
  )
})
