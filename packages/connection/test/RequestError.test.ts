import { assert, describe, it } from "@effect/vitest"
import { exited } from "@mcp-tether/testing/SimulatedServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as RequestError from "../src/RequestError.ts"

const call = { server: "simulated", method: "tools/call", tool: "pay" }

const errors: ReadonlyArray<readonly [error: RequestError.RequestError, message: string]> = [
  [
    new RequestError.ConnectionUnavailable({
      server: "simulated",
      because: "WaitElapsed",
      state: "Reconnecting",
      delivery: "NotSent",
      cause: exited,
      retryAt: 1234
    }),
    "simulated: no session (WaitElapsed, state Reconnecting, delivery: NotSent): simulated: the server process exited with code 1"
  ],
  [
    new RequestError.OutcomeUnknown({
      ...call,
      requestId: 7,
      generation: 2,
      era: "legacy",
      elapsed: Duration.seconds(3),
      cause: exited
    }),
    "simulated: tools/call pay may have run; its outcome is unknown: simulated: the server process exited with code 1"
  ],
  [
    new RequestError.RequestTimeout({ ...call, requestId: "a", after: Duration.seconds(60), delivery: "Unknown" }),
    "simulated: tools/call pay got no answer within 1m (delivery: Unknown)"
  ],
  [
    new RequestError.ServerRejected({ ...call, code: -32602, description: "no such tool", data: { tool: "pay" } }),
    "simulated: tools/call pay was rejected: no such tool (-32602)"
  ],
  [
    new RequestError.InvalidResult({ ...call, description: "content is missing" }),
    "simulated: tools/call pay got an invalid result: content is missing"
  ],
  [
    new RequestError.InvalidRequest({ server: "simulated", method: "x/y", description: "circular" }),
    "simulated: x/y cannot be sent: circular"
  ],
  [
    new RequestError.ConnectionClosed({ server: "simulated", delivery: "Unknown" }),
    "simulated: the connection is closed (delivery: Unknown)"
  ]
]

describe("RequestError", () => {
  it("has an example here of every error there is", () => {
    const all = RequestError.RequestError.members.map((member) => member.fields._tag.schema.literal)
    assert.deepStrictEqual(errors.map(([error]) => error._tag).toSorted(), [...all].toSorted())
  })

  for (const [error, message] of errors) {
    it(`${error._tag}: says what happened in one line`, () => {
      assert.strictEqual(error.message, message)
    })

    it.effect(`${error._tag}: survives JSON, with all it carries`, () =>
      Effect.gen(function* () {
        const toJson = (error: RequestError.RequestError) =>
          Effect.map(Schema.encodeEffect(RequestError.RequestError)(error), (encoded) => JSON.stringify(encoded))
        const json = yield* toJson(error)
        const parsed: unknown = JSON.parse(json)
        const decoded = yield* Schema.decodeUnknownEffect(RequestError.RequestError)(parsed)
        assert.strictEqual(decoded._tag, error._tag)
        assert.strictEqual(decoded.message, message)
        assert.strictEqual(yield* toJson(decoded), json)
      })
    )
  }

  it.effect("is caught by its tag with catchTag", () =>
    Effect.gen(function* () {
      const failing: Effect.Effect<never, RequestError.RequestError> = Effect.fail(
        new RequestError.ConnectionClosed({ server: "s", delivery: "NotSent" })
      )
      const delivery = yield* failing.pipe(
        Effect.catchTag("ConnectionClosed", (error) => Effect.succeed(error.delivery)),
        Effect.orDie
      )
      assert.strictEqual(delivery, "NotSent")
    })
  )
})
