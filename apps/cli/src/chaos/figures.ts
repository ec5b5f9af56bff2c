/** What a run adds up to. */
import { type Call, endsSession, type KillKind, type Run } from "./Run.ts"

export interface Spread {
  readonly count: number
  readonly p50: number | null
  readonly p99: number | null
  readonly max: number | null
}

export interface Figures {
  readonly calls: number
  readonly answered: number
  /** Of those answered, how many had been sent more than once. */
  readonly replayed: number
  readonly outcomeUnknown: number
  readonly failed: number
  readonly failedBy: Readonly<Record<string, number>>
  readonly cutOff: number
  readonly pending: number
  readonly kills: number
  readonly killsBy: Readonly<Partial<Record<KillKind, number>>>
  readonly sessionsEnded: number
  readonly reconnects: number
  readonly downtimeMillis: Spread
  /** Of answered calls, apart from every disturbance. */
  readonly latencyMillis: Spread
  /** Of answered calls that were under way while the server was dead, stopped, or the connection without a session. */
  readonly latencyAcrossMillis: Spread
  readonly ledger: Ledger | null
}

export interface Ledger {
  readonly charges: number
  readonly once: number
  readonly never: number
  readonly more: number
  readonly foreign: number
}

export const figuresOf = (run: Run): Figures => {
  const of = (outcome: Call["outcome"]) => run.calls.filter((call) => call.outcome === outcome)
  const answered = of("answered")
  const failed = of("failed")
  const disturbances = disturbancesOf(run)
  const across = (call: Call) =>
    disturbances.some(([from, to]) => call.at <= to && call.at + (call.tookMillis ?? 0) >= from)
  const took = (calls: ReadonlyArray<Call>) => calls.flatMap(({ tookMillis }) => tookMillis ?? [])
  return {
    calls: run.calls.length,
    answered: answered.length,
    replayed: answered.filter(({ sent }) => sent > 1).length,
    outcomeUnknown: of("unknown").length,
    failed: failed.length,
    failedBy: tally(failed.map(({ error }) => error ?? "unknown")),
    cutOff: of("cutOff").length,
    pending: of("pending").length,
    kills: run.kills.length,
    killsBy: tally(run.kills.map(({ kind }) => kind)),
    sessionsEnded: run.kills.filter(({ kind }) => endsSession(kind)).length,
    reconnects: run.outages.filter(({ readyAt }) => readyAt !== null).length,
    downtimeMillis: spreadOf(
      run.outages.flatMap(({ lostAt, readyAt }) => (readyAt === null ? [] : [readyAt - lostAt]))
    ),
    latencyMillis: spreadOf(took(answered.filter((call) => !across(call)))),
    latencyAcrossMillis: spreadOf(took(answered.filter(across))),
    ledger: ledgerOf(run)
  }
}

/** From when to when a caller could not be served: from the kill, not from when the connection has noticed it. */
const disturbancesOf = (run: Run): ReadonlyArray<readonly [from: number, to: number]> => [
  ...run.kills.map(
    ({ at, healedAt, heldMillis, kind }) =>
      [at, endsSession(kind) ? (healedAt ?? run.elapsedMillis) : at + heldMillis] as const
  ),
  ...run.outages.map(({ lostAt, readyAt }) => [lostAt, readyAt ?? run.elapsedMillis] as const)
]

const ledgerOf = ({ calls, foreignCharges }: Run): Ledger | null => {
  if (foreignCharges === null) return null
  const counts = calls.flatMap(({ charged }) => charged ?? [])
  return {
    charges: counts.length,
    once: counts.filter((count) => count === 1).length,
    never: counts.filter((count) => count === 0).length,
    more: counts.filter((count) => count > 1).length,
    foreign: foreignCharges
  }
}

const tally = <Key extends string>(
  keys: ReadonlyArray<Key>
): Readonly<Partial<Record<Key, number>>> & Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const key of keys) counts[key] = (counts[key] ?? 0) + 1
  return counts as Partial<Record<Key, number>> & Record<string, number>
}

/** Percentiles by nearest rank. */
export const spreadOf = (values: ReadonlyArray<number>): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const rank = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null
  return { count: sorted.length, p50: rank(0.5), p99: rank(0.99), max: sorted.at(-1) ?? null }
}
