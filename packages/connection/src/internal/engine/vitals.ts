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

export class Vitals {
  #lastSuccessAt: number | undefined = undefined
  #lastFailure: Health["requests"]["lastFailure"] = undefined
  #consecutiveFailures = 0
  #attempt: "ends" | "begins" | McpSession = "ends"
  #lastHeardAt: number | undefined = undefined

  /** How a request of a user ended, over all of its sendings. */
  ended(at: number, exit: Exit.Exit<unknown, RequestError>): void {
    if (Exit.isSuccess(exit)) {
      this.#lastSuccessAt = at
      this.#consecutiveFailures = 0
      return
    }
    const error = Cause.findErrorOption(exit.cause)
    if (Option.isNone(error) || error.value._tag === "InvalidRequest") return
    this.#lastFailure = { at, tag: error.value._tag }
    this.#consecutiveFailures += 1
  }

  /** An attempt runs; it has shaken hands; it has ended, and its session serves or is gone. */
  attempt(phase: "begins" | McpSession | "ends"): void {
    if (typeof this.#attempt === "object") this.left(this.#attempt)
    this.#attempt = phase
  }

  /** A session does not serve any more. */
  left(session: McpSession): void {
    this.#lastHeardAt = this.#heard(session)
  }

  health(serving: Serving | undefined, waiting: number): Health {
    const attempt = this.#attempt
    const session = serving?.session ?? (typeof attempt === "object" ? attempt : undefined)
    return {
      transport: session !== undefined ? "open" : attempt === "begins" ? "opening" : "closed",
      serving: serving === undefined ? undefined : { generation: serving.generation, since: serving.openedAt },
      lastHeardAt: session === undefined ? this.#lastHeardAt : this.#heard(session),
      inFlight: serving?.session.inFlight() ?? 0,
      waiting,
      requests: {
        lastSuccessAt: this.#lastSuccessAt,
        lastFailure: this.#lastFailure,
        consecutiveFailures: this.#consecutiveFailures
      }
    }
  }

  #heard(session: McpSession): number {
    return Math.max(this.#lastHeardAt ?? Number.NEGATIVE_INFINITY, session.lastActivity())
  }
}
