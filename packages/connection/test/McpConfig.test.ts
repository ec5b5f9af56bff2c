import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { execFile } from "node:child_process"
import { promisify, inspect } from "node:util"
import * as McpConfig from "../src/McpConfig.ts"
import * as McpFleet from "../src/McpFleet.ts"

const env = { GITHUB_TOKEN: "ghp_of-the-environment", HOME: "/home/ada" }

const parse = (text: string, options: McpConfig.ParseOptions = {}) => McpConfig.parse(text, { env, ...options })

const json = (value: unknown, options?: McpConfig.ParseOptions) => parse(JSON.stringify(value), options)

/** One server of a file with `mcpServers`. */
const one = (entry: unknown, options?: McpConfig.ParseOptions) =>
  Effect.map(json({ mcpServers: { it: entry } }, options), (config) => {
    assert.lengthOf(config.broken, 0, config.broken[0]?.error.message)
    const [server] = config.servers
    assert(server !== undefined)
    return { server, notes: config.notes.map(({ kind, message, path }) => `${kind} ${path}: ${message}`) }
  })

/** What is wrong with one server of a file with `mcpServers`, in words. */
const wrong = (entry: unknown, options?: McpConfig.ParseOptions) =>
  Effect.map(json({ mcpServers: { it: entry } }, options), (config) => {
    assert.lengthOf(config.servers, 0)
    const [broken] = config.broken
    assert(broken !== undefined)
    assert.strictEqual(broken.error.server, "it")
    return broken.error.issues.map(({ actual, expected, path }) => `${path}: expected ${expected}, got ${actual}`)
  })

/** With what is secret laid open, to be compared. */
const open = (value: unknown): unknown => {
  if (Redacted.isRedacted(value)) return { secret: Redacted.value(value) }
  if (Duration.isDuration(value)) return Duration.toMillis(value)
  if (Array.isArray(value)) return value.map(open)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, value]) => [key, open(value)]))
}

const secret = (text: string) => ({ secret: text })

