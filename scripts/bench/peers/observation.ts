/** What one client did in one scenario, once. */

/** A call was answered rightly, failed, or did neither in time. */
export type Answer = "answered" | "failed" | "hangs"

export interface Observation {
  /** The call that the scenario is about. */
  readonly first: Answer
  /** Whether a call after it was answered. */
  readonly later: boolean
  /** How many calls were made until one was answered, or the time was over, and how many of them were lost. */
  readonly calls: number
  readonly lost: number
  /** From when the server could serve, or the call was made, to the first answer. */
  readonly recovery?: number | undefined
  /** What a spawn, a handshake and a call cost the raw SDK just after; over HTTP without the spawn. */
  readonly bare?: number | undefined
  /** How often the effect of the first call happened. */
  readonly effects?: number | undefined
  /** Requests that came before the time that `Retry-After` had asked for. */
  readonly early?: number | undefined
  /** Processes that were there after the client was closed. */
  readonly left?: number | undefined
  /** What the client said first that was no answer. */
  readonly error?: string | undefined
}

/** A scenario ends so, or its process did not come to its end. */
export type Outcome =
  | { readonly _tag: "observed"; readonly observation: Observation }
  | { readonly _tag: "unconnected" | "crashed" | "stuck" | "unfit"; readonly error: string }

export type Message = { readonly _tag: "ready" } | { readonly _tag: "outcome"; readonly outcome: Outcome }

export interface Order {
  readonly scenario: string
  readonly folder: string
}
