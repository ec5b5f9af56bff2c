/** A B B A A B …: everything that is compared is measured in turn, so that what else the machine does falls on all alike. */
import * as Effect from "effect/Effect"
import { type Random, shuffled } from "./random.ts"

/** What each subject measured, in each round. */
export type Round<Name extends string, A> = Readonly<Record<Name, A>>

/** Has the subjects measured one after the other, in random order. */
export const round = Effect.fnUntraced(function* <Name extends string, A, E, R>(
  subjects: Readonly<Record<Name, Effect.Effect<A, E, R>>>,
  random: Random
): Effect.fn.Return<Round<Name, A>, E, R> {
  const measured = {} as Record<Name, A>
  for (const name of shuffled(random, Object.keys(subjects) as Array<Name>)) measured[name] = yield* subjects[name]
  return measured
})

/** So many rounds, each in an order of its own. */
export const rounds = Effect.fnUntraced(function* <Name extends string, A, E, R>(
  subjects: Readonly<Record<Name, Effect.Effect<A, E, R>>>,
  count: number,
  random: Random
): Effect.fn.Return<Array<Round<Name, A>>, E, R> {
  const all: Array<Round<Name, A>> = []
  while (all.length < count) all.push(yield* round(subjects, random))
  return all
})
