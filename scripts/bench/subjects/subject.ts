/** What is measured: one way to talk to a server, in a process of its own. */

export type Target =
  | { readonly _tag: "stdio"; readonly command: string; readonly args: ReadonlyArray<string> }
  | { readonly _tag: "http"; readonly url: string }
  | { readonly _tag: "memory" }

/** An open connection, and what it is put through. Each answer is checked; a wrong one rejects. */
export interface Session {
  /** Calls `echo`, one after the other, and tells how long each took, in microseconds. */
  readonly serial: (calls: number) => Promise<Float64Array>
  /** Calls `echo`, so many at a time. */
  readonly flood: (calls: number, inFlight: number) => Promise<void>
  readonly close: () => Promise<void>
}

export type Open = (target: Target) => Promise<Session>

/** The arguments of a call that no other has. */
export const textOf = (call: number): string => `call ${call}`

/** The smallest part of a result that a caller reads. */
interface Result {
  readonly content: ReadonlyArray<{ readonly type: string; readonly text?: unknown }>
}

export const check = (result: Result, expected: string): void => {
  const text = result.content[0]?.text
  if (text !== expected)
    throw new Error(`the answer is "${String(text).slice(0, 100)}", not "${expected.slice(0, 100)}"`)
}
