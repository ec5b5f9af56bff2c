/** A host of skills (SEP-2640), as small as one can be: what it has not verified it does not use. */
import type { McpConnection } from "@mcp-tether/connection"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"

export class Unverified extends Schema.TaggedError<Unverified>()("Unverified", { message: Schema.String }) {}

const Skill = Schema.Struct({
  uri: Schema.String,
  frontmatter: Schema.Record(Schema.String, Schema.Unknown),
  resources: Schema.Array(Schema.Struct({ uri: Schema.String, digest: Schema.String, size: Schema.Number }))
})

const Skills = Schema.Struct({ skills: Schema.Array(Skill) })

/** What skills there are; none of their files is fetched. */
export const list = (mcp: McpConnection.Shape) =>
  Effect.flatMap(mcp.request("skills/list", {}), Schema.decodeUnknownEffect(Skills))

/** Loads the first skill: its own file, and only when that is what was promised, the others. */
export const load = Effect.fnUntraced(function* (mcp: McpConnection.Shape) {
  const { skills } = yield* list(mcp)
  const [skill] = skills
  if (skill === undefined) return yield* new Unverified({ message: "no skill" })
  const text = yield* read(mcp, skill, skill.uri)
  const frontmatter = frontmatterOf(text)
  const keys = new Set([...Object.keys(frontmatter), ...Object.keys(skill.frontmatter)])
  for (const key of keys) {
    if (frontmatter[key] !== skill.frontmatter[key]) return yield* new Unverified({ message: `${key} is another` })
  }
  return yield* Effect.forEach(skill.resources, ({ uri }) => read(mcp, skill, uri))
})

const read = Effect.fnUntraced(function* (mcp: McpConnection.Shape, skill: typeof Skill.Type, uri: string) {
  const promised = skill.resources.find((resource) => resource.uri === uri)
  const { contents } = yield* mcp.readResource({ uri })
  const [content] = contents
  const text = content !== undefined && "text" in content ? content.text : ""
  const digest = `sha256:${createHash("sha256").update(text, "utf8").digest("hex")}`
  if (promised === undefined || promised.size !== Buffer.byteLength(text) || promised.digest !== digest)
    return yield* new Unverified({ message: `${uri} is not what was promised` })
  return text
})

/** Flat YAML, which is all that the suite has. */
const frontmatterOf = (text: string): Readonly<Record<string, unknown>> => {
  const [, block = ""] = /^---\n([\s\S]*?)\n---\n/.exec(text) ?? []
  return Object.fromEntries(
    block.split("\n").map((line) => {
      const colon = line.indexOf(":")
      return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()]
    })
  )
}
