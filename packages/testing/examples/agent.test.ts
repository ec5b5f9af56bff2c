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
const bank = () => {
  const paid = new Set<unknown>()
  return {
    tools: {
      open_invoices: {
        annotations: { readOnlyHint: true },
        latency: "200 millis",
        handler: () => Effect.succeed(invoices.join(" "))
      },
      pay: {
        latency: "1 second",
        handler: ({ invoice }) => Effect.sync(() => `payment ${paid.add(invoice).size}`)
      },
      find_payment: {
        annotations: { readOnlyHint: true },
        latency: "200 millis",
        handler: ({ invoice }) => Effect.sync(() => (paid.has(invoice) ? "paid" : "not paid"))
      }
    }
  } satisfies SimulatedServer.Options
}

/** Runs the agent through a day, under a probe that checks the connection as well. */
const dayOf = (model: Agent.Model, options: SimulatedServer.Options & { readonly faults: Faults.Script }) =>
  Effect.gen(function* () {
    const server = yield* SimulatedServer.make(options)
    const probe = yield* ConnectionProbe.make(server, {
      start: "lazy",
      requestTimeout: "10 seconds",
      // This bank answers within seconds: who is silent for a minute, with a call in hand, is not busy but gone.
      heartbeat: { busyGrace: "1 minute" }
    })
    const { report, turns } = yield* Agent.run(probe.connection, model)
    yield* probe.check
    return {
      report,
      fates: turns.map(({ fate }) => fate),
      server,
      // The ledger has every call that ran, whatever the agent was told of it.
      payments: server.ledger.flatMap(({ arguments: { invoice }, tool }) => (tool === "pay" ? [String(invoice)] : []))
    }
  }).pipe(
    Effect.scoped,
    // Lets virtual time pass as long as the day takes: nobody waits for real.
    VirtualClock.run,
    // Reconnects are jittered: with a seed the same day is the same every time.
    Random.withSeed("bad day"),
    // A bad day is full of warnings.
    Effect.provideService(References.MinimumLogLevel, "Error"),
    Effect.provide(Layer.provideMerge(JumpingClock.layer, VirtualClock.layer()))
  )

// `it.live`: time is the `VirtualClock` above, and not the `TestClock` of `it.effect`.
describe("an agent that pays invoices", () => {
  it.live("pays each once on a bad day over stdio", () =>
    Effect.gen(function* () {
      const { fates, payments, report, server } = yield* dayOf(Agent.carefulModel, {
        ...bank(),
        faults: Faults.script(
          // The server dies before it is asked anything, and cannot be started at first.
          Faults.on({ method: "initialize" }, Faults.crash({ downFor: "3 seconds" })),
          // It dies while nobody asks it anything: the model has its answer, and thinks.
          Faults.on({ tool: "open_invoices" }, Faults.crash({ when: "afterReplying", downFor: "10 seconds" })),
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
      assert.strictEqual(report, "6 of 6 invoices are paid")
      // It was a bad day.
      assert.lengthOf(server.happened, 7)
      assert.isAtLeast(server.sessions.length, 4)
      assert.include(fates, "may have run")
    })
  )

  it.live("pays each once on a bad day over HTTP", () =>
    Effect.gen(function* () {
      const { payments, report, server } = yield* dayOf(Agent.carefulModel, {
        ...bank(),
        over: "http",
        faults: Faults.script(
          // The server has forgotten everyone.
          Faults.on({ tool: "pay", nth: 1 }, Faults.expireSessions()),
          // It is overloaded, and asks for patience.
          Faults.on({ tool: "pay", nth: 3 }, Faults.unavailable({ status: 429, retryAfter: "5 seconds" })),
          // A gateway gives up on a payment that went through.
          Faults.on({ tool: "pay", nth: 5 }, Faults.crash({ when: "afterEffect", downFor: "4 seconds" })),
          // The network is gone just when the agent wants to look.
          Faults.on({ tool: "find_payment" }, Faults.partition("3 seconds")),
          Faults.on({ tool: "pay", nth: 6 }, Faults.drop("reply"))
        )
      })
      assert.deepStrictEqual(payments, invoices)
      assert.strictEqual(report, "6 of 6 invoices are paid")
      assert.lengthOf(server.happened, 5)
    })
  )

  it.live("looks before it pays again when a new release takes back that paying twice is harmless", () =>
    Effect.gen(function* () {
      const lostUnderTheThird = (fault: Faults.Step["fault"]) => {
        const { tools } = bank()
        return dayOf(Agent.carefulModel, {
          tools: { ...tools, pay: { ...tools.pay, annotations: { idempotentHint: true } } },
          releases: { cautious: { tools } },
          faults: Faults.script(Faults.on({ tool: "pay", nth: 3 }, fault))
        })
      }
      // As long as the bank promises it, the connection sends the payment again, and the agent notices nothing.
      const crash = yield* lostUnderTheThird(Faults.crash())
      assert.deepStrictEqual(new Set(crash.fates), new Set(["ran"]))
      // The bank is deployed anew under the payment. What counts is what the new release says: nothing.
      const deploy = yield* lostUnderTheThird(Faults.deploy("cautious"))
      assert.include(deploy.fates, "may have run")
      assert.deepStrictEqual([crash.payments, deploy.payments], [invoices, invoices])
    })
  )

  it.live("pays each once on a hundred random days", () =>
    Effect.forEach(
      Array.from({ length: 100 }, (_, seed) => seed),
      Effect.fnUntraced(function* (seed) {
        const sort = { during: "30 seconds", faults: 6, tools: ["pay", "find_payment"] } as const
        const day =
          seed % 2 === 0
            ? { ...bank(), over: "stdio" as const, faults: Faults.random(seed, { ...sort, over: "stdio" }) }
            : { ...bank(), over: "http" as const, faults: Faults.random(seed, { ...sort, over: "http" }) }
        const { payments } = yield* dayOf(Agent.carefulModel, day)
        // The seed is all that it takes to see that day again.
        assert.deepStrictEqual(payments.toSorted(), invoices, `seed ${seed}`)
      }),
      { discard: true }
    )
  )

  it.live("reports what it could not do, and comes to an end", () =>
    Effect.gen(function* () {
      const { tools } = bank()
      const refusing = yield* dayOf(Agent.carefulModel, {
        tools: {
          ...tools,
          pay: {
            ...tools.pay,
            // A failure of the tool's own is a result: the connection is fine.
            handler: (args) =>
              args["invoice"] === "c3"
                ? Effect.succeed({ isError: true, content: [{ type: "text", text: "no such account" }] })
                : tools.pay.handler(args)
          }
        },
        faults: []
      })
      assert.strictEqual(refusing.report, "5 of 6 invoices are paid, for a human: c3")
      const away = yield* dayOf(Agent.carefulModel, { ...bank(), faults: [Faults.at(0, Faults.refuseStarts(1_000))] })
      assert.strictEqual(away.report, "nobody says which invoices are open")
      assert.isEmpty(away.payments)
    })
  )

  it.live("pays twice when it is hasty: that is what the ledger is for", () =>
    Effect.gen(function* () {
      const { payments, report } = yield* dayOf(Agent.hastyModel, {
        ...bank(),
        faults: Faults.script(Faults.on({ tool: "pay", nth: 2 }, Faults.crash({ when: "afterEffect" })))
      })
      // All that it tells sounds fine; only the bank knows better.
      assert.strictEqual(report, "6 of 6 invoices are paid")
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
      assert.strictEqual(report, "6 of 6 invoices are paid")
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
