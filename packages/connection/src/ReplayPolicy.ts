/**
 * Which failed request may be sent again.
 *
 * MCP has no idempotency key, so the only promises there are come from the method itself and from a tool's annotations
 * (MCP 2025-11-25, Tools, ToolAnnotations: `readOnlyHint` and `idempotentHint`, both false unless said).
 *
 * @example
 * ```ts
 * import { ReplayPolicy } from "@mcp-tether/connection"
 *
 * ReplayPolicy.decide("safe", "tools/call", "NotSent") // => "Replay"
 * ReplayPolicy.decide("safe", "tools/call", "Unknown") // => "AskTool"
 * ReplayPolicy.decide("safe", "resources/read", "Unknown") // => "Replay"
 * ReplayPolicy.decide("never", "ping", "NotSent") // => "Fail"
 * ```
 *
 * @since 0.1.0
 */
import type { ToolAnnotations } from "@modelcontextprotocol/client"
import * as Schema from "effect/Schema"
import type { Delivery } from "./Delivery.ts"

/**
 * Schema of {@link ReplayPolicy}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ReplayPolicy = Schema.Literals(["always", "safe", "never"])

/**
 * - `safe` (default): send again what cannot have run, and what may run twice without harm;
 * - `always`: send again whatever failed with the connection. **A call with an effect may then run twice**;
 * - `never`: send nothing again.
 *
 * @category models
 * @since 0.1.0
 */
export type ReplayPolicy = typeof ReplayPolicy.Type

/**
 * What to do with a failed request: `Replay` it, `AskTool` (replay only if the tool, as the next session lists it, promises
 * that running twice does no harm), or `Fail`.
 *
 * @category models
 * @since 0.1.0
 */
export type Verdict = "Replay" | "AskTool" | "Fail"

/** Methods that only read, or whose repetition the specification allows. */
const safeMethods: ReadonlySet<string> = new Set([
  "ping",
  "server/discover",
  "tools/list",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "prompts/list",
  "prompts/get",
  "completion/complete",
  "logging/setLevel",
  "resources/subscribe",
  "resources/unsubscribe",
  "subscriptions/listen",
  "tasks/get"
])

/**
 * Whether a method can run twice without harm, whatever its parameters.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isSafeMethod = (method: string): boolean => safeMethods.has(method)

/**
 * Whether a tool promises that a second call with the same arguments does no further harm.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isSafeTool = (annotations: ToolAnnotations | undefined): boolean =>
  annotations?.readOnlyHint === true || annotations?.idempotentHint === true

/**
 * The table of the design, §6.
 *
 * @category combinators
 * @since 0.1.0
 */
export const decide = (policy: ReplayPolicy, method: string, delivery: Delivery): Verdict => {
  if (policy === "never") return "Fail"
  if (delivery !== "Unknown" || policy === "always" || isSafeMethod(method)) return "Replay"
  return method === "tools/call" ? "AskTool" : "Fail"
}
