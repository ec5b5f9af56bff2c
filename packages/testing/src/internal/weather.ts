/** What holds for a while: the faults that last, and until when. */
import * as Effect from "effect/Effect"
import type { Fault, Tagged } from "../Fault.ts"

/** The faults that last, and those that wait for a number of starts. */
export type Lasting = "Partition" | "SlowLink" | "Unavailable" | "SilentToPing" | "Freeze"

export class Weather {
  private readonly now: () => number
  private readonly spans = new Map<Lasting, { readonly fault: Fault; readonly until: number }>()
  /** Until when the server is down. */
  downUntil = Number.NEGATIVE_INFINITY
  /** How many starts are still refused, and how many handshakes hang. */
  startsToRefuse = 0
  handshakesToHang = 0

  constructor(now: () => number) {
    this.now = now
  }

  begin(fault: Tagged<Lasting>): void {
    const until = this.now() + fault.forMillis
    if (until >= (this.spans.get(fault._tag)?.until ?? Number.NEGATIVE_INFINITY))
      this.spans.set(fault._tag, { fault, until })
  }

  holds<Tag extends Lasting>(tag: Tag): Tagged<Tag> | undefined {
    const span = this.spans.get(tag)
    // Spans are kept by their own tags.
    return span !== undefined && this.now() < span.until ? (span.fault as Tagged<Tag>) : undefined
  }

  isDown(): boolean {
    return this.now() < this.downUntil
  }

  /** Waits until it is over. */
  over(tag: Lasting): Effect.Effect<void> {
    return Effect.suspend(() => {
      const span = this.spans.get(tag)
      const left = span === undefined ? 0 : span.until - this.now()
      return left <= 0 ? Effect.void : Effect.andThen(Effect.sleep(left), this.over(tag))
    })
  }
}
