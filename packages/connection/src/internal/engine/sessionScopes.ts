/** The scopes of a connection's sessions: each is closed once, in the background, and all are awaited at the end. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"

export interface SessionScopes {
  readonly open: Effect.Effect<Scope.Closeable>
  /** Closes a scope in the background: closing a dead session can be slow, and nobody may wait for it. */
  readonly retire: (scope: Scope.Closeable) => Effect.Effect<void>
  /** A scope that is retired when what it still does has ended: `retireServing` leaves it alone. */
  readonly drains: (scope: Scope.Closeable) => void
  /** Closes what is open and does not drain. */
  readonly retireServing: Effect.Effect<void>
  /** Closes what is open. */
  readonly retireAll: Effect.Effect<void>
  /** Waits until everything that was retired is closed. */
  readonly awaitRetired: Effect.Effect<void>
}

export const make = (): SessionScopes => {
  const live = new Map<Scope.Closeable, "serves" | "drains">()
  const closing = new Set<Fiber.Fiber<void>>()

  const retire = (scope: Scope.Closeable) =>
    Effect.suspend(() => {
      if (!live.delete(scope)) return Effect.void
      return Scope.close(scope, Exit.void).pipe(
        Effect.catchCause((cause) => Effect.logError("closing an mcp session failed", cause)),
        Effect.forkDetach({ startImmediately: true }),
        Effect.map((fiber) => {
          closing.add(fiber)
          fiber.addObserver(() => closing.delete(fiber))
        })
      )
      // Between the two books a scope must not get lost.
    }).pipe(Effect.uninterruptible)

  const retireAll = Effect.suspend(() => Effect.forEach([...live.keys()], retire, { discard: true }))

  return {
    open: Effect.map(Scope.make(), (scope) => {
      live.set(scope, "serves")
      return scope
    }),
    retire,
    drains: (scope) => {
      if (live.has(scope)) live.set(scope, "drains")
    },
    retireServing: Effect.suspend(() =>
      Effect.forEach(
        [...live.keys()].filter((scope) => live.get(scope) === "serves"),
        retire,
        { discard: true }
      )
    ),
    retireAll,
    awaitRetired: Effect.suspend(() => Fiber.awaitAll([...closing])).pipe(Effect.asVoid)
  }
}
