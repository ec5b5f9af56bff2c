/** The six steps of the demo. Each waits for states, never for time. */
import { type ConnectionState, ReconnectPolicy } from "@mcp-tether/connection"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Actor from "./Actor.ts"
import type { Stage } from "./Stage.ts"
import { Timeline } from "./Timeline.ts"

/** No step takes longer than this, whatever happens. */
const patience = "60 seconds"

/** Runs one step. Whatever goes wrong in it is told, and the next step runs all the same. */
const step = <E, R>(number: number, title: string, run: Effect.Effect<void, E, R>) =>
  Effect.gen(function* () {
    const timeline = yield* Timeline
    yield* timeline.begin(number, title)
    yield* run.pipe(
      Effect.timeoutOrElse({
        duration: patience,
        orElse: () => timeline.expect(false, `the step ends within ${patience}`)
      }),
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.interrupt
          : timeline.expect(false, `the step ends without a failure, but: ${Cause.pretty(cause)}`)
      )
    )
  })

export const all = Effect.fnUntraced(function* (stage: Stage) {
  yield* Effect.scoped(
    Effect.gen(function* () {
      const actor = yield* Actor.make({ name: "everything", server: yield* stage.everything })
      yield* step(1, "Connect, list the tools, call one", connectAndCall(actor))
      yield* stage.forgets
        ? step(2, "The server forgets the session, call again at once", loseThenCall(actor, actor.forget))
        : step(2, "Kill the server, call again at once", loseThenCall(actor, actor.kill))
      yield* step(3, "Kill it under a read-only call, and under one that has an effect", killInFlight(actor, stage))
    })
  )
  yield* step(4, stage.broken.title, Effect.scoped(boundedRetries(stage.broken)))
  yield* step(5, stage.missing.title, Effect.scoped(noSecondTry(stage.missing)))
  yield* step(6, "Twenty callers, five kills", Effect.scoped(storm(stage)))
})

const echo = (actor: Actor.Actor, message: string) =>
  actor
    .call(actor.connection.callTool({ name: "echo", arguments: { message } }))
    .pipe(Effect.map(({ content }) => (content[0]?.type === "text" ? content[0].text : "nothing")))

const connectAndCall = Effect.fnUntraced(function* (actor: Actor.Actor) {
  const timeline = yield* Timeline
  yield* actor.connection.awaitReady
  const tools = yield* actor.call(actor.connection.listTools())
  yield* actor.tell("Answer", `tools/list → ${tools.length} tools`)
  const answer = yield* echo(actor, "hello")
  yield* actor.tell("Answer", `echo → ${answer}`)
  yield* timeline.expect(tools.length > 0 && answer === "Echo: hello", "the server serves")
})

const loseThenCall = Effect.fnUntraced(function* (actor: Actor.Actor, lose: Effect.Effect<void>) {
  const timeline = yield* Timeline
  const before = yield* generation(actor)
  yield* lose
  const called = yield* Clock.currentTimeMillis
  const answer = yield* echo(actor, "are you there?")
  const took = (yield* Clock.currentTimeMillis) - called
  yield* actor.tell("Answer", `echo → ${answer}, ${took} ms after the call`)
  yield* timeline.expect(
    answer === "Echo: are you there?",
    "the user's one call succeeded, and nobody reloaded anything"
  )
  yield* timeline.expect((yield* generation(actor)) === before + 1, "there was exactly one reconnect")
})

const killInFlight = Effect.fnUntraced(function* (actor: Actor.Actor, stage: Stage) {
  const timeline = yield* Timeline
  const long = yield* actor
    .call(actor.connection.callTool({ name: "trigger-long-running-operation", arguments: { duration: 2, steps: 4 } }))
    .pipe(Effect.forkChild({ startImmediately: true }))
  yield* actor.tell("Call", "trigger-long-running-operation (read-only, two seconds), and in its middle:")
  // Not a wait for something to settle: this is where in the two seconds the server dies.
  yield* Effect.sleep("500 millis")
  yield* actor.kill
  const result = yield* Fiber.join(long)
  yield* actor.tell(
    "Answer",
    `trigger-long-running-operation → ${result.content[0]?.type === "text" ? result.content[0].text : ""}`
  )
  yield* timeline.expect(result.isError !== true, "the read-only call was sent again and answered")

  yield* Effect.scoped(killCharge(stage))
})

/** The non-idempotent half of step 3, on the demo's own server. */
const killCharge = Effect.fnUntraced(function* (stage: Stage) {
  const timeline = yield* Timeline
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "mcp-tether-demo-" })
  const ledger = path.join(directory, "ledger.txt")
  const charges = Effect.map(
    Effect.orElseSucceed(fs.readFileString(ledger), () => ""),
    (text) => text.split("\n").filter((line) => line !== "").length
  )
  const actor = yield* Actor.make({ name: "ledger", server: yield* stage.ledger(ledger) })
  yield* actor.connection.awaitReady
  const charge = yield* actor
    .call(actor.connection.callTool({ name: "charge", arguments: { amount: 100 } }))
    .pipe(Effect.result, Effect.forkChild({ startImmediately: true }))
  yield* charges.pipe(Effect.repeat({ until: (count) => count > 0, schedule: Schedule.spaced("10 millis") }))
  yield* actor.tell("Effect", "charge wrote its line to the ledger, and before it answers:")
  yield* actor.kill
  const outcome = yield* Fiber.join(charge)
  const error = Result.isFailure(outcome) ? outcome.failure : undefined
  yield* actor.tell("Answer", error === undefined ? "charge → a result" : `charge → ${error._tag}: ${error.message}`)
  yield* actor.connection.awaitReady
  yield* timeline.expect(
    error?._tag === "OutcomeUnknown",
    "the call with an effect was not sent again: its caller is told that it may have run"
  )
  const count = yield* charges
  yield* timeline.expect(count === 1, `the ledger on disk has ${count} charge`)
})

