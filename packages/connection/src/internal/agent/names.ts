/** Names of tools for models: most take 64 letters, digits, `_` and `-`, and each name once. */
import * as Hash from "effect/Hash"

const longest = 64

/** Names in the order of their tools; what is too long, or somebody else's already, ends with a hash of what it stands for. */
export const qualified = (
  tools: ReadonlyArray<{ readonly server: string; readonly tool: string }>
): ReadonlyArray<string> => {
  const plain = tools.map(({ server, tool }) => `${clean(server)}__${clean(tool)}`)
  const count = new Map<string, number>()
  for (const name of plain) count.set(name, (count.get(name) ?? 0) + 1)
  const taken = new Set<string>()
  return tools.map(({ server, tool }, index) => {
    const name = plain[index] ?? ""
    // All that share a name are told apart, so that no order of servers changes what a name stands for.
    let unique = name.length > longest || (count.get(name) ?? 0) > 1 ? hashed(name, `${server}\n${tool}`) : name
    for (let again = 1; taken.has(unique); again += 1) unique = hashed(name, `${server}\n${tool}\n${again}`)
    taken.add(unique)
    return unique
  })
}

/** Whether a name is what a tool is called where no other one is called like it. */
export const isPlain = (name: string, server: string, tool: string): boolean =>
  name === `${clean(server)}__${clean(tool)}`

/** The tool that a name is about, if it is one of this server. */
export const toolOf = (name: string, server: string): string | undefined => {
  const prefix = `${clean(server)}__`
  return name.startsWith(prefix) ? name.slice(prefix.length) : undefined
}

const clean = (text: string): string => text.replaceAll(/[^A-Za-z0-9_-]/g, "_")

const hashed = (name: string, what: string): string => {
  const hash = (Hash.string(what) >>> 0).toString(36).padStart(7, "0")
  return `${name.slice(0, longest - hash.length - 1)}_${hash}`
}
