/** The library as it is published: the JavaScript that `pnpm build` has made, never the sources that the workspace resolves to. */
import type * as Connection from "@mcp-tether/connection"

export const directory = new URL("../../packages/connection/dist/", import.meta.url)

const load: Promise<typeof Connection> = import(new URL("index.js", directory).href)

export const { McpConnection, McpTransport } = await load
