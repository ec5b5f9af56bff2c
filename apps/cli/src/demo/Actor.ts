/** A connection on the demo's stage: whatever happens to it is told, and what is done with it is counted. */
import { ConnectionState, McpConnection, type ConnectionEvent } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import type { Server } from "./Stage.ts"
import { Timeline } from "./Timeline.ts"

export interface Actor {
  readonly connection: McpConnection.Shape
  /** Tells a line about the connection as it stands. */
  readonly tell: (event: string, text: string) => Effect.Effect<void>
  /** Runs one call of the user, and counts it and its answer. */
  readonly call: <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Ends the server's whole process group with SIGKILL, and tells so. */
  readonly kill: Effect.Effect<void>
  /** Has a server behind HTTP forget the session, as one that was restarted or moved does, and tells so. */
  readonly forget: Effect.Effect<void>
  /** The events so far. */
  readonly events: ReadonlyArray<ConnectionEvent.ConnectionEvent>
}

type Options = { readonly server: Server } & Omit<
  McpConnection.Options<ChildProcessSpawner.ChildProcessSpawner>,
  "start" | "transport"
>

/** The connection is made lazily, so that its first event is told too. */
export const make = Effect.fnUntraced(function* ({ server, ...options }: Options) {
  const timeline = yield* Timeline
  // Opening nothing, it can fail on wrong options only, and these are ours.
  const connection = yield* Effect.orDie(McpConnection.make({ ...options, transport: server.transport, start: "lazy" }))
  const events: Array<ConnectionEvent.ConnectionEvent> = []
  let state = ConnectionState.initial
  let generation = 0
  let pid: number | undefined
  let sessionId: string | undefined

  const tell = (event: string, text: string, minor = false) =>
    timeline.entry({ generation, pid, state: state._tag, event, text }, minor)
  /** How many calls were sent again since the last other event: a person sees one line of them. */
  let replayed = 0
  const tellReplayed = Effect.suspend(() => {
    if (replayed < 2) return Effect.void
    const line = tell("RequestsReplayed", `and ${replayed - 1} more calls sent again`)
    replayed = 0
    return line
  })

  yield* connection.events.pipe(
    Stream.runForEach((event) => {
      events.push(event)
      state = ConnectionState.transition(state, event)
      if (event._tag === "SessionReady") {
        generation = event.generation
        pid = server.pid?.() ?? event.server.pid
        sessionId = event.server.sessionId
      }
      count(timeline, event)
      const announced = event._tag === "AttemptStarted" && events.at(-2)?._tag === "AttemptScheduled"
      const repeated = event._tag === "RequestReplayed" && events.at(-2)?._tag === "RequestReplayed"
      replayed = event._tag === "RequestReplayed" ? replayed + 1 : replayed
      const line = tell(event._tag, describe(event), announced || repeated)
      return event._tag === "RequestReplayed" ? line : Effect.andThen(tellReplayed, line)
    }),
    Effect.forkScoped({ startImmediately: true })
  )

  const actor: Actor = {
    connection,
    events,
    tell: (event, text) => Effect.andThen(tellReplayed, tell(event, text)),
    call: (call) =>
      Effect.suspend(() => {
        timeline.totals.calls += 1
        return Effect.onExit(call, (exit) =>
          Effect.sync(() => {
            if (!Exit.hasInterrupts(exit)) timeline.totals.answered += 1
          })
        )
      }),
    forget: Effect.suspend(() => {
      if (sessionId === undefined || server.url === undefined) return Effect.die("there is no session to forget")
      const headers = { "mcp-session-id": sessionId }
      const { url } = server
      return Effect.andThen(
        Effect.promise(() => fetch(url, { method: "DELETE", headers })),
        tell("Forget", "the server forgets the session (DELETE, behind the connection's back)")
      )
    }),
    kill: Effect.suspend(() => {
      const victim = pid
      if (victim === undefined) return Effect.die("the demo wanted to kill a server that does not run")
      return tellReplayed.pipe(
        Effect.andThen(Effect.sync(() => process.kill(-victim, "SIGKILL"))),
        Effect.andThen(tell("Kill", `kill -9 -${victim}`))
      )
    })
  }
  return actor
})

const count = ({ totals }: Timeline["Service"], event: ConnectionEvent.ConnectionEvent): void => {
  if (event._tag === "RequestReplayed") totals.replayed += 1
  if (event._tag === "OutcomeUnknown") totals.outcomeUnknown += 1
  if (event._tag === "SessionReady" && event.downtimeMillis !== undefined) {
    totals.reconnects += 1
    totals.downtimesMillis.push(event.downtimeMillis)
  }
}

const describe = (event: ConnectionEvent.ConnectionEvent): string => {
  switch (event._tag) {
    case "AttemptStarted":
      return `attempt ${event.attempt}`
    case "AttemptFailed":
      return `attempt ${event.attempt} failed: ${event.error.reason.message}`
    case "AttemptScheduled":
      return event.delayMillis === 0
        ? `attempt ${event.attempt} at once`
        : `attempt ${event.attempt} in ${event.delayMillis} ms`
    case "SessionReady": {
      const down = event.downtimeMillis === undefined ? "" : `; it was down for ${event.downtimeMillis} ms`
      return `${event.server.name} ${event.server.version}, protocol ${event.server.protocolVersion}${down}`
    }
    case "SessionLost":
      return `lost: ${event.error.reason.message}`
    case "GaveUp":
      return `given up: ${event.error.message}`
    case "RequestReplayed":
      return `${event.tool ?? event.method} sent again (delivery on generation ${event.from}: ${event.delivery})`
    case "OutcomeUnknown":
      return `${event.tool ?? event.method} may have run, and is not sent again`
    case "RefreshFailed":
      return `could not be replaced: ${event.error.reason.message}`
    case "RestorationSkipped":
      return `serves without ${event.step}: ${event.error.reason.message}`
    case "CatalogChanged":
      return `lists changed: ${Object.keys(event.changes).join(", ")}`
    case "NotificationsMissed":
      return "notifications may have been missed"
    case "Closed":
      return "closed"
  }
}
