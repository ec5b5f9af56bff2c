/**
 * Virtual time and reconnect storms.
 *
 * @since 0.1.0
 */
export * as VirtualClock from "./VirtualClock.ts"
export * as Storm from "./Storm.ts"
