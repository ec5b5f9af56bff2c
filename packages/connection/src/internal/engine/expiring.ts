/** Lets a request be ended whose driver does not offer it: in a fiber of its own, which can be interrupted. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { RequestTicket } from "../../McpSession.ts"
import type { RequestTimeout } from "../../RequestError.ts"

export const make = <Method extends string, A, E>(
  ticket: RequestTicket<Method>,
  request: Effect.Effect<A, E>
): Effect.Effect<A, E | RequestTimeout> =>
  Effect.withFiber((caller) =>
    Effect.callback((resume) => {
      let late: Effect.Effect<never, RequestTimeout> | undefined
      const fiber = Effect.runForkWith(caller.context)(request)
      ticket.expire = (timedOut) => {
        late = timedOut
        fiber.interruptUnsafe()
      }
      fiber.addObserver((exit) => resume(late ?? exit))
      return Fiber.interrupt(fiber)
    })
  )