describe("the forms of clients", () => {
  it.effect("Claude Desktop: a program, its arguments and its environment", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        `{
  "globalShortcut": "Cmd+Space",
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/Users/ada/Desktop"],
      "env": { "LOG_LEVEL": "info" }
    }
  }
}`,
        { path: "/Users/ada/Library/Application Support/Claude/claude_desktop_config.json" }
      )
      assert.deepStrictEqual(config.source, {
        path: "/Users/ada/Library/Application Support/Claude/claude_desktop_config.json",
        client: "Claude Desktop",
        format: "mcpServers",
        syntax: "json"
      })
      assert.deepStrictEqual(open(config.servers), [
        {
          name: "filesystem",
          transport: {
            _tag: "stdio",
            command: "npx",
            args: ["-y", "@modelcontextprotocol/server-filesystem", "/Users/ada/Desktop"],
            env: { LOG_LEVEL: secret("info") },
            cwd: undefined
          },
          disabled: false,
          required: false,
          startupTimeout: undefined,
          requestTimeout: undefined,
          enabledTools: undefined,
          disabledTools: undefined,
          rest: secret({} as never)
        }
      ])
      assert.deepStrictEqual(config.broken, [])
      assert.deepStrictEqual(config.notes, [])
    })
  )

  it.effect("Claude Code: the types of transports, placeholders and defaults", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        `{
  "mcpServers": {
    "github": {
      "type": "http",
      "url": "https://api.githubcopilot.com/mcp/",
      "headers": { "Authorization": "Bearer \${GITHUB_TOKEN}", "X-Team": "\${TEAM:-core}" },
      "timeout": 120000
    },
    "events": { "type": "sse", "url": "\${EVENTS_URL:-https://events.example.com}/sse" },
    "postgres": {
      "type": "stdio",
      "command": "\${HOME}/bin/postgres-mcp",
      "args": ["--dsn", "\${DSN:-postgres://localhost}", "--token=\${GITHUB_TOKEN}"],
      "env": { "CACHE": "\${CACHE:-/tmp}" },
      "alwaysLoad": true
    }
  }
}`,
        { path: ".mcp.json" }
      )
      assert.strictEqual(config.source.client, "Claude Code")
      assert.deepStrictEqual(
        config.servers.map(({ transport }) => open(transport)),
        [
          {
            _tag: "streamableHttp",
            url: secret("https://api.githubcopilot.com/mcp/"),
            headers: { Authorization: secret("Bearer ghp_of-the-environment"), "X-Team": secret("core") }
          },
          { _tag: "sse", url: secret("https://events.example.com/sse"), headers: {} },
          {
            _tag: "stdio",
            command: secret("/home/ada/bin/postgres-mcp"),
            args: ["--dsn", "postgres://localhost", secret("--token=ghp_of-the-environment")],
            env: { CACHE: secret("/tmp") },
            cwd: undefined
          }
        ]
      )
      assert.deepStrictEqual(open(config.servers[0]?.requestTimeout), 120_000)
      assert.deepStrictEqual(config.notes, [])
    })
  )

  it.effect("Cursor: the variables of an editor, and a url without a type", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        `{ "mcpServers": {
  "local": { "command": "\${workspaceFolder}/bin/mcp", "args": ["--home", "\${userHome}\${/}x", "\${workspaceFolderBasename}"] },
  "remote": { "url": "https://\${env:TENANT:-acme}.example.com/mcp" } } }`,
        { path: "/work/shop/.cursor/mcp.json", cwd: "/work/shop" }
      )
      assert.strictEqual(config.source.client, "Cursor")
      assert.deepStrictEqual(
        config.servers.map(({ transport }) => open(transport)),
        [
          {
            _tag: "stdio",
            command: "/work/shop/bin/mcp",
            args: ["--home", "/home/ada/x", "shop"],
            env: {},
            cwd: undefined
          },
          { _tag: "http", url: secret("https://acme.example.com/mcp"), headers: {} }
        ]
      )
    })
  )

  it.effect("Windsurf: serverUrl and disabledTools", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        `{ "mcpServers": { "talk": { "serverUrl": "https://talk.example.com/mcp", "disabled": true, "disabledTools": ["shout"] } } }`,
        { path: "/home/ada/.codeium/windsurf/mcp_config.json" }
      )
      assert.strictEqual(config.source.client, "Windsurf")
      const [server] = config.servers
      assert.deepStrictEqual(open(server?.transport), {
        _tag: "http",
        url: secret("https://talk.example.com/mcp"),
        headers: {}
      })
      assert(server !== undefined)
      assert.strictEqual(server.disabled, true)
      assert.deepStrictEqual(server.disabledTools, ["shout"])
    })
  )

  it.effect("Gemini CLI: httpUrl before url, $NAME, milliseconds, and tools", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        `{
  "theme": "Dark",
  "mcpServers": {
    "python": {
      "command": "python", "args": ["-m", "server"], "cwd": "~/tools",
      "env": { "API_KEY": "$GITHUB_TOKEN" }, "timeout": 30000, "trust": false,
      "includeTools": ["read(file.txt)"], "excludeTools": ["write"]
    },
    "remote": { "httpUrl": "https://x.example.com/mcp", "url": "https://x.example.com/sse" }
  }
}`,
        { path: "/home/ada/.gemini/settings.json" }
      )
      assert.strictEqual(config.source.client, "Gemini CLI")
      const [python, remote] = config.servers
      assert.deepStrictEqual(open(python?.transport), {
        _tag: "stdio",
        command: "python",
        args: ["-m", "server"],
        env: { API_KEY: secret("ghp_of-the-environment") },
        cwd: "/home/ada/tools"
      })
      assert.deepStrictEqual(open(python?.requestTimeout), 30_000)
      assert(python !== undefined)
      assert.deepStrictEqual(python.enabledTools, ["read"])
      assert.deepStrictEqual(python.disabledTools, ["write"])
      assert.deepStrictEqual(open(python.rest), secret({ trust: false } as never))
      assert.deepStrictEqual(open(remote?.transport), {
        _tag: "streamableHttp",
        url: secret("https://x.example.com/mcp"),
        headers: {}
      })
      assert.deepStrictEqual(
        config.notes.map(({ message, path }) => `${path}: ${message}`),
        ["mcpServers.remote.url: a server that is reached by its url does not use it"]
      )
    })
  )

  it.effect("VS Code: comments, trailing commas, env:, inputs that nobody asks for here, and envFile", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        `{
  // asked for once
  "inputs": [{ "type": "promptString", "id": "key", "password": true, },],
  "servers": {
    "memory": {
      "type": "stdio",
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-memory"], /* all of it */
      "env": { "TOKEN": "\${env:GITHUB_TOKEN}", "PORT": 3000, "UNSET": null },
      "envFile": "\${workspaceFolder}/.env",
    },
    "github": { "type": "http", "url": "https://api.githubcopilot.com/mcp" },
    "perplexity": {
      "command": "npx",
      "env": { "KEY": "\${input:key}" }
    },
  },
}`,
        { path: "/work/shop/.vscode/mcp.json" }
      )
      assert.deepStrictEqual(config.source, {
        path: "/work/shop/.vscode/mcp.json",
        client: "VS Code",
        format: "servers",
        syntax: "json"
      })
      assert.deepStrictEqual(
        config.servers.map(({ name, transport }) => [name, open(transport)]),
        [
          [
            "memory",
            {
              _tag: "stdio",
              command: "npx",
              args: ["-y", "@modelcontextprotocol/server-memory"],
              env: { TOKEN: secret("ghp_of-the-environment"), PORT: secret("3000") },
              cwd: undefined
            }
          ],
          // "VS Code first tries the streamable HTTP transport, and falls back to SSE".
          ["github", { _tag: "http", url: secret("https://api.githubcopilot.com/mcp"), headers: {} }]
        ]
      )
      assert.deepStrictEqual(
        config.broken.map(({ error, name }) => [name, error.message]),
        [
          [
            "perplexity",
            "/work/shop/.vscode/mcp.json: servers.perplexity.env.KEY (line 15, column 23): expected a value for ${input:key}, got nothing: only VS Code asks for inputs; write ${env:NAME} and set that variable, or the value itself"
          ]
        ]
      )
      assert.deepStrictEqual(config.notes, [
        {
          kind: "NotApplied",
          path: "servers.memory.envFile",
          line: 10,
          column: 18,
          message: "the file is not read: put its variables into the environment, or into env"
        },
        {
          kind: "Converted",
          path: "servers.memory.env.PORT",
          line: 9,
          column: 56,
          message: "a number, which is passed as a text"
        }
      ])
    })
  )

  it.effect("Codex: TOML, variables by name, seconds, enabled and tools", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        `
model = "gpt-5"

[mcp_servers.context7]
command = "npx"
args = ["-y", "@upstash/context7-mcp"]
cwd = "/srv/context"
env_vars = ["GITHUB_TOKEN", "NOT_SET", { name = "HOME", source = "local" }]
startup_timeout_sec = 20
tool_timeout_sec = 45.5
required = true
enabled_tools = ["search"]
disabled_tools = ["shout"]
supports_parallel_tool_calls = true

[mcp_servers.context7.env]
MODE = "fast"

[mcp_servers.figma]
url = "https://mcp.figma.com/mcp"
bearer_token_env_var = "GITHUB_TOKEN"
http_headers = { "X-Figma-Region" = "us-east-1" }
env_http_headers = { "X-Home" = "HOME" }
startup_timeout_ms = 1500
enabled = false
`,
        { path: "/home/ada/.codex/config.toml" }
      )
      assert.deepStrictEqual(config.source, {
        path: "/home/ada/.codex/config.toml",
        client: "Codex",
        format: "mcp_servers",
        syntax: "toml"
      })
      assert.deepStrictEqual(open(config.servers), [
        {
          name: "context7",
          transport: {
            _tag: "stdio",
            command: "npx",
            args: ["-y", "@upstash/context7-mcp"],
            env: { GITHUB_TOKEN: secret("ghp_of-the-environment"), HOME: secret("/home/ada"), MODE: secret("fast") },
            cwd: "/srv/context"
          },
          disabled: false,
          required: true,
          startupTimeout: 20_000,
          requestTimeout: 45_500,
          enabledTools: ["search"],
          disabledTools: ["shout"],
          rest: secret({ supports_parallel_tool_calls: true } as never)
        },
        {
          name: "figma",
          transport: {
            _tag: "streamableHttp",
            url: secret("https://mcp.figma.com/mcp"),
            headers: {
              "X-Figma-Region": secret("us-east-1"),
              "X-Home": secret("/home/ada"),
              Authorization: secret("Bearer ghp_of-the-environment")
            }
          },
          disabled: true,
          required: false,
          startupTimeout: 1_500,
          requestTimeout: undefined,
          enabledTools: undefined,
          disabledTools: undefined,
          rest: secret({} as never)
        }
      ])
      assert.deepStrictEqual(config.notes, [])
    })
  )

  it.effect("Copilot CLI and Cline: their words for the same", () =>
    Effect.gen(function* () {
      const copilot = yield* parse(
        `{ "mcpServers": { "x": { "type": "local", "command": "x", "tools": ["*"] }, "y": { "type": "streamable-http", "url": "https://y.example.com" } } }`,
        { path: "/home/ada/.copilot/mcp-config.json" }
      )
      assert.deepStrictEqual(
        copilot.servers.map(({ transport }) => transport._tag),
        ["stdio", "streamableHttp"]
      )
      const cline = yield* parse(
        `{ "mcpServers": { "x": { "type": "streamableHttp", "url": "https://x.example.com", "timeout": 90, "autoApprove": [] } } }`,
        { path: "/home/ada/.cline/data/settings/cline_mcp_settings.json" }
      )
      assert.deepStrictEqual(open(cline.servers[0]?.requestTimeout), 90_000)
      assert.deepStrictEqual(cline.notes, [])
    })
  )

  it.effect("are told by the text, where there is no name", () =>
    Effect.gen(function* () {
      const of = (text: string) => Effect.map(parse(text), ({ source }) => [source.format, source.syntax])
      assert.deepStrictEqual(yield* of('{ "mcpServers": {} }'), ["mcpServers", "json"])
      assert.deepStrictEqual(yield* of('\uFEFF// VS Code\n{ "servers": {} }'), ["servers", "json"])
      assert.deepStrictEqual(yield* of("[mcp_servers]"), ["mcp_servers", "toml"])
      assert.deepStrictEqual(yield* of('[mcpServers.x]\ncommand = "x"'), ["mcpServers", "toml"])
      assert.deepStrictEqual(yield* of('{ "mcp_servers": {} }'), ["mcp_servers", "json"])
    })
  )

  it.effect("are chosen between, where a file has several and the caller says which", () =>
    Effect.gen(function* () {
      const both = '{ "mcpServers": { "a": { "command": "a" } }, "servers": { "b": { "command": "b" } } }'
      const names = (format: McpConfig.Format) =>
        Effect.map(parse(both, { format }), ({ servers, source }) => [
          source.format,
          ...servers.map(({ name }) => name)
        ])
      assert.deepStrictEqual(yield* names("mcpServers"), ["mcpServers", "a"])
      assert.deepStrictEqual(yield* names("servers"), ["servers", "b"])
      const other = yield* Effect.flip(parse(both, { format: "mcp_servers" }))
      assert.strictEqual(
        other.message,
        "the MCP configuration: expected an object with mcp_servers, got mcpServers and servers"
      )
      const none = yield* Effect.flip(parse("{}", { format: "servers" }))
      assert.strictEqual(none.message, "the MCP configuration: expected an object with servers, got none of them")
    })
  )

  it.effect("any name will do for a server", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        '{ "mcpServers": { "__proto__": { "command": "x" }, "my server": { "comand": "x" } } }'
      )
      assert.deepStrictEqual(
        config.servers.map(({ name }) => name),
        ["__proto__"]
      )
      assert.strictEqual(config.broken[0]?.error.issues[0].path, 'mcpServers["my server"]')
    })
  )
})

