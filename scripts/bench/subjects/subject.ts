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
  /** Has the server send a text of so many bytes, some times. */
  readonly receive: (bytes: number, times: number) => Promise<void>
  /** Sends the server a text of so many bytes, some times. */
  readonly send: (bytes: number, times: number) => Promise<void>
  /**
   * Has one call answered by a new session, and tells how long that took, in microseconds. A supervised connection gets one by itself,
   * when its server is killed (over stdio) or has forgotten it (over HTTP); any other is opened anew, over HTTP after a call that failed, and
   * is not charged for closing.
   */
  readonly again: () => Promise<number>
  readonly close: () => Promise<void>
}

export type Open = (target: Target) => Promise<Session>

/** The smallest part of a result that a caller reads. */
export interface Result {
  readonly content: ReadonlyArray<{ readonly type: string; readonly text?: unknown }>
}

export interface Call {
  readonly name: string
  readonly arguments: Record<string, unknown>
}

export interface Question {
  readonly call: Call
  readonly check: (result: Result) => void
}

const answered = (call: Call, isRight: (text: unknown) => boolean): Question => ({
  call,
  check: (result) => {
    const text = result.content[0]?.text
    if (!isRight(text)) throw new Error(`${call.name} was answered with "${String(text).slice(0, 100)}"`)
  }
})

/** A call whose arguments no other has. */
export const echo = (call: number): Question => {
  const text = `call ${call}`
  return answered({ name: "echo", arguments: { text } }, (answer) => answer === text)
}

/** The whole text has arrived: its length is right, and so is its end. */
export const produce = (bytes: number): Question =>
  answered(
    { name: "produce", arguments: { bytes } },
    (answer) => typeof answer === "string" && answer.length === bytes && answer.endsWith("x")
  )

export const consume = (bytes: number): Question => {
  // One flat string, which no subject has to put together first.
  const text = Buffer.alloc(bytes, "x").toString("latin1")
  return answered({ name: "consume", arguments: { text } }, (answer) => answer === String(bytes))
}

/** How a client with promises is put through it: each call is awaited by asynchronous code. */
export const awaiting = (call: (call: Call) => Promise<Result>): Omit<Session, "again" | "close"> => {
  const ask = async ({ call: what, check }: Question): Promise<void> => check(await call(what))
  const repeated = async (question: Question, times: number): Promise<void> => {
    for (let time = 0; time < times; time += 1) await ask(question)
  }
  return {
    serial: async (calls) => {
      const took = new Float64Array(calls)
      for (let count = 0; count < calls; count += 1) {
        const begin = performance.now()
        await ask(echo(count))
        took[count] = (performance.now() - begin) * 1_000
      }
      return took
    },
    flood: async (calls, inFlight) => {
      let next = 0
      const lane = async (): Promise<void> => {
        while (next < calls) await ask(echo(next++))
      }
      await Promise.all(Array.from({ length: inFlight }, lane))
    },
    receive: (bytes, times) => repeated(produce(bytes), times),
    send: (bytes, times) => repeated(consume(bytes), times)
  }
}
