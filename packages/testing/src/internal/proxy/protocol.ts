/** What a process in between and its director tell each other, a line of JSON each. */

/** The environment variable with the director's port and the token. */
export const addressVariable = "MCP_TETHER_FAULT_PROXY"

/** What a process in between tells: a message waits for a word. */
export type Report =
  | { readonly _tag: "Hello"; readonly token: string; readonly pid: number }
  | {
      readonly _tag: "Message"
      readonly number: number
      readonly method: string
      readonly tool: string | undefined
      readonly isRequest: boolean
    }
  | { readonly _tag: "Reply"; readonly number: number }
  /** The moment of a crash has come. */
  | { readonly _tag: "Moment" }

/** What becomes of a message. */
export interface Verdict {
  readonly _tag: "Pass"
  readonly number: number
  /** How often it is handed on. */
  readonly times: number
  readonly waitMillis: number
  /** The server dies when it has been handed over. */
  readonly crash: "afterReceiving" | undefined
  /** What becomes of its reply. */
  readonly reply: ReplyFate | undefined
}

export interface ReplyFate {
  readonly drop: boolean
  readonly duplicate: boolean
  readonly corrupt: boolean
  readonly crash: "afterEffect" | "afterReplying" | undefined
}

/** What a process in between is told. */
export type Order =
  | { readonly _tag: "Start" }
  | { readonly _tag: "Refuse" }
  | Verdict
  | { readonly _tag: "Crash" }
  | { readonly _tag: "Freeze"; readonly forMillis: number }
  | { readonly _tag: "Sever" }
  | { readonly _tag: "Noise"; readonly lines: number }
