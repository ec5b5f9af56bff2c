/**
 * The faults of `Faults` between a real client and a real server: a proxy on loopback for HTTP, and a process in between for stdio. For
 * tests that want the real driver, real sockets and real processes.
 *
 * A proxy does what can be done from between: it cannot know when a server has had its effect, only when it has answered. So a crash
 * `"afterReceiving"` is one after the request has been handed to the server, which may carry it out, and one `"afterEffect"` is when the
 * answer is there and before the client has it.
 *
 * @example
 * ```ts
 * import { Faults, FaultProxy } from "@mcp-tether/testing"
 * import { Effect } from "effect"
 *
 * export const test = Effect.gen(function* () {
 *   const proxy = yield* FaultProxy.stdio({
 *     command: "mcp-server-everything",
 *     args: ["stdio"],
 *     faults: Faults.script(Faults.on({ tool: "echo", nth: 3 }, Faults.crash({ when: "afterReceiving" })))
 *   })
 *   // proxy.transport is what `McpConnection.make` takes.
 *   return proxy.happened
 * })
 * ```
 *
 * @since 0.1.0
 */
import type { InvalidOptions, McpTransport } from "@mcp-tether/connection"
import type * as Effect from "effect/Effect"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"
import type { HttpFault, StdioFault } from "./Fault.ts"
import type { Script } from "./Faults.ts"
import * as Http from "./internal/proxy/http.ts"
import * as Stdio from "./internal/proxy/stdio.ts"
import type { Happened } from "./SimulatedServer.ts"

/**
 * A message that came by.
 *
 * @category models
 * @since 0.1.0
 */
export interface Passed {
  /** When, in milliseconds since the epoch. */
  readonly at: number
  readonly method: string
  readonly tool: string | undefined
}

/**
 * What every proxy offers. Its lists only grow; nothing in them is an argument, a result or a header.
 *
 * @category models
 * @since 0.1.0
 */
export interface FaultProxy<F> {
  /** The requests of the client, in order. */
  readonly passed: ReadonlyArray<Passed>
  /** The faults that happened, in order. */
  readonly happened: ReadonlyArray<Happened>
  /** Does a fault now. One that strikes a message waits for the next; one that goes on ends when it is over. */
  readonly inject: (fault: F) => Effect.Effect<void>
}

/**
 * Options of {@link http}.
 *
 * @category options
 * @since 0.1.0
 */
export interface HttpOptions {
  /** The MCP endpoint of the real server: `http:`, on this machine. */
  readonly target: string | URL
  /** What goes wrong, and when; times count from now. Default: nothing. */
  readonly faults?: Script<HttpFault> | undefined
}

/**
 * A proxy before a server over HTTP.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpProxy extends FaultProxy<HttpFault> {
  /** Where it is reached, with the path of the target. */
  readonly url: string
  /** How many sockets of clients are open. */
  readonly connections: () => number
}

/**
 * A proxy on 127.0.0.1 before a server over Streamable HTTP.
 *
 * A crash resets all sockets; while it is down nobody listens at its port, and afterwards the sessions that were there are unknown (404),
 * as after the restart of a server that has them in its memory. In a partition nothing moves, and connecting hangs (where a port can be
 * shared, as on Linux; elsewhere it hears nothing). `slowLink` and `freeze` hold up bytes; `halfOpen` loses those of the sockets that are
 * open, and neither end is told. `refuseStarts` resets the socket of a handshake. Credentials that are refused are those that have come
 * by then, or the first that come; others are taken.
 *
 * A handshake is `initialize`, or the `server/discover` of the modern era; an `initialize` after one that was refused goes on with it. Only
 * the reply to a request is struck: what comes before it in its stream gets through. A reply in JSON that arrives twice is a stream.
 *
 * Fails with `InvalidOptions` where the target is not on this machine, or a fault cannot happen over HTTP.
 *
 * @category constructors
 * @since 0.1.0
 */
export const http: (options: HttpOptions) => Effect.Effect<HttpProxy, InvalidOptions.InvalidOptions, Scope.Scope> =
  Http.make

/**
 * Options of {@link stdio}: those of the real server's transport, and what goes wrong.
 *
 * @category options
 * @since 0.1.0
 */
export interface StdioOptions extends McpTransport.StdioOptions {
  /** What goes wrong, and when; times count from now. Default: nothing. */
  readonly faults?: Script<StdioFault> | undefined
}

/**
 * A proxy before a server over stdio.
 *
 * @category models
 * @since 0.1.0
 */
export interface StdioProxy extends FaultProxy<StdioFault> {
  /** What a stdio transport is to run instead of the server. */
  readonly options: McpTransport.StdioOptions
  /** A transport that does. */
  readonly transport: McpTransport.McpTransport<ChildProcessSpawner.ChildProcessSpawner>
}

/**
 * A process between the client and a server over stdio. Each session runs one, with the real server as its child in the same process
 * group; the script goes on over all of them.
 *
 * A crash ends the whole group with SIGKILL; `refuseStarts` exits with 1; `freeze` stops the group with SIGSTOP; `halfOpen` loses all
 * messages of the present processes; `corrupt` breaks the line of a reply off in its middle. The group does not outlive the process in
 * between, nor the scope, nor this program.
 *
 * Fails with `InvalidOptions` where a fault cannot happen over stdio.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stdio: (options: StdioOptions) => Effect.Effect<StdioProxy, InvalidOptions.InvalidOptions, Scope.Scope> =
  Stdio.make
