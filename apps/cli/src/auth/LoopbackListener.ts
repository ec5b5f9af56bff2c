/** Where the browser comes back to after the user has decided: a listener on 127.0.0.1, on a port of its own (RFC 8252 §7.3). */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { timingSafeEqual } from "node:crypto"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { CommandFailed } from "../CommandFailed.ts"

export interface LoopbackListener {
  readonly redirectUrl: string
  /** What the authorization server says, to whoever knows the state. */
  readonly answer: Effect.Effect<URLSearchParams>
  /** How many came that did not know it. They change nothing. */
  readonly strangers: () => number
}

const path = "/callback"

export const make = Effect.fnUntraced(function* (
  state: string
): Effect.fn.Return<LoopbackListener, CommandFailed, Scope.Scope> {
  const answer = Deferred.makeUnsafe<URLSearchParams>()
  let strangers = 0

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://127.0.0.1")
    if (request.method !== "GET" || url.pathname !== path) return page(response, 404, "There is nothing here.")
    if (Deferred.isDoneUnsafe(answer) || !isSame(url.searchParams.get("state") ?? "", state)) {
      strangers += 1
      return page(response, 400, "This is not the answer that mcp-tether is waiting for.")
    }
    // Told when the browser has its page, since the listener ends then.
    response.on("close", () => Deferred.doneUnsafe(answer, Exit.succeed(url.searchParams)))
    page(response, 200, "mcp-tether has got the answer. You can close this window.")
  })

  yield* Effect.acquireRelease(
    Effect.callback<void, CommandFailed>((resume) => {
      server.once("error", (error) =>
        resume(Effect.fail(new CommandFailed({ description: `no port to listen on: ${error.message}` })))
      )
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  const { port } = server.address() as AddressInfo
  return {
    redirectUrl: `http://127.0.0.1:${port}${path}`,
    answer: Deferred.await(answer),
    strangers: () => strangers
  }
})

const page = (response: ServerResponse, status: number, text: string): void => {
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    // The address of this page has the code in it.
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'",
    connection: "close"
  })
  response.end(`<!doctype html><title>mcp-tether</title><p>${text}</p>\n`)
}

const isSame = (one: string, other: string): boolean => {
  const [left, right] = [Buffer.from(one), Buffer.from(other)]
  return left.length === right.length && timingSafeEqual(left, right)
}
