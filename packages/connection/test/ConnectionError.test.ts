import { assert, describe, it } from "@effect/vitest"
import { failure } from "@mcp-tether/testing/SimulatedServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as ConnectionError from "../src/ConnectionError.ts"
import type { Delivery } from "../src/Delivery.ts"

interface Row {
  readonly name: string
  readonly reason: ConnectionError.Reason
  readonly isRetryable: boolean
  readonly delivery: Delivery
  readonly retryAfter?: Duration.Duration
}

const spawn = (code: string) =>
  new ConnectionError.SpawnFailed({ command: "server", code, description: `cannot start server (${code})` })
const network = (code: string) => new ConnectionError.NetworkFailed({ code, description: `connect ${code}` })
const unavailable = (status: number, retryAfter?: Duration.Duration) =>
  new ConnectionError.ServerUnavailable({ status, retryAfter })

/** The table of DESIGN §5. */
const table: ReadonlyArray<Row> = [
  { name: "SpawnFailed ENOENT", reason: spawn("ENOENT"), isRetryable: false, delivery: "NotSent" },
  { name: "SpawnFailed EACCES", reason: spawn("EACCES"), isRetryable: false, delivery: "NotSent" },
  { name: "SpawnFailed ENOTDIR", reason: spawn("ENOTDIR"), isRetryable: false, delivery: "NotSent" },
  { name: "SpawnFailed EAGAIN", reason: spawn("EAGAIN"), isRetryable: true, delivery: "NotSent" },
  { name: "SpawnFailed EMFILE", reason: spawn("EMFILE"), isRetryable: true, delivery: "NotSent" },
  {
    name: "ProcessExited with a code",
    reason: new ConnectionError.ProcessExited({ exitCode: 3 }),
    isRetryable: true,
    delivery: "Unknown"
  },
  {
    name: "ProcessExited by a signal",
    reason: new ConnectionError.ProcessExited({ signal: "SIGKILL" }),
    isRetryable: true,
    delivery: "Unknown"
  },
  {
    name: "TransportClosed",
    reason: new ConnectionError.TransportClosed({ description: "write EPIPE" }),
    isRetryable: true,
    delivery: "Unknown"
  },
  { name: "NetworkFailed ECONNREFUSED", reason: network("ECONNREFUSED"), isRetryable: true, delivery: "NotSent" },
  { name: "NetworkFailed ENOTFOUND", reason: network("ENOTFOUND"), isRetryable: true, delivery: "NotSent" },
  { name: "NetworkFailed EAI_AGAIN", reason: network("EAI_AGAIN"), isRetryable: true, delivery: "NotSent" },
  { name: "NetworkFailed ECONNRESET", reason: network("ECONNRESET"), isRetryable: true, delivery: "Unknown" },
  { name: "NetworkFailed ETIMEDOUT", reason: network("ETIMEDOUT"), isRetryable: true, delivery: "Unknown" },
  {
    name: "NetworkFailed while connecting",
    reason: new ConnectionError.NetworkFailed({ code: "ETIMEDOUT", description: "too late", phase: "connect" }),
    isRetryable: true,
    delivery: "NotSent"
  },
  {
    name: "TlsFailed",
    reason: new ConnectionError.TlsFailed({ code: "CERT_HAS_EXPIRED", description: "expired" }),
    isRetryable: false,
    delivery: "NotSent"
  },
  {
    name: "HeadersFailed",
    reason: new ConnectionError.HeadersFailed({ description: "the vault is sealed" }),
    isRetryable: true,
    delivery: "NotSent"
  },
  {
    name: "UnexpectedStatus 404",
    reason: new ConnectionError.UnexpectedStatus({ status: 404, description: "not found" }),
    isRetryable: false,
    delivery: "Unknown"
  },
  {
    name: "UnexpectedStatus 500",
    reason: new ConnectionError.UnexpectedStatus({ status: 500, description: "broken" }),
    isRetryable: true,
    delivery: "Unknown"
  },
  {
    name: "SessionExpired",
    reason: new ConnectionError.SessionExpired({ status: 404 }),
    isRetryable: true,
    delivery: "Refused"
  },
  { name: "ServerUnavailable 429", reason: unavailable(429), isRetryable: true, delivery: "Refused" },
  {
    name: "ServerUnavailable 503 with Retry-After",
    reason: unavailable(503, Duration.seconds(7)),
    isRetryable: true,
    delivery: "Refused",
    retryAfter: Duration.seconds(7)
  },
  { name: "ServerUnavailable 502", reason: unavailable(502), isRetryable: true, delivery: "Unknown" },
  { name: "ServerUnavailable 504", reason: unavailable(504), isRetryable: true, delivery: "Unknown" },
  {
    name: "Unauthorized",
    reason: new ConnectionError.Unauthorized({ status: 401 }),
    isRetryable: false,
    delivery: "Refused"
  },
  {
    name: "StartupTimeout",
    reason: new ConnectionError.StartupTimeout({ after: Duration.seconds(60) }),
    isRetryable: true,
    delivery: "NotSent"
  },
  {
    name: "HandshakeRejected",
    reason: new ConnectionError.HandshakeRejected({ code: -32602, description: "Unsupported client" }),
    isRetryable: false,
    delivery: "NotSent"
  },
  {
    name: "UnsupportedProtocol",
    reason: new ConnectionError.UnsupportedProtocol({ description: "the server speaks 1999-01-01 only" }),
    isRetryable: false,
    delivery: "NotSent"
  },
  {
    name: "MalformedResponse",
    reason: new ConnectionError.MalformedResponse({ description: "<html> is not a message" }),
    isRetryable: true,
    delivery: "Unknown"
  },
  {
    name: "LivenessLost",
    reason: new ConnectionError.LivenessLost({ missed: 3, silentFor: Duration.seconds(60) }),
    isRetryable: true,
    delivery: "Unknown"
  },
  {
    name: "RestorationFailed",
    reason: new ConnectionError.RestorationFailed({ step: "onSession", description: "no sandbox" }),
    isRetryable: true,
    delivery: "NotSent"
  },
  {
    name: "InternalError",
    reason: new ConnectionError.InternalError({ where: "transport", description: "bug" }),
    isRetryable: false,
    delivery: "Unknown"
  }
]

