/** What happened, in words and in order. */
import type { ConnectionEvent } from "@mcp-tether/connection"
import * as Duration from "effect/Duration"
import type { Answer, Entry } from "../../ConnectionProbe.ts"
import * as Fault from "../../Fault.ts"
import { callOf } from "../simulated/offer.ts"
import type { Seen } from "./watched.ts"

export const timelineOf = (seen: Seen): ReadonlyArray<Entry> => {
  const { answers, events, server } = seen
  const entries: ReadonlyArray<Entry> = [
    ...server.happened.map(({ at, fault, order, to }): Entry => ({
      order,
      at,
      kind: "fault",
      call: undefined,
      text: `fault: ${Fault.describe(fault)}${to === undefined ? "" : ` (on ${to.tool ?? to.method})`}`
    })),
    ...events.map(({ event, order }): Entry => ({
      order,
      at: event.at,
      kind: "event",
      call: undefined,
      text: eventText(event)
    })),
    ...answers.flatMap((answer): ReadonlyArray<Entry> => {
      const { begunAt, call, endedAt, endOrder, order } = answer
      const begin: Entry = { order, at: begunAt, kind: "call", call, text: `call ${call} begins: ${nameOf(answer)}` }
      return endedAt === undefined || endOrder === undefined
        ? [begin]
        : [begin, { order: endOrder, at: endedAt, kind: "answer", call, text: answerText(answer) }]
    }),
    ...server.sent.map(({ at, generation, method, order, params, requestId, tool }): Entry => {
      const call = callOf(params)
      return {
        order,
        at,
        kind: "sent",
        call,
        text: `${callText(call)}${tool ?? method} is sent on generation ${generation}, as request ${requestId ?? "?"}`
      }
    }),
    ...server.ledger.map(({ at, call, generation, order, requestId, tool }): Entry => ({
      order,
      at,
      kind: "ran",
      call,
      text: `${callText(call)}${tool} runs on generation ${generation}, for request ${requestId ?? "?"}`
    }))
  ]
  return entries.toSorted((a, b) => a.at - b.at || a.order - b.order)
}

/** The lines of a story: what concerns these calls, and what befell the connection meanwhile. */
export const storyOf = (seen: Seen, calls: ReadonlyArray<number>, from: number, to: number): ReadonlyArray<string> => {
  const lines = timelineOf(seen)
    .filter(
      ({ at, call, kind }) =>
        at >= from && at <= to && (call === undefined ? kind === "fault" || kind === "event" : calls.includes(call))
    )
    .map(({ at, text }) => `+${((at - seen.since) / 1000).toFixed(3)} s  ${text}`)
  const left = lines.length - 2 * half
  return left > 0 ? [...lines.slice(0, half), `… ${left} more …`, ...lines.slice(-half)] : lines
}

/** Of a long story, the beginning and the end. */
const half = 25

export const nameOf = ({ method, tool }: Answer): string => (tool === undefined ? method : `${method} ${tool}`)

const callText = (call: number | undefined): string => (call === undefined ? "" : `call ${call}: `)

const answerText = (answer: Answer): string =>
  `call ${answer.call} ends: ${answer.outcome}${answer.error === undefined ? "" : `, ${answer.error.message}`}`

const eventText = (event: ConnectionEvent.ConnectionEvent): string => {
  switch (event._tag) {
    case "AttemptStarted":
      return `attempt ${event.attempt} starts`
    case "AttemptFailed":
      return `attempt ${event.attempt} fails: ${event.error.message}`
    case "AttemptScheduled":
      return `attempt ${event.attempt} is due in ${Duration.format(Duration.millis(event.delayMillis))}`
    case "SessionReady":
      return `generation ${event.generation} is published`
    case "SessionLost":
      return `generation ${event.generation} is lost: ${event.error.message}`
    case "RefreshFailed":
      return `generation ${event.generation} could not be replaced: ${event.error.message}`
    case "GaveUp":
      return `the connection gives up: ${event.error.message}`
    case "RequestReplayed":
      return `${event.tool ?? event.method} is sent again on generation ${event.to} (delivery on ${event.from}: ${event.delivery})`
    case "OutcomeUnknown":
      return `${event.tool ?? event.method} may have run on generation ${event.generation}`
    case "RestorationSkipped":
      return `generation ${event.generation} serves without ${event.step}`
    case "CatalogChanged":
      return `the lists of generation ${event.generation} are others: ${Object.keys(event.changes).join(", ")}`
    case "NotificationsMissed":
      return `generation ${event.generation} may have missed notifications`
    case "Closed":
      return "the connection is closed"
  }
}
