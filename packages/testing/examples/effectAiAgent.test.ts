/** The agent on `effect/ai`, where its servers change under it, and on a real server that is killed. */
import { layer as nodeServices } from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { McpConnection, McpTransport } from "@mcp-tether/connection"
import * as McpAgent from "@mcp-tether/connection/McpAgent"
import { ConnectionProbe, Faults, SimulatedServer, VirtualClock } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import { fileURLToPath } from "node:url"
import * as EffectAiAgent from "./effectAiAgent.ts"

/** What a model decides from: what it was told so far, and the tools that it has. */
interface Turn {
  readonly told: ReadonlyArray<string>
  readonly tools: ReadonlyArray<string>
}

type Decision =
  | { readonly call: string; readonly arguments?: Readonly<Record<string, unknown>> }
  | { readonly say: string }

/** A provider that asks this for each decision. As real ones do, it refuses calls of tools that it was not given. */
const provider = (decide: (turn: Turn) => Effect.Effect<Decision>) =>
  LanguageModel.make({
    generateText: Effect.fnUntraced(function* ({ prompt, tools }) {
      const names = tools.map(({ name }) => name)
      const decision = yield* decide({ told: prompt.content.flatMap(toldIn), tools: names })
      if ("say" in decision) return [{ type: "text" as const, text: decision.say }]
      if (!names.includes(decision.call))
        return yield* AiError.make({
          module: "provider",
          method: "generateText",
          reason: new AiError.ToolNotFoundError({ toolName: decision.call, availableTools: names })
        })
      return [
        {
          type: "tool-call" as const,
          id: `call ${prompt.content.length}`,
          name: decision.call,
          params: decision.arguments ?? {},
          providerExecuted: false
        }
      ]
    }),
    streamText: () => Stream.empty
  })

const toldIn = (message: Prompt.Message): ReadonlyArray<string> => {
  switch (message.role) {
    case "tool":
      return message.content.flatMap((part) => (part.type === "tool-result" ? [String(part.result)] : []))
    case "user":
      return message.content.flatMap((part) => (part.type === "text" ? [part.text] : []))
    default:
      return []
  }
}

describe("an agent on effect/ai whose server is deployed anew", () => {
  it.live("is told that there is no tool which it made up or remembers, and goes on with those that there are", () =>
    Effect.gen(function* () {
      const server = yield* SimulatedServer.make({
        tools: { pay: { handler: () => Effect.succeed("paid by hand") } },
        releases: { next: { tools: { transfer: { handler: () => Effect.succeed("paid by wire") } } } }
      })
      const probe = yield* ConnectionProbe.make(server)
      const turns: Array<Turn> = []
      const model = provider(
        Effect.fnUntraced(function* (turn) {
          turns.push(turn)
          const last = turn.told.at(-1) ?? ""
          if (turns.length === 1) return { call: "bank__settle" }
          if (last === "paid by wire") return { say: "Both are paid." }
          if (last.includes("not found")) return { call: turn.tools[0] ?? "" }
          if (last === "paid by hand") {
            // While the model thinks of the second payment, a release replaces the only tool.
            yield* server.inject(Faults.deploy("next", "live"))
            yield* Effect.sleep("5 seconds")
          }
          return { call: "bank__pay" }
        })
      )
      const report = yield* EffectAiAgent.run(McpAgent.make({ bank: probe.connection }), "Pay twice.").pipe(
        Effect.provideServiceEffect(LanguageModel.LanguageModel, model)
      )
      yield* probe.check
      assert.strictEqual(report, "Both are paid.")
      assert.deepStrictEqual(
        server.ledger.map(({ tool }) => tool),
        ["pay", "transfer"]
      )
      const [pay, transfer] = ["bank__pay", "bank__transfer"]
      assert.deepStrictEqual(
        turns.flatMap(({ tools }) => tools),
        [pay, pay, pay, transfer, transfer, transfer]
      )
      const told = turns.at(-1)?.told ?? []
      assert.deepStrictEqual([told[0], told[2], told[5]], ["Pay twice.", "paid by hand", "paid by wire"])
      assert.include(told[1], "'bank__settle' not found")
      assert.include(told[3], "pay did not run")
      assert.include(told[4], "'bank__pay' not found")
    }).pipe(
      Effect.scoped,
      VirtualClock.run,
      Random.withSeed("deploy"),
      Effect.provideService(References.MinimumLogLevel, "Error"),
      Effect.provide(VirtualClock.layer())
    )
  )
})

describe("an agent on effect/ai with a real server", () => {
  it.live(
    "comes through three kills of it, and does not know of them",
    () =>
      Effect.gen(function* () {
        const everything = fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js"))
        const bounded = "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()"
        const connection = yield* McpConnection.make({
          transport: McpTransport.stdio({
            command: process.execPath,
            args: ["--import", bounded, everything, "stdio"]
          }),
          policy: Schedule.spaced("100 millis")
        })
        const killed: Array<number> = []
        const model = provider(
          Effect.fnUntraced(function* ({ told }) {
            const answers = told.slice(1)
            if (answers.length === 3) return { say: answers.join(" ") }
            const { server } = yield* Effect.orDie(connection.awaitReady)
            assert(server.pid !== undefined)
            // The call is made before anyone can have noticed.
            process.kill(-server.pid, "SIGKILL")
            killed.push(server.pid)
            return { call: "everything__echo", arguments: { message: `${answers.length + 1}` } }
          })
        )
        const report = yield* EffectAiAgent.run(McpAgent.make({ everything: connection }), "Echo.").pipe(
          Effect.provideServiceEffect(LanguageModel.LanguageModel, model)
        )
        assert.strictEqual(report, "Echo: 1 Echo: 2 Echo: 3")
        assert.strictEqual(new Set(killed).size, 3)
        assert.strictEqual((yield* connection.awaitReady).generation, 4)
      }).pipe(Effect.provide(nodeServices), Effect.provideService(References.MinimumLogLevel, "None")),
    60_000
  )
})
