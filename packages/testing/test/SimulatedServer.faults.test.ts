/** Every fault, and what a real connection makes of it: what its callers are told, and what the server knows of them. */
import { assert, describe, it } from "@effect/vitest"
import { Faults } from "@mcp-tether/testing"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import {
  endOf,
  everywhere,
  failuresIn,
  happenedIn,
  inWords,
  ledgerOf,
  lossesIn,
  overHttp,
  overStdio,
  play,
  readyIn,
  sentTo,
  until,
  virtual,
  within
} from "./support/play.ts"

describe("a crash", () => {
  for (const { over, era } of everywhere) {
    describe(`${inWords({ over, era })}:`, () => {
      // One process serves all HTTP sessions, and the modern era has none that a restart could forget.
      const next = over === "http" && era === "modern" ? 1 : 2

      for (const when of ["beforeReceiving", "afterReceiving"] as const) {
        virtual(
          `${when}: nothing ran, and the caller is told that it may have`,
          Effect.gen(function* () {
            const { call, server } = yield* play({
              over,
              era,
              faults: [Faults.on({ tool: "pay" }, Faults.crash({ when }))]
            })
            assert.match(yield* call("pay"), /^OutcomeUnknown .* after 0 ms$/)
            assert.deepStrictEqual(server.ran, [])
            assert.deepStrictEqual(happenedIn(server), ["0 Crash"])
            assert.deepStrictEqual(server.happened[0]?.to, { method: "tools/call", tool: "pay" })
            assert.strictEqual(yield* call("pay"), `pay on ${next} after 0 ms`)
            assert.deepStrictEqual(ledgerOf(server), [`0 ${next} pay`])
          })
        )
      }

      virtual(
        "after the effect: it is in the ledger once, and the caller is told that it may have run",
        Effect.gen(function* () {
          const { call, server } = yield* play({
            over,
            era,
            faults: [Faults.on({ tool: "work" }, Faults.crash({ when: "afterEffect" }))]
          })
          assert.match(yield* call("work"), /^OutcomeUnknown .* after 1000 ms$/)
          assert.deepStrictEqual(ledgerOf(server), ["1000 1 work"])
          assert.deepStrictEqual(happenedIn(server), ["1000 Crash"])
          assert.strictEqual(yield* call("work"), `work on ${next} after 1000 ms`)
        })
      )

      virtual(
        "after the effect of a read-only tool: it is sent again, and its caller has an answer",
        Effect.gen(function* () {
          const { call, events, server } = yield* play({
            over,
            era,
            faults: [Faults.on({ tool: "read" }, Faults.crash({ when: "afterEffect" }))]
          })
          assert.strictEqual(yield* call("read"), `read on ${next} after 0 ms`)
          assert.deepStrictEqual(ledgerOf(server), ["0 1 read", `0 ${next} read`])
          assert.isTrue(server.ledger.every(({ safe }) => safe))
          const replays = events.filter((event) => event._tag === "RequestReplayed")
          assert.deepStrictEqual(
            replays.map(({ delivery, from, to }) => [from, to, delivery]),
            [[1, next, "Unknown"]]
          )
        })
      )

      virtual(
        "after the reply: the caller has its answer, and the next one too",
        Effect.gen(function* () {
          const { call, server } = yield* play({
            over,
            era,
            faults: [Faults.on({ tool: "pay" }, Faults.crash({ when: "afterReplying" }))]
          })
          assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
          assert.strictEqual(yield* call("pay"), `pay on ${next} after 0 ms`)
          assert.deepStrictEqual(ledgerOf(server), ["0 1 pay", `0 ${next} pay`])
          assert.deepStrictEqual(happenedIn(server), ["0 Crash"])
        })
      )

      virtual(
        "after a reply that is an error: the caller has it, and the server is dead",
        Effect.gen(function* () {
          const { call, server } = yield* play({
            over,
            era,
            faults: [Faults.on({ tool: "nope" }, Faults.crash({ when: "afterReplying" }))]
          })
          assert.strictEqual(yield* call("nope"), "ServerRejected (-32602) after 0 ms")
          assert.deepStrictEqual(happenedIn(server), ["0 Crash"])
          assert.strictEqual(yield* call("pay"), `pay on ${next} after 0 ms`)
        })
      )

      virtual(
        "after the reply to a handshake: there was a session, and it is lost",
        Effect.gen(function* () {
          const { call, server } = yield* play({
            over,
            era,
            faults: [Faults.on({ method: "initialize" }, Faults.crash({ when: "afterReplying" }))]
          })
          assert.strictEqual(server.log[0], "open 1")
          assert.deepStrictEqual(happenedIn(server), ["0 Crash"])
          assert.match(yield* call("pay"), /^pay on [12] after 0 ms$/)
          assert.lengthOf(server.sessions, next)
          assert.deepStrictEqual(server.ran, ["pay"])
        })
      )

      virtual(
        "that leaves the server down: calls wait until it can be reached, and are carried out once",
        Effect.gen(function* () {
          const { call, server } = yield* play({
            over,
            era,
            faults: [Faults.at("5 seconds", Faults.crash({ downFor: "2500 millis" }))]
          })
          yield* until(5_000)
          // The attempts are at once, after one second, after two, and after three.
          assert.strictEqual(yield* call("pay"), "pay on 2 after 3000 ms")
          assert.deepStrictEqual(ledgerOf(server), ["8000 2 pay"])
          assert.deepStrictEqual(server.attempts, [0, 5_000, 6_000, 7_000, 8_000])
          assert.deepStrictEqual(server.log, ["open 1", "close 1", "open 2"])
        })
      )

      virtual(
        "on the handshake: the attempt has failed, and the next one does not",
        Effect.gen(function* () {
          const { call, events, server } = yield* play({
            over,
            era,
            faults: [Faults.on({ method: "initialize" }, Faults.crash())]
          })
          assert.lengthOf(failuresIn(events), 1)
          assert.deepStrictEqual(server.attempts, [0, 0])
          assert.deepStrictEqual(happenedIn(server), ["0 Crash"])
          assert.match(yield* call("pay"), /^pay on [12] after 0 ms$/)
        })
      )
    })
  }

  for (const world of overStdio) {
    virtual(
      `while nobody calls is noticed at once ${inWords(world)}`,
      Effect.gen(function* () {
        const { events, server } = yield* play({ ...world, faults: [Faults.at("5 seconds", Faults.crash())] })
        yield* until(5_000)
        yield* Effect.sleep(0)
        assert.deepStrictEqual(lossesIn(events), ["5000 1 ProcessExited"])
        assert.deepStrictEqual(readyIn(events), ["0 1", "5000 2"])
        assert.strictEqual(server.sessions[0]?.endedAt(), 5_000)
        assert.isUndefined(server.sessions[1]?.endedAt())
        assert.strictEqual(server.current.generation, 2)
      })
    )
  }

  virtual(
    "over http forgets the sessions of the legacy era: the call that finds out was refused, and is sent again",
    Effect.gen(function* () {
      const { call, events, server } = yield* play({
        over: "http",
        faults: [Faults.at("5 seconds", Faults.crash())]
      })
      yield* until(6_000)
      assert.strictEqual(yield* call("pay"), "pay on 2 after 0 ms")
      assert.deepStrictEqual(server.ran, ["pay"])
      assert.match(lossesIn(events).join(), /^\d+ 1 SessionExpired$/)
    })
  )

  virtual(
    "over http in the modern era leaves the session as it is",
    Effect.gen(function* () {
      const { call, events, server } = yield* play({
        over: "http",
        era: "modern",
        faults: [Faults.at("5 seconds", Faults.crash())]
      })
      yield* until(6_000)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      assert.deepStrictEqual(server.log, ["open 1"])
      assert.deepStrictEqual(lossesIn(events), [])
    })
  )

  virtual(
    "strikes all that is in flight, over either transport",
    Effect.gen(function* () {
      for (const over of ["stdio", "http"] as const) {
        const { call, server } = yield* play({
          over,
          faults: [Faults.on({ tool: "pay" }, Faults.crash({ when: "afterEffect" }))]
        })
        const working = yield* Effect.forkChild(call("work"))
        yield* Effect.sleep("300 millis")
        assert.match(yield* call("pay"), /^OutcomeUnknown/)
        assert.match(yield* Fiber.join(working), /^OutcomeUnknown .* after 300 ms$/)
        yield* Effect.sleep("5 seconds")
        // Its work ended with its process.
        assert.deepStrictEqual(server.ran, ["pay"])
      }
    })
  )

  virtual(
    "at a time is at once, whatever moment it names",
    Effect.gen(function* () {
      const { call, server } = yield* play({
        faults: [Faults.at("500 millis", Faults.crash({ when: "afterEffect" }))]
      })
      assert.match(yield* call("work"), /^OutcomeUnknown .* after 500 ms$/)
      assert.deepStrictEqual(happenedIn(server), ["500 Crash"])
      assert.isUndefined(server.happened[0]?.to)
      assert.deepStrictEqual(server.ran, [])
    })
  )

  virtual(
    "on the nth call strikes that one, and the `times - 1` after it",
    Effect.gen(function* () {
      const { call, server } = yield* play({
        faults: [Faults.on({ tool: "pay", nth: 2, times: 2 }, Faults.crash({ when: "afterEffect" }))]
      })
      const answers: Array<string> = []
      for (let n = 0; n < 5; n++) {
        yield* call("read")
        answers.push((yield* call("pay")).split(" ")[0] ?? "")
        yield* Effect.sleep("1 minute")
      }
      assert.deepStrictEqual(answers, ["pay", "OutcomeUnknown", "OutcomeUnknown", "pay", "pay"])
      assert.lengthOf(
        server.ran.filter((key) => key === "pay"),
        5
      )
      assert.deepStrictEqual(happenedIn(server), ["60000 Crash", "120000 Crash"])
    })
  )

  virtual(
    "on any request, or on a method, counts those",
    Effect.gen(function* () {
      const { call, connection, server } = yield* play({
        faults: [
          Faults.on({ method: "tools/list", nth: 2 }, Faults.crash()),
          Faults.on({ method: "tools/call", nth: 2 }, Faults.crash({ when: "afterReplying" }))
        ]
      })
      yield* connection.listTools()
      yield* call("pay")
      assert.deepStrictEqual(happenedIn(server), [])
      yield* connection.listTools()
      yield* call("read")
      assert.deepStrictEqual(
        server.happened.map(({ to }) => to?.tool ?? to?.method),
        ["tools/list", "read"]
      )
    })
  )
})

