/** `@modelcontextprotocol/server-everything` over stdio, ended after a minute whatever happens. */
import { fileURLToPath } from "node:url"

export const everything = {
  command: process.execPath,
  args: [
    "--import",
    "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()",
    fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js")),
    "stdio"
  ]
} as const

/** The same, as operands of a command. */
export const operands = ["--", everything.command, ...everything.args] as const
