/** The probe tells what happened, and a rule that is broken: by clients that break them on purpose, and by none of ours. */
import { assert, describe, it } from "@effect/vitest"
import { McpConnection, McpSession, RequestError } from "@mcp-tether/connection"
import { ConnectionProbe, JumpingClock, SimulatedServer } from "@mcp-tether/testing"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Faults from "../src/Faults.ts"

const settle = Effect.forEach(Array.from({ length: 20 }), () => TestClock.adjust(0), { discard: true })
const everySecond = Schedule.spaced("1 second")

/** A connection of ours to the server, which nobody watches yet. */
const connected = (server: SimulatedServer.SimulatedServer, options: Partial<McpConnection.Options> = {}) =>
  McpConnection.make({ transport: server.transport, heartbeat: "off", policy: everySecond, ...options })

/** The rules that were broken, as the probe says. */
const brokenBy = (probe: ConnectionProbe.ConnectionProbe) =>
  Effect.map(probe.violations, (violations) => violations.map(({ rule, what }) => `${rule}: ${what}`))

describe("a client that breaks", () => {
  it.effect("rule 1, and calls again whatever failed: the call ran twice", () =>
    Effect.gen(function* () {
      const server = yield* SimulatedServer.make({
        tools: { pay: {} },
        faults: Faults.script(Faults.on({ tool: "pay" }, Faults.crash({ when: "afterEffect" })))
      })
      const connection = yield* connected(server)
      const naive: McpConnection.Shape = {
        ...connection,
        callTool: (params, options) => Effect.retry(connection.callTool(params, options), { times: 1 })
      }
      const probe = yield* ConnectionProbe.attach(naive, server)
      const call = yield* Effect.forkChild(probe.connection.callTool({ name: "pay" }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(call)
      assert.deepStrictEqual(yield* brokenBy(probe), ["1: call 1 (tools/call pay) has an effect, and ran 2 times"])
      const error = yield* Effect.flip(probe.check)
      // Told as a story that names the call, its sendings and runs, the fault, and the loss.
      for (const part of [
        "call 1 begins: tools/call pay",
        "fault: crash after the effect (on pay)",
        "call 1: pay runs on generation 1",
        "generation 1 is lost",
        "call 1: pay runs on generation 2",
        "call 1 ends: succeeded"
      ])
        assert.include(error.message, part)
    })
  )

  it.effect("rule 2, and answers what never ran", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ tools: { pay: {} } })
      const connection = yield* connected(server)
      const liar = { ...connection, callTool: () => Effect.succeed({ content: [] }) }
      const probe = yield* ConnectionProbe.attach(liar, server)
      yield* probe.connection.callTool({ name: "pay" })
      assert.deepStrictEqual(yield* brokenBy(probe), ["2: call 1 (tools/call pay) has a result, but never ran"])
    })
  )

  it.effect("rule 2, and says of what ran that it did not", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ tools: { pay: {} } })
      const connection = yield* connected(server)
      const denier: McpConnection.Shape = {
        ...connection,
        callTool: (params) =>
          Effect.andThen(
            connection.callTool(params),
            Effect.fail(new RequestError.ConnectionClosed({ server: "simulated", delivery: "NotSent" }))
          )
      }
      const probe = yield* ConnectionProbe.attach(denier, server)
      yield* Effect.flip(probe.connection.callTool({ name: "pay" }))
      const [told] = yield* brokenBy(probe)
      assert.include(told, "which says that it did not run; but it ran")
    })
  )

  it.effect("rule 2, and never answers", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ tools: { pay: {} } })
      const connection = yield* connected(server)
      const mute = { ...connection, ping: () => Effect.never }
      const probe = yield* ConnectionProbe.attach(mute, server, { answerWithin: "10 seconds" })
      yield* Effect.forkScoped(probe.connection.ping())
      yield* TestClock.adjust("10 seconds")
      yield* probe.check
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* brokenBy(probe), ["2: call 1 (ping) has had no answer for 11s; promised were 10s"])
    })
  )

  it.effect("rule 3, and opens two sessions at a time", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ handshake: "1 second" })
      const probe = yield* ConnectionProbe.make(server, { start: "background" })
      yield* connected(server, { start: "background" })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* brokenBy(probe), ["3: 2 sessions were being opened at a time"])
    })
  )

  it.effect("rule 4, and sends on a session that is not published", () =>
    Effect.gen(function* () {
      // Over HTTP a session can still be talked to that its connection has given up.
      const server = SimulatedServer.makeUnsafe({ over: "http", era: "modern" })
      const probe = yield* ConnectionProbe.make(server)
      const old = server.current
      yield* probe.connection.refresh
      yield* old.request(new McpSession.RequestTicket("tools/call", { name: "pay" }))
      assert.deepStrictEqual(yield* brokenBy(probe), ["4: pay was sent on generation 1 while generation 2 served"])
    })
  )

  it.effect("rule 5, and leaves a session as it is", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe()
      const connection = yield* connected(server)
      const lazy = { ...connection, setLogLevel: () => Effect.void }
      const probe = yield* ConnectionProbe.attach(lazy, server)
      yield* probe.connection.setLogLevel("debug")
      const look = yield* Effect.forkChild(probe.look)
      yield* settle
      yield* Fiber.join(look)
      assert.deepStrictEqual(yield* brokenBy(probe), [
        `5: the log level of session 1: it has undefined, desired is "debug"`
      ])
    })
  )

  it.effect("rule 6, and leaves a session behind", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe()
      yield* connected(server)
      const scope = yield* Scope.make()
      const probe = yield* ConnectionProbe.make(server).pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* brokenBy(probe), ["6: 1 sessions or attempts are left after the close"])
    })
  )

  it.effect("rule 7, and waits for longer than its cap", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe()
      const probe = yield* ConnectionProbe.make(server, {
        policy: Schedule.spaced("40 seconds"),
        maxDelay: "30 seconds"
      })
      yield* server.current.lose()
      yield* settle
      assert.deepStrictEqual(yield* brokenBy(probe), ["7: attempt 1 waits 40s; the cap is 30s"])
    })
  )

  it.effect("rule 8, and is Ready without a session", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ lost: () => Effect.never })
      const probe = yield* ConnectionProbe.make(server, { heartbeat: "off" })
      yield* server.current.lose()
      yield* settle
      const look = yield* Effect.forkChild(probe.look)
      yield* settle
      yield* Fiber.join(look)
      assert.deepStrictEqual(yield* brokenBy(probe), ["8: Ready, but session 1 ended at 0"])
    })
  )

  it.effect("rule 2, and answers a list with a defect", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe()
      const connection = yield* connected(server)
      const probe = yield* ConnectionProbe.attach({ ...connection, listTools: () => Effect.die("oh") }, server)
      yield* Effect.exit(probe.connection.listTools())
      assert.deepStrictEqual(yield* brokenBy(probe), ["2: call 1 (tools/list) ended in a defect"])
    })
  )

  it.effect("rule 8, where nobody looked before the end", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ lost: () => Effect.never })
      const probe = yield* ConnectionProbe.make(server, { heartbeat: "off" })
      yield* server.current.lose()
      yield* settle
      assert.strictEqual((yield* Effect.flip(probe.check)).violations[0].rule, 8)
      assert.lengthOf(yield* probe.violations, 1)
    })
  )
})

