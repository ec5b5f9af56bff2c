/** The loss of a session: an effect that waits for it, and, for whoever knows the effect, a call instead of a fiber that waits. */
import * as Deferred from "effect/Deferred"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { ConnectionError } from "../ConnectionError.ts"
import * as Telling from "./telling.ts"

export interface Loss {
  readonly lost: Effect.Effect<ConnectionError>
  /** Once. */
  readonly tell: (loss: ConnectionError) => void
}

type Told = Telling.Telling<ConnectionError>

/** By the effect and not by the session: whoever puts another `lost` in its place is listened to. */
const listens = new WeakMap<Effect.Effect<ConnectionError>, Told["listen"]>()

export const make = (): Loss => {
  const waited = Deferred.makeUnsafe<ConnectionError>()
  const lost = Deferred.await(waited)
  const told: Told = Telling.make()
  listens.set(lost, told.listen)
  return {
    lost,
    tell: (loss) => {
      Deferred.doneUnsafe(waited, Exit.succeed(loss))
      told.tell(loss)
    }
  }
}

/** Has one listener called when a session is lost, or at once when it already is; `undefined`: somebody has to wait for `lost`. */
export const listenTo = (lost: Effect.Effect<ConnectionError>): Told["listen"] | undefined => listens.get(lost)
