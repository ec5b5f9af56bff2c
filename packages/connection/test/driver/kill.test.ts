import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import type { Entry } from "../fixtures/config.ts"
import { call, eventsOf, failureOf, isAlive, kill, pidOf, scenario, tagsOf, textOf, timed, until } from "./rig.ts"

const isInitialized = ({ method }: Entry): boolean => method === "notifications/initialized"

/** Keeps this process from reading anything until another one is dead; at most five seconds. */
const blockUntilDead = (pid: number): void => {
  const view = new Int32Array(new SharedArrayBuffer(4))
  for (let wait = 0; wait < 1000 && isAlive(pid); wait += 1) Atomics.wait(view, 0, 0, 5)
  assert.isFalse(isAlive(pid))
}

describe("a server that dies", () => {
  scenario("replays an idempotent call when the server is killed under it", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      const first = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(
        call(connection, "again", { effect: "ran", once: "hang", reply: "hang", text: "replayed" })
      )
      yield* until("the effect", () => rig.ledger().length === 1)
      kill(-first, "SIGKILL")
      assert.strictEqual(yield* Fiber.join(pending), "replayed")
      assert.deepStrictEqual(rig.ledger(), ["ran", "ran"])
      assert.notStrictEqual(yield* pidOf(connection), first)
      assert.deepStrictEqual(tagsOf(events), [
        "SessionLost",
        "AttemptScheduled",
        "AttemptStarted",
        "SessionReady",
        "RequestReplayed"
      ])
    })
  )

  scenario("does not replay a call without a promise: OutcomeUnknown says what is known", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(
        failureOf(call(connection, "write", { effect: "paid", stderr: "charging the card\n", reply: "hang" }))
      )
      const received = yield* rig.untilCalled("write")
      yield* until("the effect", () => rig.ledger().length === 1)
      kill(pid, "SIGKILL")
      const error = yield* Fiber.join(pending)
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.reason._tag, "ProcessExited")
      assert.strictEqual(error.cause.signal, "SIGKILL")
      assert.isUndefined(error.cause.exitCode)
      assert.strictEqual(error.cause.stderrTail, "charging the card\n")
      assert.strictEqual(error.requestId, received.id)
      assert.strictEqual(error.generation, 1)
      assert.strictEqual(error.era, "legacy")
      assert.strictEqual(error.tool, "write")
      assert.strictEqual(
        error.message,
        "fixture: tools/call write may have run; its outcome is unknown: fixture: the server process was ended by SIGKILL; stderr: charging the card"
      )
      // The next session is there, and nobody has sent the call on it.
      assert.strictEqual(yield* call(connection, "read"), "ok")
      assert.deepStrictEqual(rig.ledger(), ["paid"])
    })
  )

  scenario("answers a call made right after the whole group was killed", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      kill(-(yield* pidOf(connection)), "SIGKILL")
      assert.strictEqual(yield* call(connection, "read", { text: "still here" }), "still here")
      const ready = yield* connection.awaitReady
      assert.strictEqual(ready.generation, 2)
    })
  )

  scenario("takes the rest of the group along when only its leader was killed", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect({ server: { helper: true } })
      const leader = yield* pidOf(connection)
      const [helper] = yield* until("the helper", () => {
        const others = rig.processes().filter((pid) => pid !== leader)
        return others.length === 1 && others
      })
      kill(leader, "SIGKILL")
      assert.strictEqual(yield* call(connection, "read"), "ok")
      yield* until("the end of the helper", () => helper !== undefined && !rig.processes().includes(helper))
    })
  )

  scenario("tells a pending call of the kill at once", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const pid = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(
        failureOf(call(connection, "write", { reply: "hang" }, { replay: "never" }))
      )
      yield* rig.untilCalled("write")
      kill(pid, "SIGKILL")
      const [error, took] = yield* timed(Fiber.join(pending))
      assert.strictEqual(error._tag, "OutcomeUnknown")
      rig.measured("kill to failure of the pending call, ms", took)
      assert.isBelow(took, 500)
    })
  )

  scenario("names the exit code of a server that dies before it replies", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const error = yield* failureOf(
        call(connection, "write", { effect: "ran", stderr: "fatal: disk full\n", reply: "die", exitCode: 3 })
      )
      assert(error._tag === "OutcomeUnknown", error.message)
      assert.strictEqual(error.cause.exitCode, 3)
      assert.isUndefined(error.cause.signal)
      assert.include(error.message, "exited with code 3; stderr: fatal: disk full")
      assert.strictEqual(yield* call(connection, "read"), "ok")
      assert.deepStrictEqual(rig.ledger(), ["ran"])
    })
  )

  scenario("does not take half a reply for a reply", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const script = { once: "half", reply: "die-halfway", bytes: 200_000 } as const
      assert.lengthOf(yield* call(connection, "read", script), 200_000)
      const error = yield* failureOf(call(connection, "write", { ...script, once: "again" }))
      assert.strictEqual(error._tag, "OutcomeUnknown")
      assert.strictEqual(rig.journal().filter(({ tool }) => tool === "write").length, 1)
    })
  )

  scenario("delivers the reply of a server that exits right after writing it", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      for (const [index, bytes] of [10, 300_000].entries()) {
        const result = yield* connection.callTool({
          name: "write",
          arguments: { effect: "ran", reply: "and-die", bytes }
        })
        assert.lengthOf(textOf(result), bytes)
        yield* until("the next session", () => rig.journal().filter(isInitialized).length === index + 2)
      }
      assert.deepStrictEqual(rig.ledger(), ["ran", "ran"])
    })
  )

  scenario("delivers what a dead server had written, however late it is read: the reply, and its last words", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const script = { delayMillis: 100, stderr: `${"x".repeat(60_000)}\nlast words\n`, bytes: 100_000 }
      const deaf = Effect.fnUntraced(function* (reply: "and-die" | "die") {
        const pid = yield* pidOf(connection)
        const pending = yield* Effect.forkChild(
          Effect.result(call(connection, "write", { ...script, reply }, { replay: "never" }))
        )
        yield* until("the call", () => rig.journal().some((entry) => entry.pid === pid && entry.tool === "write"))
        blockUntilDead(pid)
        return yield* Fiber.join(pending)
      })
      const answered = yield* deaf("and-die")
      assert(Result.isSuccess(answered))
      assert.lengthOf(answered.success, 100_000)
      yield* until("the next session", () => rig.journal().filter(isInitialized).length === 2)
      const failed = yield* deaf("die")
      assert(Result.isFailure(failed) && failed.failure._tag === "OutcomeUnknown")
      assert.strictEqual(failed.failure.cause.exitCode, 1)
      assert.isTrue(failed.failure.cause.stderrTail?.endsWith("\nlast words\n"))
    })
  )

  scenario("gives each of many pending calls one answer, and opens one session for all", (rig) =>
    Effect.gen(function* () {
      const connection = yield* rig.connect()
      const events = yield* eventsOf(connection)
      const pid = yield* pidOf(connection)
      const pending = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 20 }, (_, index) => index),
          (index) =>
            Effect.exit(call(connection, index % 2 === 0 ? "read" : "write", { once: `${index}`, reply: "hang" })),
          { concurrency: "unbounded" }
        )
      )
      yield* until("all calls", () => rig.journal().filter(({ method }) => method === "tools/call").length === 20)
      kill(pid, "SIGKILL")
      const exits = yield* Fiber.join(pending)
      assert.deepStrictEqual(
        exits.map(({ _tag }) => _tag),
        Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? "Success" : "Failure"))
      )
      assert.strictEqual(tagsOf(events).filter((tag) => tag === "SessionReady").length, 1)
      assert.strictEqual(tagsOf(events).filter((tag) => tag === "RequestReplayed").length, 10)
      assert.strictEqual(tagsOf(events).filter((tag) => tag === "OutcomeUnknown").length, 10)
    })
  )
})
