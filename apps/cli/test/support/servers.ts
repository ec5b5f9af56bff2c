/** Servers that do not do what they should, as commands. Each ends after a minute whatever happens. */
import { bounded } from "./everything.ts"

const script = (code: string, ...args: ReadonlyArray<string>) => ({
  command: process.execPath,
  args: [...bounded, "-e", code, ...args]
})

/**
 * Does not go at the end of its input, only at a SIGTERM. It writes into a file when it begins and when it ends; by that file it is found
 * among the processes, too.
 */
const clinging = (code: string) => (file: string) =>
  script(
    `
    const note = (what) => require("node:fs").appendFileSync(process.argv[1], what + " " + Date.now() + "\\n")
    process.on("SIGTERM", () => { note("end"); process.exit() })
    note("begin")
    setInterval(() => {}, 1000)
    ${code}`,
    file
  )

/** Says nothing. */
export const mute = clinging("")

/** Shakes hands, answers pings, and keeps what it has to itself. */
export const secretive = clinging(`
  require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const { id, method, params } = JSON.parse(line)
    const answer = (result) => console.log(JSON.stringify({ jsonrpc: "2.0", id, result }))
    if (method === "ping") answer({})
    if (method === "initialize")
      answer({
        protocolVersion: params.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: "secretive", version: "1.0.0" }
      })
  })`)

/** Exits at once, with a code and a word. */
export const licensed = script("console.error('no licence'); process.exit(7)")