describe("a flapping server", () => {
  virtual(
    "crashes that many times, one every so often",
    Effect.gen(function* () {
      const { call, events, server } = yield* play({
        faults: [Faults.at("10 seconds", Faults.flap({ every: "3 seconds", times: 3 }))]
      })
      yield* until(60_000)
      const times = lossesIn(events).map((loss) => Number(loss.split(" ")[0]))
      assert.lengthOf(times, 3)
      assert.deepStrictEqual(
        times.map((time) => time - (times[0] ?? 0)),
        [0, 3_000, 6_000]
      )
      assert.include([10_000, 13_000], times[0])
      assert.strictEqual(server.current.generation, 4)
      assert.match(yield* call("pay"), /^pay on 4/)
    })
  )
})

describe("refused starts", () => {
  for (const { era, over } of everywhere) {
    virtual(
      `fail that many attempts, and the next one serves, ${inWords({ era, over })}`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play(
          { over, era, faults: [Faults.at(0, Faults.refuseStarts(3))] },
          { ready: false }
        )
        yield* Effect.sleep(1)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 2000 ms")
        const reason = over === "stdio" ? "ProcessExited" : "NetworkFailed"
        assert.deepStrictEqual(failuresIn(events), [`1 ${reason}`, `1 ${reason}`, `1001 ${reason}`])
        assert.deepStrictEqual(server.attempts, [1, 1, 1_001, 2_001])
        assert.deepStrictEqual(server.log, ["open 1"])
      })
    )
  }

  virtual(
    "do not touch the session that serves",
    Effect.gen(function* () {
      const { call, server } = yield* play({ faults: [Faults.at("1 second", Faults.refuseStarts(2))] })
      yield* until(2_000)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      yield* server.inject(Faults.crash())
      assert.strictEqual(yield* call("pay"), "pay on 2 after 2000 ms")
    })
  )
})

