/** A tool call as a stream: its progress, then its result. */
import type { CallToolResult, Progress } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { ToolUpdate } from "../../McpConnection.ts"

/** How far a reader may be behind. The session never waits for one: what is lost is the oldest progress, never the result. */
const bufferSize = 256

export const make = <E>(
  call: (onProgress: (progress: Progress) => void) => Effect.Effect<CallToolResult, E>
): Stream.Stream<ToolUpdate, E> =>
  Stream.callback<ToolUpdate, E>(
    (queue) =>
      Effect.map(
        call((progress) => void Queue.offerUnsafe(queue, { _tag: "Progress", progress })),
        (result) => {
          Queue.offerUnsafe(queue, { _tag: "Result", result })
          Queue.endUnsafe(queue)
        }
      ),
    { bufferSize, strategy: "sliding" }
  )
