/** The rules that can be judged by what happened (DESIGN §12): 1, 2, 3, 4, 6 and 7. */
import type { ConnectionState } from "@mcp-tether/connection"
import * as Duration from "effect/Duration"
import type { Answer } from "../../ConnectionProbe.ts"
import type { Performed, Sent } from "../../SimulatedServer.ts"
import { nameOf, storyOf } from "./story.ts"
import type { Violation } from "./violation.ts"
import type { Seen } from "./watched.ts"

export const check = (seen: Seen): ReadonlyArray<Violation> => [
  ...atMostOnce(seen),
  ...answersAgree(seen),
  ...everyoneAnswered(seen),
  ...oneAtATime(seen),
  ...onlyOnPublished(seen),
  ...nothingLeft(seen),
  ...delays(seen)
]

const runsOf = ({ server }: Seen, call: number): ReadonlyArray<Performed> =>
  server.ledger.filter((performed) => performed.call === call)

const told = (seen: Seen, rule: number, answer: Answer, what: string): Violation => ({
  rule,
  what,
  story: storyOf(seen, [answer.call], answer.begunAt, answer.endedAt ?? seen.now())
})

/**
 * Rule 1. What arrived twice under one id was doubled by the network. It counts what the tool promises where it is sent again: a release
 * may promise more than the one before, or less.
 */
const atMostOnce = (seen: Seen): ReadonlyArray<Violation> =>
  seen.answers.flatMap((answer) => {
    if ((answer.replay ?? seen.replay) === "always") return []
    const runs = runsOf(seen, answer.call)
    const sendings = new Map(runs.map((run) => [`${run.generation}/${String(run.requestId)}`, run]))
    return [...sendings.values()].slice(1).some(({ safe }) => !safe)
      ? [told(seen, 1, answer, `call ${answer.call} (${nameOf(answer)}) has an effect, and ran ${sendings.size} times`)]
      : []
  })

/** Rules 1 and 2: what a caller is told is true. */
const answersAgree = (seen: Seen): ReadonlyArray<Violation> =>
  seen.answers.flatMap((answer) => {
    const { call, error, outcome } = answer
    const name = `call ${call} (${nameOf(answer)})`
    if (outcome === "died") return [told(seen, 2, answer, `${name} ended in a defect`)]
    if (answer.method !== "tools/call") return []
    const ran = runsOf(seen, call).length
    if (outcome === "succeeded" && ran === 0) return [told(seen, 2, answer, `${name} has a result, but never ran`)]
    if (error === undefined) return []
    if (error._tag === "ConnectionUnavailable" && error.delivery === "Unknown")
      return [told(seen, 2, answer, `${name} may have run, and is not told so as OutcomeUnknown`)]
    const certain =
      error._tag === "InvalidRequest" ||
      ((error._tag === "ConnectionUnavailable" ||
        error._tag === "RequestTimeout" ||
        error._tag === "ConnectionClosed") &&
        error.delivery !== "Unknown")
    return certain && ran > 0
      ? [told(seen, 2, answer, `${name} ended in ${error._tag}, which says that it did not run; but it ran`)]
      : []
  })

/** Rule 2: within its bound. */
const everyoneAnswered = (seen: Seen): ReadonlyArray<Violation> => {
  return seen.answers.flatMap((answer) => {
    const { answerWithin } = answer
    if (answerWithin === undefined || !Number.isFinite(answerWithin)) return []
    const took = answer.tookMillis ?? seen.monotonic() - answer.begunMonotonic
    return took > answerWithin
      ? [
          told(
            seen,
            2,
            answer,
            `call ${answer.call} (${nameOf(answer)}) ${answer.outcome === "pending" ? "has had no answer for" : "was answered after"} ${span(took)}; promised were ${span(answerWithin)}`
          )
        ]
      : []
  })
}

/** Rule 3. */
const oneAtATime = (seen: Seen): ReadonlyArray<Violation> => {
  const { events, server } = seen
  const published = events.flatMap(({ event }) => (event._tag === "SessionReady" ? [event] : []))
  const [first] = published
  const outOfStep = published.find(({ generation }, index) => generation !== (first?.generation ?? 0) + index)
  return [
    ...(server.mostOpening > 1
      ? [
          {
            rule: 3,
            what: `${server.mostOpening} sessions were being opened at a time`,
            story: storyOf(seen, [], seen.since, seen.now())
          }
        ]
      : []),
    ...(outOfStep === undefined
      ? []
      : [
          {
            rule: 3,
            what: `generation ${outOfStep.generation} is published out of its turn`,
            story: storyOf(seen, [], seen.since, outOfStep.at)
          }
        ])
  ]
}

