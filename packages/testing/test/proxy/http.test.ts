/** The faults between a real connection and a real server over HTTP. */
import { assert, describe, it } from "@effect/vitest"
import { Faults, FaultProxy } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { assertAtLeast, call, generation, happened, http, timed, until } from "./rig.ts"

const onPay = Faults.on

describe("a proxy over HTTP", () => {
  http("hands on everything, and tells what came by", [], (rig) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
      yield* rig.connection.listTools()
      yield* rig.connection.ping()
      assert.deepStrictEqual(rig.ledger(), ["pay a"])
      assert.includeMembers(
        rig.proxy.passed.map(({ method, tool }) => tool ?? method),
        ["initialize", "pay", "tools/list", "ping"]
      )
      assert.deepStrictEqual(rig.proxy.happened, [])
    })
  )

  http(
    "crash before receiving: it has not run, and the sessions are forgotten",
    [onPay({ tool: "pay" }, Faults.crash())],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "OutcomeUnknown (NetworkFailed)")
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay b"])
        assert.strictEqual(yield* generation(rig), 2)
        assert.deepStrictEqual(happened(rig), ["Crash"])
      })
  )

  http(
    "crash after receiving, and after the effect: it has run, and is not sent again",
    [
      onPay({ tool: "pay", nth: 1 }, Faults.crash({ when: "afterReceiving" })),
      onPay({ tool: "pay", nth: 2 }, Faults.crash({ when: "afterEffect" }))
    ],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "OutcomeUnknown (NetworkFailed)")
        assert.strictEqual(yield* call(rig, "pay", "b"), "OutcomeUnknown (NetworkFailed)")
        assert.strictEqual(yield* call(rig, "pay", "c"), "pay c")
        assert.deepStrictEqual(rig.ledger(), ["pay a", "pay b", "pay c"])
      })
  )

  http(
    "crash after the effect of what only reads: it is sent again",
    [onPay({ tool: "read" }, Faults.crash({ when: "afterEffect" }))],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "read", "a"), "read a")
        assert.deepStrictEqual(rig.ledger(), ["read a", "read a"])
      })
  )

  http(
    "crash after the reply: its caller has it",
    [onPay({ tool: "pay" }, Faults.crash({ when: "afterReplying" }))],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
        yield* until("the crash", () => rig.events.some(({ _tag }) => _tag === "SessionLost"))
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay a", "pay b"])
      })
  )

  http(
    "a crash with downtime: nobody listens until it is over",
    [onPay({ tool: "pay" }, Faults.crash({ downFor: "700 millis" }))],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        const [answers, millis] = yield* timed(Effect.all([call(rig, "pay", "a"), call(rig, "read", "b")]))
        assert.deepStrictEqual(answers, ["OutcomeUnknown (NetworkFailed)", "read b"])
        assertAtLeast(millis, 600)
        const refused = rig.events.flatMap((event) =>
          event._tag === "AttemptFailed" && event.error.reason._tag === "NetworkFailed" ? [event.error.reason.code] : []
        )
        assert.include(refused, "ECONNREFUSED")
      })
  )

  http(
    "starts that are refused, and a handshake that hangs, are tried again",
    [Faults.at(0, Faults.refuseStarts(2)), Faults.at(0, Faults.hangHandshakes())],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
        const failures = rig.events.flatMap((event) =>
          event._tag === "AttemptFailed" ? [event.error.reason._tag] : []
        )
        assert.deepStrictEqual(failures, ["NetworkFailed", "NetworkFailed", "StartupTimeout"])
      }),
    { startupTimeout: "1 second" }
  )

  for (const [what, fault] of [
    ["a server that is frozen does it later", Faults.freeze("600 millis")],
    ["a partition only delays", Faults.partition("600 millis")],
    ["a slow link takes that much longer each way", Faults.slowLink({ latency: "300 millis", for: "1 minute" })]
  ] as const) {
    http(what, [onPay({ tool: "pay" }, fault)], (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        const [answer, millis] = yield* timed(call(rig, "pay", "a"))
        assert.strictEqual(answer, "pay a")
        assertAtLeast(millis, 590)
        assert.strictEqual(yield* generation(rig), 1)
      })
    )
  }

  http(
    "bytes that go nowhere end in a timeout, and a new socket reaches the server",
    [onPay({ tool: "pay" }, Faults.halfOpen)],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a", { timeout: "500 millis" }), "RequestTimeout (Unknown)")
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay b"])
      })
  )

  http(
    "a request or a reply that is lost ends in a timeout; one has not run, one has",
    [onPay({ tool: "pay", nth: 1 }, Faults.drop("request")), onPay({ tool: "pay", nth: 2 }, Faults.drop("reply"))],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        const timeout = "500 millis"
        assert.strictEqual(yield* call(rig, "pay", "a", { timeout }), "RequestTimeout (Unknown)")
        assert.strictEqual(yield* call(rig, "pay", "b", { timeout }), "RequestTimeout (Unknown)")
        assert.strictEqual(yield* call(rig, "pay", "c"), "pay c")
        assert.deepStrictEqual(rig.ledger(), ["pay b", "pay c"])
        assert.strictEqual(yield* generation(rig), 1)
      })
  )

  http(
    "a request that arrives twice runs twice, and has one answer; so has one whose reply does",
    [
      onPay({ tool: "pay", nth: 1 }, Faults.duplicate("request")),
      onPay({ tool: "pay", nth: 2 }, Faults.duplicate("reply"))
    ],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
        yield* until("the second run", () => rig.ledger().length === 2)
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay a", "pay a", "pay b"])
        assert.strictEqual(yield* generation(rig), 1)
      })
  )

  http(
    "garbage instead of a reply: it may have run; what only reads is asked again",
    [onPay({ tool: "pay" }, Faults.corrupt), onPay({ tool: "read" }, Faults.corrupt)],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "OutcomeUnknown (MalformedResponse)")
        assert.strictEqual(yield* call(rig, "read", "b"), "read b")
        assert.deepStrictEqual(rig.ledger(), ["pay a", "read b", "read b"])
        assert.strictEqual(yield* generation(rig), 1)
      })
  )

  for (const status of [404, 400] as const) {
    http(
      `sessions that are forgotten, with ${status}: a new one, and the refused call is sent again`,
      [onPay({ tool: "pay" }, Faults.expireSessions(status))],
      (rig) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
          assert.deepStrictEqual(rig.ledger(), ["pay a"])
          assert.strictEqual(yield* generation(rig), 2)
        })
    )
  }

  http(
    "credentials that are refused until others come",
    [onPay({ tool: "pay" }, Faults.unauthorized())],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "ConnectionUnavailable (NotReplayed, Refused, Unauthorized)")
        yield* rig.connection.refresh
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay b"])
      }),
    {
      http: {
        headers: (() => {
          let session = 0
          return Effect.sync(() => ({ Authorization: `Bearer ${++session}` }))
        })()
      }
    }
  )

  http(
    "a status that asks for patience is given it",
    [onPay({ tool: "pay" }, Faults.unavailable({ status: 429, retryAfter: "1 second" }))],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        const [answer, millis] = yield* timed(call(rig, "pay", "a"))
        assert.strictEqual(answer, "pay a")
        assertAtLeast(millis, 900)
        assert.deepStrictEqual(rig.ledger(), ["pay a"])
        assert.strictEqual(yield* generation(rig), 1)
      })
  )

  http(
    "a server that does not answer pings, and everything else, is kept",
    [Faults.at(0, Faults.silentToPing("1 minute"))],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        yield* until("two probes", () => rig.proxy.passed.filter(({ method }) => method === "tools/list").length >= 2)
        assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
        assert.strictEqual(yield* generation(rig), 1)
      }),
    { heartbeat: { interval: "100 millis", timeout: "200 millis", misses: 3 } }
  )

  http(
    "a server that flaps is back each time",
    [onPay({ tool: "read" }, Faults.flap({ every: "500 millis", times: 3 }))],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "read", "a"), "read a")
        yield* until("three losses", () => rig.events.filter(({ _tag }) => _tag === "SessionLost").length === 3)
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.strictEqual(yield* generation(rig), 4)
      })
  )

  http("faults by hand, with calls in flight", [], (rig) =>
    Effect.gen(function* () {
      yield* generation(rig)
      yield* rig.proxy.inject(Faults.drop("reply"))
      const lost = yield* Effect.forkChild(call(rig, "pay", "a"))
      yield* until("the payment", () => rig.ledger().length === 1)
      yield* rig.proxy.inject(Faults.crash())
      assert.strictEqual(yield* Fiber.join(lost), "OutcomeUnknown (NetworkFailed)")
      assert.deepStrictEqual(happened(rig), ["Drop", "Crash"])
    })
  )
})

describe("a proxy refuses", () => {
  it.effect("a target that is not on this machine, and what is no URL", () =>
    Effect.gen(function* () {
      const far = yield* Effect.flip(FaultProxy.http({ target: "http://example.com/mcp" }))
      assert.strictEqual(
        far.message,
        "invalid options of FaultProxy.http: target: expected an http: URL on this machine, like http://127.0.0.1:3000/mcp, got http://example.com"
      )
      const none = yield* Effect.flip(FaultProxy.http({ target: "localhost" }))
      assert.include(none.message, "got no URL")
    })
  )

  it.effect("faults that cannot happen there, and names them", () =>
    Effect.gen(function* () {
      const http = yield* Effect.flip(
        FaultProxy.http({ target: "http://127.0.0.1:1/mcp", faults: [Faults.at(0, Faults.noise() as never)] })
      )
      assert.include(http.message, "FaultProxy.http: faults[0]: expected a fault of HTTP")
      const stdio = yield* Effect.flip(
        FaultProxy.stdio({ command: "none", faults: [Faults.at(0, Faults.expireSessions() as never)] })
      )
      assert.include(stdio.message, "FaultProxy.stdio: faults[0]: expected a fault of stdio")
    })
  )
})