/** One file of each syntax, with everything in it. */
const whole = {
  json: `{ // all of it
  "mcpServers": {
    "a": { "command": "npx", "args": ["-y", "\\u00e9", 3, true], "env": { "A": "\${GITHUB_TOKEN:-x}" }, },
    "b": { "type": "http", "url": "https://example.com/mcp", "headers": { "X": "y" }, "timeout": 1.5e3 }
  } /* the end */
}`,
  toml: `# all of it
model = "gpt-5"
[mcp_servers.a]
command = 'npx'
args = ["-y", "\\u00e9",
  "c"]
env = { A = "\${GITHUB_TOKEN:-x}", B = """
two lines""" }
startup_timeout_sec = 1.5e1
[mcp_servers."b c"]
url = "https://example.com/mcp"
enabled = true
[[profiles]]
since = 2026-01-31T10:00:00Z
`
}

describe("a file that cannot be read", () => {
  const cases: ReadonlyArray<readonly [what: string, text: string, path: string | undefined, message: string]> = [
    [
      "a comma is missing",
      '{\n  "mcpServers": {\n    "a": { "command": "x" }\n    "b": { "command": "y" }\n  }\n}',
      "mcp.json",
      "mcp.json: line 4, column 5: expected a comma before this, got a text"
    ],
    [
      "a backslash of Windows",
      '{ "mcpServers": { "a": { "command": "C:\\Program Files\\x.exe" } } }',
      "mcp.json",
      'mcp.json: line 1, column 37: expected an escape like \\n, \\" or \\\\ (a backslash is written twice), got a text'
    ],
    [
      "single quotes",
      "{ 'mcpServers': {} }",
      "mcp.json",
      "mcp.json: line 1, column 3: expected a value: a text in double quotes, a number, true, false, null, [ or {, got a single quote"
    ],
    [
      "a text without an end",
      '{ "mcpServers": { "a": { "command": "x } } }\n',
      "mcp.json",
      "mcp.json: line 1, column 37: expected a text that is closed with a double quote on the same line, got a text"
    ],
    [
      "a file that was cut off",
      '{ "mcpServers": { "a": { "command": "x"',
      "mcp.json",
      "mcp.json: line 1, column 40: expected a closing }, got the end of the file"
    ],
    [
      "something after the end",
      '{ "mcpServers": {} } }',
      "mcp.json",
      "mcp.json: line 1, column 22: expected nothing after the end of the object, got }"
    ],
    ["an empty file", " \n", "mcp.json", "mcp.json: expected a JSON object, got an empty file"],
    [
      "an array",
      '\n[{ "command": "x" }]',
      "mcp.json",
      "mcp.json: line 2, column 1: expected an object with one of mcpServers (most clients), servers (VS Code) and mcp_servers (Codex), got an array"
    ],
    [
      "a value of TOML without quotes",
      '[mcp_servers.a]\ncommand = "x"\nenv = { KEY = sk-hush }\n',
      "config.toml",
      "config.toml: line 3, column 22: expected a text in quotes, a number, true, false, [ or {, got a word without quotes"
    ],
    [
      "a table of TOML twice",
      '[mcp_servers.a]\ncommand = "x"\n[mcp_servers.a]\ncommand = "y"\n',
      "config.toml",
      "config.toml: line 3, column 16: expected mcp_servers.a once, got it a second time"
    ],
    [
      "TOML without a value",
      "model =\n",
      "config.toml",
      "config.toml: line 1, column 8: expected a value, got nothing"
    ],
    [
      "TOML with a backslash",
      '[mcp_servers.a]\ncommand = "C:\\Programs"',
      "config.toml",
      'config.toml: line 2, column 16: expected an escape like \\n, \\" or \\\\ (or a text in single quotes, where \\ is no escape), got another one'
    ],
    [
      "UTF-16, as PowerShell writes it",
      '{\0"\0m\0',
      "mcp.json",
      "mcp.json: expected a text in UTF-8, got bytes of another kind: save the file as UTF-8"
    ],
    [
      "no servers at all",
      '{ "theme": "dark" }',
      undefined,
      "the MCP configuration: expected an object with one of mcpServers (most clients), servers (VS Code) and mcp_servers (Codex), got none of them"
    ],
    [
      "two forms",
      '{ "mcpServers": {}, "servers": {} }',
      undefined,
      "the MCP configuration: expected an object with one of mcpServers (most clients), servers (VS Code) and mcp_servers (Codex), got mcpServers and servers: one file, one of them"
    ],
    [
      "a near miss",
      '{ "mcpserver": {} }',
      undefined,
      "the MCP configuration: expected an object with one of mcpServers (most clients), servers (VS Code) and mcp_servers (Codex), got mcpserver: did you mean mcpServers?"
    ],
    [
      "servers at the top",
      '{ "a": { "command": "x" } }',
      undefined,
      'the MCP configuration: expected an object with one of mcpServers (most clients), servers (VS Code) and mcp_servers (Codex), got servers right at the top: put them into { "mcpServers": … }'
    ],
    [
      "VS Code's settings",
      '{ "mcp": { "servers": {} } }',
      "settings.json",
      "settings.json: expected an object with one of mcpServers (most clients), servers (VS Code) and mcp_servers (Codex), got mcp.servers, as in settings.json of VS Code: move the servers to .vscode/mcp.json"
    ],
    [
      "opencode's form",
      '{ "mcp": { "x": { "type": "local", "command": ["x"] } } }',
      "opencode.json",
      "opencode.json: expected an object with one of mcpServers (most clients), servers (VS Code) and mcp_servers (Codex), got mcp, as opencode has it, which is not read"
    ],
    [
      "a list of servers",
      '{ "mcpServers": [{ "name": "a" }] }',
      "mcp.json",
      "mcp.json: mcpServers (line 1, column 17): expected an object of servers by their names, got an array"
    ]
  ]
  for (const [what, text, path, message] of cases) {
    it.effect(`${what}: says what is wrong, and where`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(parse(text, { path }))
        assert.strictEqual(error._tag, "InvalidConfig")
        assert.strictEqual(error.message, message)
      })
    )
  }

  it.effect.prop(
    "wherever it is cut off or damaged: it is read, or fails with what is wrong",
    [
      Schema.Literals(Object.values(whole)),
      Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })),
      Schema.Literals([
        "",
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        ",",
        ":",
        "=",
        "\n",
        "\\",
        "\r",
        "${",
        "\u0001",
        "é",
        '"""',
        "#"
      ]),
      Schema.Boolean
    ],
    ([text, where, what, cut]) =>
      Effect.gen(function* () {
        const at = Math.floor(text.length * where)
        const damaged = text.slice(0, at) + what + (cut ? "" : text.slice(at + 1))
        const path = text.startsWith("{") ? "mcp.json" : "config.toml"
        const result = yield* Effect.result(parse(damaged, { path }))
        if (Result.isFailure(result)) {
          assert.strictEqual(result.failure._tag, "InvalidConfig")
          assert.notInclude(result.failure.message, "undefined")
        }
      }),
    { arbitrary: { runs: 300, seed: 11 } }
  )

  it.effect("nested without end: it fails like any other", () =>
    Effect.gen(function* () {
      for (const text of ["[".repeat(200_000), `x = ${"[".repeat(200_000)}`]) {
        const error = yield* Effect.flip(parse(text, { path: text.startsWith("x") ? "config.toml" : "mcp.json" }))
        assert.strictEqual(error._tag, "InvalidConfig")
      }
    })
  )
})

