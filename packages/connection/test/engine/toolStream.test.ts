/** A tool call as a stream: any number of progress, then one result. */
import { assert, describe, it } from "@effect/vitest"
import { SimulatedServer } from "@mcp-tether/testing"
import { type Call, tool } from "@mcp-tether/testing/SimulatedServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as McpConnection from "../../src/McpConnection.ts"
import { ServerRejected } from "../../src/RequestError.ts"
import { connect } from "../support/connect.ts"
import { advance, settle } from "../support/time.ts"

/** A tool that tells of `steps` steps, each after `pause` milliseconds, and then answers. */
const stepping = (steps: number, pause = 0) =>
  SimulatedServer.makeUnsafe({
    listed: () => [tool("read", { readOnlyHint: true })],
    handle: (call: Call) =>
      call.tool === undefined
        ? call.run
        : Effect.gen(function* () {
            for (let progress = 1; progress <= steps; progress += 1) {
              if (pause > 0) yield* Effect.sleep(pause)
              call.ticket.onProgress?.({ progress })
            }
            return yield* call.run
          })
  })

/** What was heard, in short. */
const brief = (update: McpConnection.ToolUpdate): number | string =>
  update._tag === "Progress" ? update.progress.progress : JSON.stringify(update.result.content)

const resultOf = (name: string, generation: number) => `[{"type":"text","text":"${name} on ${generation}"}]`

