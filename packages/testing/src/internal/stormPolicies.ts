/**
 * Clients that are nothing but their policies. They share one fiber: a client is its next attempt in a heap, and 100,000 fibers that
 * sleep and retry cost several times as much as what their policies decide.
 */
import { InvalidOptions, type ReconnectPolicy } from "@mcp-tether/connection"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as SeededRandom from "./seededRandom.ts"
import * as StormServer from "./stormServer.ts"
import { WakeUps } from "./wakeUps.ts"

/** Who is out, and for how long they are watched. */
export interface Crowd {
  readonly clients: number
  readonly policy: ReconnectPolicy.ReconnectPolicy
  readonly seed: string | number
  /** The end of the observation, in milliseconds of the clock. */
  readonly endAt: number
}

/** From now, when all have lost their sessions, until everyone is back or has given up, or the observation ends. */
export const comeBack = (server: StormServer.StormServer, { clients, endAt, policy, seed }: Crowd) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const attempts = new WakeUps<Effect.Effect<void, InvalidOptions.InvalidOptions>>()

    for (let index = 0; index < clients; index += 1) {
      const visit = server.visitor()
      const random = SeededRandom.make(seed, index)
      const step = yield* Effect.provideService(Schedule.toStep(policy), Random.Random, random)

      const retry = (failure: ReturnType<typeof StormServer.failure>): typeof attempt =>
        Effect.suspend(() => {
          const now = clock.currentTimeMillisUnsafe()
          return Effect.provideService(step(now, failure), Random.Random, random).pipe(
            Effect.flatMap(([, delay]) => {
              if (clock.currentTimeMillisUnsafe() !== now) return Effect.fail(tookTime)
              attempts.add(now + Duration.toMillis(delay), 0, attempt)
              return Effect.void
            }),
            Pull.catchDone(() => Effect.void)
          )
        })
      const attempt: Effect.Effect<void, InvalidOptions.InvalidOptions> = Effect.suspend(() => {
        const answer = visit(clock.currentTimeMillisUnsafe())
        if (typeof answer !== "number") return retry(answer)
        if (answer <= endAt) server.served(answer)
        return Effect.void
      })

      yield* retry(StormServer.broken)
    }

    for (let next = attempts.first; next !== undefined && next.at <= endAt; next = attempts.first) {
      attempts.remove(next)
      const wait = next.at - clock.currentTimeMillisUnsafe()
      if (wait > 0) yield* Effect.sleep(wait)
      yield* next.sleeper
    }
  })

/** All others would wait with it: what is shared here is their time. */
const tookTime = new InvalidOptions.InvalidOptions({
  of: "Storm.simulate",
  issues: [
    {
      option: "policy",
      expected: 'a schedule whose steps take no time (or fidelity: "connection")',
      actual: "one that waits while it decides"
    }
  ]
})
