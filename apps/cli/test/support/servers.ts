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

/** Node's program for a server that answers what it has an answer to. */
export const answering = (answers: Readonly<Record<string, unknown>>): string => `
  const answers = ${JSON.stringify({ ping: {}, ...answers })}
  require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const { id, method, params } = JSON.parse(line)
    const answer = (result) => console.log(JSON.stringify({ jsonrpc: "2.0", id, result }))
    if (method in answers) answer(answers[method])
    if (method === "initialize")
      answer({
        protocolVersion: params.protocolVersion,
        capabilities: { tools: {}, resources: {}, prompts: {} },
        serverInfo: { name: "small", version: "1.0.0" }
      })
  })`

/** Shakes hands, answers pings, and keeps what it has to itself. */
export const secretive = clinging(answering({}))

/** Has one of each, and starts fast. */
export const small = script(
  answering({
    "tools/list": { tools: [{ name: "hello", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } }] },
    "tools/call": { content: [{ type: "text", text: "hello" }] },
    "resources/list": { resources: [{ name: "readme", uri: "small://readme" }] },
    "resources/templates/list": { resourceTemplates: [] },
    "resources/read": { contents: [{ uri: "small://readme", text: "read me" }] },
    "prompts/list": { prompts: [{ name: "greet" }] }
  })
)

/** Exits at once, with a code and a word. */
export const licensed = script("console.error('no licence'); process.exit(7)")
