/** The rules of DESIGN §12 where each request fares by itself (Streamable HTTP): random failures of single requests, in both eras. */
import { assert, describe, it } from "@effect/vitest"
import { ConnectionProbe, SimulatedServer } from "@mcp-tether/testing"
import { type Call, exited, failure, type SimulatedSession, tool } from "@mcp-tether/testing/SimulatedServer"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Reasons from "../../src/ConnectionError.ts"
import type { SessionFailure } from "../../src/McpSession.ts"
import * as ReconnectPolicy from "../../src/ReconnectPolicy.ts"
import { type RequestError, ServerRejected } from "../../src/RequestError.ts"
import { advance, settle } from "../support/time.ts"

const network = (code: string, phase: "connect" | "exchange") =>
  failure(new Reasons.NetworkFailed({ code, description: code, phase }))
const busy = (seconds: number) =>
  failure(new Reasons.ServerUnavailable({ status: 429, retryAfter: Duration.seconds(seconds) }))

const errors = {
  reset: network("ECONNRESET", "exchange"),
  cut: failure(new Reasons.TransportClosed({ description: "cut" })),
  badGateway: failure(new Reasons.ServerUnavailable({ status: 502 })),
  malformed: failure(new Reasons.MalformedResponse({ description: "<html>" })),
  notFound: failure(new Reasons.UnexpectedStatus({ status: 404, description: "404" })),
  unavailable: failure(new Reasons.ServerUnavailable({ status: 503 })),
  busyBriefly: busy(3),
  busyForLong: busy(31),
  unauthorized: failure(new Reasons.Unauthorized({ status: 401 }))
} as const

/** What happens to one sending of a request. Of some failures nobody knows whether it ran before. */
const fates = {
  answer: (call: Call) => call.run,
  answerLate: (call: Call) => Effect.tap(call.run, () => Effect.sleep("3 seconds")),
  neverAnswer: (call: Call) => Effect.andThen(call.run, Effect.never),
  neverRun: () => Effect.never,
  runAndReset: (call: Call) => Effect.andThen(call.run, Effect.fail(errors.reset)),
  runAndCutLate: (call: Call) =>
    Effect.andThen(call.run, Effect.andThen(Effect.sleep("2 seconds"), Effect.fail(errors.cut))),
  runAndBadGateway: (call: Call) => Effect.andThen(call.run, Effect.fail(errors.badGateway)),
  runAndHtml: (call: Call) => Effect.andThen(call.run, Effect.fail(errors.malformed)),
  reset: () => Effect.fail(errors.reset),
  notFound: () => Effect.fail(errors.notFound),
  unavailable: () => Effect.fail(errors.unavailable),
  busyBriefly: () => Effect.fail(errors.busyBriefly),
  busyForLong: () => Effect.fail(errors.busyForLong),
  unauthorized: () => Effect.fail(errors.unauthorized),
  reject: (call: Call) =>
    Effect.fail(
      new ServerRejected({ server: "simulated", method: call.ticket.method, code: -32_603, description: "no" })
    ),
  loseSession: (call: Call) => Effect.andThen(call.session.lose(), Effect.never)
} as const satisfies Record<string, (call: Call) => Effect.Effect<unknown, SessionFailure>>

/** What happens before a byte of it leaves, and to the session. */
const earlyFates = {
  refused: () => Effect.fail(network("ECONNREFUSED", "connect")),
  hang: () => Effect.never,
  expire: () => Effect.void
} as const satisfies Record<string, () => Effect.Effect<void, SessionFailure>>

type Early = keyof typeof earlyFates
type Fate = keyof typeof fates | Early
const allFates = [...Object.keys(fates), ...Object.keys(earlyFates)] as ReadonlyArray<Fate>
const isEarly = (fate: Fate): fate is Early => fate in earlyFates

const keyOf = (params: unknown): string | undefined =>
  Predicate.hasProperty(params, "arguments") &&
  Predicate.hasProperty(params.arguments, "key") &&
  Predicate.isString(params.arguments.key)
    ? params.arguments.key
    : undefined

const runs = process.env["CI"] === undefined ? 200 : 3_000

