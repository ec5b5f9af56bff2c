/**
 * Bad days for clients of MCP servers: faults, simulated servers and proxies that play them, a probe that checks what the connection
 * made of them, virtual time, and reconnect storms.
 *
 * @since 0.1.0
 */
export * as ConnectionProbe from "./ConnectionProbe.ts"
export * as Fault from "./Fault.ts"
export * as FaultProxy from "./FaultProxy.ts"
export * as Faults from "./Faults.ts"
export * as JumpingClock from "./JumpingClock.ts"
export * as SimulatedServer from "./SimulatedServer.ts"
export * as Storm from "./Storm.ts"
export * as VirtualClock from "./VirtualClock.ts"
