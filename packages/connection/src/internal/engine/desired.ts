/** What every session shall be brought to, and what is still missing in one (DESIGN §7). */
import type { LoggingLevel, Root, SubscriptionFilter } from "@modelcontextprotocol/client"
import type * as Catalog from "../../Catalog.ts"
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
  /** What it was asked to tell of in the modern era, and whether it does. */
  listening: { readonly filter: SubscriptionFilter; readonly agreed: boolean }
}

export const appliedAtStart = ({ roots }: Desired): Applied => ({
  logLevel: undefined,
  subscriptions: new Set(),
  doubtful: new Set(),
  roots,
  listening: silent
})

/** One message that brings a session closer, and what is known when it has arrived. */
export type Step = {
  readonly method: string
  readonly acknowledged: () => void
} & (
  | {
      readonly kind: "request" | "notification"
      readonly params: Readonly<Record<string, unknown>> | undefined
    }
  | { readonly kind: "listen"; readonly filter: SubscriptionFilter; readonly refused: () => void }
)

export const rootsChanged = "notifications/roots/list_changed"

/** The next thing to do, in the order of the design; `undefined` when the session is as it shall be. */
export const nextStep = (
  desired: Desired,
  applied: Applied,
  info: SessionInfo,
  listed: ReadonlyArray<Catalog.Kind>
): Step | undefined => {
  // The modern era has a level in each request, and asks for roots when it needs them.
  if (info.era === "modern") return listenStep(desired, applied, info, listed)
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

const nothing: SubscriptionFilter = {}

const isSame = (one: SubscriptionFilter, other: SubscriptionFilter): boolean =>
  JSON.stringify(one) === JSON.stringify(other)

/** The lists whose changes are told of with `filter`, and were not with `before`. */
export const newlyTold = (filter: SubscriptionFilter, before: SubscriptionFilter): ReadonlyArray<Catalog.Kind> => [
  ...(filter.toolsListChanged === true && before.toolsListChanged !== true ? (["tools"] as const) : []),
  ...(filter.promptsListChanged === true && before.promptsListChanged !== true ? (["prompts"] as const) : []),
  ...(filter.resourcesListChanged === true && before.resourcesListChanged !== true
    ? (["resources", "resourceTemplates"] as const)
    : [])
]
const silent: Applied["listening"] = { filter: nothing, agreed: true }

/** All changes that a session is to tell of are one request of the modern era (MCP 2026-07-28, `subscriptions/listen`). */
const listenStep = (
  desired: Desired,
  applied: Applied,
  info: SessionInfo,
  listed: ReadonlyArray<Catalog.Kind>
): Step | undefined => {
  const filter = filterOf(desired, info, listed)
  return isSame(filter, applied.listening.filter)
    ? undefined
    : {
        kind: "listen",
        method: "subscriptions/listen",
        filter,
        acknowledged: () => {
          applied.listening = { filter, agreed: true }
        },
        refused: () => {
          applied.listening = { filter, agreed: false }
        }
      }
}

/** The lists that the caller has asked for, and the resources that somebody reads: as far as the server tells of them. */
const filterOf = (
  { subscriptions }: Desired,
  { capabilities }: SessionInfo,
  listed: ReadonlyArray<Catalog.Kind>
): SubscriptionFilter => {
  const { prompts, resources, tools } = capabilities
  const uris = [...subscriptions.keys()].toSorted()
  return {
    ...(listed.includes("tools") && tools?.listChanged === true ? { toolsListChanged: true } : {}),
    ...(listed.includes("prompts") && prompts?.listChanged === true ? { promptsListChanged: true } : {}),
    ...((listed.includes("resources") || listed.includes("resourceTemplates")) && resources?.listChanged === true
      ? { resourcesListChanged: true }
      : {}),
    ...(uris.length > 0 && resources?.subscribe === true ? { resourceSubscriptions: uris } : {})
  }
}

/** Forgets what a session has agreed to tell of: its stream has broken. */
export const unlisten = (applied: Applied): void => {
  applied.listening = silent
}

export const isListening = ({ listening }: Applied): boolean => listening.agreed && !isSame(listening.filter, nothing)

/** Whether a server lets itself be subscribed to. The modern era has `subscriptions/listen` instead. */
export const canSubscribe = ({ capabilities, era }: SessionInfo): boolean =>
  era === "legacy" && capabilities.resources?.subscribe === true
