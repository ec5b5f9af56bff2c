import { assert, it } from "@effect/vitest"
import { ConnectionProbe, Faults, SimulatedServer, VirtualClock } from "@mcp-tether/testing"
import { Effect } from "effect"

it.live("a payment is made once, also when the bank dies before it can say so", () =>
  Effect.gen(function* () {
    const bank = yield* SimulatedServer.make({
      tools: { pay: { latency: "1 second" }, find: { annotations: { readOnlyHint: true } } },
      faults: Faults.script(
        Faults.on({ tool: "pay" }, Faults.crash({ when: "afterEffect", downFor: "20 seconds" })),
        Faults.on({ tool: "find" }, Faults.partition("30 seconds"))
      )
    })
    const probe = yield* ConnectionProbe.make(bank)
    const mcp = probe.connection // for the program under test

    const error = yield* Effect.flip(mcp.callTool({ name: "pay" }))
    assert.strictEqual(error._tag, "OutcomeUnknown") // it may have run: look, and do not pay again
    yield* mcp.callTool({ name: "find" })

    const ran = bank.ledger.map(({ tool }) => tool)
    assert.deepStrictEqual(ran, ["pay", "find"])
    yield* probe.check // the connection kept its rules, too; a broken one is told as a story
  }).pipe(Effect.scoped, VirtualClock.run, Effect.provide(VirtualClock.layer()))
)
