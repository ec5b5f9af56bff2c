/** What the rounds of one client in one scenario say together. */
import { median } from "../statistics.ts"
import type { Observation, Outcome } from "./observation.ts"

/** So many of so many rounds. */
export interface Share {
  readonly yes: number
  readonly of: number
}

/** The median, and between which values all rounds were. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

export interface Verdict {
  readonly first: Share
  readonly later: Share
  readonly hangs: number
  /** Calls that were lost until one was answered, of those that were made; the sum of all rounds. */
  readonly lost: Share
  /** Effects of one call. */
  readonly effects: Spread | undefined
  /** In how many rounds the call's effect happened more than once. */
  readonly duplicated: number
  /** The time to recover, divided by what a bare new connection cost just after; of the rounds that did recover. */
  readonly recovery: Spread | undefined
  readonly early: number | undefined
  /** Processes that were left, at most. */
  readonly left: number | undefined
  /** Rounds that came to no end, in which nothing is known. */
  readonly broken: ReadonlyArray<Exclude<Outcome["_tag"], "observed">>
  /** What was said, each once. */
  readonly errors: ReadonlyArray<string>
}

export const spread = (values: ReadonlyArray<number>): Spread | undefined =>
  values.length === 0 ? undefined : { median: median(values), low: Math.min(...values), high: Math.max(...values) }

const defined = <A>(items: ReadonlyArray<A | undefined>): ReadonlyArray<A> =>
  items.flatMap((item) => (item === undefined ? [] : [item]))

const most = (values: ReadonlyArray<number>): number | undefined =>
  values.length === 0 ? undefined : Math.max(...values)

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0)

/** A round that came to no end answered nothing. */
export const verdict = (outcomes: ReadonlyArray<Outcome>): Verdict => {
  const seen: ReadonlyArray<Observation> = outcomes.flatMap((outcome) =>
    outcome._tag === "observed" ? [outcome.observation] : []
  )
  const of = outcomes.length
  const effects = defined(seen.map((observation) => observation.effects))
  return {
    first: { yes: seen.filter(({ first }) => first === "answered").length, of },
    later: { yes: seen.filter(({ later }) => later).length, of },
    hangs: seen.filter(({ first }) => first === "hangs").length,
    lost: { yes: sum(seen.map(({ lost }) => lost)), of: sum(seen.map(({ calls }) => calls)) },
    effects: spread(effects),
    duplicated: effects.filter((count) => count > 1).length,
    recovery: spread(
      seen.flatMap(({ bare, recovery }) => (recovery === undefined || bare === undefined ? [] : [recovery / bare]))
    ),
    early: most(defined(seen.map(({ early }) => early))),
    left: most(defined(seen.map(({ left }) => left))),
    broken: outcomes.flatMap(({ _tag }) => (_tag === "observed" ? [] : [_tag])),
    errors: [
      ...new Set(
        defined(outcomes.map((outcome) => (outcome._tag === "observed" ? outcome.observation.error : outcome.error)))
      )
    ]
  }
}
