/** `@modelcontextprotocol/server-everything` over stdio, ended after a minute whatever happens. */
import { fileURLToPath } from "node:url"

/** Arguments of Node that end it after a minute. */
export const bounded = ["--import", "data:text/javascript,setTimeout(()=>process.exit(99),60000).unref()"] as const

/** Its program. */
export const program = fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js"))

export const everything = { command: process.execPath, args: [...bounded, program, "stdio"] } as const

/** The same, as operands of a command. */
export const operands = ["--", everything.command, ...everything.args] as const
