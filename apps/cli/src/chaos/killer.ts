/** Does to the server what the plan says. */
import type { McpConnection } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { PlannedKill } from "./plan.ts"
import * as Processes from "./processes.ts"
import type { Recorder } from "./Recorder.ts"
import { endsSession } from "./Run.ts"
import type { Ready, Subject } from "./Subject.ts"

/** How long a server has to end by itself after SIGTERM. */
const grace = "1 second"
/** How long it may take until the next session serves. */
const healWithin = "60 seconds"

/** Waits for a session after this one. */
const readyAfter = (connection: McpConnection.Shape, generation: number): Effect.Effect<Ready> =>
  connection.changes.pipe(
    Stream.filter((state): state is Ready => state._tag === "Ready" && state.generation > generation),
    Stream.runHead,
    Effect.flatMap(Option.match({ onNone: () => Effect.never, onSome: Effect.succeed }))
  )

export interface Context {
  readonly subject: Subject
  readonly connection: McpConnection.Shape
  readonly recorder: Recorder
  readonly forMillis: number
}

/** One after the other, each on a session that serves, and no new one after `forMillis`. */
export const run = Effect.fnUntraced(function* (plan: ReadonlyArray<PlannedKill>, context: Context) {
  const { connection, forMillis, recorder } = context
  for (const kill of plan) {
    const rest = forMillis - ((yield* recorder.elapsed) ?? 0)
    const due = Effect.andThen(Effect.sleep(kill.afterMillis), readyAfter(connection, 0))
    const ready = yield* Effect.timeoutOption(due, Math.max(0, rest))
    if (Option.isNone(ready)) return
    const { generation } = ready.value
    const noted = yield* perform(kill, ready.value, context)
    if (!endsSession(kill.kind)) continue
    const healed = yield* Effect.timeoutOption(readyAfter(connection, generation), healWithin)
    if (Option.isNone(healed)) return
    yield* noted.healed
  }
})

const perform = Effect.fnUntraced(function* (
  { holdMillis, kind }: PlannedKill,
  ready: Ready,
  { recorder, subject }: Context
) {
  const group = subject.groupOf(ready)
  // A transport without a process is none of ours to kill, and no such subject is made.
  if (group === undefined) return yield* Effect.die(`${subject.label} has no process`)
  const held = kind === "hang" || kind === "freeze" ? holdMillis : 0
  const noted = yield* recorder.kill({
    kind,
    pid: group,
    heldMillis: held,
    generation: ready.generation
  })
  switch (kind) {
    case "kill":
      yield* Processes.signal(group, "SIGKILL")
      break
    case "terminate":
      yield* Processes.signal(group, "SIGTERM")
      // A server that has let go of its session may well stay, and go on with what it has begun.
      if ((yield* Processes.left([group], grace)).length > 0) yield* Processes.signal(group, "SIGKILL")
      break
    case "hang":
    case "freeze":
      yield* Processes.signal(group, "SIGSTOP")
      // Whatever happens meanwhile, nobody is left stopped.
      yield* Effect.ensuring(Effect.sleep(held), Processes.signal(group, kind === "hang" ? "SIGKILL" : "SIGCONT"))
      break
  }
  return noted
})