describe("a server that is wrong", () => {
  it.effect("does not keep the others from working, and is told with its place", () =>
    Effect.gen(function* () {
      const config = yield* parse(
        `{
  "mcpServers": {
    "good": { "command": "x" },
    "bad": {
      "command": 42,
      "args": ["a", ["b"]],
      "disabled": "no"
    },
    "unset": {
      "url": "https://example.com/mcp",
      "headers": { "Authorization": "Bearer \${NO_SUCH_TOKEN}" }
    }
  }
}`,
        { path: "mcp.json" }
      )
      assert.deepStrictEqual(
        config.servers.map(({ name }) => name),
        ["good"]
      )
      const [bad, unset] = config.broken
      assert(bad !== undefined)
      assert.strictEqual(bad.name, "bad")
      assert.deepStrictEqual(bad.error.issues, [
        {
          path: "mcpServers.bad.command",
          line: 5,
          column: 18,
          expected: "a string that is not empty",
          actual: "a number"
        },
        { path: "mcpServers.bad.args[1]", line: 6, column: 21, expected: "a string", actual: "an array" },
        { path: "mcpServers.bad.disabled", line: 7, column: 19, expected: "true or false", actual: "a string" }
      ])
      assert(unset !== undefined)
      assert.strictEqual(unset.name, "unset")
      assert.strictEqual(
        unset.error.message,
        "mcp.json: mcpServers.unset.headers.Authorization (line 11, column 37): expected the environment variable NO_SUCH_TOKEN, got nothing: it is not set (a default is written ${NO_SUCH_TOKEN:-default})"
      )
      assert.strictEqual(unset.error.issues[0].variable, "NO_SUCH_TOKEN")
    })
  )

  const cases: ReadonlyArray<readonly [entry: unknown, ...issues: ReadonlyArray<string>]> = [
    [null, "mcpServers.it: expected an object with a command or a url, got null"],
    ["npx", "mcpServers.it: expected an object with a command or a url, got a string"],
    [{}, "mcpServers.it: expected a command (of a program to start) or a url (of a server to reach), got neither"],
    [
      { comand: "npx" },
      "mcpServers.it: expected a command (of a program to start) or a url (of a server to reach), got neither: did you mean command by comand?"
    ],
    [
      { command: "x", url: "https://example.com" },
      "mcpServers.it: expected a command (of a program to start) or a url (of a server to reach), got both"
    ],
    [
      { type: "stdio", url: "https://example.com" },
      "mcpServers.it.command: expected a string (the program to start), got nothing"
    ],
    [{ type: "http", command: "x" }, "mcpServers.it.url: expected a string (the URL of the server), got nothing"],
    [
      { type: "htpp", url: "https://example.com" },
      'mcpServers.it.type: expected "stdio", "http" (or "streamable-http") or "sse", got "htpp"'
    ],
    [{ command: "" }, "mcpServers.it.command: expected a string that is not empty, got an empty string"],
    [{ command: ["npx", "-y"] }, "mcpServers.it.command: expected a string that is not empty, got an array"],
    [{ command: "x", args: "-y" }, "mcpServers.it.args: expected an array of strings, got a string"],
    [{ command: "x", env: ["A=b"] }, "mcpServers.it.env: expected an object of strings, got an array"],
    [{ command: "x", env: { A: { b: 1 } } }, "mcpServers.it.env.A: expected a string, got an object"],
    [{ command: "x", cwd: 1 }, "mcpServers.it.cwd: expected a string that is not empty, got a number"],
    [
      { command: "x", cwd: "${workspaceFolder}" },
      "mcpServers.it.cwd: expected a workspace folder for ${workspaceFolder}, got none"
    ],
    [
      { command: "x", args: ["${command:pick}"] },
      "mcpServers.it.args[0]: expected a value for ${command:pick}, got nothing: only VS Code knows it; write ${env:NAME} and set that variable, or the value itself"
    ],
    [
      { url: "example.com/mcp" },
      "mcpServers.it.url: expected an http: or https: URL without credentials (they belong into headers), got something else"
    ],
    [
      { url: "https://ada:hush@example.com" },
      "mcpServers.it.url: expected an http: or https: URL without credentials (they belong into headers), got something else"
    ],
    [
      { url: "${GITHUB_TOKEN}" },
      "mcpServers.it.url: expected an http: or https: URL without credentials (they belong into headers), got something else, after its variables were filled in"
    ],
    [
      { url: "https://example.com", headers: { "X Y": "1", Z: "a\nb" } },
      "mcpServers.it.headers: expected the name of a header, got other characters than a header's name has",
      "mcpServers.it.headers.Z: expected the value of a header, on one line, got line breaks, or characters that a header cannot have"
    ],
    [
      { command: "${NOT_SET:-}", cwd: "${NOT_SET:- }" },
      "mcpServers.it.command: expected a string that is not empty, got nothing, after its variables were filled in",
      "mcpServers.it.cwd: expected a string that is not empty, got nothing, after its variables were filled in"
    ],
    [
      { command: "x\0", args: ["a", "b\0"], cwd: "\0", env: { A: "\0" } },
      "mcpServers.it.command: expected a text without NUL characters, got one with them",
      "mcpServers.it.args[1]: expected a text without NUL characters, got one with them",
      "mcpServers.it.cwd: expected a text without NUL characters, got one with them",
      "mcpServers.it.env.A: expected a text without NUL characters, got one with them"
    ],
    [
      { command: "x", env: { "KEY=sk-hush": "", "": "1" } },
      "mcpServers.it.env: expected the name of a variable, without =, got another one",
      'mcpServers.it.env[""]: expected the name of a variable, without =, got another one'
    ],
    [
      { url: "https://example.com", headers: { "Authorization: Bearer sk-hush": "" } },
      "mcpServers.it.headers: expected the name of a header, got other characters than a header's name has"
    ],
    [
      { url: "https://example.com", headers: { Authorization: "Bearer ${ghp_16C7e42F292c6912E7710c838347Ae178B4a}" } },
      "mcpServers.it.headers.Authorization: expected the name of an environment variable that is set, got the name of none"
    ],
    [
      { url: "https://example.com", bearer_token_env_var: "AKIAIOSFODNN7EXAMPLE" },
      "mcpServers.it.bearer_token_env_var: expected the name of an environment variable that is set, got the name of none"
    ],
    [
      { url: "https://example.com", bearer_token_env_var: "NOT_SET" },
      "mcpServers.it.bearer_token_env_var: expected the environment variable NOT_SET, got nothing: it is not set"
    ],
    [
      { url: "https://example.com", bearer_token_env_var: "sk-hush" },
      "mcpServers.it.bearer_token_env_var: expected the name of an environment variable that is set, got the name of none"
    ],
    [
      { command: "x", timeout: -5 },
      'mcpServers.it.timeout: expected a duration of more than nothing, like "30 seconds", got -5'
    ],
    [
      { command: "x", startup_timeout_sec: 0 },
      "mcpServers.it.startup_timeout_sec: expected a number of seconds, more than 0, got 0"
    ],
    [
      { command: "x", requestTimeout: "soon" },
      'mcpServers.it.requestTimeout: expected a duration of more than nothing, like "30 seconds", got a string'
    ]
  ]
  for (const [entry, ...issues] of cases) {
    it.effect(`${JSON.stringify(entry)}: ${issues.length === 1 ? "one thing is" : "each thing that is"} wrong`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* wrong(entry), issues)
      })
    )
  }

  it.effect("has a name that a fleet does not take", () =>
    Effect.gen(function* () {
      const config = yield* json({
        mcpServers: {
          "": { command: "x" },
          "a\nb": { command: "x" },
          ["n".repeat(129)]: { command: "x" },
          "any other name, 名前": { command: "x" }
        }
      })
      assert.deepStrictEqual(
        config.servers.map(({ name }) => name),
        ["any other name, 名前"]
      )
      const expected = "expected a server with a name of 1 to 128 characters, without control characters"
      assert.deepStrictEqual(
        config.broken.map(({ error }) => error.message.replace(/\(.*\)/, "()")),
        [
          `the MCP configuration: mcpServers[""] (): ${expected}, got one without a name`,
          `the MCP configuration: mcpServers["a\\nb"] (): ${expected}, got one with another name`,
          `the MCP configuration: mcpServers.${"n".repeat(129)} (): ${expected}, got one with another name`
        ]
      )
    })
  )

  it.effect("is told to be disabled, too", () =>
    Effect.gen(function* () {
      const config = yield* json({
        mcpServers: { a: { disabled: true, command: "${NOT_SET}" }, b: { enabled: false, command: 1 } }
      })
      assert.deepStrictEqual(
        config.broken.map(({ disabled, name }) => [name, disabled]),
        [
          ["a", true],
          ["b", true]
        ]
      )
    })
  )
})

