/**
 * How to reach one server: a recipe that opens sessions, each in a `Scope` of its own.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { ConnectionError } from "./ConnectionError.ts"
import * as Stdio from "./internal/driver/stdio.ts"
import type { InvalidOptions } from "./InvalidOptions.ts"
import type { McpSession, SessionHost } from "./McpSession.ts"

/**
 * What a transport is told when it opens a session, and what it tells while it does.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenContext {
  /** The connection's name, for errors and logs. */
  readonly server: string
  /** The number the session will have. */
  readonly generation: number
  /** How this program introduces itself in the handshake. */
  readonly client: { readonly name: string; readonly version: string }
  /** How much a list without parameters, over all of its pages, may hold; beyond it the request fails with `InvalidResult`. */
  readonly limits: { readonly maxPages: number; readonly maxItems: number }
  /** What the client side offers to the server. */
  readonly host: SessionHost
  /**
   * Tells how to read the last of the server's stderr. The engine asks when it cuts a handshake off, since the transport is
   * interrupted then and cannot say.
   */
  readonly setStderrTail: (read: () => string | undefined) => void
  /** Tells that something came from the server: a start that is still writing is not cut off at once. */
  readonly onActivity: () => void
}

/**
 * How to reach one server. `R` is what opening a session needs, like a `ChildProcessSpawner`.
 *
 * @category models
 * @since 0.1.0
 */
export interface McpTransport<out R = never> {
  /** A short name for people: the command, or the host. Never arguments, headers or credentials. */
  readonly label: string
  /** Checks the transport's own options, before anything is opened. */
  readonly validate: Effect.Effect<void, InvalidOptions>
  /**
   * How long closing one of its sessions can take when everything resists. A connection waits that long by default. Default: 15
   * seconds.
   */
  readonly closeWithin?: (() => Duration.Duration) | undefined
  /** Opens one session: connects and shakes hands. What it acquires belongs to the `Scope`. */
  readonly open: (context: OpenContext) => Effect.Effect<McpSession, ConnectionError, R | Scope.Scope>
}

/**
 * Options of {@link stdio}.
 *
 * @category options
 * @since 0.1.0
 */
export interface StdioOptions {
  /** The command to run, without a shell: on Windows, a `.cmd` like `npx` takes `command: "cmd", args: ["/c", "npx", …]`. */
  readonly command: string
  /** Its arguments. Default: none. What is `Redacted`, here or in `env`, is kept out of errors and logs even
   * where the server prints it. */
  readonly args?: ReadonlyArray<string | Redacted.Redacted<string>> | undefined
  /**
   * Environment variables, on top of the few that are safe to inherit (`HOME`, `LOGNAME`, `PATH`, `SHELL`, `TERM`, `USER`;
   * the same as the MCP SDK's). Default: none.
   */
  readonly env?: Readonly<Record<string, string | Redacted.Redacted<string>>> | undefined
  /** The working directory. Default: this process's. */
  readonly cwd?: string | undefined
  /** The largest message the server may send, in bytes; at most what a string can hold (512 MiB). Default: 64 MiB. */
  readonly maxMessageBytes?: number | undefined
  /** How long the server gets to leave after its stdin is closed, and again after SIGTERM. Default: 2 seconds each. */
  readonly closeGrace?: Duration.Input | undefined
}

/**
 * A server that is a child process and talks newline-delimited JSON-RPC over its stdin and stdout
 * (MCP 2025-11-25, Transports, stdio).
 *
 * Each session is a process group of its own. Closing it ends its stdin, waits `closeGrace`, sends SIGTERM to the group, waits
 * again, sends SIGKILL to the group, and waits for the end: nothing of the group survives. stderr is always drained; the last
 * 64 KiB are kept for errors, and each line goes to the log at level Debug.
 *
 * @example
 * ```ts
 * import { McpTransport } from "@mcp-tether/connection"
 *
 * const everything = McpTransport.stdio({ command: "mcp-server-everything", args: ["stdio"] })
 * everything.label // => "mcp-server-everything"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const stdio: (options: StdioOptions) => McpTransport<ChildProcessSpawner.ChildProcessSpawner> = Stdio.make
