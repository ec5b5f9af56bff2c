/** Whether a run went as it must, told in sentences. */
import { figuresOf } from "./figures.ts"
import { type Call, endsSession, type Run } from "./Run.ts"

export interface Check {
  readonly name: "answers" | "own" | "failures" | "ledger" | "reconnects" | "recovered" | "processes"
  readonly holds: boolean
  readonly text: string
}

export const verdictOf = (run: Run): ReadonlyArray<Check> => [
  answers(run),
  ...own(run),
  failures(run),
  ...ledger(run),
  reconnects(run),
  ...recovered(run),
  processes(run)
]

export const holds = (checks: ReadonlyArray<Check>): boolean => checks.every((check) => check.holds)

/** Every call had one answer, within its bound. */
const answers = (run: Run): Check => {
  const { answered, calls, cutOff, pending } = figuresOf(run)
  const bound = run.options.answerWithinMillis
  const late = run.calls.filter(({ tookMillis }) => tookMillis !== null && tookMillis > bound)
  const slowest = Math.max(0, ...run.calls.flatMap(({ tookMillis }) => tookMillis ?? []))
  const name = "answers"
  if (pending > 0)
    return { name, holds: false, text: `${count(pending, "call")} had no answer at all: ${some(run.calls, "pending")}` }
  if (late.length > 0)
    return { name, holds: false, text: `${count(late.length, "call")} had the answer later than ${seconds(bound)}` }
  if (answered === 0 && !run.interrupted)
    return { name, holds: false, text: "the server has not answered a single call" }
  const cut = cutOff === 0 ? "" : `; ${cutOff} more were cut off when the run was ended`
  return {
    name,
    holds: true,
    text: `every call had exactly one answer (${calls - cutOff}, the slowest after ${seconds(slowest)})${cut}`
  }
}

/** Answers that tell which call they belong to belong to theirs. */
const own = (run: Run): ReadonlyArray<Check> => {
  const told = run.calls.filter(({ right }) => right !== null)
  if (told.length === 0) return []
  const wrong = told.filter(({ right }) => right === false)
  return [
    wrong.length === 0
      ? { name: "own", holds: true, text: `every answer is the one to its own call (${told.length} tell)` }
      : {
          name: "own",
          holds: false,
          text: `${count(wrong.length, "call")} got the answer to something else: ${numbers(wrong)}`
        }
  ]
}

/** What the server itself has rejected is an answer, and not the connection's failure. */
const failures = (run: Run): Check => {
  const failed = run.calls.filter(({ error, outcome }) => outcome === "failed" && error !== "ServerRejected")
  const rejected = run.calls.filter(({ error, outcome }) => outcome === "failed" && error === "ServerRejected").length
  const by = figuresOf({ ...run, calls: failed }).failedBy
  const names = Object.entries(by).map(([tag, number]) => `${number} × ${tag}`)
  return failed.length === 0
    ? {
        name: "failures",
        holds: true,
        text: `no call failed for want of a server${rejected === 0 ? "" : ` (${rejected} were rejected by the server itself)`}`
      }
    : { name: "failures", holds: false, text: `${count(failed.length, "call")} failed: ${names.join(", ")}` }
}

/** Every charge once, or its caller was told. */
const ledger = (run: Run): ReadonlyArray<Check> => {
  if (run.foreignCharges === null) return []
  const charges = run.calls.filter(({ charged }) => charged !== null)
  const twice = charges.filter(({ charged }) => (charged ?? 0) > 1)
  const lost = charges.filter(({ charged, outcome }) => charged === 0 && outcome === "answered")
  const silent = charges.filter(
    ({ charged, delivery, outcome }) =>
      (charged ?? 0) > 0 && outcome === "failed" && (delivery === "NotSent" || delivery === "Refused")
  )
  const broken = [
    ...(twice.length === 0 ? [] : [`${count(twice.length, "charge")} ran more than once: ${numbers(twice)}`]),
    ...(lost.length === 0
      ? []
      : [`${count(lost.length, "charge")} answered as paid and not in the ledger: ${numbers(lost)}`]),
    ...(silent.length === 0
      ? []
      : [`${count(silent.length, "charge")} ran, and the caller was told that not: ${numbers(silent)}`]),
    ...(run.foreignCharges === 0
      ? []
      : [`${count(run.foreignCharges, "charge")} in the ledger that nobody has ordered`])
  ]
  if (broken.length > 0) return [{ name: "ledger", holds: false, text: broken.join("; ") }]
  const unknown = charges.filter(({ outcome }) => outcome === "unknown")
  const ran = unknown.filter(({ charged }) => charged === 1).length
  return [
    {
      name: "ledger",
      holds: true,
      text: `the ledger agrees: of ${count(charges.length, "charge")} none ran twice and none was lost; “it may have run” was said of ${unknown.length} (${ran} had run, ${unknown.length - ran} had not)`
    }
  ]
}

/** One new session for each that was ended, and no other. */
const reconnects = (run: Run): Check => {
  const ended = run.kills.filter(({ kind }) => endsSession(kind))
  // Who ends the run early does not wait for the last one.
  const unhealed = ended.filter(({ healedAt }) => healedAt === null).length - (run.interrupted ? 1 : 0)
  const done = figuresOf(run).reconnects
  const extra = run.outages.length - ended.length
  const name = "reconnects"
  if (unhealed > 0) return { name, holds: false, text: `${count(unhealed, "session")} ended and not replaced` }
  if (extra > 0)
    return {
      name,
      holds: false,
      text: `${count(ended.length, "session")} ended here, but ${run.outages.length} were lost (${[...new Set(run.outages.map(({ cause }) => cause))].join(", ")})`
    }
  return { name, holds: true, text: `${count(ended.length, "session")} ended, ${count(done, "reconnect")}` }
}

const recovered = ({ answersAtEnd }: Run): ReadonlyArray<Check> =>
  answersAtEnd === null
    ? []
    : [
        {
          name: "recovered",
          holds: answersAtEnd,
          text: answersAtEnd ? "the connection serves at the end" : "the connection does not serve at the end"
        }
      ]

const processes = ({ leftProcesses }: Run): Check => ({
  name: "processes",
  holds: leftProcesses.length === 0,
  text: leftProcesses.length === 0 ? "no process is left" : `processes are left: ${leftProcesses.join(", ")}`
})

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`

const seconds = (millis: number): string => `${(millis / 1000).toFixed(2)} s`

const some = (calls: ReadonlyArray<Call>, outcome: Call["outcome"]): string =>
  numbers(calls.filter((call) => call.outcome === outcome))

const numbers = (calls: ReadonlyArray<Call>): string => {
  const first = calls.slice(0, 5).map(({ number, what }) => `${what} #${number}`)
  return `${first.join(", ")}${calls.length > first.length ? ", …" : ""}`
}
