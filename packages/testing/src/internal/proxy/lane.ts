/** One direction of a connection: what goes in comes out in order, each piece when the weather lets it. */
import type { Air } from "./air.ts"

/** In bytes: with more on its way than this, the sender has to wait. */
const room = 256 * 1024

/** Hands a piece over, `undefined` for the end, and says when there is room for the next. */
export type Sink = (piece: Buffer | undefined, done: () => void) => void

export class Lane {
  private readonly air: Air
  private readonly sink: Sink
  private readonly queue: Array<{ readonly piece: Buffer | undefined; readonly arrival: number }> = []
  private size = 0
  private isBusy = false
  private readonly whenRoom: Array<() => void> = []
  private readonly whenEmpty: Array<() => void> = []

  constructor(air: Air, sink: Sink) {
    this.air = air
    this.sink = sink
  }

  isFull(): boolean {
    return this.size > room
  }

  push(piece: Buffer | undefined): void {
    this.queue.push({ piece, arrival: this.air.arrival() })
    this.size += piece?.length ?? 0
    if (!this.isBusy) this.next()
  }

  /** Acts when there is room again. */
  onRoom(act: () => void): void {
    if (this.isFull()) this.whenRoom.push(act)
    else act()
  }

  /** Acts when everything has been handed over. */
  onEmpty(act: () => void): void {
    if (this.isBusy) this.whenEmpty.push(act)
    else act()
  }

  private next(): void {
    const head = this.queue[0]
    this.isBusy = head !== undefined
    if (head === undefined) {
      for (const act of this.whenEmpty.splice(0)) act()
      return
    }
    this.air.whenArrived(head.arrival, () => {
      this.queue.shift()
      this.size -= head.piece?.length ?? 0
      this.sink(head.piece, () => this.next())
      if (!this.isFull()) for (const act of this.whenRoom.splice(0)) act()
    })
  }
}
