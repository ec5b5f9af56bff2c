/** Metrics and spans (DESIGN §11). Names and methods only: nothing of arguments, results, headers or environment. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Tracer from "effect/Tracer"
import type { ConnectionEvent } from "../../ConnectionEvent.ts"
import type { SessionInfo } from "../../McpSession.ts"
import type { RequestError } from "../../RequestError.ts"

const milliseconds = Metric.exponentialBoundaries({ start: 1, factor: 2, count: 20 })

type Attributes = Readonly<Record<string, string>>

// A metric of its own for each set of attributes: `Metric.withAttributes` keeps a context for each besides, and where connections take turns
// it puts the name of a series together anew at each update.
const counter = (name: string, description: string) => (attributes: Attributes) =>
  Metric.counter(name, { description, incremental: true, attributes })
const histogram = (name: string, description: string) => (attributes: Attributes) =>
  Metric.histogram(name, { description, boundaries: milliseconds, attributes })

const ready = (attributes: Attributes) =>
  Metric.gauge("mcp_client_ready", { description: "1 while a session serves, else 0", attributes })
const losses = counter("mcp_client_sessions_lost_total", "Lost sessions")
const attempts = counter("mcp_client_attempts_total", "Attempts by outcome")
const replays = counter("mcp_client_replays_total", "Requests sent again")
const unknowns = counter("mcp_client_outcome_unknown_total", "Requests that may have run and were not sent again")
const heartbeatsMissed = counter("mcp_client_heartbeats_missed_total", "Probes without an answer")
const attemptDuration = histogram("mcp_client_attempt_duration_ms", "From the start of an attempt to its end")
const outageDuration = histogram("mcp_client_outage_duration_ms", "From the loss of a session to the next one")
const requestDuration = histogram("mcp_client_request_duration_ms", "From the call to its answer, over all sendings")

/** Our own attributes stand, whatever the program says of all its metrics: or the series of many connections would be one. */
const updateIn = <Input, State>(of: Recording, metric: Metric.Metric<Input, State>, input: Input): void => {
  const ambient = of.getRef(Metric.CurrentMetricAttributes)
  const own = metric.attributes ?? {}
  const isContested = Object.keys(ambient).some((name) => own[name] !== undefined)
  metric.updateUnsafe(
    input,
    isContested ? Context.add(of.context, Metric.CurrentMetricAttributes, { ...ambient, ...own }) : of.context
  )
}

const update = <Input, State>(metric: Metric.Metric<Input, State>, input: Input): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    updateIn(fiber, metric, input)
    return Effect.void
  })

/** The fiber that records: its context says where to. */
type Recording = Pick<Fiber.Fiber<unknown, unknown>, "context" | "getRef">

/** Nobody looks at the spans of the tracer that is there by default, and one costs as much as all else on the way of a call. */
const isTraced = (by: Recording): boolean => by.getRef(Tracer.Tracer) !== Tracer.nativeTracer

export interface Telemetry {
  /** Takes note of an event, once it has happened. */
  readonly record: (event: ConnectionEvent, by: Recording) => void
  readonly missedHeartbeat: () => Effect.Effect<void>
  /** Measures one call of a user, over all of its sendings. */
  readonly measured: <A, E extends RequestError>(
    method: string,
    startedAt: number,
    call: Effect.Effect<A, E>
  ) => Effect.Effect<A, E>
  /** One sending of a request: a span of its own, linked to the outage that made it necessary, if one did. */
  readonly sending: <A, E>(
    request: {
      readonly method: string
      readonly tool: string | undefined
      readonly info: SessionInfo
      readonly generation: number
      readonly again: boolean
    },
    effect: Effect.Effect<A, E>
  ) => Effect.Effect<A, E>
}

/** `onEnd` is told how each call ended. */
export const make = (
  server: string,
  onEnd: (at: number, exit: Exit.Exit<unknown, RequestError>) => void
): Telemetry => {
  const of = <Input, State>(metric: (attributes: Attributes) => Metric.Metric<Input, State>, attributes?: Attributes) =>
    metric({ server, ...attributes })
  /** On the path of every call: made once per method. */
  const durations = new Map<string, ReturnType<typeof requestDuration>>()
  let attemptAt: number | undefined
  /** The last outage; it is linked to also after its end. */
  let outage: Tracer.Span | undefined

  const attemptEnded = (by: Recording, at: number, outcome: string): void => {
    updateIn(by, of(attempts, { outcome }), 1)
    if (attemptAt !== undefined) updateIn(by, of(attemptDuration), at - attemptAt)
    attemptAt = undefined
  }

  const outageEnded = (by: Recording): void => {
    if (outage?.status._tag === "Started") outage.end(by.getRef(Clock.Clock).currentTimeNanosUnsafe(), Exit.void)
  }

  return {
    record: (event, by) => {
      switch (event._tag) {
        case "AttemptStarted":
          attemptAt = event.at
          return
        case "AttemptFailed":
          return attemptEnded(by, event.at, event.error.reason._tag)
        case "SessionReady":
          attemptEnded(by, event.at, "ready")
          updateIn(by, of(ready), 1)
          if (event.downtimeMillis !== undefined) updateIn(by, of(outageDuration), event.downtimeMillis)
          return outageEnded(by)
        case "SessionLost": {
          const reason = event.error.reason._tag
          updateIn(by, of(losses, { reason }), 1)
          updateIn(by, of(ready), 0)
          outage = isTraced(by)
            ? Effect.runSyncWith(by.context)(
                Effect.makeSpan("mcp.client outage", {
                  root: true,
                  attributes: { "mcp.server.name": server, "mcp.generation": event.generation, "error.type": reason }
                })
              )
            : undefined
          return
        }
        case "RequestReplayed":
          return updateIn(by, of(replays, { method: event.method, delivery: event.delivery }), 1)
        case "OutcomeUnknown":
          return updateIn(by, of(unknowns, { method: event.method }), 1)
        case "GaveUp":
        case "Closed":
          updateIn(by, of(ready), 0)
          return outageEnded(by)
        case "AttemptScheduled":
        case "RefreshFailed":
        case "RestorationSkipped":
        case "CatalogChanged":
        case "NotificationsMissed":
      }
    },
    missedHeartbeat: () => update(of(heartbeatsMissed), 1),
    measured: (method, startedAt, call) => {
      const answered = durations.get(method) ?? of(requestDuration, { method })
      durations.set(method, answered)
      return Clock.clockWith((clock) =>
        Effect.onExit(call, (exit) => {
          const now = clock.currentTimeMillisUnsafe()
          onEnd(now, exit)
          return update(answered, now - startedAt)
        })
      )
    },
    sending: ({ again, generation, info, method, tool }, effect) =>
      Effect.withFiber((fiber) =>
        isTraced(fiber)
          ? Effect.withSpan(effect, `mcp.client ${method}`, {
              captureStackTrace: false,
              kind: "client",
              attributes: {
                "mcp.method.name": method,
                "mcp.protocol.version": info.protocolVersion,
                "mcp.server.name": server,
                "mcp.generation": generation,
                ...(info.sessionId === undefined ? {} : { "mcp.session.id": info.sessionId }),
                ...(tool === undefined ? {} : { "gen_ai.tool.name": tool })
              },
              links: again && outage !== undefined ? [{ span: outage, attributes: {} }] : []
            })
          : effect
      )
  }
}