describe("callToolStream", () => {
  it.effect("tells of the progress as it comes, then of the result, and ends", () =>
    Effect.gen(function* () {
      const simulation = stepping(3, 1000)
      const connection = yield* connect(simulation)
      const heard: Array<number | string> = []
      const reader = yield* connection.callToolStream({ name: "a" }).pipe(
        Stream.runForEach((update) => Effect.sync(() => heard.push(brief(update)))),
        Effect.forkChild
      )
      yield* advance("1 second")
      assert.deepStrictEqual(heard, [1])
      yield* advance("1 second")
      assert.deepStrictEqual(heard, [1, 2])
      yield* advance("1 second")
      yield* Fiber.join(reader)
      assert.deepStrictEqual(heard, [1, 2, 3, resultOf("a", 1)])
      assert.deepStrictEqual(simulation.ran, ["a"])
    })
  )

  it.effect("without progress it is the result alone, and each run of the stream is a call", () =>
    Effect.gen(function* () {
      const simulation = stepping(0)
      const connection = yield* connect(simulation)
      const stream = connection.callToolStream({ name: "a" })
      assert.deepStrictEqual(simulation.sent, [])
      for (const _ of [1, 2]) assert.deepStrictEqual((yield* Stream.runCollect(stream)).map(brief), [resultOf("a", 1)])
      assert.deepStrictEqual(simulation.ran, ["a", "a"])
    })
  )

  it.effect("a reader that does not read holds nothing up, misses the oldest progress, and gets the result", () =>
    Effect.gen(function* () {
      const simulation = stepping(10_000)
      const connection = yield* connect(simulation)
      const slow = yield* Deferred.make<void>()
      const heard: Array<number | string> = []
      const reader = yield* connection.callToolStream({ name: "a" }).pipe(
        Stream.runForEach((update) =>
          Effect.andThen(
            Deferred.await(slow),
            Effect.sync(() => heard.push(brief(update)))
          )
        ),
        Effect.forkChild
      )
      yield* settle
      // The call has ended long before its reader hears of it, and the session goes on.
      assert.deepStrictEqual(simulation.ran, ["a"])
      assert.strictEqual(simulation.current.inFlight(), 0)
      yield* connection.ping()
      yield* Deferred.succeed(slow, undefined)
      yield* Fiber.join(reader)
      assert.strictEqual(heard.at(-1), resultOf("a", 1))
      assert.strictEqual(heard.at(-2), 10_000)
      assert.isAtMost(heard.length, 256 + 1)
      assert.isAtLeast(heard.length, 256)
      assert.lengthOf(
        heard.filter((one) => typeof one === "string"),
        1
      )
    })
  )

  it.effect("the session is lost under it: a tool that allows it is sent again, in the same stream", () =>
    Effect.gen(function* () {
      const simulation = stepping(2, 1000)
      const connection = yield* connect(simulation)
      const reader = yield* Effect.forkChild(Stream.runCollect(connection.callToolStream({ name: "read" })))
      yield* advance("1500 millis")
      yield* simulation.current.lose()
      yield* advance("1 second")
      yield* advance("2 seconds")
      assert.deepStrictEqual((yield* Fiber.join(reader)).map(brief), [1, 1, 2, resultOf("read", 2)])
    })
  )

  it.effect("an error is the stream's, after the progress that came before it", () =>
    Effect.gen(function* () {
      const simulation = stepping(2, 1000)
      const connection = yield* connect(simulation)
      const heard: Array<number | string> = []
      const reader = yield* connection.callToolStream({ name: "pay" }).pipe(
        Stream.runForEach((update) => Effect.sync(() => heard.push(brief(update)))),
        Effect.flip,
        Effect.forkChild
      )
      yield* advance("1500 millis")
      yield* simulation.current.lose()
      yield* advance("1 second")
      assert.strictEqual((yield* Fiber.join(reader))._tag, "OutcomeUnknown")
      assert.deepStrictEqual(heard, [1])
    })
  )

  it.effect("progress that was not read yet is read before the error", () =>
    Effect.gen(function* () {
      const error = new ServerRejected({ server: "simulated", method: "tools/call", code: -1, description: "no" })
      const simulation = SimulatedServer.makeUnsafe({
        handle: (call) =>
          Effect.suspend(() => {
            for (const progress of [1, 2, 3]) call.ticket.onProgress?.({ progress })
            return Effect.fail(error)
          })
      })
      const connection = yield* connect(simulation)
      const heard: Array<number | string> = []
      const failed = yield* connection.callToolStream({ name: "a" }).pipe(
        Stream.runForEach((update) => Effect.sync(() => heard.push(brief(update)))),
        Effect.flip
      )
      assert.strictEqual(failed, error)
      assert.deepStrictEqual(heard, [1, 2, 3])
    })
  )

  it.effect("whoever stops reading cancels the call", () =>
    Effect.gen(function* () {
      const simulation = stepping(3, 1000)
      const connection = yield* connect(simulation)
      const first = yield* Effect.forkChild(Stream.runCollect(Stream.take(connection.callToolStream({ name: "a" }), 1)))
      yield* advance("1 second")
      assert.lengthOf(yield* Fiber.join(first), 1)
      assert.deepStrictEqual(simulation.cancelled, ["1 tools/call"])
      const interrupted = yield* Effect.forkChild(Stream.runDrain(connection.callToolStream({ name: "a" })))
      yield* advance("1 second")
      yield* Fiber.interrupt(interrupted)
      assert.deepStrictEqual(simulation.cancelled, ["1 tools/call", "1 tools/call"])
      assert.deepStrictEqual(simulation.ran, [])
      assert.strictEqual(simulation.current.inFlight(), 0)
    })
  )

  it.effect("progress renews the timeout, silence does not", () =>
    Effect.gen(function* () {
      const simulation = stepping(5, 4000)
      const connection = yield* connect(simulation)
      const reader = yield* Effect.forkChild(
        Stream.runCollect(connection.callToolStream({ name: "a" }, { timeout: "5 seconds" }))
      )
      for (let i = 0; i < 5; i += 1) yield* advance("4 seconds")
      assert.lengthOf(yield* Fiber.join(reader), 6)
      const late = yield* Effect.forkChild(
        Effect.flip(Stream.runDrain(connection.callToolStream({ name: "a" }, { timeout: "3 seconds" })))
      )
      yield* advance("3 seconds")
      assert.strictEqual((yield* Fiber.join(late))._tag, "RequestTimeout")
    })
  )

  it.effect("an onProgress of the caller's own is called too, and what it throws costs nothing", () =>
    Effect.gen(function* () {
      const connection = yield* connect(stepping(2))
      const told: Array<number> = []
      const onProgress = ({ progress }: { readonly progress: number }) => {
        told.push(progress)
        throw new Error("bug")
      }
      const updates = yield* Stream.runCollect(connection.callToolStream({ name: "a" }, { onProgress }))
      assert.deepStrictEqual(told, [1, 2])
      assert.deepStrictEqual(updates.map(brief), [1, 2, resultOf("a", 1)])
    })
  )

  it.effect("a wrong option is an InvalidRequest, and nothing is sent", () =>
    Effect.gen(function* () {
      const simulation = stepping(0)
      const connection = yield* connect(simulation)
      for (const wrong of [{ timeout: "soon" }, { onProgress: 3 }] satisfies ReadonlyArray<unknown>) {
        const untyped: unknown = wrong
        const stream = connection.callToolStream({ name: "a" }, untyped as McpConnection.RequestOptions)
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(stream)))._tag, "InvalidRequest")
      }
      assert.deepStrictEqual(simulation.sent, [])
    })
  )

  it.effect("ends with ConnectionClosed when the connection is closed under it", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const connection = yield* connect(stepping(9, 1000)).pipe(Scope.provide(scope))
      const reader = yield* Effect.forkChild(Effect.flip(Stream.runDrain(connection.callToolStream({ name: "a" }))))
      yield* advance("1 second")
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(reader))._tag, "ConnectionClosed")
    })
  )
})