describe("what is worth knowing", () => {
  const cases: ReadonlyArray<readonly [entry: Record<string, unknown>, ...notes: ReadonlyArray<string>]> = [
    [{ command: "x", arg: [] }, "UnknownKey mcpServers.it.arg: there is no such key: did you mean args?"],
    [
      { command: "x", Disabled: true },
      "UnknownKey mcpServers.it.Disabled: there is no such key: did you mean disabled?"
    ],
    [
      { url: "https://x.example.com", "http-headers": {} },
      "UnknownKey mcpServers.it.http-headers: there is no such key: did you mean http_headers?"
    ],
    [{ command: "x", colour: "red" }, "UnknownKey mcpServers.it.colour: there is no such key"],
    [{ command: "x", autoApprove: [], description: "mine", trust: true }],
    [
      { url: "https://x.example.com", oauth: {} },
      "NotApplied mcpServers.it.oauth: its login is not used: give an authProvider, or mcp-tether login"
    ],
    [
      { type: "http", url: "https://x.example.com", command: "x", env: {} },
      "NotApplied mcpServers.it.command: a server that is reached by its url does not use it",
      "NotApplied mcpServers.it.env: a server that is reached by its url does not use it"
    ],
    [{ command: "x", headers: {} }, "NotApplied mcpServers.it.headers: a server that is started does not use it"],
    [
      { command: "npx -y @scope/server" },
      "Suspicious mcpServers.it.command: it is started without a shell: arguments belong into args"
    ],
    [{ command: "C:\\Program Files\\node.exe" }],
    [{ command: "${NOT_SET:-npx}" }],
    [
      { command: "x", env: { TOKEN: "$GITHUB_TOKEN" } },
      "Suspicious mcpServers.it.env.TOKEN: it is passed as it is: a variable is written ${NAME}, with braces"
    ],
    [
      { command: "sh", args: ["-c", "echo ${NAME%.*}"] },
      "Suspicious mcpServers.it.args[1]: there is something in ${…} that is no variable, and stays as it is"
    ],
    [
      { command: "x", args: ["--port", 3000, true] },
      "Converted mcpServers.it.args[1]: a number, which is passed as a text",
      "Converted mcpServers.it.args[2]: a boolean, which is passed as a text"
    ],
    [
      { command: "x", timeout: 60 },
      'NotApplied mcpServers.it.timeout: 60 may be milliseconds (Claude Code, Gemini CLI) or seconds (Cline): write "60 seconds"'
    ]
  ]
  for (const [entry, ...notes] of cases) {
    it.effect(`${JSON.stringify(entry)}: ${notes.length === 0 ? "nothing" : notes.length}`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual((yield* one(entry)).notes, notes)
      })
    )
  }

  it.effect("keys that nobody knows are kept", () =>
    Effect.gen(function* () {
      const { server } = yield* one({ command: "x", colour: { of: "red" }, args: null })
      assert.deepStrictEqual(Redacted.value(server.rest), { colour: { of: "red" } })
    })
  )

  it.effect("keys beside the servers are told of in a file of servers, and not in one of settings", () =>
    Effect.gen(function* () {
      const file = { $schema: "…", mcpServers: {}, mcpServer: {} }
      const notes = (path: string) => Effect.map(json(file, { path }), (config) => config.notes.map(({ path }) => path))
      assert.deepStrictEqual(yield* notes("/x/.mcp.json"), ["mcpServer"])
      assert.deepStrictEqual(yield* notes("/x/.gemini/settings.json"), [])
    })
  )

  it.effect("a key that is there twice is told of, and the last one counts", () =>
    Effect.gen(function* () {
      const config = yield* parse('{ "mcpServers": {\n "a": { "command": "x" },\n "a": { "command": "y" } } }')
      assert.deepStrictEqual(
        config.servers.map(({ transport }) => transport._tag === "stdio" && transport.command),
        ["y"]
      )
      assert.deepStrictEqual(config.notes, [
        { kind: "Twice", path: "mcpServers.a", line: 3, column: 7, message: "it is there twice: the last one counts" }
      ])
    })
  )
})

