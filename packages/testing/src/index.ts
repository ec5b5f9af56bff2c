/**
 * Virtual time and reconnect storms.
 *
 * @since 0.1.0
 */
export * as VirtualClock from "./VirtualClock.ts"
