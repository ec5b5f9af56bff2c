/** Probes a silent session, and gives the verdict when it stays silent (DESIGN §8). */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { LivenessLost, type Reason } from "../../ConnectionError.ts"
import type { Heartbeat } from "../../Heartbeat.ts"
import { type McpSession, RequestTicket } from "../../McpSession.ts"

/** Waits for the verdict that the session is dead. Does not return while the server gives any sign of life. */
export const untilDead = Effect.fnUntraced(function* (
  session: McpSession,
  heartbeat: Heartbeat
): Effect.fn.Return<Reason> {
  const interval = Duration.toMillis(heartbeat.interval)
  const busyGrace = Duration.toMillis(heartbeat.busyGrace)
  let missed = 0

  while (true) {
    const silent = (yield* Clock.currentTimeMillis) - session.lastActivity()
    const patience = session.inFlight() > 0 ? Math.max(interval, busyGrace) : interval
    if (silent < patience) {
      missed = 0
      // A request may come or go meanwhile, so the longer patience is looked at again.
      yield* Effect.sleep(Math.min(interval, patience - silent))
      continue
    }
    const heard = session.lastActivity()
    yield* probe(session, missed).pipe(Effect.timeoutOption(heartbeat.timeout))
    // Bytes, not the answer: some requests the client answers by itself.
    if (session.lastActivity() > heard) {
      missed = 0
      yield* Effect.sleep(interval)
      continue
    }
    missed += 1
    if (missed >= heartbeat.misses)
      return new LivenessLost({
        missed,
        silentFor: Duration.millis(silentNow(session, yield* Clock.currentTimeMillis))
      })
  }
})

const silentNow = (session: McpSession, now: number): number => Math.max(0, now - session.lastActivity())

/**
 * Any answer is life, also a refusal: servers without `ping` exist (-32601). A silent `ping` is confirmed by a different
 * request, since servers that swallow it exist too. A loss under the probe is told by the session itself.
 */
const probe = (session: McpSession, missed: number): Effect.Effect<void> => {
  const request =
    missed % 2 === 0
      ? Effect.asVoid(session.request(new RequestTicket("ping", undefined)))
      : Effect.asVoid(session.request(new RequestTicket("tools/list", undefined)))
  return Effect.catch(request, (failure) => (failure._tag === "ConnectionError" ? Effect.never : Effect.void))
}
