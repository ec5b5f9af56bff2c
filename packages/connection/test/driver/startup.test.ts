import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { chmodSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { ConnectionError } from "../../src/ConnectionError.ts"
import * as McpConnection from "../../src/McpConnection.ts"
import type { StdioOptions } from "../../src/McpTransport.ts"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import { eventsOf, failureOf, type Rig, scenario, tagsOf, timed, transportOf } from "./rig.ts"

const secretArgument = "--token=hunter2"

/** The error of a first session that could not be opened. */
const errorOf = <E extends { readonly _tag: string }, R>(
  connecting: Effect.Effect<unknown, E, R>
): Effect.Effect<ConnectionError, never, R> =>
  Effect.map(failureOf(connecting), (error) => {
    assert.strictEqual(error._tag, "ConnectionError")
    return error as E & ConnectionError
  })

const make = (rig: Rig, stdio: StdioOptions, options: Partial<McpConnection.Options> = {}) =>
  McpConnection.make({
    name: "fixture",
    heartbeat: "off",
    ...options,
    transport: transportOf(rig, stdio)
  })

/** A command that cannot be started fails at once, with one attempt, and is described without its arguments. */
const spawnFails = (rig: Rig, stdio: StdioOptions, code: string, description: string) =>
  Effect.gen(function* () {
    const [error, took] = yield* timed(errorOf(make(rig, { args: [secretArgument], ...stdio })))
    assert(error.reason._tag === "SpawnFailed", error.message)
    assert.strictEqual(error.reason.code, code)
    assert.strictEqual(error.reason.command, stdio.command)
    assert.strictEqual(error.message, `fixture: ${description}`)
    assert.isFalse(error.isRetryable)
    assert.isBelow(took, 1000)
    assert.notInclude(`${error.message}${String(error)}${JSON.stringify(error)}`, secretArgument)

    const connection = yield* make(rig, { args: [secretArgument], ...stdio }, { start: "lazy" })
    const events = yield* eventsOf(connection)
    const unavailable = yield* failureOf(connection.listTools())
    assert(unavailable._tag === "ConnectionUnavailable", unavailable.message)
    assert.strictEqual(unavailable.because, "Failed")
    assert.strictEqual(unavailable.cause?.reason._tag, "SpawnFailed")
    assert.deepStrictEqual(tagsOf(events), ["AttemptStarted", "AttemptFailed", "GaveUp"])
  })

describe("a command that cannot be started", () => {
  scenario("fails at once when there is no such command", (rig) =>
    spawnFails(rig, { command: "no-such-command" }, "ENOENT", 'the command "no-such-command" was not found')
  )

  scenario("fails at once when the file may not be executed", (rig) => {
    const command = join(rig.dir, "plain.txt")
    writeFileSync(command, "not a program")
    chmodSync(command, 0o644)
    return spawnFails(rig, { command }, "EACCES", `the command "${command}" may not be used: permission denied`)
  })

  scenario("fails at once when the working directory is missing, and names it", (rig) => {
    const cwd = join(rig.dir, "missing")
    return spawnFails(rig, { command: process.execPath, cwd }, "ENOENT", `the working directory "${cwd}" was not found`)
  })

  scenario("fails at once when the working directory is a file, and names it", (rig) => {
    const cwd = join(rig.dir, "file")
    writeFileSync(cwd, "")
    return Effect.gen(function* () {
      const error = yield* errorOf(make(rig, { command: process.execPath, args: [secretArgument], cwd }))
      assert(error.reason._tag === "SpawnFailed", error.message)
      assert.strictEqual(error.reason.code, "ENOTDIR")
      assert.isFalse(error.isRetryable)
      assert.include(error.message, `the working directory "${cwd}"`)
      assert.notInclude(JSON.stringify(error), secretArgument)
    })
  })

  scenario("fails at once when an argument cannot be passed to a process, without telling it", (rig) =>
    Effect.gen(function* () {
      const error = yield* errorOf(make(rig, { command: process.execPath, args: [`${secretArgument}\0`] }))
      assert.strictEqual(error.reason._tag, "SpawnFailed")
      assert.isFalse(error.isRetryable)
      assert.include(error.message, "Argument 1 contains a NUL character")
      assert.notInclude(JSON.stringify(error), "hunter2")
    })
  )
})

describe("a server that exits at start", () => {
  for (const exitCode of [0, 1]) {
    scenario(`tells its exit code ${exitCode} and its last words, and is given up by a bounded policy`, (rig) =>
      Effect.gen(function* () {
        const connection = yield* rig.connect({
          start: "lazy",
          policy: ReconnectPolicy.bounded(2),
          server: { exit: exitCode, stderr: "starting\nno configuration found\n" }
        })
        const events = yield* eventsOf(connection)
        const error = yield* failureOf(connection.listTools())
        assert(error._tag === "ConnectionUnavailable", error.message)
        assert.strictEqual(error.because, "Failed")
        assert.strictEqual(error.cause?.exitCode, exitCode)
        assert.strictEqual(error.cause?.stderrTail, "starting\nno configuration found\n")
        assert.isTrue(error.cause?.isRetryable)
        assert.include(error.message, `exited with code ${exitCode}; stderr: no configuration found`)
        assert.strictEqual(
          tagsOf(events).join(" "),
          "AttemptStarted AttemptFailed AttemptScheduled ".repeat(2) + "AttemptStarted AttemptFailed GaveUp"
        )
        const state = yield* connection.state
        assert(state._tag === "Failed")
        assert.strictEqual(state.error.exitCode, exitCode)
      })
    )
  }

  scenario("makes the connection fail when it is required", (rig) =>
    Effect.gen(function* () {
      const error = yield* errorOf(
        rig.connect({ policy: ReconnectPolicy.bounded(1), server: { exit: 1, stderr: "no\n" } })
      )
      assert.strictEqual(error.message, "fixture: the server process exited with code 1; stderr: no")
    })
  )
})

describe("a server that does not shake hands", () => {
  const loading = 'echo "loading models" >&2; sleep 60; true'

  scenario("is cut off at startupTimeout, with its stderr, and its whole group is gone", (rig) =>
    Effect.gen(function* () {
      const [error, took] = yield* timed(
        errorOf(
          make(
            rig,
            { command: "sh", args: ["-c", loading], closeGrace: "50 millis" },
            { startupTimeout: "800 millis", policy: ReconnectPolicy.never }
          )
        )
      )
      assert(error.reason._tag === "StartupTimeout", error.message)
      assert.strictEqual(error.stderrTail, "loading models\n")
      assert.strictEqual(
        error.message,
        "fixture: the server did not finish the handshake within 800ms; stderr: loading models"
      )
      rig.measured("startupTimeout 800 ms to failure and end of the group, ms", took)
      assert.deepStrictEqual(rig.processes(), [])
    })
  )

  for (const startupTimeout of ["600 millis", "1 minute"] as const) {
    scenario(`tells its stderr also when startWithin ends first (startupTimeout ${startupTimeout})`, (rig) =>
      Effect.gen(function* () {
        const error = yield* errorOf(
          make(
            rig,
            { command: "sh", args: ["-c", loading], closeGrace: "50 millis" },
            { startWithin: "600 millis", startupTimeout }
          )
        )
        assert(error.reason._tag === "StartupTimeout", error.message)
        assert.strictEqual(error.stderrTail, "loading models\n")
      })
    )
  }

  scenario("is tried again after a timeout", (rig) =>
    Effect.gen(function* () {
      const connection = yield* make(
        rig,
        { command: "sh", args: ["-c", loading], closeGrace: "50 millis" },
        { startupTimeout: "100 millis", policy: ReconnectPolicy.bounded(1), start: "lazy" }
      )
      const events = yield* eventsOf(connection)
      const error = yield* failureOf(connection.listTools())
      assert.strictEqual(error._tag, "ConnectionUnavailable")
      assert.strictEqual(tagsOf(events).filter((tag) => tag === "AttemptStarted").length, 2)
    })
  )

  scenario("is not tried again when it rejects initialize", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({
        start: "lazy",
        server: { initialize: { reject: { code: -32001, message: "license expired" } } }
      })
      const events = yield* eventsOf(connection)
      const error = yield* failureOf(connection.listTools())
      assert(error._tag === "ConnectionUnavailable" && error.cause?.reason._tag === "HandshakeRejected", error.message)
      assert.strictEqual(error.cause.reason.code, -32001)
      assert.strictEqual(error.cause.message, "fixture: the server rejected the handshake: license expired (-32001)")
      assert.deepStrictEqual(tagsOf(events), ["AttemptStarted", "AttemptFailed", "GaveUp"])
      assert.strictEqual((yield* connection.state)._tag, "Failed")
    })
  )

  scenario("is not tried again when there is no common protocol version", (rig) =>
    Effect.gen(function* () {
      const error = yield* errorOf(rig.connect({ server: { initialize: { version: "1999-01-01" } } }))
      assert.strictEqual(error.reason._tag, "UnsupportedProtocol")
      assert.include(error.message, "1999-01-01")
      assert.lengthOf(
        rig.journal().filter(({ method }) => method === "initialize"),
        1
      )
    })
  )

  scenario("is given up after a few invalid answers to initialize", (rig) =>
    Effect.gen(function* () {
      const error = yield* errorOf(rig.connect({ server: { initialize: "invalid" } }))
      assert.strictEqual(error.reason._tag, "MalformedResponse")
      assert.lengthOf(
        rig.journal().filter(({ method }) => method === "initialize"),
        4
      )
    })
  )

  scenario("is given up after a few answers to initialize without an end", (rig) =>
    Effect.gen(function* () {
      const before = process.memoryUsage.rss()
      const error = yield* errorOf(
        rig.connect({ stdio: { maxMessageBytes: 1_000_000 }, server: { initialize: "endless" } })
      )
      assert(error.reason._tag === "MalformedResponse", error.message)
      assert.strictEqual(error.message, "fixture: the server sent a message of more than 1000000 bytes")
      assert.lengthOf(
        rig.journal().filter(({ method }) => method === "initialize"),
        4
      )
      assert.isBelow(process.memoryUsage.rss() - before, 200_000_000)
    })
  )
})
