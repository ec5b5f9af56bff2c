/** How long a server may take, in the words and units of each client. */
import * as Duration from "effect/Duration"
import type { Client } from "../../McpConfig.ts"
import type * as Entry from "./entry.ts"
import type { Report } from "./report.ts"

export const startupTimeoutOf = (entry: Entry.Entry): Duration.Duration | undefined => {
  if (entry.startupTimeout !== undefined) return Duration.fromInputUnsafe(entry.startupTimeout)
  if (entry.startup_timeout_sec !== undefined) return Duration.seconds(entry.startup_timeout_sec)
  return entry.startup_timeout_ms === undefined ? undefined : Duration.millis(entry.startup_timeout_ms)
}

export const requestTimeoutOf = (
  entry: Entry.Entry,
  log: Report,
  client: Client | undefined
): Duration.Duration | undefined => {
  const own = entry.requestTimeout ?? entry.toolTimeout
  if (own !== undefined) return Duration.fromInputUnsafe(own)
  if (entry.tool_timeout_sec !== undefined) return Duration.seconds(entry.tool_timeout_sec)
  const { timeout } = entry
  if (typeof timeout !== "number") return timeout === undefined ? undefined : Duration.fromInputUnsafe(timeout)
  if (client === "Cline") return Duration.seconds(timeout)
  if (timeout >= 1000) return Duration.millis(timeout)
  log.note(
    ["timeout"],
    "NotApplied",
    `${timeout} may be milliseconds (Claude Code, Gemini CLI) or seconds (Cline): write "${timeout} seconds"`
  )
  return undefined
}