const boundedRetries = Effect.fnUntraced(function* (broken: Stage["broken"]) {
  const timeline = yield* Timeline
  const actor = yield* Actor.make({
    name: "broken",
    server: yield* broken.server,
    policy: ReconnectPolicy.bounded(4)
  })
  const error = yield* Effect.flip(actor.connection.awaitReady)
  const attempts = actor.events.filter(({ _tag }) => _tag === "AttemptStarted").length
  yield* timeline.expect(
    attempts === 5,
    `the policy's four retries were made (${attempts} attempts), with growing pauses`
  )
  const cause = error._tag === "ConnectionUnavailable" ? error.cause : undefined
  yield* timeline.expect(
    cause?.reason._tag === broken.reason && `${cause.message}${cause.stderrTail ?? ""}`.includes(broken.says),
    `the error says why: ${cause?.message ?? error._tag}`
  )
})

const noSecondTry = Effect.fnUntraced(function* (missing: Stage["missing"]) {
  const timeline = yield* Timeline
  const actor = yield* Actor.make({ name: "typo", server: yield* missing.server })
  const error = yield* Effect.flip(actor.connection.awaitReady)
  const attempts = actor.events.filter(({ _tag }) => _tag === "AttemptStarted").length
  const cause = error._tag === "ConnectionUnavailable" ? error.cause : undefined
  yield* timeline.expect(
    attempts === 1 && cause?.reason._tag === missing.reason,
    `one attempt, and a typed error: ${cause?.reason._tag ?? error._tag}`
  )
})

const callers = 20
const kills = 5

const storm = Effect.fnUntraced(function* (stage: Stage) {
  const timeline = yield* Timeline
  // Every session counts as proven here, so that the demo shows reconnects and not the backoff of a flapping server.
  const actor = yield* Actor.make({ name: "storm", server: yield* stage.everything, stableAfter: 0 })
  yield* actor.connection.awaitReady

  const enough = yield* Deferred.make<void>()
  /** For each caller, how many right answers it has had, and how many wrong ones. */
  const scores = yield* SubscriptionRef.make({ right: Array.from({ length: callers }, () => 0), wrong: 0 })
  const caller = (index: number) =>
    Effect.gen(function* () {
      let count = 0
      // A caller ends between two calls, so that none is cut off.
      while (!Deferred.isDoneUnsafe(enough)) {
        const message = `caller ${index}, call ${count++}`
        const answer = yield* Effect.result(echo(actor, message))
        const right = Result.isSuccess(answer) && answer.success === `Echo: ${message}`
        yield* SubscriptionRef.update(scores, (score) =>
          right
            ? { ...score, right: score.right.map((n, i) => (i === index ? n + 1 : n)) }
            : { ...score, wrong: score.wrong + 1 }
        )
      }
    })
  /** Waits until every caller has had another answer. */
  const everyoneAnswered = Effect.gen(function* () {
    const before = yield* SubscriptionRef.get(scores)
    yield* SubscriptionRef.changes(scores).pipe(
      Stream.takeUntil(({ right }) => right.every((n, i) => n > (before.right[i] ?? 0))),
      Stream.runDrain
    )
  })

  const first = yield* generation(actor)
  const fibers = yield* Effect.forEach(
    Array.from({ length: callers }, (_, i) => i),
    (i) => Effect.forkChild(caller(i))
  )
  for (let kill = 1; kill <= kills; kill++) {
    yield* everyoneAnswered
    const current = yield* generation(actor)
    yield* actor.kill
    yield* actor.connection.changes.pipe(
      Stream.takeUntil((state) => state._tag === "Ready" && state.generation > current),
      Stream.runDrain
    )
  }
  yield* everyoneAnswered
  yield* Deferred.succeed(enough, undefined)
  yield* Fiber.joinAll(fibers)
  const { right, wrong } = yield* SubscriptionRef.get(scores)
  const total = right.reduce((sum, n) => sum + n, 0)
  const reconnects = (yield* generation(actor)) - first
  yield* actor.tell("Answer", `${callers} callers had ${total} answers`)
  yield* timeline.expect(wrong === 0, `every call got its own answer, exactly one (${total} right, ${wrong} wrong)`)
  yield* timeline.expect(reconnects === kills, `${kills} kills, ${reconnects} reconnects`)
})

const generation = (actor: Actor.Actor): Effect.Effect<number> =>
  Effect.map(actor.connection.state, (state: ConnectionState.ConnectionState) =>
    state._tag === "Ready" ? state.generation : 0
  )
