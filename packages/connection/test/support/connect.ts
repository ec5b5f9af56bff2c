/** Connections to a simulation. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as McpConnection from "../../src/McpConnection.ts"
import type { ReconnectPolicy } from "../../src/ReconnectPolicy.ts"
import { settle, type Simulation } from "./simulation.ts"

/** An attempt a second: the plainest policy. */
export const everySecond: ReconnectPolicy = Schedule.spaced("1 second")

/**
 * A connection that is built at once, tries every second and is not probed, unless `options` say otherwise. It is settled: with
 * a script that opens at once it is Ready.
 */
export const connect = Effect.fnUntraced(function* (
  simulation: Simulation,
  options: Partial<McpConnection.Options> = {}
) {
  const connection = yield* McpConnection.make({
    transport: simulation.transport,
    start: "background",
    heartbeat: "off",
    policy: everySecond,
    ...options
  })
  simulation.state = connection.state
  yield* settle
  return connection
})
