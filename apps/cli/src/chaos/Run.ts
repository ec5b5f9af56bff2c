/** What is known of a run, as data. Times are milliseconds since its start; nothing holds arguments or results. */

export interface Run {
  readonly server: Server
  readonly options: Options
  readonly elapsedMillis: number
  /** Whether somebody ended it (Ctrl-C) before its time. */
  readonly interrupted: boolean
  readonly calls: ReadonlyArray<Call>
  readonly kills: ReadonlyArray<Kill>
  readonly outages: ReadonlyArray<Outage>
  readonly states: ReadonlyArray<StateChange>
  /** How often the connection said that it sends a call again. */
  readonly replays: number
  /** How many times charges are in the ledger that nobody has ordered; `null`: there is no ledger. */
  readonly foreignCharges: number | null
  /** Whether the connection was asked at the end and answered; `null`: it was not asked. */
  readonly answersAtEnd: boolean | null
  /** The processes that were left when all was closed. */
  readonly leftProcesses: ReadonlyArray<number>
}

export interface Server {
  /** Its name for people: never arguments. */
  readonly label: string
  readonly name: string
  readonly version: string
  readonly protocolVersion: string
  readonly over: "stdio" | "http"
  /** Whether it is the bundled server with the ledger. */
  readonly bundled: boolean
  /** What is called. */
  readonly calls: string
}

export interface Options {
  readonly seed: string
  readonly forMillis: number
  readonly rate: number
  readonly concurrency: number
  readonly killEveryMillis: number
  readonly replay: "always" | "safe" | "never"
  /** How long a call may go without an answer, over all it waits for. */
  readonly answerWithinMillis: number
}

export interface Call {
  readonly number: number
  /** The tool's name, or the method. */
  readonly what: string
  readonly at: number
  /** `null`: it had no answer. */
  readonly tookMillis: number | null
  /** `cutOff`: somebody ended the run. `pending`: it never had an answer, and should have. */
  readonly outcome: "answered" | "unknown" | "failed" | "cutOff" | "pending"
  /** The tag of its error. */
  readonly error: string | null
  /** What is known of a call that failed. */
  readonly delivery: "NotSent" | "Refused" | "Unknown" | null
  /** How often it was sent. */
  readonly sent: number
  /** Whether the answer is the one to this very call; `null`: its answer does not tell, or it had none. */
  readonly right: boolean | null
  /** How often it is in the ledger; `null`: it is no charge. */
  readonly charged: number | null
}

/**
 * `kill`: SIGKILL. `terminate`: SIGTERM, and SIGKILL when that is ignored. `hang`: SIGSTOP, and SIGKILL after a while. `freeze`: SIGSTOP,
 * and SIGCONT after a while.
 */
export type KillKind = "kill" | "terminate" | "hang" | "freeze"

export interface Kill {
  readonly at: number
  readonly kind: KillKind
  /** The process group that was hit. */
  readonly pid: number
  /** How long it was stopped. */
  readonly heldMillis: number
  /** The session that served then. */
  readonly generation: number
  /** When the next session served; `null`: none did, or the session was not ended. */
  readonly healedAt: number | null
}

/** Whether the session cannot survive it. */
export const endsSession = (kind: KillKind): boolean => kind !== "freeze"

export interface Outage {
  readonly lostAt: number
  readonly readyAt: number | null
  /** The tag of the reason. */
  readonly cause: string
  readonly attempts: number
}

export interface StateChange {
  readonly at: number
  readonly state: string
  readonly generation: number
}
