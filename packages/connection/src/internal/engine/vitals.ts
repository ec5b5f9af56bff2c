/** What `health` tells beside the state: written on the path of every call, and put together when somebody asks. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Health } from "../../Health.ts"
import type { McpSession } from "../../McpSession.ts"
import type { RequestError } from "../../RequestError.ts"

/** A session and since when it serves; of `Core.Published`. */
interface Serving {
  readonly generation: number
  readonly openedAt: number
  readonly session: McpSession
}

export interface Vitals {
  /** How a request of a user ended, over all of its sendings. */
  readonly ended: (at: number, exit: Exit.Exit<unknown, RequestError>) => void
  /** An attempt runs; it has shaken hands; it has ended, and its session serves or is gone. */
  readonly attempt: (phase: "begins" | McpSession | "ends") => void
  /** A session does not serve any more. */
  readonly left: (session: McpSession) => void
  readonly health: (serving: Serving | undefined, waiting: number) => Health
}

export const make = (): Vitals => {
  let lastSuccessAt: number | undefined = undefined
  let lastFailure: Health["requests"]["lastFailure"] = undefined
  let consecutiveFailures = 0
  let attempt: "ends" | "begins" | McpSession = "ends"
  let lastHeardAt: number | undefined = undefined

  const heard = (session: McpSession): number =>
    Math.max(lastHeardAt ?? Number.NEGATIVE_INFINITY, session.lastActivity())
  const left = (session: McpSession): void => {
    lastHeardAt = heard(session)
  }

  return {
    ended: (at, exit) => {
      if (Exit.isSuccess(exit)) {
        lastSuccessAt = at
        consecutiveFailures = 0
        return
      }
      const error = Cause.findErrorOption(exit.cause)
      if (Option.isNone(error) || error.value._tag === "InvalidRequest") return
      lastFailure = { at, tag: error.value._tag }
      consecutiveFailures += 1
    },
    attempt: (phase) => {
      if (typeof attempt === "object") left(attempt)
      attempt = phase
    },
    left,
    health: (serving, waiting) => {
      const session = serving?.session ?? (typeof attempt === "object" ? attempt : undefined)
      return {
        transport: session !== undefined ? "open" : attempt === "begins" ? "opening" : "closed",
        serving: serving === undefined ? undefined : { generation: serving.generation, since: serving.openedAt },
        lastHeardAt: session === undefined ? lastHeardAt : heard(session),
        inFlight: serving?.session.inFlight() ?? 0,
        waiting,
        requests: { lastSuccessAt, lastFailure, consecutiveFailures }
      }
    }
  }
}
