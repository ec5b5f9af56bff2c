/** A run of `chaos` that went well, to be changed by tests. */
import type { Call, Kill, Run } from "../../src/chaos/Run.ts"

export const call = (number: number, fields: Partial<Call> = {}): Call => ({
  number,
  what: number % 2 === 0 ? "look" : "pay",
  at: number * 100,
  tookMillis: 20,
  outcome: "answered",
  error: null,
  delivery: null,
  sent: 1,
  right: true,
  charged: number % 2 === 0 ? null : 1,
  ...fields
})

export const unknown = (charged: number): Partial<Call> => ({
  outcome: "unknown",
  error: "OutcomeUnknown",
  delivery: "Unknown",
  right: null,
  charged,
  tookMillis: 900
})

export const kill = (at: number, fields: Partial<Kill> = {}): Kill => ({
  at,
  kind: "kill",
  pid: 4242,
  heldMillis: 0,
  generation: 1,
  healedAt: at + 300,
  ...fields
})

export const good: Run = {
  server: {
    label: "the bundled ledger server",
    name: "ledger",
    version: "1.0.0",
    protocolVersion: "2025-11-25",
    over: "stdio",
    bundled: true,
    calls: "pay and look"
  },
  options: {
    seed: "7",
    forMillis: 3000,
    rate: 10,
    concurrency: 4,
    killEveryMillis: 1000,
    replay: "safe",
    answerWithinMillis: 10_000
  },
  elapsedMillis: 3000,
  interrupted: false,
  calls: [
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((number) => call(number)),
    call(9, unknown(1)),
    call(10, { sent: 2, tookMillis: 450 }),
    call(11, unknown(0)),
    ...[12, 13, 14, 15, 16].map((number) => call(number))
  ],
  kills: [kill(1010), kill(1800, { kind: "freeze", heldMillis: 200, healedAt: null })],
  outages: [{ lostAt: 1015, readyAt: 1310, cause: "ProcessExited", attempts: 1 }],
  states: [
    { at: 0, state: "Ready", generation: 1 },
    { at: 1015, state: "Reconnecting", generation: 1 },
    { at: 1310, state: "Ready", generation: 2 }
  ],
  replays: 1,
  foreignCharges: 0,
  answersAtEnd: true,
  leftProcesses: []
}
