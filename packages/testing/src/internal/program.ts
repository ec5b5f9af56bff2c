/** The reading of a script: which faults are due now, by time or by message. It knows neither clock nor server. */
import type { Fault, Tagged } from "../Fault.ts"
import type { Script, Step } from "../Faults.ts"

/** A message, as triggers see it. */
export interface Message {
  readonly method: string
  readonly tool: string | undefined
}

/** What happens to one message; it is not of itself something that can be done at a time. */
export type Strike = Tagged<"Drop" | "Duplicate" | "Corrupt" | "Unavailable">

export class Program<F extends Fault = Fault> {
  /** What is due at a time, in the order of time. */
  readonly timed: ReadonlyArray<{ readonly millis: number; readonly fault: F }>
  private readonly onMessages: ReadonlyArray<{ readonly step: Step<F>; seen: number }>
  /** What is due on the next message that is a user's own. */
  private armed: Array<F> = []

  constructor(script: Script<F>) {
    this.timed = script
      .flatMap(({ fault, when }) => (when._tag === "At" ? [{ millis: when.millis, fault }] : []))
      .toSorted((a, b) => a.millis - b.millis)
    this.onMessages = script.flatMap((step) => (step.when._tag === "On" ? [{ step, seen: 0 }] : []))
  }

  /** A strike whose time has come waits for a message. */
  arm(fault: F): void {
    this.armed.push(fault)
  }

  /** What is due on a message; each time it is asked, one more message has been seen. */
  dueOn(message: Message): ReadonlyArray<F> {
    const armed = message.method === "initialize" ? [] : this.armed.splice(0)
    return [
      ...armed,
      ...this.onMessages.flatMap((entry) => {
        const { fault, when } = entry.step
        if (when._tag !== "On" || !matches(when, message)) return []
        entry.seen += 1
        return entry.seen >= when.nth && entry.seen < when.nth + when.times ? [fault] : []
      })
    ]
  }
}

const matches = ({ method, tool }: { readonly method?: string; readonly tool?: string }, message: Message): boolean =>
  (method === undefined || method === message.method) &&
  (tool === undefined || tool === message.tool) &&
  // What matches anything matches requests of users: handshakes have a name.
  (method !== undefined || tool !== undefined || message.method !== "initialize")

/** Whether a fault strikes a message, and so waits for one when its time has come. */
export const isStrike = (fault: Fault): fault is Strike =>
  fault._tag === "Drop" ||
  fault._tag === "Duplicate" ||
  fault._tag === "Corrupt" ||
  (fault._tag === "Unavailable" && fault.forMillis === 0)
