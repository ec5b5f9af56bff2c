/** What is between the two ends of a line: how long bytes have to wait because of the weather, and the timers that wait for them. */
import type { Weather } from "../weather.ts"

export class Air {
  private readonly timers = new Set<NodeJS.Timeout>()
  private readonly now: () => number
  private readonly weather: Weather
  private isClosed = false

  constructor(weather: Weather, now: () => number) {
    this.weather = weather
    this.now = now
  }

  /** When what is sent now arrives at the earliest. */
  arrival(): number {
    return this.now() + (this.weather.holds("SlowLink")?.latencyMillis ?? 0)
  }

  /** In milliseconds: how long what should have arrived then still has to wait. */
  wait(arrival: number): number {
    return Math.max(this.stillness(), arrival - this.now())
  }

  /** In milliseconds: how long nothing moves. */
  stillness(): number {
    return Math.max(this.weather.left("Partition"), this.weather.left("Freeze"))
  }

  /** Acts after that time, unless it is closed before. */
  later(millis: number, act: () => void): void {
    if (this.isClosed) return
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      act()
    }, millis)
    this.timers.add(timer)
  }

  /** Acts when what should have arrived then does. */
  whenArrived(arrival: number, act: () => void): void {
    const wait = this.wait(arrival)
    if (wait <= 0) act()
    else this.later(wait, () => this.whenArrived(arrival, act))
  }

  close(): void {
    this.isClosed = true
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
  }
}
