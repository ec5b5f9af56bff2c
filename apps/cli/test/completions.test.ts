/** Completions: what is printed is for real shells, so they are asked. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestConsole } from "effect/testing"
import { execFileSync, spawnSync } from "node:child_process"
import { root, run } from "../src/cli.ts"

const isHere = (shell: string): boolean => spawnSync(shell, ["-c", "true"]).status === 0

const names = root.subcommands.flatMap(({ commands }) => commands.map(({ name }) => name))

const scriptFor = (shell: string) =>
  Effect.andThen(run(["--completions", shell]), TestConsole.logLines).pipe(
    Effect.map((lines) => lines.join("\n")),
    Effect.provide(NodeServices.layer)
  )

/** What bash, having sourced the script, offers for the last of these words. */
const offered = (script: string, ...words: ReadonlyArray<string>): ReadonlyArray<string> => {
  const ask = `
    . <(cat)
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=\${#COMP_LINE} COMP_TYPE=9
    entry=$(complete -p mcp-tether) || exit 1
    entry=\${entry#*-F }; entry=\${entry%% *}
    "$entry" mcp-tether "\${@: -1}" "\${@: -2:1}"
    printf '%s\\n' "\${COMPREPLY[@]}"`
  const stdout = execFileSync("bash", ["--norc", "-c", ask, "bash", "mcp-tether", ...words], {
    input: script,
    encoding: "utf8"
  })
  return stdout.split("\n").flatMap((line) => (line.trim() === "" ? [] : [line.trim()]))
}

describe("mcp-tether --completions", () => {
  it.effect.skipIf(!isHere("bash"))("bash completes commands, their flags, and the values of flags", () =>
    Effect.gen(function* () {
      const script = yield* scriptFor("bash")
      assert.includeMembers([...offered(script, "")], names)
      assert.deepStrictEqual(offered(script, "stat"), ["status"])
      assert.deepStrictEqual(offered(script, "status", "--ti"), ["--timeout"])
      assert.deepStrictEqual(offered(script, "chaos", "--transport", "ht"), ["http"])
    })
  )

  for (const shell of ["zsh", "fish"])
    it.effect(`${shell} has every command in it, and is read by ${shell} where that is installed`, () =>
      Effect.gen(function* () {
        const script = yield* scriptFor(shell)
        for (const name of names) assert.include(script, name)
        if (isHere(shell)) execFileSync(shell, ["-n"], { input: script })
      })
    )
})
