/** One run: load and kills for a while, then rest; and what became of it, as data. */
import { McpConnection, type ReplayPolicy } from "@mcp-tether/connection"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import packageJson from "../../package.json" with { type: "json" }
import { CommandFailed } from "../CommandFailed.ts"
import * as Killer from "./killer.ts"
import * as Load from "./load.ts"
import * as Plan from "./plan.ts"
import * as Processes from "./processes.ts"
import * as Progress from "./progress.ts"
import * as Recorder from "./Recorder.ts"
import type { Call, Run } from "./Run.ts"
import type { Subject } from "./Subject.ts"

export interface Options {
  readonly seed: string
  readonly forMillis: number
  readonly rate: number
  readonly concurrency: number
  readonly killEveryMillis: number
  readonly replay: ReplayPolicy.ReplayPolicy
  /** How long a call waits for its answer on one session, and how long for a session. */
  readonly timeoutMillis: number
}

/** How often a call is sent again, at most. */
const maxReplays = 1

/** It may wait, be sent, wait again, and be sent again; and a machine may be busy. */
const answerWithin = ({ timeoutMillis }: Options): number => (1 + maxReplays) * 2 * timeoutMillis + 1000

/**
 * Plays the run. Who interrupts it gets what was until then, when all is closed, with `interrupted`; it fails when it cannot begin.
 */
export const play = Effect.fnUntraced(function* <E, R>(makeSubject: Effect.Effect<Subject, E, R>, options: Options) {
  const recorder = yield* Recorder.make
  const known: Known = { server: undefined, answersAtEnd: null, ledger: undefined, elapsedMillis: 0 }
  const exit = yield* Effect.exit(
    Effect.interruptible(
      Effect.scoped(
        Effect.gen(function* () {
          const subject = yield* makeSubject
          // Before the subject's ledger is removed, and after the connection has been closed.
          yield* Effect.addFinalizer(() =>
            Effect.flatMap(subject.ledger, (lines) => Effect.sync(() => void (known.ledger = lines)))
          )
          yield* Effect.scoped(under(subject, options, recorder, known))
        })
      )
    )
  )
  const interrupted = Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
  if (Exit.isFailure(exit) && !interrupted) return yield* Effect.failCause(exit.cause)
  if (known.server === undefined) return yield* Effect.interrupt
  const leftProcesses = yield* Processes.leftOfAll([...recorder.pids])
  return runOf(options, recorder, known, known.server, { interrupted, leftProcesses })
})

interface Known {
  server: Run["server"] | undefined
  answersAtEnd: boolean | null
  ledger: ReadonlyArray<string> | undefined
  elapsedMillis: number
}

const under = Effect.fnUntraced(function* (
  subject: Subject,
  options: Options,
  recorder: Recorder.Recorder,
  known: Known
) {
  const { forMillis, killEveryMillis: everyMillis, seed, timeoutMillis } = options
  const failed = ({ message }: { readonly message: string }) =>
    new CommandFailed({ description: `${message} (and nothing has been killed yet)` })
  const connection = yield* Effect.mapError(
    McpConnection.make({
      name: subject.bundled ? "ledger" : subject.label,
      transport: subject.transport,
      tools: subject.tools,
      client: { name: "mcp-tether", version: packageJson.version },
      start: "lazy",
      // The sessions that end here are ended on purpose: each counts as proven, so that what shows is no flapping server's backoff.
      stableAfter: 0,
      requestTimeout: timeoutMillis,
      wait: timeoutMillis,
      maxReplays,
      replay: options.replay
    }),
    failed
  )
  yield* recorder.watch(connection)
  const ready = yield* Effect.raceFirst(connection.awaitReady, recorder.startFailed).pipe(
    Effect.mapError(failed),
    Effect.timeoutOrElse({
      duration: timeoutMillis,
      orElse: () =>
        Effect.fail(
          failed({ message: `${subject.label} is not there after ${Duration.format(Duration.millis(timeoutMillis))}` })
        )
    })
  )
  const workload = yield* subject.workload(connection)
  const plan = yield* Plan.kills({ seed, forMillis, everyMillis, weights: subject.weights })
  const draw = yield* Plan.drawsOf(seed, "load")

  const { name, protocolVersion, version } = ready.server
  known.server = {
    label: subject.label,
    name,
    version,
    protocolVersion,
    over: subject.over,
    bundled: subject.bundled,
    calls: workload.about
  }
  yield* recorder.begin
  yield* Effect.addFinalizer(() =>
    Effect.map(recorder.elapsed, (millis) => {
      known.elapsedMillis = millis ?? 0
    })
  )
  yield* Progress.announce(subject.label, seed)
  yield* Effect.forkScoped(Progress.show(recorder, forMillis))
  const kills = yield* Effect.forkScoped(Killer.run(plan, { subject, connection, recorder, forMillis }))
  const { settled } = yield* Load.run({ ...options, connection, recorder, workload, draw })
  yield* Effect.all(
    [
      Fiber.join(kills),
      Effect.timeoutOption(settled, answerWithin(options)),
      // A session that was lost behind our back is noticed by who asks.
      Effect.ignore(connection.ping())
    ],
    { concurrency: "unbounded" }
  )
  yield* recorder.close
  known.answersAtEnd = yield* connection.ping().pipe(
    Effect.as(true),
    Effect.orElseSucceed(() => false)
  )
})

const runOf = (
  options: Options,
  recorder: Recorder.Recorder,
  known: Known,
  server: Run["server"],
  end: Pick<Run, "interrupted" | "leftProcesses">
): Run => {
  const { killEveryMillis, replay, seed, concurrency, forMillis, rate } = options
  const lines = known.ledger
  const ordered = new Set(recorder.calls.flatMap(({ order }) => order ?? []))
  const times = new Map<string, number>()
  for (const line of lines ?? []) times.set(line, (times.get(line) ?? 0) + 1)
  return {
    server,
    options: { seed, forMillis, rate, concurrency, killEveryMillis, replay, answerWithinMillis: answerWithin(options) },
    elapsedMillis: known.elapsedMillis,
    calls: recorder.calls.map(({ order, ...call }): Call => ({
      ...call,
      charged: lines === undefined || order === undefined ? null : (times.get(order) ?? 0)
    })),
    kills: recorder.kills,
    outages: recorder.outages,
    states: recorder.states,
    replays: recorder.replays(),
    foreignCharges: lines === undefined ? null : lines.filter((line) => !ordered.has(line)).length,
    answersAtEnd: known.answersAtEnd,
    ...end
  }
}