describe("ConnectionError", () => {
  it("has a row here for every reason there is", () => {
    const covered = new Set(table.map((row) => row.reason._tag))
    const all = new Set(ConnectionError.Reason.members.map((member) => member.fields._tag.schema.literal))
    assert.deepStrictEqual([...covered].toSorted(), [...all].toSorted())
  })

  for (const { delivery, isRetryable, name, reason, retryAfter } of table) {
    const error = failure(reason)

    it(`${name}: ${isRetryable ? "retried" : "not retried"}, delivery ${delivery}`, () => {
      assert.strictEqual(error.isRetryable, isRetryable)
      assert.strictEqual(error.delivery, delivery)
      assert.deepStrictEqual(error.retryAfter, retryAfter)
    })

    it.effect(`${name}: survives JSON`, () =>
      Effect.gen(function* () {
        const original = failure(reason, "first\nlast")
        const encoded = yield* Schema.encodeEffect(ConnectionError.ConnectionError)(original)
        const json: unknown = JSON.parse(JSON.stringify(encoded))
        const decoded = yield* Schema.decodeUnknownEffect(ConnectionError.ConnectionError)(json)
        assert.instanceOf(decoded, ConnectionError.ConnectionError)
        assert.strictEqual(decoded.reason._tag, reason._tag)
        assert.strictEqual(decoded.message, original.message)
        assert.strictEqual(decoded.stderrTail, "first\nlast")
        assert.strictEqual(decoded.isRetryable, isRetryable)
        assert.strictEqual(decoded.delivery, delivery)
        assert.deepStrictEqual(decoded.retryAfter, retryAfter)
        assert.strictEqual(decoded.cause, decoded.reason)
      })
    )

    it(`${name}: is told in one line that names the server`, () => {
      assert.match(error.message, /^simulated: \S.*$/)
      assert.notInclude(error.message, "undefined")
    })
  }

  it.effect("is caught by its reason with catchReason", () =>
    Effect.gen(function* () {
      const code = yield* Effect.fail(failure(spawn("ENOENT"))).pipe(
        Effect.catchReason("ConnectionError", "SpawnFailed", (reason, error) =>
          Effect.succeed(`${error.server} ${reason.code}`)
        )
      )
      assert.strictEqual(code, "simulated ENOENT")
      const other = yield* Effect.fail(failure(network("ECONNRESET"))).pipe(
        Effect.catchReason("ConnectionError", "SpawnFailed", () => Effect.succeed("caught")),
        Effect.flip
      )
      assert.strictEqual(other.reason._tag, "NetworkFailed")
    })
  )

  it("says how the process ended", () => {
    const byCode = failure(new ConnectionError.ProcessExited({ exitCode: 3 }))
    const bySignal = failure(new ConnectionError.ProcessExited({ signal: "SIGKILL" }))
    assert.strictEqual(byCode.exitCode, 3)
    assert.isUndefined(byCode.signal)
    assert.strictEqual(bySignal.signal, "SIGKILL")
    assert.isUndefined(bySignal.exitCode)
    assert.isUndefined(failure(network("ECONNRESET")).exitCode)
  })

  it("appends the last line that the server wrote to stderr, but not all of a very long one", () => {
    const reason = new ConnectionError.ProcessExited({ exitCode: 1 })
    assert.match(failure(reason, "starting\nError: no API key\n\n").message, /; stderr: Error: no API key$/)
    assert.notInclude(failure(reason, "starting\nError: no API key\n").message, "starting")
    assert.notInclude(failure(reason, "\n \n").message, "stderr")
    const long = failure(reason, "x".repeat(10_000)).message
    assert.isBelow(long.length, 1000)
    assert.include(long, "x".repeat(200))
  })

  it("stays one line when the server's or the defect's own words are many", () => {
    const several = [
      failure(new ConnectionError.HandshakeRejected({ code: -32603, description: "Traceback:\n  line 1\n  line 2" })),
      failure(new ConnectionError.InternalError({ where: "transport", description: "expected\n  at path" })),
      failure(new ConnectionError.ProcessExited({ exitCode: 1 }), "10%\r50%\rfatal: disk full")
    ]
    for (const error of several) assert.notMatch(error.message, /[\r\n]/)
  })
})