const restoring: ReadonlySet<string> = new Set([
  "logging/setLevel",
  "resources/subscribe",
  "resources/unsubscribe",
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list"
])

/** What the engine itself asks of a session before it publishes it (DESIGN §7): in place of none, or beside the one that serves. */
const restores = ({ generation, method, state }: Sent): boolean =>
  restoring.has(method) &&
  (state?._tag === "Connecting" ||
    state?._tag === "Reconnecting" ||
    (state?._tag === "Ready" && state.generation + 1 === generation))

/** What the engine asks of a session that was replaced, as long as requests are in flight there: whether it lives. */
const drains = ({ at, generation, method }: Sent, states: ReadonlyArray<ConnectionState.ConnectionState>): boolean =>
  (method === "ping" || method === "tools/list") &&
  states.some((state) => state._tag === "Ready" && state.generation > generation && state.since <= at)

/** A session over HTTP that was lost goes on draining, and is asked whether it lives until nobody waits for it. */
const drainsLost = ({ generation, method, state }: Sent, seen: Seen): boolean =>
  method === "ping" &&
  state?._tag !== "Ready" &&
  seen.events.some(({ event }) => event._tag === "SessionLost" && event.generation === generation)

/** Rule 4. */
const onlyOnPublished = (seen: Seen): ReadonlyArray<Violation> =>
  seen.server.sent.flatMap((sent) => {
    const { at, generation, method, state, tool } = sent
    if (state === undefined || restores(sent) || drains(sent, seen.states) || drainsLost(sent, seen)) return []
    return state._tag === "Ready" && state.generation === generation
      ? []
      : [
          {
            rule: 4,
            what: `${tool ?? method} was sent on generation ${generation} while ${state._tag === "Ready" ? `generation ${state.generation} served` : `the connection was ${state._tag}`}`,
            story: storyOf(seen, [], at - 10_000, at)
          }
        ]
  })

/** Rule 6, once the connection is closed. */
const nothingLeft = (seen: Seen): ReadonlyArray<Violation> => {
  const { events, server } = seen
  const closed = events.find(({ event }) => event._tag === "Closed")?.event
  if (closed === undefined) return []
  const story = storyOf(seen, [], closed.at - 10_000, seen.now())
  const pending = seen.answers.filter(({ begunAt, outcome }) => outcome === "pending" && begunAt <= closed.at)
  const late = server.sent.filter(({ at, state }) => at > closed.at || state?._tag === "Closed")
  return [
    ...(server.live > 0
      ? [{ rule: 6, what: `${server.live} sessions or attempts are left after the close`, story }]
      : []),
    ...(late.length > 0 ? [{ rule: 6, what: `${late.length} requests were sent after the close`, story }] : []),
    ...pending.map((answer) => told(seen, 6, answer, `call ${answer.call} was not told of the close`))
  ]
}

/** Rule 7. What somebody asked for need not wait. */
const delays = (seen: Seen): ReadonlyArray<Violation> => {
  const { maxDelay } = seen.promises
  return seen.events.flatMap(({ event, heard }, index) => {
    if (event._tag !== "AttemptScheduled") return []
    const { at, attempt, delayMillis, dueAt, error } = event
    const hint = error.retryAfter === undefined ? 0 : Duration.toMillis(error.retryAfter)
    const story = () => storyOf(seen, [], at - 60_000, dueAt)
    if (maxDelay !== undefined && delayMillis > Math.max(maxDelay, hint)) {
      return [
        { rule: 7, what: `attempt ${attempt} waits ${span(delayMillis)}; the cap is ${span(maxDelay)}`, story: story() }
      ]
    }
    const started = seen.events.slice(index + 1).find(({ event }) => event._tag === "AttemptStarted")
    // By the clock that does not jump, of which each reading is up to a millisecond early.
    return started !== undefined &&
      started.heard - heard < delayMillis - 1 &&
      !seen.replacements.some((when) => when >= heard && when <= started.heard)
      ? [
          {
            rule: 7,
            what: `attempt ${attempt} was due at ${dueAt} and began at ${started.event.at}, unasked`,
            story: story()
          }
        ]
      : []
  })
}

const span = (millis: number): string => Duration.format(Duration.millis(millis))
