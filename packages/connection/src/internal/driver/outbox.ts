/**
 * Messages on their way to a server's stdin. A message is either still here, and then not a byte of it has left, or it was
 * handed to the pipe: that line is what `NotSent` rests on.
 */
import type { RequestTicket } from "../../McpSession.ts"

interface Entry {
  readonly line: string
  readonly id: string | number | undefined
  readonly ticket: RequestTicket | undefined
  readonly handedOver: () => void
  readonly failed: (error: Error) => void
}

export interface Outbox {
  /** Settles when the message was handed over, or never will be. */
  readonly add: (line: string, id: string | number | undefined, ticket: RequestTicket | undefined) => Promise<void>
  /** Takes back the request with this id, if it is still here. */
  readonly cancel: (id: string | number) => boolean
  /**
   * Hands over what is waiting, up to about `maxBytes` in one piece; marks it as sent. `undefined` when nothing waits.
   */
  readonly take: () => string | undefined
  /** Calls back once when there is something to take and whatever runs now has run, or when the outbox was closed. */
  readonly onReady: (ready: (() => void) | undefined) => void
  readonly isClosed: () => boolean
  /** Refuses what comes and fails what waits. */
  readonly close: (error: Error) => void
}

export const make = (maxBytes: number): Outbox => {
  let entries: Array<Entry> = []
  let ready: (() => void) | undefined
  let closed: Error | undefined

  const wake = (): void => {
    const call = ready
    ready = undefined
    call?.()
  }

  return {
    add: (line, id, ticket) =>
      new Promise((handedOver, failed) => {
        if (closed !== undefined) return failed(closed)
        entries.push({ line, id, ticket, handedOver, failed })
        // When whatever runs now has run: what else it sends goes in the same piece, and a write costs as much as the rest of a call.
        if (entries.length === 1) process.nextTick(wake)
      }),
    cancel: (id) => {
      const index = entries.findIndex((entry) => entry.ticket !== undefined && entry.id === id)
      if (index === -1) return false
      const [entry] = entries.splice(index, 1)
      entry?.handedOver()
      return true
    },
    take: () => {
      if (entries.length === 0) return undefined
      let count = 0
      let size = 0
      do {
        size += entries[count]?.line.length ?? 0
        count += 1
      } while (count < entries.length && size < maxBytes)
      const batch = count === entries.length ? entries : entries.slice(0, count)
      entries = count === entries.length ? [] : entries.slice(count)
      let text = ""
      for (const entry of batch) {
        if (entry.ticket !== undefined) entry.ticket.sent = true
        text += entry.line
        entry.handedOver()
      }
      return text
    },
    onReady: (call) => {
      ready = call
      if (call !== undefined && (entries.length > 0 || closed !== undefined)) wake()
    },
    isClosed: () => closed !== undefined,
    close: (error) => {
      if (closed !== undefined) return
      closed = error
      const waiting = entries
      entries = []
      for (const entry of waiting) entry.failed(error)
      wake()
    }
  }
}
