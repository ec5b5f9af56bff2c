/** The loss of a session: an effect that waits for it, and, for whoever knows the effect, a call instead of a fiber that waits. */
import * as Deferred from "effect/Deferred"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { ConnectionError } from "../ConnectionError.ts"

export interface Loss {
  readonly lost: Effect.Effect<ConnectionError>
  /** Once. */
  readonly tell: (loss: ConnectionError) => void
}

type Listener = (loss: ConnectionError) => void

/** By the effect and not by the session: whoever puts another `lost` in its place is listened to. */
const listens = new WeakMap<Effect.Effect<ConnectionError>, (listener: Listener) => void>()

export const make = (): Loss => {
  const told = Deferred.makeUnsafe<ConnectionError>()
  const lost = Deferred.await(told)
  let loss: ConnectionError | undefined
  let listener: Listener | undefined
  listens.set(lost, (hear) => {
    if (loss === undefined) listener = hear
    else hear(loss)
  })
  return {
    lost,
    tell: (error) => {
      loss = error
      Deferred.doneUnsafe(told, Exit.succeed(error))
      listener?.(error)
    }
  }
}

/** Has one listener called when a session is lost, or at once when it already is; `undefined`: somebody has to wait for `lost`. */
export const listenTo = (lost: Effect.Effect<ConnectionError>): ((listener: Listener) => void) | undefined =>
  listens.get(lost)
