/** A binary heap of wake-ups: first by time, then by rank, then in the order in which they were added. */

export interface WakeUp<A> {
  readonly at: number
  readonly rank: number
  readonly order: number
  /** Who is woken. */
  readonly sleeper: A
  /** Where it is in the heap, or -1: so that one that is cancelled can leave without being searched for. */
  index: number
}

export class WakeUps<A> {
  private readonly heap: Array<WakeUp<A>> = []
  private added = 0

  get size(): number {
    return this.heap.length
  }

  get first(): WakeUp<A> | undefined {
    return this.heap[0]
  }

  add(at: number, rank: number, sleeper: A): WakeUp<A> {
    this.added += 1
    const wakeUp: WakeUp<A> = { at, rank, order: this.added, sleeper, index: this.heap.length }
    this.heap.push(wakeUp)
    this.rise(wakeUp)
    return wakeUp
  }

  /** Takes a wake-up out; one that is not there any more stays out. */
  remove(wakeUp: WakeUp<A>): void {
    const { index } = wakeUp
    if (index < 0) return
    wakeUp.index = -1
    const last = this.heap.pop()
    if (last === undefined || last === wakeUp) return
    this.put(last, index)
    this.rise(last)
    this.sink(last)
  }

  private rise(wakeUp: WakeUp<A>): void {
    while (wakeUp.index > 0) {
      const parent = this.heap[(wakeUp.index - 1) >> 1]
      if (parent === undefined || isBefore(parent, wakeUp)) return
      this.swap(parent, wakeUp)
    }
  }

  private sink(wakeUp: WakeUp<A>): void {
    while (true) {
      const left = this.heap[2 * wakeUp.index + 1]
      const right = this.heap[2 * wakeUp.index + 2]
      const child = left === undefined || right === undefined || isBefore(left, right) ? left : right
      if (child === undefined || isBefore(wakeUp, child)) return
      this.swap(wakeUp, child)
    }
  }

  private swap(upper: WakeUp<A>, lower: WakeUp<A>): void {
    const { index } = upper
    this.put(upper, lower.index)
    this.put(lower, index)
  }

  private put(wakeUp: WakeUp<A>, index: number): void {
    this.heap[index] = wakeUp
    wakeUp.index = index
  }
}

const isBefore = (a: WakeUp<unknown>, b: WakeUp<unknown>): boolean =>
  a.at !== b.at ? a.at < b.at : a.rank !== b.rank ? a.rank < b.rank : a.order < b.order
