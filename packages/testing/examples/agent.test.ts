/**
 * The agent on bad days. The server is simulated, time is virtual, and a day takes milliseconds; the connection and the agent are the
 * real ones. What counts is in the server's ledger: whatever happened, each invoice is paid once.
 */
import { assert, describe, it } from "@effect/vitest"
import * as McpAgent from "@mcp-tether/connection/McpAgent"
import { ConnectionProbe, Faults, JumpingClock, SimulatedServer, VirtualClock } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Agent from "./agent.ts"
import * as EffectAiAgent from "./effectAiAgent.ts"

const invoices = ["a1", "b2", "c3", "d4", "e5", "f6"]

/** The bank: paying has an effect, and says nothing of being harmless twice; looking is read-only. */
const bank = (): SimulatedServer.Options & { readonly paid: Array<unknown> } => {
  const paid: Array<unknown> = []
  return {
    paid,
    tools: {
      open_invoices: {
        annotations: { readOnlyHint: true },
        latency: "200 millis",
        handler: () => Effect.succeed(invoices.join(" "))
      },
      pay: {
        latency: "1 second",
        handler: ({ invoice }) => Effect.sync(() => `payment ${paid.push(invoice)}`)
      },
      find_payment: {
        annotations: { readOnlyHint: true },
        latency: "200 millis",
        handler: ({ invoice }) => Effect.sync(() => (paid.includes(invoice) ? "paid" : "not paid"))
      }
    }
  }
}

/** Runs the agent through a day, under a probe that checks the connection as well. */
const dayOf = (model: Agent.Model, options: SimulatedServer.Options & { readonly faults: Faults.Script }) =>
  Effect.gen(function* () {
    const server = yield* SimulatedServer.make(options)
    const probe = yield* ConnectionProbe.make(server, { requestTimeout: "10 seconds", start: "lazy" })
    const { report, turns } = yield* Agent.run(probe.connection, model)
    yield* probe.check
    const payments = server.ledger.filter(({ tool }) => tool === "pay").map((entry) => entry.arguments["invoice"])
    return { report, turns, server, probe, payments: payments.map(String).toSorted() }
  }).pipe(
    Effect.scoped,
    VirtualClock.run,
    // Reconnects are jittered: with a seed the same day is the same every time.
    Random.withSeed("bad day"),
    Effect.provideService(References.MinimumLogLevel, "Error"),
    Effect.provide(Layer.provideMerge(JumpingClock.layer, VirtualClock.layer()))
  )

describe("an agent that pays invoices", () => {
  it.live("pays each once on a bad day over stdio", () =>
    Effect.gen(function* () {
      const { payments, report, server, turns } = yield* dayOf(Agent.carefulModel, {
        ...bank(),
        faults: Faults.script(
          // The server dies before it is asked anything, and cannot be started at first.
          Faults.on({ method: "initialize" }, Faults.crash({ downFor: "3 seconds" })),
          // It dies when the second payment is made, before it can say so.
          Faults.on({ tool: "pay", nth: 2 }, Faults.crash({ when: "afterEffect" })),
          // It dies with the third one in its hands, and stays away for a while.
          Faults.on({ tool: "pay", nth: 3 }, Faults.crash({ when: "afterReceiving", downFor: "20 seconds" })),
          // It hangs in the middle of another, for longer than anyone waits.
          Faults.on({ tool: "pay", nth: 5 }, Faults.freeze("1 minute")),
          Faults.at("30 seconds", Faults.noise(50)),
          // The laptop sleeps over lunch.
          Faults.at("35 seconds", Faults.clockJump("1 hour"))
        )
      })
      assert.deepStrictEqual(payments, invoices)
      assert.include(report, "6 invoices are paid")
      // It was a bad day.
      assert.lengthOf(server.happened, 6)
      assert.isAtLeast(server.sessions.length, 3)
      assert.include(
        turns.map(({ fate }) => fate),
        "may have run"
      )
    })
  )

  it.live("pays each once on a bad day over HTTP", () =>
    Effect.gen(function* () {
      const { payments, server } = yield* dayOf(Agent.carefulModel, {
        ...bank(),
        over: "http",
        faults: Faults.script(
          // The server is deployed anew, and has forgotten everyone.
          Faults.on({ tool: "pay", nth: 1 }, Faults.expireSessions()),
          // It is overloaded, and asks for patience.
          Faults.on({ tool: "pay", nth: 3 }, Faults.unavailable({ status: 429, retryAfter: "5 seconds" })),
          // A gateway gives up on a payment that went through.
          Faults.on({ tool: "pay", nth: 5 }, Faults.crash({ when: "afterEffect", downFor: "4 seconds" })),
          Faults.on({ tool: "find_payment" }, Faults.partition("3 seconds")),
          Faults.on({ tool: "pay", nth: 6 }, Faults.drop("reply"))
        )
      })
      assert.deepStrictEqual(payments, invoices)
      assert.lengthOf(server.happened, 5)
    })
  )

  it.live("pays each once on a hundred random days", () =>
    Effect.forEach(
      Array.from({ length: 100 }, (_, seed) => seed),
      Effect.fnUntraced(function* (seed) {
        const faults = Faults.random(seed, { over: "stdio", during: "30 seconds", faults: 6, tools: ["pay"] })
        const { payments, turns } = yield* dayOf(Agent.carefulModel, { ...bank(), faults })
        assert.deepStrictEqual(payments, invoices, `seed ${seed}, ${turns.length} turns`)
      }),
      { discard: true }
    )
  )

  it.live("pays twice when it is hasty: that is what the ledger is for", () =>
    Effect.gen(function* () {
      const { payments } = yield* dayOf(Agent.hastyModel, {
        ...bank(),
        faults: Faults.script(Faults.on({ tool: "pay", nth: 2 }, Faults.crash({ when: "afterEffect" })))
      })
      assert.deepStrictEqual(payments, ["a1", "b2", "b2", "c3", "d4", "e5", "f6"])
    })
  )
})

describe("an agent on effect/ai", () => {
  it.live("pays each once through three outages", () =>
    Effect.gen(function* () {
      const server = yield* SimulatedServer.make({
        ...bank(),
        faults: Faults.script(
          Faults.on({ tool: "pay", nth: 2 }, Faults.crash({ when: "afterEffect" })),
          Faults.on({ tool: "pay", nth: 4 }, Faults.crash({ when: "afterReceiving", downFor: "20 seconds" })),
          Faults.on({ tool: "find_payment", nth: 2 }, Faults.crash({ downFor: "5 seconds" }))
        )
      })
      const probe = yield* ConnectionProbe.make(server)
      const report = yield* EffectAiAgent.run(
        McpAgent.make(new Map([["bank", probe.connection]])),
        "Pay all open invoices."
      ).pipe(
        Effect.provideServiceEffect(
          LanguageModel.LanguageModel,
          EffectAiAgent.scriptedModel("bank", Agent.carefulModel)
        )
      )
      yield* probe.check
      assert.include(report, "6 invoices are paid")
      const payments = server.ledger.filter(({ tool }) => tool === "pay").map((entry) => entry.arguments["invoice"])
      assert.deepStrictEqual(payments.map(String).toSorted(), invoices)
      assert.lengthOf(server.happened, 3)
    }).pipe(
      Effect.scoped,
      VirtualClock.run,
      Random.withSeed("effect/ai"),
      Effect.provideService(References.MinimumLogLevel, "Error"),
      Effect.provide(VirtualClock.layer())
    )
  )
})