describe("hung handshakes", () => {
  for (const { era, over } of everywhere) {
    virtual(
      `are given up after the startup timeout, and the next one serves, ${inWords({ era, over })}`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play(
          { over, era, faults: [Faults.at(0, Faults.hangHandshakes(2))] },
          { ready: false, startupTimeout: "4 seconds" }
        )
        yield* Effect.sleep(1)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 9000 ms")
        assert.deepStrictEqual(failuresIn(events), ["4001 StartupTimeout", "8001 StartupTimeout"])
        assert.deepStrictEqual(server.attempts, [1, 4_001, 9_001])
        assert.strictEqual(server.mostOpening, 1)
      })
    )

    virtual(
      `on the handshake itself hang that one ${inWords({ era, over })}`,
      Effect.gen(function* () {
        const { call, events } = yield* play(
          { over, era, faults: [Faults.on({ method: "initialize" }, Faults.hangHandshakes())] },
          { ready: false, startupTimeout: "4 seconds" }
        )
        assert.strictEqual(yield* call("pay"), "pay on 1 after 4000 ms")
        assert.deepStrictEqual(failuresIn(events), ["4000 StartupTimeout"])
      })
    )
  }
})

describe("a frozen server", () => {
  for (const world of everywhere) {
    virtual(
      `goes on afterwards with what has arrived meanwhile ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.at("1 second", Faults.freeze("10 seconds"))]
        })
        yield* until(2_000)
        const [pay, read, work] = yield* Effect.all([call("pay"), call("read"), call("work")], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(
          [pay, read, work],
          ["pay on 1 after 9000 ms", "read on 1 after 9000 ms", "work on 1 after 10000 ms"]
        )
        assert.deepStrictEqual(ledgerOf(server), ["11000 1 pay", "11000 1 read", "12000 1 work"])
        assert.deepStrictEqual(server.log, ["open 1"])
      })
    )

    virtual(
      `that is frozen by a call answers it when it thaws ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.on({ tool: "pay" }, Faults.freeze("10 seconds"))]
        })
        assert.strictEqual(yield* call("pay"), "pay on 1 after 10000 ms")
        assert.deepStrictEqual(ledgerOf(server), ["10000 1 pay"])
      })
    )
  }

  virtual(
    "does not go on with its work while it is frozen",
    Effect.gen(function* () {
      const { call, server } = yield* play({ faults: [Faults.at("400 millis", Faults.freeze("10 seconds"))] })
      const answer = yield* call("work")
      // Its timer runs in real time, and is due when it thaws.
      assert.strictEqual(answer, "work on 1 after 10400 ms")
      assert.deepStrictEqual(ledgerOf(server), ["10400 1 work"])
    })
  )

  virtual(
    "carries out what has arrived also when its caller has given it up",
    Effect.gen(function* () {
      const { call, server } = yield* play({ faults: [Faults.on({ tool: "pay" }, Faults.freeze("10 seconds"))] })
      assert.strictEqual(yield* call("pay", within("3 seconds")), "RequestTimeout (Unknown) after 3000 ms")
      assert.deepStrictEqual(server.ran, [])
      assert.deepStrictEqual(server.cancelled, ["1 tools/call"])
      yield* until(20_000)
      assert.deepStrictEqual(ledgerOf(server), ["10000 1 pay"])
      assert.strictEqual(yield* call("read"), "read on 1 after 0 ms")
    })
  )

  const heartbeat = { interval: "2 seconds", timeout: "1 second", misses: 2 } as const

  for (const world of overStdio) {
    virtual(
      `is killed when it is given up, and its successor is not frozen, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events } = yield* play(
          { ...world, faults: [Faults.at("10 seconds", Faults.freeze("1 hour"))] },
          { heartbeat }
        )
        yield* until(20_000)
        const [loss = ""] = lossesIn(events)
        assert.match(loss, /^1\d{4} 1 LivenessLost$/)
        const [lostAt = ""] = loss.split(" ")
        assert.deepStrictEqual(readyIn(events), ["0 1", `${lostAt} 2`])
        assert.strictEqual(yield* call("pay"), "pay on 2 after 0 ms")
      })
    )
  }

  for (const world of overHttp) {
    virtual(
      `cannot be connected to anew while it is frozen ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events } = yield* play(
          { ...world, faults: [Faults.at("10 seconds", Faults.freeze("1 minute"))] },
          { heartbeat, startupTimeout: "5 seconds", wait: "10 minutes" }
        )
        yield* until(20_000)
        assert.match(lossesIn(events).join(), /^1\d{4} 1 LivenessLost$/)
        assert.match(yield* call("pay"), /^pay on 2/)
        const [, ready = ""] = readyIn(events)
        assert.isAtLeast(Number(ready.split(" ")[0]), 70_000)
        assert.isAtMost(Number(ready.split(" ")[0]), 76_000)
      })
    )
  }

  it.effect("thaws under TestClock to the millisecond, too", () =>
    Effect.gen(function* () {
      const { call } = yield* play(
        { faults: [Faults.on({ tool: "pay" }, Faults.freeze("10 seconds"))] },
        { start: "background" }
      )
      const paying = yield* Effect.forkChild(call("pay"))
      yield* TestClock.adjust("9999 millis")
      assert.isUndefined(paying.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(paying), "pay on 1 after 10000 ms")
    }).pipe(Effect.scoped)
  )
})

