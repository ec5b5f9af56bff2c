/**
 * The runtime drops a connection that failed, so that "the daemon (or direct runtime) can relaunch the MCP server on the next attempt"
 * (runtime.js, `callTool`): no option. `lifecycle: "keep-alive"` (README) is for its daemon, a background process that outlives the client.
 */
import { type CallToolResult, type Connect, textOf } from "../adapter.ts"

interface Mcporter {
  readonly createRuntime: (options: object) => Promise<{
    readonly callTool: (server: string, tool: string, options: object) => Promise<CallToolResult>
    readonly close: () => Promise<void>
  }>
}

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

export const connect: Connect = async (target, { folder, load }) => {
  const { createRuntime } = await load<Mcporter>("mcporter")
  const command =
    target._tag === "stdio"
      ? { kind: "stdio", command: target.command, args: target.args, cwd: folder }
      : { kind: "http", url: new URL(target.url) }
  const runtime = await createRuntime({
    servers: [{ name: "peers", command, lifecycle: { mode: "keep-alive" } }],
    logger: quiet
  })
  return {
    call: async (tool, args) => textOf(await runtime.callTool("peers", tool, { args })),
    close: () => runtime.close()
  }
}
