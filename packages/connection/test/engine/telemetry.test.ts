import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { exited, tool } from "@mcp-tether/testing/SimulatedServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Tracer from "effect/Tracer"
import { OutcomeUnknown } from "../../src/RequestError.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

const secret = "sk-do-not-tell"

/** Keeps every span that was made. */
const inMemory = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer }
}

const valueOf = (
  snapshots: ReadonlyArray<Metric.Metric.Snapshot>,
  id: string,
  attributes: Readonly<Record<string, string>>
) =>
  snapshots.find(
    (snapshot) =>
      snapshot.id === id && Object.entries(attributes).every(([key, value]) => snapshot.attributes?.[key] === value)
  )?.state

describe("the attributes of a program's metrics", () => {
  it.effect("are added to ours, and do not take their place", () =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe()
      yield* connect(simulation, { name: "ours" })
      const snapshots = yield* Metric.snapshot
      const names = ["server", "region"]
      assert.deepStrictEqual(
        snapshots.flatMap(({ attributes, id }) =>
          id === "mcp_client_ready" ? [names.map((name) => attributes?.[name])] : []
        ),
        [["ours", "north"]]
      )
    }).pipe(
      Effect.provideService(Metric.CurrentMetricAttributes, { server: "theirs", region: "north" }),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
  )
})

describe("the telemetry of one outage", () => {
  const outage = (server: string) =>
    Effect.gen(function* () {
      const simulation = SimulatedServer.makeUnsafe({
        listed: () => [tool("read", { readOnlyHint: true }), tool("pay")],
        // Handed over, and the server dies before it answers.
        handle: (call) => (call.generation === 1 && call.tool !== undefined ? Effect.never : call.run)
      })
      const connection = yield* connect(simulation, { name: server })
      const call = (name: string) =>
        Effect.forkChild(Effect.result(connection.callTool({ name, arguments: { key: secret } })))
      const read = yield* call("read")
      const pay = yield* call("pay")
      yield* settle
      yield* simulation.current.lose(exited)
      yield* advance("2 seconds")
      return { read: yield* Fiber.join(read), pay: yield* Fiber.join(pay) }
    })

  it.effect("has a span per sending, and links the second to the outage that made it necessary", () =>
    Effect.gen(function* () {
      const { spans, tracer } = inMemory()
      const { pay, read } = yield* Effect.withTracer(outage("traced"), tracer)
      assert.strictEqual(read._tag, "Success")
      assert(pay._tag === "Failure" && pay.failure instanceof OutcomeUnknown)

      const down = spans.find(({ name }) => name === "mcp.client outage")
      assert(down !== undefined)
      assert.strictEqual(down.status._tag, "Ended")
      assert.strictEqual(down.attributes.get("error.type"), "ProcessExited")
      const sendings = spans.filter(({ attributes }) => attributes.get("gen_ai.tool.name") === "read")
      assert.deepStrictEqual(
        sendings.map(({ attributes, kind, links, name }) => [
          name,
          kind,
          attributes.get("mcp.method.name"),
          attributes.get("mcp.generation"),
          links.map((link) => link.span.spanId)
        ]),
        [
          ["mcp.client tools/call", "client", "tools/call", 1, []],
          ["mcp.client tools/call", "client", "tools/call", 2, [down.spanId]]
        ]
      )
      assert.isTrue(spans.every(({ status }) => status._tag === "Ended"))
      assert.notInclude(
        JSON.stringify(spans.map(({ attributes, events, name }) => [name, [...attributes], events])),
        secret
      )
    })
  )

  it.effect(
    "counts the loss by its reason, the attempts, the replay and the unknown outcome, and times the outage",
    () =>
      Effect.gen(function* () {
        yield* outage("counted")
        const snapshots = yield* Metric.snapshot
        const state = (id: string, attributes: Readonly<Record<string, string>> = {}) =>
          valueOf(snapshots, id, { server: "counted", ...attributes })
        assert.deepInclude(state("mcp_client_sessions_lost_total", { reason: "ProcessExited" }), { count: 1 })
        assert.deepInclude(state("mcp_client_attempts_total", { outcome: "ready" }), { count: 2 })
        assert.deepInclude(state("mcp_client_replays_total", { method: "tools/call", delivery: "Unknown" }), {
          count: 1
        })
        assert.deepInclude(state("mcp_client_outcome_unknown_total", { method: "tools/call" }), { count: 1 })
        assert.deepInclude(state("mcp_client_ready"), { value: 1 })
        assert.deepInclude(state("mcp_client_outage_duration_ms"), { count: 1, sum: 1000 })
        assert.deepInclude(state("mcp_client_request_duration_ms", { method: "tools/call" }), { count: 2 })
        assert.notInclude(JSON.stringify(snapshots.map(({ attributes }) => attributes)), secret)
      })
  )
})