describe("no rule is broken by", () => {
  it.effect("a tool that is called with `request`, and has a result", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ tools: { pay: {} } })
      const probe = yield* ConnectionProbe.make(server)
      yield* probe.connection.request("tools/call", { name: "pay" })
      yield* probe.check
      assert.deepStrictEqual(
        server.ledger.map(({ call }) => call),
        [1]
      )
    })
  )

  it.effect("a call that takes as long as it was given", () =>
    Effect.gen(function* () {
      const server = SimulatedServer.makeUnsafe({ tools: { pay: { latency: "10 minutes" } } })
      const probe = yield* ConnectionProbe.make(server)
      const call = yield* Effect.forkChild(probe.connection.callTool({ name: "pay" }, { timeout: "1 hour" }))
      yield* TestClock.adjust("10 minutes")
      yield* Fiber.join(call)
      yield* probe.check
    })
  )

  it.effect("a call that is sent again because the new release promises that it may be", () =>
    Effect.gen(function* () {
      const server = yield* SimulatedServer.make({
        tools: { pay: {} },
        releases: { two: { tools: { pay: { annotations: { idempotentHint: true } } } } },
        faults: Faults.script(
          Faults.on({ tool: "pay" }, Faults.crash({ when: "afterEffect", downFor: "5 seconds" })),
          Faults.at("1 second", Faults.deploy("two"))
        )
      })
      const probe = yield* ConnectionProbe.make(server, { policy: everySecond })
      const call = yield* Effect.forkChild(probe.connection.callTool({ name: "pay" }))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(call)
      assert.deepStrictEqual(
        server.ledger.map(({ safe }) => safe),
        [false, true]
      )
      yield* probe.check
    })
  )

  it.effect("an attempt that was made in time, whatever the clock says since it was set back", () =>
    Effect.gen(function* () {
      const jumping = yield* JumpingClock.make
      yield* Effect.gen(function* () {
        const server = SimulatedServer.makeUnsafe()
        const probe = yield* ConnectionProbe.make(server, { policy: Schedule.spaced("5 seconds"), heartbeat: "off" })
        yield* server.current.lose()
        yield* settle
        yield* jumping.jump("1 hour", "back")
        yield* TestClock.adjust("5 seconds")
        assert.lengthOf(server.sessions, 2)
        yield* probe.check
      }).pipe(Effect.provideService(Clock.Clock, jumping.clock))
    })
  )
})