describe("a half-open session", () => {
  for (const world of everywhere) {
    virtual(
      `swallows what is sent, until the heartbeat finds out, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play(
          { ...world, faults: [Faults.at("10 seconds", Faults.halfOpen)] },
          { heartbeat: { interval: "30 seconds", timeout: "10 seconds", misses: 3 } }
        )
        yield* until(11_000)
        assert.strictEqual(yield* call("pay", within("5 seconds")), "RequestTimeout (Unknown) after 5000 ms")
        assert.deepStrictEqual(server.ran, [])
        assert.deepStrictEqual(lossesIn(events), [])
        yield* until(120_000)
        assert.match(lossesIn(events).join(), /^\d+ 1 LivenessLost$/)
        assert.strictEqual(yield* call("pay"), "pay on 2 after 0 ms")
        assert.deepStrictEqual(server.log.slice(0, 3), ["open 1", "close 1", "open 2"])
        assert.deepStrictEqual(server.ran, ["pay"])
      })
    )

    virtual(
      `stays for ever where nobody probes ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events } = yield* play({ ...world, faults: [Faults.on({ tool: "pay" }, Faults.halfOpen)] })
        assert.strictEqual(yield* call("pay"), "RequestTimeout (Unknown) after 60000 ms")
        assert.strictEqual(yield* call("read"), "RequestTimeout (Unknown) after 60000 ms")
        yield* Effect.sleep("10 hours")
        assert.deepStrictEqual(lossesIn(events), [])
      })
    )
  }

  virtual(
    "does not touch a session that is opened later",
    Effect.gen(function* () {
      const { call, connection } = yield* play({ faults: [Faults.at("10 seconds", Faults.halfOpen)] })
      yield* until(11_000)
      yield* connection.reconnect
      assert.strictEqual(yield* call("pay"), "pay on 2 after 0 ms")
    })
  )
})

