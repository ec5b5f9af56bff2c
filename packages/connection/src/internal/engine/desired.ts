/** What every session shall be brought to, and what is still missing in one (DESIGN §7). */
import type { LoggingLevel, Root } from "@modelcontextprotocol/client"
import type { SessionInfo } from "../../McpSession.ts"

/** Lives as long as the connection, whatever becomes of its sessions. */
export interface Desired {
  logLevel: LoggingLevel | undefined
  /** How many readers want the updates of a resource, by its URI. */
  readonly subscriptions: Map<string, number>
  /** `undefined`: this client has no roots to tell of. */
  roots: ReadonlyArray<Root> | undefined
}

export const make = (roots: ReadonlyArray<Root> | undefined): Desired => ({
  logLevel: undefined,
  subscriptions: new Map(),
  roots
})

/** What one session has acknowledged. */
export interface Applied {
  logLevel: LoggingLevel | undefined
  readonly subscriptions: Set<string>
  /** What it may be subscribed to: it was asked, and has not answered. */
  readonly doubtful: Set<string>
  /** The roots that were there when the session began, or that it was told of since. */
  roots: ReadonlyArray<Root> | undefined
}

export const appliedAtStart = ({ roots }: Desired): Applied => ({
  logLevel: undefined,
  subscriptions: new Set(),
  doubtful: new Set(),
  roots
})

/** One message that brings a session closer, and what is known when it has arrived. */
export interface Step {
  readonly kind: "request" | "notification"
  readonly method: string
  readonly params: Readonly<Record<string, unknown>> | undefined
  readonly acknowledged: () => void
}

export const rootsChanged = "notifications/roots/list_changed"

/** The next thing to do, in the order of the design; `undefined` when the session is as it shall be. */
export const nextStep = (desired: Desired, applied: Applied, info: SessionInfo): Step | undefined => {
  const { logLevel } = desired
  if (logLevel !== undefined && logLevel !== applied.logLevel && info.capabilities.logging !== undefined) {
    return {
      kind: "request",
      method: "logging/setLevel",
      params: { level: logLevel },
      acknowledged: () => {
        applied.logLevel = logLevel
      }
    }
  }
  const { roots } = desired
  if (roots !== applied.roots) {
    return {
      kind: "notification",
      method: rootsChanged,
      params: undefined,
      acknowledged: () => {
        applied.roots = roots
      }
    }
  }
  if (!canSubscribe(info)) return undefined
  for (const uri of desired.subscriptions.keys()) {
    if (!applied.subscriptions.has(uri)) {
      return {
        kind: "request",
        method: "resources/subscribe",
        params: { uri },
        acknowledged: () => void applied.subscriptions.add(uri)
      }
    }
  }
  for (const uri of applied.subscriptions) {
    if (!desired.subscriptions.has(uri)) {
      return {
        kind: "request",
        method: "resources/unsubscribe",
        params: { uri },
        acknowledged: () => void applied.subscriptions.delete(uri)
      }
    }
  }
  return undefined
}

/** Whether a server lets itself be subscribed to. The modern era has `subscriptions/listen` instead. */
export const canSubscribe = ({ capabilities, era }: SessionInfo): boolean =>
  era === "legacy" && capabilities.resources?.subscribe === true