describe("placeholders", () => {
  const argument = (text: string, options?: McpConfig.ParseOptions) =>
    Effect.map(one({ command: "x", args: [text] }, options), ({ server }) =>
      server.transport._tag === "stdio" ? open(server.transport.args[0]) : undefined
    )
  const variables = { A: "one", B: "two", EMPTY: "", LITERAL: "${A}", HOME: "/home/ada" }
  const cases: ReadonlyArray<readonly [text: string, becomes: unknown]> = [
    ["${A}", secret("one")],
    ["${env:A}", secret("one")],
    ["<${A}${B}>", secret("<onetwo>")],
    ["${A:-no}", secret("one")],
    ["${NONE:-yes}", "yes"],
    ["${NONE:-}", ""],
    ["${EMPTY:-yes}", "yes"],
    ["${env:NONE:-yes}", "yes"],
    ["${NONE:-${B}}", secret("two")],
    ["${NONE:-${NEITHER:-a}b}c", "abc"],
    ["${LITERAL}", secret("${A}")],
    ["$${A}", "${A}"],
    ["$A", "$A"],
    ["${A", "${A"],
    ["${ ${A}", secret("${ one")],
    ["}${A}{", secret("}one{")],
    ["$", "$"],
    ["costs 5$", "costs 5$"],
    ["${}", "${}"],
    ["${A%x}", "${A%x}"],
    ["${userHome}", "/home/ada"]
  ]
  for (const [text, becomes] of cases) {
    it.effect(`${text} becomes ${JSON.stringify(becomes)}`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* argument(text, { env: variables }), becomes)
      })
    )
  }

  it.effect("an empty variable is as good as none", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* wrong({ command: "x", args: ["${EMPTY}"] }, { env: variables }), [
        "mcpServers.it.args[0]: expected the environment variable EMPTY, got nothing: it is not set (a default is written ${EMPTY:-default})"
      ])
    })
  )

  it.effect("all that are missing are named", () =>
    Effect.gen(function* () {
      const config = yield* json({ mcpServers: { it: { command: "${X}", args: ["${Y}-${Z}"], env: { A: "${X}" } } } })
      assert.deepStrictEqual(
        config.broken[0]?.error.issues.map(({ path, variable }) => [path, variable]),
        [
          ["mcpServers.it.command", "X"],
          ["mcpServers.it.args[0]", "Y"],
          ["mcpServers.it.args[0]", "Z"],
          ["mcpServers.it.env.A", "X"]
        ]
      )
    })
  )

  it.effect("a leading ~ is the home, in command and cwd alone", () =>
    Effect.gen(function* () {
      const { server } = yield* one({ command: "~/bin/x", args: ["~/y"], cwd: "~" })
      assert.deepStrictEqual(open(server.transport), {
        _tag: "stdio",
        command: "/home/ada/bin/x",
        args: ["~/y"],
        env: {},
        cwd: "/home/ada"
      })
      const other = yield* one({ command: "~x/y" }, { home: "/home/bob" })
      assert.deepStrictEqual(other.server.transport._tag === "stdio" && other.server.transport.command, "~x/y")
    })
  )

  it.effect("are filled in from Effect's ConfigProvider, when there is no other environment", () =>
    Effect.gen(function* () {
      const config = yield* McpConfig.parse(
        '{ "mcpServers": { "a": { "url": "https://${HOST_NAME}/${HOST}" } } }'
      ).pipe(
        Effect.provide(
          ConfigProvider.layer(
            ConfigProvider.fromEnvRecord({ HOST_NAME: "a.example.com", HOST: "b", HOST_NAME_X: "c" })
          )
        )
      )
      assert.deepStrictEqual(open(config.servers[0]?.transport), {
        _tag: "http",
        url: secret("https://a.example.com/b"),
        headers: {}
      })
    })
  )

  it.effect("an environment that cannot be read is told of", () =>
    Effect.gen(function* () {
      const provider = ConfigProvider.make(() => Effect.fail(new ConfigProvider.SourceError({ message: "down" })))
      const config = yield* McpConfig.parse('{ "mcpServers": { "a": { "command": "${A}" } } }').pipe(
        Effect.provide(ConfigProvider.layer(provider))
      )
      assert.strictEqual(
        config.broken[0]?.error.message,
        "the MCP configuration: mcpServers.a.command (line 1, column 37): expected the environment variable A, got nothing: the environment could not be read"
      )
    })
  )
})

