/** What every command has to stand: a call that goes well, one that fails, and one that takes its time. A new command needs its line here. */

/** Where a call finds what it needs. */
export interface Stage {
  /** The server `small` answers at once, and `mute` never. */
  readonly config: string
  /** A server behind HTTP that wants a login. */
  readonly url: string
  /** The identity of a program, for {@link url}. Its secret is in the environment variable SECRET. */
  readonly clientId: string
}

export interface Case {
  /** Goes well at once, and prints JSON. A file: that test runs it. */
  readonly well: ((stage: Stage) => ReadonlyArray<string>) | `${string}.test.ts`
  /** Fails at once, and says this. */
  readonly fails: readonly [args: ReadonlyArray<string>, says: RegExp]
  /** Takes its time: what shows meanwhile, and how it exits when Ctrl-C is pressed (130, unless that is how one quits). */
  readonly slow: {
    readonly args: (stage: Stage) => ReadonlyArray<string>
    readonly shows: RegExp
    /** Whether a server has been started by then. */
    readonly hasServer: boolean
    readonly code?: number
  }
}

const asking = (...args: ReadonlyArray<string>): Case => {
  const [command = "", ...rest] = args
  return {
    well: ({ config }) => [command, "small", ...rest, "--config", config, "--json"],
    fails: [[command, "nobody", ...rest, "--config", "/nowhere/mcp.json"], /nowhere/],
    slow: {
      args: ({ config }) => [command, "mute", ...rest, "--config", config],
      shows: /waiting for mute · \d+ s/,
      hasServer: true
    }
  }
}

/** About all configured servers. */
const looking = (command: string, ...only: ReadonlyArray<string>): Case => ({
  well: ({ config }) => [command, "small", ...only, "--config", config, "--json"],
  fails: [[command, "--config", "/nowhere/mcp.json"], /nowhere/],
  slow: {
    args: ({ config }) => [command, "--config", config],
    shows: /1 of 2 · waiting for mute · \d+ s/,
    hasServer: true
  }
})

/** A server whose login another process is renewing. */
export const lockedUrl = "https://locked.example.com/mcp"

export const cases: Readonly<Record<string, Case>> = {
  demo: {
    well: "demo.test.ts",
    fails: [["demo", "--transport", "pigeon"], /pigeon/],
    slow: { args: () => ["demo"], shows: /gen 1 /, hasServer: true }
  },
  chaos: {
    well: "chaos.test.ts",
    fails: [["chaos", "https://example.com/mcp"], /only servers that it has started itself/],
    slow: { args: () => ["chaos"], shows: /[1-9]\d* answered/, hasServer: true }
  },
  simulate: {
    well: () => ["simulate", "--clients", "10", "--outage", "10s", "--duration", "2m", "--json"],
    fails: [["simulate", "--outage", "2h"], /less than the duration/],
    slow: { args: () => ["simulate", "--clients", "20000"], shows: /default, 1 of 5 · \d+ s/, hasServer: false }
  },
  doctor: looking("doctor"),
  status: looking("status"),
  watch: {
    well: ({ config }) => ["watch", "small", "--config", config, "--for", "1s", "--json"],
    fails: [["watch", "--config", "/nowhere/mcp.json"], /nowhere/],
    slow: {
      args: ({ config }) => ["watch", "--config", config],
      shows: /small +\S*● Ready[^]*mute +\S*◌ Connecting/,
      hasServer: true,
      code: 0
    }
  },
  login: {
    well: ({ clientId, url }) => ["login", url, "--client-id", clientId, "--client-secret-env", "SECRET", "--json"],
    fails: [["login", "file:///mcp"], /is no http: or https: URL/],
    slow: {
      args: ({ url }) => ["login", url, "--no-browser"],
      shows: /Open this address[^]*waiting for the login to \S+ · \d+ s/,
      hasServer: false
    }
  },
  logout: {
    well: () => ["logout", "https://example.com/mcp", "--json"],
    fails: [["logout", "file:///mcp"], /is no http: or https: URL/],
    // While another process renews the login.
    slow: {
      args: () => ["logout", lockedUrl],
      shows: /waiting for the login to \S+ · \d+ s/,
      hasServer: false
    }
  },
  tools: asking("tools"),
  call: asking("call", "hello"),
  resources: asking("resources"),
  prompts: asking("prompts"),
  read: asking("read", "small://readme"),
  ping: asking("ping")
}
