/**
 * mcp-remote is a proxy that brings an HTTP server to clients that speak stdio. Here such a client, the SDK v1, starts it as its README
 * says. It has no option for reconnecting: it does what it does.
 */
import * as path from "node:path"
import type { Connect } from "../adapter.ts"
import { open } from "./sdk.ts"
import { loadSdk } from "./sdkV1.ts"

export const connect: Connect = async (target, { folder, installed, load }) => {
  if (target._tag === "stdio") throw new Error("it is a proxy to HTTP")
  const proxy = path.join(installed, "node_modules/mcp-remote/dist/proxy.js")
  // Its state is in the home of the user, and is put into the folder of the scenario instead.
  const env = `MCP_REMOTE_CONFIG_DIR=${path.join(folder, "mcp-remote")}`
  return open(await loadSdk(load), {
    _tag: "stdio",
    // The SDK hands on but a few environment variables.
    command: "env",
    args: [env, process.execPath, proxy, target.url, "--transport", "http-only"]
  })
}