describe("all rules at once, where requests fail one by one", () => {
  const millis = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
  const few = <S extends Schema.Top>(item: S, maximum: number) => Schema.Array(item).check(Schema.isMaxLength(maximum))

  it.effect.prop(
    "under random faults and random traffic",
    {
      era: Schema.Literals(["legacy", "modern"]),
      /** What the attempts do, one after the other; later ones succeed at once. */
      opens: few(Schema.Literals(["ok", "ok", "slow", "fail", "busy", "notFound", "hang"]), 8),
      /** What happens to the requests, probes among them, one after the other; later ones are answered. */
      fates: few(Schema.Literals([...allFates]), 25),
      calls: few(
        Schema.Struct({
          at: millis(40_000),
          what: Schema.Literals(["pay", "pay", "read", "list", "ping", "level"]),
          replay: Schema.Literals(["safe", "safe", "never"]),
          /** After how long the caller loses interest; 0: never. */
          patience: Schema.Literals([0, 0, 0, 1, 700, 4000])
        }),
        20
      ),
      doubts: few(Schema.Struct({ at: millis(40_000), error: Schema.Literals(["reset", "cut", "busyBriefly"]) }), 3),
      gaps: few(millis(40_000), 2),
      reconnects: few(millis(40_000), 1),
      refreshes: few(millis(40_000), 2),
      closeAt: millis(160_000)
    },
    ({ calls, closeAt, doubts, era, fates: sequence, gaps, opens, reconnects, refreshes }) =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        let n = 0
        const pending = new Map<Call, Fate>()
        const expired = new Set<SimulatedSession["host"]>()
        /** When a call was refused, and until when. */
        const pauses: Array<{ key: string; generation: number; from: number; until: number }> = []
        /** The calls that were refused for good while their session served, and how many requests were on the wire by then. */
        const condemned: Array<{ readonly key: string; readonly sent: number }> = []
        const noted = <A>(call: Call, answer: Effect.Effect<A, SessionFailure>) =>
          Effect.tapError(answer, (error) =>
            Effect.flatMap(simulation.state ?? Effect.succeed(undefined), (state) =>
              Effect.sync(() => {
                if (error._tag !== "ConnectionError" || state?._tag !== "Ready" || state.generation !== call.generation)
                  return
                const from = clock.currentTimeMillisUnsafe()
                const { retryAfter } = error
                const key = keyOf(call.ticket.params)
                if (retryAfter !== undefined && key !== undefined)
                  pauses.push({ key, generation: call.generation, from, until: from + Duration.toMillis(retryAfter) })
                if (error.reason._tag === "Unauthorized" && key !== undefined)
                  condemned.push({ key, sent: simulation.sent.length })
              })
            )
          )
        const simulation: SimulatedServer.SimulatedServer = SimulatedServer.makeUnsafe({
          era,
          isolation: "perRequest",
          capabilities: { tools: { listChanged: true }, logging: {}, resources: { subscribe: true } },
          listed: () => [tool("pay"), tool("read", { readOnlyHint: true })],
          send: (call) => {
            const fate = sequence[n++] ?? "answer"
            pending.set(call, fate)
            if (fate === "expire") expired.add(call.session.host)
            return isEarly(fate) ? earlyFates[fate]() : Effect.void
          },
          handle: (call) => {
            const fate = pending.get(call) ?? "answer"
            if (expired.has(call.session.host)) return Effect.fail(failure(new Reasons.SessionExpired({ status: 404 })))
            return noted(call, isEarly(fate) ? call.run : fates[fate](call))
          },
          listen: () =>
            Effect.suspend(() => {
              const fate = sequence[n++] ?? "answer"
              return fate === "reset" || fate === "unavailable" || fate === "busyBriefly"
                ? Effect.fail(errors[fate])
                : fate === "neverAnswer"
                  ? Effect.never
                  : Effect.void
            })
        })
        let opened = 0
        simulation.behavior.open = () => {
          opened += 1
          switch (opens[opened - 1] ?? "ok") {
            case "slow":
              return Effect.sleep("1500 millis")
            case "fail":
              return Effect.andThen(Effect.sleep("200 millis"), Effect.fail(exited))
            case "busy":
              return Effect.fail(errors.busyBriefly)
            case "notFound":
              return Effect.fail(errors.notFound)
            case "hang":
              return Effect.never
            default:
              return Effect.void
          }
        }
        const scope = yield* Scope.make()
        const probe = yield* ConnectionProbe.make(simulation, {
          start: "background",
          policy: ReconnectPolicy.retryAfter(
            Schedule.spaced("1 second").pipe(Schedule.setInputType<Reasons.ConnectionError>())
          ),
          startupTimeout: "4 seconds",
          requestTimeout: "6 seconds",
          wait: "8 seconds",
          stableAfter: "5 seconds",
          drainTimeout: "5 seconds",
          heartbeat: { interval: "7 seconds", timeout: "1 second", misses: 2, busyGrace: "9 seconds" },
          closeTimeout: "1 second"
        }).pipe(Scope.provide(scope))
        const { connection } = probe
        yield* settle

        const callers = yield* Effect.forEach(calls, ({ at, patience, replay, what }, i) => {
          const options = { replay }
          const call: Effect.Effect<unknown, RequestError> =
            what === "list"
              ? connection.listTools(options)
              : what === "ping"
                ? connection.ping(options)
                : what === "level"
                  ? connection.setLogLevel("debug")
                  : connection.callTool({ name: what, arguments: { key: `${what} ${i}` } }, options)
          const bounded = patience === 0 ? call : Effect.timeoutOption(call, patience)
          return bounded.pipe(Effect.exit, Effect.delay(at), Effect.forkChild)
        })
        const later = (at: number, effect: Effect.Effect<unknown, RequestError>) =>
          effect.pipe(Effect.ignore, Effect.delay(at), Effect.forkChild)
        const onCurrent = (use: (session: SimulatedSession) => Effect.Effect<void>) =>
          Effect.suspend(() => {
            const session = simulation.sessions.at(-1)
            return session === undefined ? Effect.void : use(session)
          })
        for (const at of reconnects) yield* later(at, connection.reconnect)
        for (const at of refreshes) yield* later(at, connection.refresh)
        for (const at of gaps)
          yield* later(
            at,
            onCurrent((session) => session.gap)
          )
        for (const { at, error } of doubts)
          yield* later(
            at,
            onCurrent((session) => session.suspect(errors[error]))
          )

        const watcher = yield* Effect.forkChild(Effect.repeat(probe.look, Schedule.spaced("2900 millis")))
        for (let i = 0; i < 20; i += 1) yield* advance(closeAt / 20)
        // Before it closes: afterwards nobody can be without an answer.
        yield* probe.check
        yield* Fiber.interrupt(watcher)
        yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* advance("1 second")
        assert.strictEqual((yield* connection.state)._tag, "Closed")
        // Who was there when it closed is told at once, which the probe checks; a call that had not begun yet finds it closed.
        yield* probe.check
        yield* advance("40 seconds")
        yield* settle
        callers.forEach((caller, i) => assert.isDefined(caller.pollUnsafe(), `call ${i} has no answer`))
        yield* probe.check
        // What may run twice runs no more often than that.
        for (const [i] of calls.entries())
          assert.isAtMost(simulation.ran.filter((ran) => ran === `read ${i}`).length, 2, `read ${i}`)
        for (const { method, params } of simulation.sent)
          assert.isFalse(method === "tools/list" && params !== undefined, "a page nobody asked for")
        // Retry-After: what was refused is not sent again on the session before it has passed.
        for (const { from, generation, key, until } of pauses) {
          for (const { at, params, ...sent } of simulation.sent) {
            if (sent.generation !== generation || keyOf(params) !== key) continue
            assert.isFalse(at > from && at < until, `${key} was sent at ${at}, asked not to from ${from} to ${until}`)
          }
        }
        // Refused for good: never sent again.
        for (const { key, sent } of condemned) {
          const again = simulation.sent.slice(sent).filter(({ params }) => keyOf(params) === key)
          assert.lengthOf(again, 0, `${key} was refused for good, and sent again`)
        }
        // Rule 7: attempts, and what is sent without anybody's asking.
        if (reconnects.length === 0 && refreshes.length === 0) {
          simulation.attempts.slice(1).forEach((at, i) => assert.isAtLeast(at - (simulation.attempts[i] ?? 0), 1000))
        }
        assert.isAtMost(
          simulation.sent.length,
          60 * (calls.length + sequence.length + doubts.length + gaps.length + 10)
        )
      }),
    { arbitrary: { runs, seed: 41 }, timeout: 600_000 }
  )
})