describe("a partition", () => {
  for (const world of everywhere) {
    virtual(
      `that is shorter than the timeouts only delays ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play({
          ...world,
          faults: [Faults.at("5 seconds", Faults.partition("20 seconds"))]
        })
        yield* until(6_000)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 19000 ms")
        assert.deepStrictEqual(ledgerOf(server), ["25000 1 pay"])
        assert.deepStrictEqual(lossesIn(events), [])
      })
    )

    virtual(
      `holds back the reply of what ran in it ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.at("500 millis", Faults.partition("20 seconds"))]
        })
        assert.strictEqual(yield* call("work"), "work on 1 after 20500 ms")
        assert.deepStrictEqual(ledgerOf(server), ["1000 1 work"])
      })
    )

    virtual(
      `lets nobody connect ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play(
          { ...world, faults: [Faults.at(0, Faults.partition("10 seconds"))] },
          { ready: false, startupTimeout: "4 seconds" }
        )
        yield* Effect.sleep(1)
        assert.match(yield* call("pay"), /^pay on 1 after /)
        assert.deepStrictEqual(server.log, ["open 1"])
        assert.isAtLeast(server.ledger[0]?.at ?? 0, 10_000)
        assert.isAtMost(server.ledger[0]?.at ?? 0, 15_000)
      })
    )
  }

  virtual(
    "that is longer than a timeout: the caller is told that it may run, and it runs when it is over",
    Effect.gen(function* () {
      const { call, server } = yield* play({ faults: [Faults.on({ tool: "pay" }, Faults.partition("20 seconds"))] })
      assert.strictEqual(yield* call("pay", within("5 seconds")), "RequestTimeout (Unknown) after 5000 ms")
      yield* until(30_000)
      assert.deepStrictEqual(ledgerOf(server), ["20000 1 pay"])
      assert.strictEqual(yield* call("read"), "read on 1 after 0 ms")
    })
  )
})

describe("a slow link", () => {
  for (const world of everywhere) {
    virtual(
      `makes every message that much later, each way, as long as it lasts, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.at("5 seconds", Faults.slowLink({ latency: "300 millis", for: "20 seconds" }))]
        })
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        yield* until(6_000)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 600 ms")
        assert.strictEqual(yield* call("work"), "work on 1 after 1600 ms")
        assert.deepStrictEqual(ledgerOf(server), ["0 1 pay", "6300 1 pay", "7900 1 work"])
        yield* until(25_000)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      })
    )

    virtual(
      `makes handshakes later, too, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call } = yield* play(
          { ...world, faults: [Faults.at(0, Faults.slowLink({ latency: "300 millis", for: "20 seconds" }))] },
          { ready: false }
        )
        yield* Effect.sleep(1)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 1200 ms")
      })
    )
  }
})

describe("a call that is given up while it is on its way", () => {
  for (const world of everywhere) {
    virtual(
      `arrives, with its cancellation behind it: what takes time has no effect, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.at("1 second", Faults.slowLink({ latency: "3 seconds", for: "1 minute" }))]
        })
        yield* until(2_000)
        const told = yield* Effect.all([call("pay", within("1 second")), call("work", within("1 second"))], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(
          told,
          Array.from(told, () => "RequestTimeout (Unknown) after 1000 ms")
        )
        yield* until(60_000)
        assert.deepStrictEqual(ledgerOf(server), ["5000 1 pay"])
      })
    )

    virtual(
      `never arrives at a server that died meanwhile, nor when its session was closed, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, connection, server } = yield* play({
          ...world,
          faults: [Faults.at(0, Faults.slowLink({ latency: "3 seconds", for: "1 hour" }))]
        })
        yield* until(10_000)
        yield* call("pay", within("1 second"))
        yield* server.inject(Faults.crash())
        yield* until(60_000)
        assert.deepStrictEqual(server.ran, [])
        yield* call("pay", within("1 second"))
        yield* connection.reconnect
        yield* until(120_000)
        assert.deepStrictEqual(server.ran, [])
      })
    )

    virtual(
      `can be the death of its server ${inWords(world)}`,
      Effect.gen(function* () {
        for (const when of ["beforeReceiving", "afterEffect"] as const) {
          const { call, server } = yield* play({
            ...world,
            faults: [Faults.on({ tool: "pay" }, Faults.crash({ when }))]
          })
          yield* server.inject(Faults.freeze("10 seconds"))
          yield* server.inject(Faults.slowLink({ latency: "3 seconds", for: "1 minute" }))
          assert.strictEqual(yield* call("pay", within("1 second")), "RequestTimeout (Unknown) after 1000 ms")
          yield* Effect.sleep("1 minute")
          assert.deepStrictEqual(
            server.happened.map(({ fault }) => fault._tag),
            ["Freeze", "SlowLink", "Crash"],
            when
          )
          assert.deepStrictEqual(server.ran, when === "beforeReceiving" ? [] : ["pay"])
        }
      })
    )
  }
})

describe("a lost message", () => {
  for (const world of everywhere) {
    virtual(
      `that is a request: it never ran, and its caller gives up ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play({
          ...world,
          faults: [Faults.on({ tool: "pay" }, Faults.drop("request"))]
        })
        assert.strictEqual(yield* call("pay"), "RequestTimeout (Unknown) after 60000 ms")
        assert.deepStrictEqual(sentTo(server), ["0 1 pay"])
        assert.deepStrictEqual(server.ran, [])
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        assert.deepStrictEqual(lossesIn(events), [])
      })
    )

    virtual(
      `that is a reply: it ran, and its caller gives up ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.on({ tool: "pay" }, Faults.drop("reply"))]
        })
        assert.strictEqual(yield* call("pay"), "RequestTimeout (Unknown) after 60000 ms")
        assert.deepStrictEqual(ledgerOf(server), ["0 1 pay"])
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      })
    )

    virtual(
      `that is a reply to a handshake: the attempt is given up ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events } = yield* play(
          { ...world, faults: [Faults.on({ method: "initialize" }, Faults.drop("reply"))] },
          { ready: false, startupTimeout: "4 seconds" }
        )
        assert.match(yield* call("pay"), /^pay on [12] after 4000 ms$/)
        assert.deepStrictEqual(failuresIn(events), ["4000 StartupTimeout"])
      })
    )
  }

  virtual(
    "at a time is the first after it",
    Effect.gen(function* () {
      const { call, server } = yield* play({ faults: [Faults.at("5 seconds", Faults.drop("reply"))] })
      assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      yield* until(9_000)
      assert.deepStrictEqual(server.ran, ["pay"])
      assert.strictEqual(yield* call("work", within("2 seconds")), "RequestTimeout (Unknown) after 2000 ms")
      assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      assert.deepStrictEqual(server.ran, ["pay", "work", "pay"])
    })
  )
})

