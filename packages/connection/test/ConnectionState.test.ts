import { assert, describe, it } from "@effect/vitest"
import { exited } from "@mcp-tether/testing/SimulatedServer"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as ConnectionEvent from "../src/ConnectionEvent.ts"
import * as ConnectionState from "../src/ConnectionState.ts"

const server = { era: "legacy", protocolVersion: "2025-11-25", name: "s", version: "1", capabilities: {} } as const

/** One event of each kind. */
const eventOf: Record<
  ConnectionEvent.ConnectionEvent["_tag"],
  (at: number, n: number) => ConnectionEvent.ConnectionEvent
> = {
  AttemptStarted: (at, n) => ConnectionEvent.AttemptStarted({ at, attempt: n }),
  AttemptFailed: (at, n) => ConnectionEvent.AttemptFailed({ at, attempt: n, error: exited }),
  AttemptScheduled: (at, n) =>
    ConnectionEvent.AttemptScheduled({ at, attempt: n, error: exited, delayMillis: 5, dueAt: at + 5 }),
  SessionReady: (at, n) => ConnectionEvent.SessionReady({ at, generation: n, server, downtimeMillis: undefined }),
  SessionLost: (at, n) => ConnectionEvent.SessionLost({ at, generation: n, error: exited, proven: true }),
  GaveUp: (at) => ConnectionEvent.GaveUp({ at, error: exited }),
  RequestReplayed: (at, n) =>
    ConnectionEvent.RequestReplayed({ at, method: "m", tool: undefined, from: n, to: n + 1, delivery: "NotSent" }),
  OutcomeUnknown: (at, n) =>
    ConnectionEvent.OutcomeUnknown({ at, method: "m", tool: undefined, requestId: 1, generation: n }),
  RefreshFailed: (at, n) => ConnectionEvent.RefreshFailed({ at, generation: n, error: exited }),
  RestorationSkipped: (at, n) =>
    ConnectionEvent.RestorationSkipped({ at, generation: n, step: "logging/setLevel", error: exited }),
  CatalogChanged: (at, n) => ConnectionEvent.CatalogChanged({ at, generation: n, changes: {} }),
  NotificationsMissed: (at, n) => ConnectionEvent.NotificationsMissed({ at, generation: n }),
  Closed: (at) => ConnectionEvent.Closed({ at })
}
const tags = Object.keys(eventOf) as ReadonlyArray<keyof typeof eventOf>

const fold = (events: ReadonlyArray<ConnectionEvent.ConnectionEvent>) =>
  events.reduce(ConnectionState.transition, ConnectionState.initial)

const randomEvents = Schema.Array(
  Schema.Struct({
    tag: Schema.Literals([...tags]),
    at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1000 })),
    n: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 }))
  })
).check(Schema.isMaxLength(30))

describe("ConnectionState.transition", () => {
  it("starts Idle", () => {
    assert.deepStrictEqual(ConnectionState.initial, ConnectionState.Idle())
  })

  it("goes Idle → Connecting → Ready → Reconnecting → Ready, as the design draws it", () => {
    const { AttemptScheduled, AttemptStarted, SessionLost, SessionReady } = eventOf
    assert.deepStrictEqual(
      fold([AttemptStarted(1, 1)]),
      ConnectionState.Connecting({ attempt: 1, cause: undefined, nextAttemptAt: undefined })
    )
    assert.deepStrictEqual(
      fold([AttemptStarted(1, 1), AttemptScheduled(2, 2)]),
      ConnectionState.Connecting({ attempt: 2, cause: exited, nextAttemptAt: 7 })
    )
    assert.deepStrictEqual(
      fold([AttemptStarted(1, 1), SessionReady(3, 1)]),
      ConnectionState.Ready({ generation: 1, since: 3, server })
    )
    const lost = [AttemptStarted(1, 1), SessionReady(3, 1), SessionLost(4, 1)]
    assert.deepStrictEqual(
      fold(lost),
      ConnectionState.Reconnecting({ attempt: 1, cause: exited, lostAt: 4, nextAttemptAt: undefined })
    )
    assert.deepStrictEqual(
      fold([...lost, AttemptScheduled(5, 2)]),
      ConnectionState.Reconnecting({ attempt: 2, cause: exited, lostAt: 4, nextAttemptAt: 10 })
    )
    assert.deepStrictEqual(
      fold([...lost, AttemptScheduled(5, 2), AttemptStarted(10, 2)]),
      ConnectionState.Reconnecting({ attempt: 2, cause: exited, lostAt: 4, nextAttemptAt: undefined })
    )
    assert.deepStrictEqual(
      fold([...lost, AttemptStarted(10, 2), SessionReady(11, 2)]),
      ConnectionState.Ready({ generation: 2, since: 11, server })
    )
  })

  it("leaves Failed with the next attempt, and remembers why it had failed", () => {
    const failed = fold([eventOf.GaveUp(1, 1)])
    assert.deepStrictEqual(failed, ConnectionState.Failed({ error: exited, lostAt: undefined }))
    const revived = ConnectionState.transition(failed, eventOf.AttemptStarted(2, 1))
    assert.deepStrictEqual(revived, ConnectionState.Connecting({ attempt: 1, cause: exited, nextAttemptAt: undefined }))
  })

  it("remembers through Failed when the session was lost, so that the whole outage is told", () => {
    const failed = fold([eventOf.SessionReady(1, 1), eventOf.SessionLost(2, 1), eventOf.GaveUp(3, 1)])
    assert.deepStrictEqual(failed, ConnectionState.Failed({ error: exited, lostAt: 2 }))
    const revived = ConnectionState.transition(failed, eventOf.AttemptStarted(9, 1))
    assert.deepInclude(revived, { _tag: "Reconnecting", lostAt: 2 })
  })

  it("says why and until when there is no session", () => {
    const waiting = fold([eventOf.SessionReady(1, 1), eventOf.SessionLost(2, 1), eventOf.AttemptScheduled(3, 1)])
    assert.strictEqual(ConnectionState.causeOf(waiting), exited)
    assert.strictEqual(ConnectionState.retryAtOf(waiting), 8)
    assert.isUndefined(ConnectionState.causeOf(fold([eventOf.SessionReady(1, 1)])))
    assert.isUndefined(ConnectionState.retryAtOf(fold([eventOf.GaveUp(1, 1)])))
  })

  it.effect.prop(
    "is total: every event in every state gives a state, and what happens to a request changes none",
    { events: randomEvents },
    ({ events }) =>
      Effect.sync(() => {
        let state = ConnectionState.initial
        for (const { at, n, tag } of events) {
          const next = ConnectionState.transition(state, eventOf[tag](at, n))
          assert.include(["Idle", "Connecting", "Ready", "Reconnecting", "Failed", "Closed"], next._tag)
          if (state._tag === "Closed") assert.strictEqual(next, state, "Closed is final")
          else if (tag === "Closed") assert.strictEqual(next._tag, "Closed")
          else if (tag === "GaveUp") assert.strictEqual(next._tag, "Failed")
          else if (tag === "SessionReady") assert.strictEqual(next._tag, "Ready")
          else if (tag === "RequestReplayed" || tag === "OutcomeUnknown") assert.strictEqual(next, state)
          if (tag === "SessionLost" && state._tag !== "Ready") assert.strictEqual(next, state)
          state = next
        }
      }),
    { arbitrary: { runs: 500, seed: 3 } }
  )
})
