/** The commands that ask one server, as processes, against a server that nobody here wrote. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { operands } from "./support/everything.ts"
import * as Terminal from "./support/terminal.ts"

const run = (...args: ReadonlyArray<string>) =>
  Effect.scoped(Effect.flatMap(Terminal.make, (terminal) => terminal.run([...args, ...operands])))

describe("mcp-tether", () => {
  it.live("resources lists what there is to read, and the templates", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* run("resources")
      assert.strictEqual(code, 0, stderr)
      assert.include(stdout, "demo://resource/static/document/features.md")
      const json = yield* run("resources", "--json")
      const { resources, templates } = JSON.parse(json.stdout) as {
        readonly resources: ReadonlyArray<{ readonly uri: string }>
        readonly templates: ReadonlyArray<{ readonly uriTemplate: string }>
      }
      // A line for each, and nothing else.
      assert.lengthOf(stdout.trimEnd().split("\n"), resources.length + templates.length)
      for (const { uriTemplate } of templates) assert.include(stdout, uriTemplate)
    })
  )

  it.live("prompts lists the prompts with what they want", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* run("prompts")
      assert.strictEqual(code, 0, stderr)
      assert.match(stdout, /^args-prompt <city> \[state\]/m)
    })
  )

  it.live("read prints a resource", () =>
    Effect.gen(function* () {
      const uri = "demo://resource/static/document/features.md"
      const { code, stderr, stdout } = yield* run("read", uri)
      assert.strictEqual(code, 0, stderr)
      const json = yield* run("read", uri, "--json")
      const { contents } = JSON.parse(json.stdout) as { readonly contents: ReadonlyArray<{ readonly text: string }> }
      assert.strictEqual(stdout, `${contents[0]?.text}\n`)
    })
  )

  it.live("read says which resource there is not, and fails", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* run("read", "demo://nowhere")
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.include(stderr, "demo://nowhere")
    })
  )
})