describe("a message that arrives twice", () => {
  for (const world of everywhere) {
    virtual(
      `as a request is carried out twice, under one id, and answered once, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.on({ tool: "pay" }, Faults.duplicate("request"))]
        })
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(server.ran, ["pay", "pay"])
        const [first, second] = server.ledger
        assert.isDefined(first?.requestId)
        assert.strictEqual(first?.requestId, second?.requestId)
        assert.lengthOf(server.sent, 1)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        assert.lengthOf(server.ran, 3)
      })
    )

    virtual(
      `as a request that takes time is carried out at once, not one after the other, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.on({ tool: "work" }, Faults.duplicate("request"))]
        })
        assert.strictEqual(yield* call("work"), "work on 1 after 1000 ms")
        assert.deepStrictEqual(ledgerOf(server), ["1000 1 work", "1000 1 work"])
      })
    )

    virtual(
      `as a reply changes nothing ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play({
          ...world,
          faults: [Faults.on({ tool: "pay" }, Faults.duplicate("reply"))]
        })
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        assert.strictEqual(yield* call("read"), "read on 1 after 0 ms")
        assert.deepStrictEqual(server.ran, ["pay", "read"])
        assert.deepStrictEqual(happenedIn(server), ["0 Duplicate"])
        assert.deepStrictEqual(lossesIn(events), [])
      })
    )
  }
})

describe("a reply that is garbage", () => {
  for (const world of overStdio) {
    virtual(
      `is no message on stdout: its caller gives up, and the session stays, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play({ ...world, faults: [Faults.on({ tool: "pay" }, Faults.corrupt)] })
        assert.strictEqual(yield* call("pay"), "RequestTimeout (Unknown) after 60000 ms")
        assert.deepStrictEqual(ledgerOf(server), ["0 1 pay"])
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        assert.deepStrictEqual(lossesIn(events), [])
      })
    )
  }

  for (const world of overHttp) {
    virtual(
      `is HTML with 200: its caller is told at once that it may have run, and the session stays, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({ ...world, faults: [Faults.on({ tool: "pay" }, Faults.corrupt)] })
        assert.strictEqual(yield* call("pay"), "OutcomeUnknown (MalformedResponse) after 0 ms")
        assert.deepStrictEqual(ledgerOf(server), ["0 1 pay"])
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        assert.deepStrictEqual(server.log, ["open 1"])
      })
    )

    virtual(
      `of a read-only tool: it is sent again ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({ ...world, faults: [Faults.on({ tool: "read" }, Faults.corrupt)] })
        assert.strictEqual(yield* call("read"), "read on 1 after 0 ms")
        assert.deepStrictEqual(server.ran, ["read", "read"])
      })
    )

    virtual(
      `to three handshakes in a row, and once more: nobody is there who speaks MCP, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, connection, events } = yield* play(
          { ...world, faults: [Faults.on({ method: "initialize", times: 10 }, Faults.corrupt)] },
          { ready: false }
        )
        assert.match(yield* call("pay"), /^ConnectionUnavailable \(Failed, NotSent, MalformedResponse\)/)
        assert.strictEqual((yield* connection.state)._tag, "Failed")
        assert.isTrue(failuresIn(events).every((failure) => failure.endsWith(" MalformedResponse")))
      })
    )
  }
})

describe("sessions that the server forgets", () => {
  for (const status of [404, 400] as const) {
    virtual(
      `with ${status}: the call is refused, and sent again on a new one`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play({
          over: "http",
          faults: [Faults.at("5 seconds", Faults.expireSessions(status))]
        })
        yield* until(20_000)
        assert.deepStrictEqual(lossesIn(events), [])
        assert.strictEqual(yield* call("pay"), "pay on 2 after 0 ms")
        assert.deepStrictEqual(ledgerOf(server), ["20000 2 pay"])
        assert.deepStrictEqual(lossesIn(events), ["20000 1 SessionExpired"])
        const replays = events.filter((event) => event._tag === "RequestReplayed")
        assert.deepStrictEqual(
          replays.map(({ delivery, from, to }) => [from, to, delivery]),
          [[1, 2, "Refused"]]
        )
      })
    )

    virtual(
      `with ${status}, on a call: that one is refused, and sent again`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          over: "http",
          faults: [Faults.on({ tool: "pay" }, Faults.expireSessions(status))]
        })
        assert.strictEqual(yield* call("pay"), "pay on 2 after 0 ms")
        assert.deepStrictEqual(server.ran, ["pay"])
        assert.deepStrictEqual(sentTo(server).slice(0, 1), ["0 1 pay"])
      })
    )
  }

  virtual(
    "are none in the modern era",
    Effect.gen(function* () {
      const { call, server } = yield* play({
        over: "http",
        era: "modern",
        faults: [Faults.at("5 seconds", Faults.expireSessions())]
      })
      yield* until(6_000)
      assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
      assert.deepStrictEqual(server.log, ["open 1"])
    })
  )

  virtual(
    "answer what they were doing: the server forgets the session, not its work",
    Effect.gen(function* () {
      const { call, server } = yield* play({
        over: "http",
        faults: [Faults.at("500 millis", Faults.expireSessions())]
      })
      assert.strictEqual(yield* call("work"), "work on 1 after 1000 ms")
      assert.deepStrictEqual(server.ran, ["work"])
    })
  )
})

describe("refused credentials", () => {
  for (const world of overHttp) {
    for (const status of [401, 403] as const) {
      virtual(
        `with ${status}: calls are refused until they are refreshed ${inWords(world)}`,
        Effect.gen(function* () {
          const { call, connection, server } = yield* play({
            ...world,
            faults: [Faults.at("5 seconds", Faults.unauthorized(status))]
          })
          yield* until(6_000)
          assert.strictEqual(
            yield* call("pay"),
            "ConnectionUnavailable (NotReplayed, Refused, Unauthorized) after 0 ms"
          )
          yield* Effect.sleep(1)
          assert.strictEqual((yield* connection.state)._tag, "Failed")
          yield* until(3_600_000)
          assert.strictEqual(yield* call("pay"), "ConnectionUnavailable (Failed, NotSent, Unauthorized) after 0 ms")
          assert.deepStrictEqual(server.ran, [])
          // Without new credentials it helps nothing to try.
          assert.strictEqual((yield* Effect.flip(connection.refresh))._tag, "ConnectionUnavailable")
          yield* server.refreshCredentials
          yield* connection.refresh
          assert.match(yield* call("pay"), /^pay on \d after 0 ms$/)
          assert.deepStrictEqual(server.ran, ["pay"])
        })
      )
    }

    virtual(
      `at the handshake: the connection is Failed ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, connection, server } = yield* play(
          { ...world, faults: [Faults.on({ method: "initialize" }, Faults.unauthorized())] },
          { ready: false }
        )
        assert.strictEqual(yield* call("pay"), "ConnectionUnavailable (Failed, NotSent, Unauthorized) after 0 ms")
        yield* server.refreshCredentials
        yield* connection.reconnect
        assert.match(yield* call("pay"), /^pay on \d after 0 ms$/)
      })
    )
  }
})

