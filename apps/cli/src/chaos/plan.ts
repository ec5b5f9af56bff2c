/** What the seed decides: when what is done to the server, and what is called in which order. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { KillKind } from "./Run.ts"

export interface PlannedKill {
  /** How long the server is left in peace before. */
  readonly afterMillis: number
  readonly kind: KillKind
  /** How long the server is stopped, where the kind says that it is. */
  readonly holdMillis: number
}

/** Draws numbers from 0 to 1, the same ones for the same seed and purpose. */
export const drawsOf = (seed: string, purpose: string): Effect.Effect<() => number> =>
  Effect.map(
    Random.withSeed(Effect.service(Random.Random), `${seed}/${purpose}`),
    (random) => () => random.nextDoubleUnsafe()
  )

/**
 * As many as there can be in `forMillis`. The server is left in peace for the half to one and a half of `everyMillis`, and stopped for
 * less than that.
 */
export const kills = Effect.fnUntraced(function* (options: {
  readonly seed: string
  readonly forMillis: number
  readonly everyMillis: number
  readonly weights: Readonly<Partial<Record<KillKind, number>>>
}) {
  const draw = yield* drawsOf(options.seed, "kills")
  const plan: Array<PlannedKill> = []
  let at = 0
  for (;;) {
    const afterMillis = Math.round(options.everyMillis * (0.5 + draw()))
    at += afterMillis
    if (at >= options.forMillis) return plan
    const kind = pick(options.weights, draw())
    const holdMillis = Math.min(options.everyMillis / 2, 200 + 1300 * draw())
    plan.push({ afterMillis, kind, holdMillis: Math.round(holdMillis) })
  }
})

const pick = (weights: Readonly<Partial<Record<KillKind, number>>>, drawn: number): KillKind => {
  const entries = Object.entries(weights) as ReadonlyArray<readonly [KillKind, number]>
  let rest = drawn * entries.reduce((sum, [, weight]) => sum + weight, 0)
  for (const [kind, weight] of entries) {
    rest -= weight
    if (rest < 0) return kind
  }
  return entries.at(-1)?.[0] ?? "kill"
}
