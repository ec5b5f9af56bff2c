/** The faults between a real connection and a real process. */
import { assert, describe } from "@effect/vitest"
import { Faults } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { assertAtLeast, call, everything, generation, happened, stdio, timed, until } from "./rig.ts"

const onPay = Faults.on

describe("a process in between", () => {
  stdio("hands on everything, and tells what came by", [], (rig) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
      yield* rig.connection.listTools()
      yield* rig.connection.ping()
      assert.deepStrictEqual(rig.ledger(), ["pay a"])
      assert.deepStrictEqual(
        rig.proxy.passed.map(({ method, tool }) => tool ?? method),
        ["initialize", "pay", "tools/list", "ping"]
      )
      assert.deepStrictEqual(rig.proxy.happened, [])
    })
  )

  stdio(
    "crash before receiving: it may have run, for all that is known, and it has not",
    [onPay({ tool: "pay" }, Faults.crash())],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "OutcomeUnknown (ProcessExited)")
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay b"])
        assert.strictEqual(yield* generation(rig), 2)
        assert.deepStrictEqual(happened(rig), ["Crash"])
      })
  )

  stdio(
    "crash after receiving, and after the effect: it has run, and is not sent again",
    [
      onPay({ tool: "pay", nth: 1 }, Faults.crash({ when: "afterReceiving" })),
      onPay({ tool: "pay", nth: 2 }, Faults.crash({ when: "afterEffect" }))
    ],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "OutcomeUnknown (ProcessExited)")
        assert.strictEqual(yield* call(rig, "pay", "b"), "OutcomeUnknown (ProcessExited)")
        assert.strictEqual(yield* call(rig, "pay", "c"), "pay c")
        assert.deepStrictEqual(rig.ledger(), ["pay a", "pay b", "pay c"])
      })
  )

  stdio(
    "crash after the effect of what only reads: it is sent again, over both processes the script is one",
    [
      onPay({ tool: "read", nth: 1 }, Faults.crash({ when: "afterEffect" })),
      onPay({ tool: "read", nth: 3 }, Faults.crash())
    ],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "read", "a"), "read a")
        assert.deepStrictEqual(rig.ledger(), ["read a", "read a"])
        assert.strictEqual(yield* call(rig, "read", "b"), "read b")
        assert.strictEqual(yield* generation(rig), 3)
      })
  )

  stdio(
    "crash after the reply: its caller has it",
    [onPay({ tool: "pay" }, Faults.crash({ when: "afterReplying" }))],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
        yield* until("the loss", () => rig.events.some(({ _tag }) => _tag === "SessionLost"))
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay a", "pay b"])
      })
  )

  stdio(
    "a crash with downtime: it cannot be started before",
    [onPay({ tool: "pay" }, Faults.crash({ downFor: "1 second" }))],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        // The first is told when the next session says that the tool makes no promise.
        const [answers, millis] = yield* timed(Effect.all([call(rig, "pay", "a"), call(rig, "read", "b")]))
        assert.deepStrictEqual(answers, ["OutcomeUnknown (ProcessExited)", "read b"])
        assertAtLeast(millis, 900)
        assert.isAtLeast(rig.events.filter(({ _tag }) => _tag === "AttemptFailed").length, 1)
      })
  )

  stdio(
    "starts that are refused, and a handshake that hangs, are tried again",
    [Faults.at(0, Faults.refuseStarts(2)), Faults.at(0, Faults.hangHandshakes())],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
        const failures = rig.events.flatMap((event) =>
          event._tag === "AttemptFailed" ? [event.error.reason._tag] : []
        )
        assert.deepStrictEqual(failures, ["ProcessExited", "ProcessExited", "StartupTimeout"])
      }),
    // A process takes a second to start where many do.
    { startupTimeout: "3 seconds" }
  )

  stdio("a server that is frozen does it later", [onPay({ tool: "pay" }, Faults.freeze("700 millis"))], (rig) =>
    Effect.gen(function* () {
      yield* generation(rig)
      const [answer, millis] = yield* timed(call(rig, "pay", "a"))
      assert.strictEqual(answer, "pay a")
      assertAtLeast(millis, 600)
      assert.strictEqual(yield* generation(rig), 1)
    })
  )

  stdio("a partition only delays", [onPay({ tool: "pay" }, Faults.partition("700 millis"))], (rig) =>
    Effect.gen(function* () {
      yield* generation(rig)
      const [answer, millis] = yield* timed(call(rig, "pay", "a"))
      assert.strictEqual(answer, "pay a")
      assertAtLeast(millis, 600)
      assert.strictEqual(yield* generation(rig), 1)
    })
  )

  stdio(
    "a slow link takes that much longer each way",
    [onPay({ tool: "pay" }, Faults.slowLink({ latency: "300 millis", for: "1 minute" }))],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        const [answer, millis] = yield* timed(call(rig, "pay", "a"))
        assert.strictEqual(answer, "pay a")
        assertAtLeast(millis, 600)
      })
  )

  stdio(
    "bytes that go nowhere are noticed by the heartbeat, and the next session is another one",
    [onPay({ tool: "pay" }, Faults.halfOpen)],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "OutcomeUnknown (LivenessLost)")
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay b"])
      }),
    { heartbeat: { interval: "200 millis", timeout: "200 millis", misses: 2, busyGrace: "500 millis" } }
  )

  stdio(
    "a request or a reply that is lost ends in a timeout; one has not run, one has",
    [
      onPay({ tool: "pay", nth: 1 }, Faults.drop("request")),
      onPay({ tool: "pay", nth: 2 }, Faults.drop("reply")),
      onPay({ tool: "pay", nth: 3 }, Faults.corrupt)
    ],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        const timeout = "500 millis"
        assert.strictEqual(yield* call(rig, "pay", "a", { timeout }), "RequestTimeout (Unknown)")
        assert.strictEqual(yield* call(rig, "pay", "b", { timeout }), "RequestTimeout (Unknown)")
        assert.strictEqual(yield* call(rig, "pay", "c", { timeout }), "RequestTimeout (Unknown)")
        assert.strictEqual(yield* call(rig, "pay", "d"), "pay d")
        assert.deepStrictEqual(rig.ledger(), ["pay b", "pay c", "pay d"])
        assert.strictEqual(yield* generation(rig), 1)
      })
  )

  stdio(
    "a request that arrives twice runs twice, and has one answer; so has one whose reply does",
    [
      onPay({ tool: "pay", nth: 1 }, Faults.duplicate("request")),
      onPay({ tool: "pay", nth: 2 }, Faults.duplicate("reply"))
    ],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.deepStrictEqual(rig.ledger(), ["pay a", "pay a", "pay b"])
        assert.strictEqual(yield* generation(rig), 1)
      })
  )

  stdio("noise on stdout is no message", [onPay({ tool: "pay" }, Faults.noise(100))], (rig) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
      assert.strictEqual(yield* generation(rig), 1)
    })
  )

  stdio(
    "a server that does not answer pings, and everything else, is kept",
    [Faults.at(0, Faults.silentToPing("1 minute"))],
    (rig) =>
      Effect.gen(function* () {
        yield* generation(rig)
        yield* until("two probes", () => rig.proxy.passed.filter(({ method }) => method === "tools/list").length >= 2)
        assert.strictEqual(yield* call(rig, "pay", "a"), "pay a")
        assert.strictEqual(yield* generation(rig), 1)
      }),
    { heartbeat: { interval: "100 millis", timeout: "100 millis", misses: 3 } }
  )

  stdio(
    "a server that flaps is there when it is over",
    [onPay({ tool: "read" }, Faults.flap({ every: "400 millis", times: 3 }))],
    (rig) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* call(rig, "read", "a"), "read a")
        // What has begun to start is hit like what serves.
        yield* until("the last crash", () => {
          const [first] = rig.events.filter(({ _tag }) => _tag === "SessionLost")
          return first !== undefined && Date.now() - first.at > 900
        })
        assert.strictEqual(yield* call(rig, "pay", "b"), "pay b")
        assert.isAtLeast(yield* generation(rig), 2)
      })
  )

  everything(
    "before a server that nobody here wrote, which dies in the middle of a call, three times",
    [1, 2, 3].map((nth) => onPay({ tool: "echo", nth }, Faults.crash({ when: "afterEffect" }))),
    ({ connection }) =>
      Effect.gen(function* () {
        // It only reads, so it is sent again by itself, once.
        const echo = connection.callTool({ name: "echo", arguments: { message: "hi" } })
        assert.deepStrictEqual((yield* Effect.retry(echo, { times: 2 })).content, [{ type: "text", text: "Echo: hi" }])
        assert.strictEqual(yield* generation({ connection }), 4)
      })
  )

  stdio("faults by hand, with calls in flight", [], (rig) =>
    Effect.gen(function* () {
      yield* generation(rig)
      yield* rig.proxy.inject(Faults.drop("reply"))
      const lost = yield* Effect.forkChild(call(rig, "pay", "a"))
      yield* until("the payment", () => rig.ledger().length === 1)
      yield* rig.proxy.inject(Faults.crash())
      assert.strictEqual(yield* Fiber.join(lost), "OutcomeUnknown (ProcessExited)")
      assert.deepStrictEqual(happened(rig), ["Drop", "Crash"])
    })
  )
})