describe("a server that is unavailable", () => {
  for (const world of overHttp) {
    for (const status of [429, 503] as const) {
      virtual(
        `${status} to one request: it was refused, and is sent again, ${inWords(world)}`,
        Effect.gen(function* () {
          const { call, events, server } = yield* play({
            ...world,
            faults: [Faults.on({ tool: "pay" }, Faults.unavailable({ status }))]
          })
          assert.match(yield* call("pay"), /^pay on [12] after \d+ ms$/)
          assert.deepStrictEqual(server.ran, ["pay"])
          const replays = events.filter((event) => event._tag === "RequestReplayed")
          assert.deepStrictEqual(
            replays.map(({ delivery }) => delivery),
            ["Refused"]
          )
        })
      )
    }

    for (const status of [502, 504] as const) {
      virtual(
        `${status} to one request: nobody knows what became of it ${inWords(world)}`,
        Effect.gen(function* () {
          const { call, server } = yield* play({
            ...world,
            faults: [Faults.on({ tool: "pay" }, Faults.unavailable({ status }))]
          })
          assert.match(yield* call("pay"), /^OutcomeUnknown \(ServerUnavailable\)/)
          assert.isAtMost(server.ran.length, 1)
          const ran = server.ran.length
          assert.match(yield* call("pay"), /^pay on [12] after 0 ms$/)
          assert.lengthOf(server.ran, ran + 1)
        })
      )
    }

    virtual(
      `that says Retry-After is left alone that long ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play({
          ...world,
          faults: [Faults.on({ tool: "pay" }, Faults.unavailable({ retryAfter: "7 seconds" }))]
        })
        assert.match(yield* call("pay"), /^pay on [12] after 7000 ms$/)
        assert.deepStrictEqual(server.ran, ["pay"])
        const between = [...server.sent.map(({ at }) => at), ...server.attempts].filter((at) => at > 0 && at < 7_000)
        assert.deepStrictEqual(between, [])
      })
    )

    virtual(
      `at the handshake: the next attempt keeps Retry-After, past the policy, ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, server } = yield* play(
          { ...world, faults: [Faults.on({ method: "initialize" }, Faults.unavailable({ retryAfter: "7 seconds" }))] },
          { ready: false }
        )
        assert.match(yield* call("pay"), /^pay on [12] after 7000 ms$/)
        assert.deepStrictEqual(server.attempts, [0, 7_000])
      })
    )

    virtual(
      `for a time refuses everything until it is over ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, connection, server } = yield* play({
          ...world,
          faults: [Faults.at("5 seconds", Faults.unavailable({ for: "10 seconds" }))]
        })
        yield* until(6_000)
        assert.match(yield* call("pay"), /^pay on \d after \d+ ms$/)
        assert.strictEqual((yield* connection.state)._tag, "Ready")
        assert.lengthOf(server.ran, 1)
        assert.isAtLeast(server.ledger[0]?.at ?? 0, 15_000)
        assert.isAtMost(server.ledger[0]?.at ?? 0, 17_000)
      })
    )
  }
})

describe("noise on stdout", () => {
  for (const world of overStdio) {
    virtual(
      `harms nobody ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, events, server } = yield* play({
          ...world,
          faults: [Faults.on({ tool: "work" }, Faults.noise(50)), Faults.at("10 seconds", Faults.noise())]
        })
        assert.strictEqual(yield* call("work"), "work on 1 after 1000 ms")
        yield* until(11_000)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        assert.deepStrictEqual(happenedIn(server), ["0 Noise", "10000 Noise"])
        assert.deepStrictEqual(lossesIn(events), [])
      })
    )
  }

  virtual(
    "is life: the server is not probed until it has been silent again",
    Effect.gen(function* () {
      const { server } = yield* play(
        { faults: [Faults.at("20 seconds", Faults.noise())] },
        { heartbeat: { interval: "30 seconds" } }
      )
      yield* until(49_999)
      assert.deepStrictEqual(sentTo(server), [])
      yield* until(50_001)
      assert.deepStrictEqual(sentTo(server), ["50000 1 ping"])
    })
  )
})

describe("a server that does not answer pings", () => {
  for (const world of everywhere) {
    virtual(
      `does everything else ${inWords(world)}`,
      Effect.gen(function* () {
        const { call, connection } = yield* play({
          ...world,
          faults: [Faults.at("5 seconds", Faults.silentToPing("1 minute"))]
        })
        yield* until(6_000)
        assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
        assert.strictEqual((yield* Effect.flip(connection.ping(within("5 seconds"))))._tag, "RequestTimeout")
        yield* until(65_000)
        assert.strictEqual(yield* endOf(connection.ping()), 65_000)
      })
    )
  }

  virtual(
    "is alive to the heartbeat, which asks for something else before it gives a server up",
    Effect.gen(function* () {
      const { call, events } = yield* play(
        { faults: [Faults.at("5 seconds", Faults.silentToPing("1 hour"))] },
        { heartbeat: {} }
      )
      yield* until(3_000_000)
      assert.deepStrictEqual(lossesIn(events), [])
      assert.strictEqual(yield* call("pay"), "pay on 1 after 0 ms")
    })
  )
})
