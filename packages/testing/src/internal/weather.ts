/** What holds for a while: the faults that last, and until when. */
import * as Effect from "effect/Effect"
import type { Tagged } from "../Fault.ts"

/** The faults that last, and those that wait for a number of starts. */
export type Lasting = "Partition" | "SlowLink" | "Unavailable" | "SilentToPing" | "Freeze"

export class Weather {
  private readonly now: () => number
  private spans: Array<{ readonly fault: Tagged<Lasting>; readonly until: number }> = []
  /** Until when the server is down. */
  downUntil = Number.NEGATIVE_INFINITY
  /** How many starts are still refused, and how many handshakes hang. */
  startsToRefuse = 0
  handshakesToHang = 0

  constructor(now: () => number) {
    this.now = now
  }

  begin(fault: Tagged<Lasting>): void {
    const now = this.now()
    this.spans = [...this.spans.filter(({ until }) => now < until), { fault, until: now + fault.forMillis }]
  }

  /** Ends it before its time. */
  end(tag: Lasting): void {
    this.spans = this.spans.filter(({ fault }) => fault._tag !== tag)
  }

  holds<Tag extends Lasting>(tag: Tag): Tagged<Tag> | undefined {
    const now = this.now()
    // Of two that last, the one that began later.
    return this.spans.findLast((span) => span.fault._tag === tag && now < span.until)?.fault as Tagged<Tag> | undefined
  }

  isDown(): boolean {
    return this.now() < this.downUntil
  }

  /** In milliseconds: how long it still lasts. */
  left(tag: Lasting): number {
    const now = this.now()
    return this.spans.reduce((most, { fault, until }) => (fault._tag === tag ? Math.max(most, until - now) : most), 0)
  }

  /** Waits until it is over. */
  over(tag: Lasting): Effect.Effect<void> {
    return Effect.suspend(() => {
      const left = this.left(tag)
      return left === 0 ? Effect.void : Effect.andThen(Effect.sleep(left), this.over(tag))
    })
  }
}
