/** What shows on stderr while somebody waits at a terminal: one line that is written anew again and again, and is gone in the end. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { oneLine } from "./Output.ts"

const clear = "\r\u001B[K"

/** Whether there is anybody. */
export const isWatched = (): boolean => process.stderr.isTTY === true

/** Shows a line until it is interrupted. */
export const show = (line: Effect.Effect<string>): Effect.Effect<void> =>
  Effect.flatMap(line, (text) =>
    Effect.sync(() => void process.stderr.write(`${clear}${text.slice(0, (process.stderr.columns || 80) - 1)}`))
  ).pipe(
    Effect.repeat(Schedule.spaced("200 millis")),
    Effect.asVoid,
    Effect.ensuring(Effect.sync(() => void process.stderr.write(clear)))
  )

/** What is printed while a line is shown: it goes where the line was, and the line comes after it. */
export const aside = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  isWatched()
    ? Effect.andThen(
        Effect.sync(() => void process.stderr.write(clear)),
        self
      )
    : self

/** Says what is waited for, once that takes a while. */
export const during = <A, E, R>(self: Effect.Effect<A, E, R>, what: () => string): Effect.Effect<A, E, R> => {
  if (!isWatched()) return self
  const begin = performance.now()
  const line = Effect.sync(() => `${oneLine(what())} · ${Math.floor((performance.now() - begin) / 1000)} s`)
  return Effect.acquireUseRelease(
    Effect.forkChild(Effect.delay(show(line), "500 millis")),
    () => self,
    (shown) => Fiber.interrupt(shown)
  )
}

/** As `Effect.forEach`, and says who is still waited for. */
export const forEach = <T, A, E, R>(
  items: ReadonlyArray<T>,
  nameOf: (item: T) => string,
  use: (item: T) => Effect.Effect<A, E, R>,
  options: { readonly concurrency: number | "unbounded" }
): Effect.Effect<ReadonlyArray<A>, E, R> => {
  const left = new Set(items)
  return during(
    Effect.forEach(items, (item) => Effect.tap(use(item), () => Effect.sync(() => left.delete(item))), options),
    () => `${items.length - left.size} of ${items.length} · waiting for ${[...left].map(nameOf).join(", ")}`
  )
}
