/** Connections to a simulation. */
import { ConnectionProbe, type SimulatedServer } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as McpConnection from "../../src/McpConnection.ts"
import type { ReconnectPolicy } from "../../src/ReconnectPolicy.ts"
import { settle } from "./time.ts"

/** An attempt a second: the plainest policy. */
export const everySecond: ReconnectPolicy = Schedule.spaced("1 second")

/**
 * A connection that is built at once, tries every second and is not probed, unless `options` say otherwise. It is settled: with
 * a script that opens at once it is Ready.
 */
export const connect = Effect.fnUntraced(function* (
  simulation: SimulatedServer.SimulatedServer,
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

/** The same connection, under a probe that checks the rules of DESIGN §12. */
export const watch = Effect.fnUntraced(function* (
  simulation: SimulatedServer.SimulatedServer,
  options: ConnectionProbe.Options = {}
) {
  const probe = yield* ConnectionProbe.make(simulation, {
    start: "background",
    heartbeat: "off",
    policy: everySecond,
    maxDelay: "1 second",
    ...options
  })
  yield* settle
  return probe
})