describe("secrets", () => {
  /** Of every form, with a secret in each place that may hold one; the same text is right in one place and wrong in another. */
  const files = (secret: string): ReadonlyArray<readonly [text: string, path: string]> => {
    const entries = {
      right: {
        command: "${SECRET}",
        args: ["${SECRET}", "--key=${SECRET}"],
        env: { A: secret, B: "${SECRET}" },
        cwd: "${SECRET}",
        mystery: secret,
        oauth: { clientSecret: secret }
      },
      reached: {
        url: `https://example.com/${encodeURIComponent(secret)}?key=\${SECRET}`,
        headers: { "X-A": secret, "X-B": "${SECRET}", "X-C": "${NOT_SET}" }
      },
      hosted: { url: "https://${HOST}.example.com" },
      misplaced: {
        command: { secret },
        args: secret,
        env: [secret],
        headers: secret,
        disabled: secret,
        timeout: secret
      },
      twisted: { type: "stdio", command: "x", env: { A: { secret } }, args: [[secret]], cwd: [secret], url: [secret] },
      named: { url: "https://example.com", bearer_token_env_var: secret, env_http_headers: { "X-A": secret } },
      lost: { url: secret, headers: { "X-A": `${secret}\n` } },
      keyed: { command: "x", env: { [`KEY=${secret}`]: 1, [`KEY: ${secret}`]: { a: 1 } } },
      headed: { url: "https://example.com", headers: { [`Authorization: ${secret}`]: 1 } },
      emptied: { command: "${NOT_SET:-}", cwd: "${SECRET}\0", args: ["${SECRET}\0"] },
      text: secret
    }
    const quoted = JSON.stringify(secret)
    return [
      [JSON.stringify({ mcpServers: entries, other: secret }, null, 2), "mcp.json"],
      [JSON.stringify({ servers: entries, inputs: [secret] }), "/x/.vscode/mcp.json"],
      [`{ "mcpServers": { "a": { "env": { "A": ${secret} } } } }`, "mcp.json"],
      [`{ "mcpServers": { "a": { "env": { "A": ${quoted} "B": 1 } } } }`, "mcp.json"],
      [`{ "mcpServers": ${quoted} }`, "mcp.json"],
      [quoted, "mcp.json"],
      [`[mcp_servers.a]\nurl = "https://example.com"\nhttp_headers = { A = ${quoted}, B = 1 }`, "config.toml"],
      [`[mcp_servers.a.env]\nA = ${secret}`, "config.toml"],
      [`[mcp_servers.a.env]\nA = "${secret}`, "config.toml"],
      [`mcp_servers = ${quoted}`, "config.toml"]
    ]
  }
  const said = (value: unknown): string =>
    [inspect(value, { depth: 20 }), String(value), JSON.stringify(value) ?? ""].join("\n")

  it.effect.prop(
    "are in no error, no note, and nothing that is printed of a configuration",
    [Schema.String.check(Schema.isPattern(/^[a-z0-9!$%&()*+,\-./:;<=>?@[\]^_`{|}~'"\\ ]{8,20}$/))],
    ([random]) =>
      Effect.gen(function* () {
        const hidden = `sk-${random}`
        const host = "hidden-host-of-acme"
        const needles = [hidden, JSON.stringify(hidden).slice(1, -1), encodeURIComponent(hidden), host]
        for (const [text, path] of files(hidden)) {
          const config = yield* Effect.result(McpConfig.parse(text, { path, env: { SECRET: hidden, HOST: host } }))
          const output = Result.isSuccess(config)
            ? [
                said(config.success),
                ...config.success.broken.map(({ error }) => `${error.message}\n${error.stack}\n${said(error)}`)
              ].join("\n")
            : `${config.failure.message}\n${config.failure.stack}\n${said(config.failure)}`
          for (const needle of needles) assert.notInclude(output, needle)
        }
      }),
    { arbitrary: { runs: 100, seed: 7 } }
  )

  it.effect("the host of a URL is told where none of the URL comes from the environment", () =>
    Effect.gen(function* () {
      const url = (text: string) =>
        Effect.map(one({ url: text }), ({ server }) =>
          server.transport._tag === "stdio" ? "" : inspect(server.transport.url)
        )
      assert.strictEqual(yield* url("https://mcp.example.com/s/hush?key=hush"), "<redacted:mcp.example.com>")
      assert.strictEqual(yield* url("https://${GITHUB_TOKEN}.example.com"), "<redacted>")
    })
  )
})

describe("from a configuration to a connection", () => {
  const file = {
    mcpServers: {
      files: {
        command: "/opt/mcp-files",
        args: ["."],
        env: { KEY: "long enough", DEBUG: "1" },
        startupTimeout: "2 minutes",
        timeout: 5000
      },
      search: {
        type: "http",
        url: "https://search.example.com/mcp",
        headers: { Authorization: "Bearer x" },
        required: true
      },
      old: { type: "sse", url: "https://old.example.com/sse" },
      either: { url: "https://either.example.com/" },
      off: { command: "x", disabled: true },
      broken: { command: "${NOT_SET}" }
    }
  }

  it.effect("each server has a transport whose options hold", () =>
    Effect.gen(function* () {
      const { servers } = yield* json(file)
      const transports = servers.map(McpConfig.transport)
      yield* Effect.forEach(transports, (transport) => transport.validate)
      assert.deepStrictEqual(
        transports.map(({ label }) => label),
        ["mcp-files", "search.example.com", "old.example.com", "either.example.com", "x"]
      )
    })
  )

  it.effect("a connection has its name and its timeouts, and the library's defaults where the file says nothing", () =>
    Effect.gen(function* () {
      const { servers } = yield* json(file)
      const [files, search] = servers.map(McpConfig.connection)
      assert.deepStrictEqual(open({ ...files, transport: undefined }), {
        name: "files",
        transport: undefined,
        startupTimeout: 120_000,
        requestTimeout: 5_000
      })
      assert.deepStrictEqual(Object.keys(search ?? {}).toSorted(), ["name", "transport"])
    })
  )

  it.effect("one that is used is never refused by a fleet: no entry keeps the others from working", () =>
    Effect.gen(function* () {
      const texts = [
        "",
        " ",
        "x",
        "~",
        "${E:-}",
        "${E:- }",
        "x\0",
        "https://example.com",
        "HTTP://h",
        "http://",
        "${HOME}"
      ]
      const spans = [0, -1, 1e-9, 1, 1e300, "", "5 seconds", "Infinity", "soon", [1, 2], { seconds: 5 }, null]
      const tables = ["", "A", "A=B", "X Y", "é"].flatMap((name) => texts.map((text) => ({ [name]: text })))
      const entries: ReadonlyArray<Record<string, unknown>> = [
        ...texts.flatMap((command) => texts.map((cwd) => ({ command, cwd }))),
        ...texts.flatMap((url) => ["http", "sse", "stdio", undefined].map((type) => ({ url, type }))),
        ...["timeout", "startupTimeout", "requestTimeout", "startup_timeout_sec", "tool_timeout_sec"].flatMap((key) =>
          spans.map((span) => ({ command: "x", [key]: span }))
        ),
        ...tables.flatMap((table) => [
          { command: "x", env: table, args: Object.values(table) },
          { url: "https://example.com", headers: table },
          { url: "https://example.com", env_http_headers: table }
        ])
      ]
      const config = yield* json({
        mcpServers: Object.fromEntries(entries.map((entry, index) => [`s${index}`, entry]))
      })
      assert.lengthOf([...config.servers, ...config.broken], entries.length)
      assert.isAbove(config.servers.length, 100)
      assert.isAbove(config.broken.length, 100)
      const lazy = Object.entries(McpConfig.fleet(config)).map(([name, server]) => [name, { ...server, start: "lazy" }])
      const fleet = yield* McpFleet.make(Object.fromEntries(lazy))
      assert.lengthOf(yield* fleet.names, config.servers.length)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("a fleet has those that work and are not disabled, and knows when one is the same as before", () =>
    Effect.gen(function* () {
      const before = McpConfig.fleet(yield* json(file))
      assert.deepStrictEqual(Object.keys(before), ["files", "search", "old", "either"])
      assert.strictEqual(before["search"]?.required, true)
      const again = McpConfig.fleet(yield* json(file))
      const changed = McpConfig.fleet(
        yield* json({
          mcpServers: { ...file.mcpServers, files: { ...file.mcpServers.files, env: { KEY: "another" } } }
        })
      )
      const same = (one: typeof before, name: string) => Equal.equals(before[name]?.source, one[name]?.source)
      assert.deepStrictEqual([same(again, "files"), same(again, "search")], [true, true])
      assert.deepStrictEqual([same(changed, "files"), same(changed, "search")], [false, true])
    })
  )
})

describe("files", () => {
  /** A folder with these files in it. */
  const withFiles = <A, E, R>(
    files: Readonly<Record<string, string>>,
    use: (root: string, path: Path.Path) => Effect.Effect<A, E, R>
  ) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const root = yield* fs.makeTempDirectoryScoped()
      for (const [name, text] of Object.entries(files)) {
        const file = path.join(root, name)
        yield* fs.makeDirectory(path.dirname(file), { recursive: true })
        yield* fs.writeFileString(file, text.replaceAll("<root>", root))
      }
      return yield* use(root, path)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

  const server = (command: string) => JSON.stringify({ mcpServers: { [command]: { command } } })

  it.effect("a file is read, and its workspace is the folder that .vscode is in", () =>
    withFiles(
      { "shop/.vscode/mcp.json": '{ "servers": { "a": { "command": "${workspaceFolder}/x" } } }' },
      (root, path) =>
        Effect.gen(function* () {
          const file = path.join(root, "shop/.vscode/mcp.json")
          // `undefined` is as good as none: the folder of the file it is.
          const config = yield* McpConfig.load(file, { env, cwd: undefined })
          assert.strictEqual(config.source.path, file)
          assert.deepStrictEqual(open(config.servers[0]?.transport), {
            _tag: "stdio",
            command: path.join(root, "shop/x"),
            args: [],
            env: {},
            cwd: undefined
          })
        })
    )
  )

  it.effect("a file that is not there, or is none, is told of", () =>
    withFiles({ "folder/x": "" }, (root, path) =>
      Effect.gen(function* () {
        const message = (name: string) =>
          Effect.map(Effect.flip(McpConfig.load(path.join(root, name), { env })), (error) =>
            error.message.replace(root, "")
          )
        assert.strictEqual(
          yield* message("nothing.json"),
          "/nothing.json: expected a file that can be read, got no file of that name"
        )
        assert.strictEqual(
          yield* message("folder"),
          "/folder: expected a file that can be read, got something that is no file"
        )
      })
    )
  )

  it.effect("what is in the usual places is found, the project's first", () =>
    withFiles(
      {
        "shop/.mcp.json": server("project"),
        "shop/mcp.json": server("plain"),
        "shop/.cursor/mcp.json": server("cursor"),
        "shop/.vscode/mcp.json": '{ "servers": { "vscode": { "command": "vscode" } } }',
        "shop/.codex/config.toml": '[mcp_servers.codex]\ncommand = "codex"',
        "shop/.gemini/settings.json": '{ "theme": "Dark" }',
        "home/.claude.json": JSON.stringify({
          numStartups: 7,
          mcpServers: { shared: { command: "everywhere" }, mine: { command: "mine" } },
          projects: {
            "<root>/shop": { mcpServers: { shared: { command: "here" } } },
            "<root>/other": { mcpServers: { other: { command: "other" } } }
          }
        }),
        "home/.config/Claude/claude_desktop_config.json": server("desktop"),
        "home/.cursor/mcp.json": "{ oops",
        "codex/config.toml": 'model = "gpt-5"',
        "home/.codeium/windsurf/mcp_config.json": server("windsurf")
      },
      (root, path) =>
        Effect.gen(function* () {
          const found = yield* McpConfig.discover({
            cwd: path.join(root, "shop"),
            home: path.join(root, "home"),
            env: { CODEX_HOME: path.join(root, "codex") },
            platform: "linux"
          })
          assert.deepStrictEqual(
            found.map(({ client, config, path, scope }) => [
              scope,
              client,
              path.replace(root, ""),
              Result.isSuccess(config) ? config.success.servers.map(({ name }) => name).join() : config.failure.message
            ]),
            [
              ["project", "Claude Code", "/shop/.mcp.json", "project"],
              ["project", "any", "/shop/mcp.json", "plain"],
              ["project", "Cursor", "/shop/.cursor/mcp.json", "cursor"],
              ["project", "VS Code", "/shop/.vscode/mcp.json", "vscode"],
              ["project", "Codex", "/shop/.codex/config.toml", "codex"],
              ["user", "Claude Code", "/home/.claude.json", "shared,mine"],
              ["user", "Claude Desktop", "/home/.config/Claude/claude_desktop_config.json", "desktop"],
              [
                "user",
                "Cursor",
                "/home/.cursor/mcp.json",
                `${root}/home/.cursor/mcp.json: line 1, column 3: expected a value: a text in double quotes, a number, true, false, null, [ or {, got something else`
              ],
              ["user", "Windsurf", "/home/.codeium/windsurf/mcp_config.json", "windsurf"]
            ]
          )
          const claude = found.find(({ path }) => path.endsWith(".claude.json"))
          assert(claude !== undefined && Result.isSuccess(claude.config))
          const [shared] = claude.config.success.servers
          assert.strictEqual(shared?.transport._tag === "stdio" && shared.transport.command, "here")
          assert.deepStrictEqual(
            claude.config.success.notes.map(({ kind, path }) => [kind, path]),
            [["Overridden", "mcpServers.shared"]]
          )
        })
    )
  )

  it.effect("in the home, a file is the user's and not a project's, and is found once", () =>
    Effect.gen(function* () {
      const places = yield* McpConfig.places({ cwd: "/home/ada", home: "/home/ada", env: {}, platform: "linux" })
      assert.deepStrictEqual(
        places
          .filter(({ client }) => client === "Cursor" || client === "Codex")
          .map(({ path, scope }) => [scope, path]),
        [
          ["user", "/home/ada/.cursor/mcp.json"],
          ["user", "/home/ada/.codex/config.toml"]
        ]
      )
    }).pipe(Effect.provide(Path.layer))
  )

  const desktop = (platform: McpConfig.Platform, env: Readonly<Record<string, string>>) =>
    Effect.map(McpConfig.places({ cwd: "/shop", home: "/home/ada", env, platform }), (places) =>
      places.filter(({ client, scope }) => scope === "user" && /Desktop|VS/.test(client)).map(({ path }) => path)
    )

  it.effect("the places of programs with windows are those of the platform", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* desktop("darwin", {}), [
        "/home/ada/Library/Application Support/Claude/claude_desktop_config.json",
        "/home/ada/Library/Application Support/Code/User/mcp.json"
      ])
      assert.deepStrictEqual(yield* desktop("linux", { XDG_CONFIG_HOME: "/etc/ada" }), [
        "/etc/ada/Claude/claude_desktop_config.json",
        "/etc/ada/Code/User/mcp.json"
      ])
      assert.deepStrictEqual(yield* desktop("win32", { APPDATA: "/roaming" }), [
        "/roaming/Claude/claude_desktop_config.json",
        "/roaming/Code/User/mcp.json"
      ])
    }).pipe(Effect.provide(Path.layer))
  )
})

describe("the weight of it", () => {
  it("the parsers are loaded by the first file that needs them, and not with the library", async () => {
    const program = `
      const { McpConfig } = await import("@mcp-tether/connection")
      const { Effect } = await import("effect")
      const loaded = () => process.getBuiltinModule("node:module").createRequire(import.meta.url).cache
      const has = () => Object.keys(loaded()).some((file) => file.includes("jsonc-parser"))
      const before = has()
      await Effect.runPromise(McpConfig.parse('{ "mcpServers": {} }'))
      console.log(JSON.stringify([before, has()]))`
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program], {
      cwd: import.meta.dirname
    })
    assert.deepStrictEqual(JSON.parse(stdout), [false, true])
  })
})
