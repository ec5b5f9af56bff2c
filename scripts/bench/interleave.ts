/** A B B A A B …: everything that is compared is measured in turn, so that what else the machine does falls on all alike. */
import * as Effect from "effect/Effect"
import { type Random, shuffled } from "./random.ts"

/** What each subject measured, in each round. */
export type Round<Name extends string, A> = Readonly<Record<Name, A>>

/** Has the subjects measured one after the other, in a new random order in each round. */
export const rounds = Effect.fnUntraced(function* <Name extends string, A, E, R>(
  subjects: Readonly<Record<Name, Effect.Effect<A, E, R>>>,
  count: number,
  random: Random
): Effect.fn.Return<Array<Round<Name, A>>, E, R> {
  const names = Object.keys(subjects) as Array<Name>
  const all: Array<Round<Name, A>> = []
  for (let round = 0; round < count; round += 1) {
    const measured = {} as Record<Name, A>
    for (const name of shuffled(random, names)) measured[name] = yield* subjects[name]
    all.push(measured)
  }
  return all
})