describe("the timeline", () => {
  it.effect("is in order: the call, its sending, its run, the fault, the loss, the replay, and the answer", () =>
    Effect.gen(function* () {
      const server = yield* SimulatedServer.make({
        tools: { read: { annotations: { readOnlyHint: true }, latency: "1 second" } },
        faults: Faults.script(Faults.at("500 millis", Faults.crash()))
      })
      const probe = yield* ConnectionProbe.make(server, { policy: everySecond })
      const call = yield* Effect.forkChild(
        probe.connection.callTool({ name: "read", arguments: { secret: "hunter2" } })
      )
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(call)
      yield* probe.check
      const timeline = probe.timeline()
      assert.deepStrictEqual(
        timeline.map(({ at, kind }) => `${at} ${kind}`).filter((entry) => !entry.endsWith("event")),
        ["0 call", "0 sent", "500 fault", "1500 sent", "1500 sent", "2500 ran", "2500 answer"]
      )
      assert.deepStrictEqual(
        probe.answers.map(({ begunAt, endedAt, outcome }) => [begunAt, endedAt, outcome]),
        [[0, 2500, "succeeded"]]
      )
      assert.notInclude(JSON.stringify(timeline), "hunter2")
    })
  )
})

describe("no rule is broken by a connection", () => {
  /** Twenty callers of everything, for a minute of whatever the seed has in store. */
  const day = Effect.fnUntraced(function* (seed: number, over: "stdio" | "http", era: "legacy" | "modern") {
    const options = { during: "1 minute", faults: 12, tools: ["pay", "read"] } as const
    const faults: Faults.Script =
      over === "stdio" ? Faults.random(seed, { ...options, over }) : Faults.random(seed, { ...options, over })
    const server = yield* SimulatedServer.make({
      over,
      era,
      tools: { pay: { latency: "200 millis" }, read: { annotations: { readOnlyHint: true }, latency: "50 millis" } },
      handshake: "100 millis",
      faults
    })
    const scope = yield* Scope.make()
    const probe = yield* ConnectionProbe.make(server, {
      start: "background",
      requestTimeout: "10 seconds",
      wait: "20 seconds",
      startupTimeout: "5 seconds",
      heartbeat: { interval: "5 seconds", timeout: "2 seconds", misses: 2, busyGrace: "20 seconds" },
      closeTimeout: "1 second"
    }).pipe(Scope.provide(scope))
    const { connection } = probe
    yield* Effect.forEach(
      Array.from({ length: 60 }),
      (_, i) => {
        const call =
          i % 3 === 0
            ? connection.callTool({ name: "pay", arguments: { key: `${i}` } })
            : i % 3 === 1
              ? connection.callTool({ name: "read" })
              : i % 2 === 0
                ? connection.listTools()
                : connection.setLogLevel(i % 4 === 1 ? "debug" : "error")
        return call.pipe(Effect.ignore, Effect.delay(i * 1000), Effect.forkChild)
      },
      { discard: true }
    )
    const watcher = yield* Effect.forkChild(Effect.repeat(probe.look, Schedule.spaced("2900 millis")))
    for (let step = 0; step < 15; step += 1) yield* TestClock.adjust("10 seconds")
    yield* settle
    yield* probe.check
    yield* Fiber.interrupt(watcher)
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(closing)
    yield* probe.check
    return { server, probe }
  })

  const seeds = Array.from({ length: 10 }, (_, tenth) => tenth)
  it.effect.each(
    (["stdio", "http"] as const).flatMap((over) =>
      (["legacy", "modern"] as const).flatMap((era) => seeds.map((tenth) => [over, era, tenth] as const))
    )
  )("on random days over %s in the %s era: ten of a hundred, %i", ([over, era, tenth]) =>
    Effect.gen(function* () {
      let sessions = 0
      let happened = 0
      for (let seed = tenth * 10; seed < tenth * 10 + 10; seed += 1) {
        const { server } = yield* Effect.scoped(day(seed, over, era)).pipe(
          Effect.tapError((error) => Effect.logError(`seed ${seed}`, error.message)),
          // The jitter is the seed's, too.
          Random.withSeed(seed),
          // Each day begins at 0.
          Effect.provide(TestClock.layer())
        )
        sessions += server.sessions.length
        happened += server.happened.length
      }
      // Bad days they were.
      assert.isAtLeast(sessions, 20)
      assert.isAtLeast(happened, 100)
    })
  )
})
