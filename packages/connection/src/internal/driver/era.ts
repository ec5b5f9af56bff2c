/** What is remembered of a server's protocol era, from one session to the next (DESIGN §10). */
import * as Effect from "effect/Effect"
import type { ConnectionError } from "../../ConnectionError.ts"
import type { McpSession } from "../../McpSession.ts"
import type { OpenContext } from "../../McpTransport.ts"

/**
 * For a channel that starts as a legacy client: a server that was found to be modern is spoken to as such at once. A failure is
 * forgotten with what led to it, so that the next attempt finds out anew.
 */
export const remembered = <R>(
  open: (modern: boolean, context: OpenContext) => Effect.Effect<McpSession, ConnectionError, R>
): ((context: OpenContext) => Effect.Effect<McpSession, ConnectionError, R>) => {
  let modern = false
  return (context) =>
    Effect.suspend(() => open(modern, context)).pipe(
      Effect.tap(({ info }) =>
        Effect.sync(() => {
          modern = info.era === "modern"
        })
      ),
      Effect.tapError(() =>
        Effect.sync(() => {
          modern = false
        })
      )
    )
}
