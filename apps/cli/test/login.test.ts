/** Logging in and using the login, as a process, against a real authorization server; `fetch` is the browser. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { once } from "node:events"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  watch,
  writeFileSync
} from "node:fs"
import { connect } from "node:net"
import * as path from "node:path"
import * as AuthServer from "../../../packages/connection/test/http/authServer.ts"
import * as Terminal from "./support/terminal.ts"

interface Stage {
  readonly server: AuthServer.AuthServer
  readonly terminal: Terminal.Terminal
}

const scenario = <A, E>(name: string, body: (stage: Stage) => Effect.Effect<A, E, Scope.Scope>): void =>
  it.live(name, () =>
    Effect.gen(function* () {
      const server = yield* AuthServer.make
      const terminal = yield* Terminal.make
      return yield* body({ server, terminal })
    }).pipe(Effect.scoped)
  )

const address = /(http:\S+\/authorize\?\S+)/

/** What a browser does: it opens the page and follows where it is sent. */
const visit = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(url)
    return { status: response.status, text: await response.text() }
  })

/** Where the authorization server sends the browser, without going there. */
const approve = (url: string) =>
  Effect.promise(async () => new URL((await fetch(url, { redirect: "manual" })).headers.get("location") ?? ""))

const logIn = Effect.fnUntraced(function* ({ server, terminal }: Stage, ...more: ReadonlyArray<string>) {
  const running = yield* terminal.start(["login", server.url, "--no-browser", ...more])
  assert.strictEqual((yield* visit(yield* running.says(address))).status, 200)
  const ended = yield* running.ended
  assert.strictEqual(ended.code, 0, ended.stderr)
  return ended
})

const filesOf = ({ logins }: Terminal.Terminal): ReadonlyArray<string> =>
  existsSync(logins) ? readdirSync(logins).map((name) => path.join(logins, name)) : []

interface Kept {
  readonly client: Record<string, string>
  readonly tokens: { readonly access_token: string; readonly refresh_token?: string; readonly issuer?: string }
}

const keptBy = (terminal: Terminal.Terminal): Kept => {
  const files = filesOf(terminal)
  assert.lengthOf(files, 1)
  return JSON.parse(readFileSync(files[0] ?? "", "utf8")) as Kept
}

const modeOf = (file: string): string => (statSync(file).mode & 0o777).toString(8)

/** No secret of the fixture, and none of the test's. */
const tellsNothing = (server: AuthServer.AuthServer, ...ended: ReadonlyArray<Terminal.Ended>): void => {
  for (const { stderr, stdout } of ended) {
    for (const secret of [...server.secrets, AuthServer.machine.secret]) assert.notInclude(stdout + stderr, secret)
  }
}

const portOf = (redirect: URL): number => Number(redirect.port)

const isOpen = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(true))
    })
    socket.once("error", () => resume(Effect.succeed(false)))
  })

const redirectOf = (url: string): URL => new URL(new URL(url).searchParams.get("redirect_uri") ?? "")

describe("mcp-tether login", () => {
  scenario("logs in with a browser, and keeps the tokens for the owner alone", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const ended = yield* logIn(stage)
      assert.include(ended.stdout, `Logged in to ${server.url} (mcp).`)
      const kept = keptBy(terminal)
      assert.match(kept.tokens.access_token, /^access-/)
      assert.match(kept.tokens.refresh_token ?? "", /^refresh-/)
      assert.strictEqual(kept.tokens.issuer, server.issuer)
      assert.strictEqual(kept.client["issuer"], server.issuer)
      assert.strictEqual(modeOf(terminal.logins), "700")
      for (const file of filesOf(terminal)) assert.strictEqual(modeOf(file), "600")
      assert.deepInclude(server.counts, { register: 1, authorize: 1, code: 1, refresh: 0 })
      tellsNothing(server, ended)
    })
  )

  scenario("asks with PKCE, a state, the resource, and a redirect to the loopback that is gone afterwards", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const running = yield* terminal.start(["login", server.url, "--no-browser", "--scope", "mcp admin"])
      const url = new URL(yield* running.says(address))
      const query = url.searchParams
      assert.strictEqual(query.get("code_challenge_method"), "S256")
      assert.isAtLeast((query.get("state") ?? "").length, 32)
      assert.strictEqual(query.get("scope"), "mcp admin")
      assert.strictEqual(query.get("resource"), server.url)
      const redirect = redirectOf(url.href)
      assert.strictEqual(redirect.hostname, "127.0.0.1")
      assert.isTrue(yield* isOpen(portOf(redirect)))
      yield* visit(url.href)
      assert.strictEqual((yield* running.ended).code, 0)
      assert.isFalse(yield* isOpen(portOf(redirect)))
    })
  )

  scenario("lets nobody else read a file, not even for a moment, whatever the umask", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      mkdirSync(terminal.logins)
      const seen = new Map<string, string>()
      const watcher = watch(terminal.logins, (_, name) => {
        const file = path.join(terminal.logins, name ?? "")
        const stat = statSync(file, { throwIfNoEntry: false })
        if (stat?.isFile() === true) seen.set(path.basename(file), (stat.mode & 0o777).toString(8))
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => watcher.close()))
      const inherited = process.umask(0)
      const running = yield* terminal.start(["login", server.url, "--no-browser"])
      process.umask(inherited)
      yield* visit(yield* running.says(address))
      assert.strictEqual((yield* running.ended).code, 0)
      assert.isAbove(seen.size, 0)
      assert.deepStrictEqual([...new Set(seen.values())], ["600"])
      assert.deepStrictEqual(filesOf(terminal).map(modeOf), ["600"])
      assert.strictEqual(modeOf(terminal.logins), "700")
    })
  )

  scenario("narrows a directory that was open to others", (stage) =>
    Effect.gen(function* () {
      const { terminal } = stage
      mkdirSync(terminal.logins)
      chmodSync(terminal.logins, 0o755)
      yield* logIn(stage)
      assert.strictEqual(modeOf(terminal.logins), "700")
    })
  )

  scenario("tries to open a browser, and takes none for an answer", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const bin = path.join(terminal.state, "bin")
      mkdirSync(bin)
      const opener = `#!${process.execPath}\nfetch(process.argv[2])\n`
      writeFileSync(path.join(bin, "xdg-open"), opener, { mode: 0o755 })
      const opened = yield* terminal.run(["login", server.url], { PATH: bin })
      assert.strictEqual(opened.code, 0, opened.stderr)
      const running = yield* terminal.start(["login", server.url], { PATH: "/nonexistent" })
      yield* visit(yield* running.says(address))
      assert.strictEqual((yield* running.ended).code, 0)
    })
  )

  scenario("--json prints one object a line", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const running = yield* terminal.start(["login", server.url, "--no-browser", "--json"])
      const first = JSON.parse(yield* running.says(/^(\{.*\})\n/)) as { readonly authorizationUrl: string }
      yield* visit(first.authorizationUrl)
      const { code, stdout } = yield* running.ended
      assert.strictEqual(code, 0)
      const last = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>
      assert.deepInclude(last, { server: server.url, loggedIn: true, scope: "mcp" })
      assert.strictEqual(last["file"], filesOf(terminal)[0])
    })
  )

  scenario("takes a client that is registered already", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* logIn(stage, "--client-id", "public")
      assert.strictEqual(server.counts.register, 0)
      assert.strictEqual(keptBy(terminal).client["client_id"], "public")
    })
  )

  scenario("refuses an answer with another state, and goes on waiting for the right one", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const running = yield* terminal.start(["login", server.url, "--no-browser"])
      const url = yield* running.says(address)
      const back = yield* approve(url)
      const forged = new URL(back)
      forged.searchParams.set("state", "forged")
      assert.strictEqual((yield* visit(forged.href)).status, 400)
      forged.searchParams.delete("state")
      assert.strictEqual((yield* visit(forged.href)).status, 400)
      assert.strictEqual((yield* visit(new URL("/", back).href)).status, 404)
      assert.strictEqual(server.counts.token, 0)
      assert.strictEqual((yield* visit(back.href)).status, 200)
      assert.strictEqual((yield* running.ended).code, 0)
    })
  )

  scenario("never spends a code that came with another state", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      server.behaviour.forgedState = "forged"
      const running = yield* terminal.start(["login", server.url, "--no-browser", "--timeout", "3 seconds"])
      assert.strictEqual((yield* visit(yield* running.says(address))).status, 400)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "wrong state")
      assert.include(ended.stderr, `run mcp-tether login ${server.url}`)
      assert.strictEqual(server.counts.token, 0)
      assert.deepStrictEqual(filesOf(terminal), [])
    })
  )

  scenario("refuses an answer that names another issuer", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const running = yield* terminal.start(["login", server.url, "--no-browser"])
      const back = yield* approve(yield* running.says(address))
      back.searchParams.set("iss", "http://127.0.0.1:9/other")
      yield* visit(back.href)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "ssuer")
      assert.strictEqual(server.counts.token, 0)
      assert.deepStrictEqual(filesOf(terminal), [])
      tellsNothing(server, ended)
    })
  )

  scenario("says that the user has denied it", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      server.behaviour.deny = true
      const running = yield* terminal.start(["login", server.url, "--no-browser"])
      yield* visit(yield* running.says(address))
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "the authorization was denied")
      assert.deepStrictEqual(filesOf(terminal), [])
    })
  )

  scenario("ends when nobody logs in", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const running = yield* terminal.start(["login", server.url, "--no-browser", "--timeout", "2 seconds"])
      const redirect = redirectOf(yield* running.says(address))
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "nobody has logged in within 2s")
      assert.deepStrictEqual(filesOf(terminal), [])
      assert.isFalse(yield* isOpen(portOf(redirect)))
    })
  )

  scenario("leaves nothing when it is interrupted", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const running = yield* terminal.start(["login", server.url, "--no-browser"])
      const redirect = redirectOf(yield* running.says(address))
      running.child.kill("SIGINT")
      const ended = yield* running.ended
      assert.notStrictEqual(ended.code, 0)
      assert.isFalse(yield* isOpen(portOf(redirect)))
      assert.deepStrictEqual(readdirSync(terminal.state), [])
    })
  )

  scenario("logs in as a client, and does not keep its secret", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const { id, secret } = AuthServer.machine
      const args = ["login", server.url, "--client-id", id, "--client-secret-env", "VAULT_SECRET"]
      const without = yield* terminal.run(args)
      assert.strictEqual(without.code, 1)
      assert.include(without.stderr, "VAULT_SECRET")
      const ended = yield* terminal.run(args, { VAULT_SECRET: secret })
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.notInclude(readFileSync(filesOf(terminal)[0] ?? "", "utf8"), secret)
      // An expired token: the secret is needed again.
      server.expire()
      const called = yield* terminal.run(["call", server.url, "echo", "--arg", "text=hi"], { VAULT_SECRET: secret })
      assert.strictEqual(called.stdout, "hi\n", called.stderr)
      assert.strictEqual(server.counts.clientCredentials, 2)
      server.expire()
      const forgotten = yield* terminal.run(["ping", server.url])
      assert.strictEqual(forgotten.code, 1)
      assert.include(forgotten.stderr, "VAULT_SECRET is not set")
      tellsNothing(server, ended, called, forgotten)
    })
  )

  scenario("tells no secret when the authorization server repeats it", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      server.behaviour.echo = true
      const wrong = "hunter-of-secrets"
      const asClient = yield* terminal.run(
        ["login", server.url, "--client-id", AuthServer.machine.id, "--client-secret-env", "VAULT_SECRET"],
        { VAULT_SECRET: wrong }
      )
      assert.strictEqual(asClient.code, 1)
      assert.notInclude(asClient.stderr, wrong)
      assert.notInclude(asClient.stderr, Buffer.from(`${AuthServer.machine.id}:${wrong}`).toString("base64"))
      const running = yield* terminal.start(["login", server.url, "--no-browser"])
      const back = yield* approve(yield* running.says(address))
      // Spent by somebody else.
      back.searchParams.set("code", "code-that-was-stolen")
      yield* visit(back.href)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 1)
      assert.notInclude(ended.stderr, "code-that-was-stolen")
      tellsNothing(server, ended, asClient)
      assert.deepStrictEqual(filesOf(terminal), [])
    })
  )

  scenario("says where nobody is", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* server.down
      const ended = yield* terminal.run(["login", server.url, "--no-browser"])
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "cannot be reached (ECONNREFUSED)")
      for (const url of ["nonsense", "ftp://example.com", "https://user:pass@example.com"]) {
        const wrong = yield* terminal.run(["login", url])
        assert.strictEqual(wrong.code, 1)
        assert.include(wrong.stderr, "URL")
      }
    })
  )
})

describe("a login in use", () => {
  scenario("lists, calls and pings, and disturbs stdout with nothing else", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      const before = yield* terminal.run(["tools", server.url])
      assert.strictEqual(before.code, 1)
      assert.include(before.stderr, `run mcp-tether login ${server.url}`)
      assert.strictEqual(before.stdout, "")
      yield* logIn(stage)
      const tools = yield* terminal.run(["tools", server.url])
      assert.strictEqual(tools.code, 0, tools.stderr)
      assert.match(tools.stdout, /^echo {10}Answers with the text\nwrite {9}Has an effect\n/)
      const json = yield* terminal.run(["tools", server.url, "--json", "--log-level", "all"])
      assert.deepStrictEqual(
        (JSON.parse(json.stdout) as ReadonlyArray<{ readonly name: string }>).map(({ name }) => name),
        ["echo", "write", "fail", "administrate", "confess"]
      )
      assert.include(json.stderr, "mcp")
      const call = yield* terminal.run(["call", server.url, "echo", "--arg", "text=a=b", "--arg", "times=2"])
      assert.strictEqual(call.stdout, "a=b a=b\n")
      const args = ["--arg", "loud=true", "--json-args", '{"text":"hi","times":1}']
      const both = yield* terminal.run(["call", server.url, "echo", ...args, "--json"])
      assert.deepStrictEqual(JSON.parse(both.stdout), { content: [{ type: "text", text: "HI" }], isError: false })
      const ping = yield* terminal.run(["ping", server.url])
      assert.match(ping.stdout, /^vault 1\.0\.0, protocol \d{4}-\d\d-\d\d: \d+ ms\n$/)
      assert.strictEqual(ping.stderr, "")
      tellsNothing(server, before, tools, json, call, both, ping)
    })
  )

  scenario("says what is wrong with a call, and exits with 1", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* logIn(stage)
      const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
        [["fail"], "the tool fail says that it has failed"],
        [["nothing"], "has no tool nothing; it has echo, write"],
        [["echo", "--arg", "times=many"], "--arg times wants JSON"],
        [["echo", "--json-args", "[]"], "--json-args is no JSON object"],
        [["administrate"], `run mcp-tether login ${server.url} --scope "admin"`],
        [["confess"], "you sent"]
      ]
      for (const [args, says] of wrong) {
        const ended = yield* terminal.run(["call", server.url, ...args])
        assert.strictEqual(ended.code, 1)
        assert.include(ended.stderr, says)
        tellsNothing(server, ended)
      }
      assert.strictEqual((yield* terminal.run(["call", server.url, "fail"])).stdout, "fail\n")
    })
  )

  scenario("renews an expired token and saves it", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* logIn(stage)
      const before = keptBy(terminal)
      server.expire()
      const ended = yield* terminal.run(["call", server.url, "echo", "--arg", "text=still here"])
      assert.strictEqual(ended.stdout, "still here\n", ended.stderr)
      const after = keptBy(terminal)
      assert.notStrictEqual(after.tokens.access_token, before.tokens.access_token)
      assert.notStrictEqual(after.tokens.refresh_token, before.tokens.refresh_token)
      assert.deepStrictEqual(after.client, before.client)
      for (const file of filesOf(terminal)) assert.strictEqual(modeOf(file), "600")
      assert.strictEqual((yield* terminal.run(["ping", server.url])).code, 0)
      assert.strictEqual(server.counts.refresh, 1)
      tellsNothing(server, ended)
    })
  )

  scenario("renews it once for four processes at a time", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* logIn(stage)
      const open = Promise.withResolvers<void>()
      server.expire()
      server.behaviour.hold = open.promise
      const refused = server.counts.unauthorized
      const running = yield* Effect.forEach([1, 2, 3, 4], (n) =>
        terminal.start(["call", server.url, "echo", "--arg", `text=${n}`])
      )
      yield* server.reached("unauthorized", refused + running.length)
      yield* server.reached("token", 2)
      open.resolve()
      const ended = yield* Effect.forEach(running, (one) => one.ended)
      assert.deepStrictEqual(
        ended.map(({ stdout }) => stdout),
        ["1\n", "2\n", "3\n", "4\n"],
        ended.map(({ stderr }) => stderr).join("")
      )
      assert.strictEqual(server.counts.refresh, 1)
      assert.strictEqual(server.counts.reuses, 0)
      assert.lengthOf(filesOf(terminal), 1)
    })
  )

  scenario("leaves no lock and no draft when it is interrupted while it renews", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* logIn(stage)
      const before = filesOf(terminal)
      const open = Promise.withResolvers<void>()
      server.expire()
      server.behaviour.hold = open.promise
      const running = yield* terminal.start(["ping", server.url])
      yield* server.reached("token", 2)
      running.child.kill("SIGINT")
      const ended = yield* running.ended
      open.resolve()
      assert.notStrictEqual(ended.code, 0)
      assert.deepStrictEqual(filesOf(terminal), before)
      tellsNothing(server, ended)
    })
  )

  scenario("does not wait for a process that has gone, or for one that has forgotten its lock", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* logIn(stage)
      const lock = (filesOf(terminal)[0] ?? "").replace(/\.json$/, ".lock")
      const child = spawn(process.execPath, ["-e", ""])
      yield* Effect.promise(() => once(child, "close"))
      writeFileSync(lock, String(child.pid))
      server.expire()
      assert.strictEqual((yield* terminal.run(["ping", server.url])).code, 0)
      writeFileSync(lock, String(process.pid))
      const longAgo = new Date(Date.now() - 600_000)
      utimesSync(lock, longAgo, longAgo)
      server.expire()
      assert.strictEqual((yield* terminal.run(["ping", server.url])).code, 0)
      assert.isFalse(existsSync(lock))
      assert.strictEqual(server.counts.refresh, 2)
    })
  )

  scenario("that is refused for good says what to do, and is not tried twice", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      server.behaviour.echo = true
      yield* logIn(stage)
      server.expire()
      server.revoke()
      const ended = yield* terminal.run(["tools", server.url])
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, `run mcp-tether login ${server.url}`)
      assert.include(ended.stderr, "invalid_grant")
      assert.strictEqual(ended.stdout, "")
      assert.strictEqual(server.counts.refresh, 1)
      tellsNothing(server, ended)
      yield* logIn(stage)
      assert.strictEqual((yield* terminal.run(["tools", server.url])).code, 0)
    })
  )

  scenario("that is damaged says so, and quotes nothing of it", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* logIn(stage)
      const [file = ""] = filesOf(terminal)
      writeFileSync(file, readFileSync(file, "utf8").slice(0, -20))
      const ended = yield* terminal.run(["ping", server.url])
      assert.strictEqual(ended.code, 1)
      assert.include(ended.stderr, "damaged")
      tellsNothing(server, ended)
    })
  )

  scenario("is gone after mcp-tether logout", (stage) =>
    Effect.gen(function* () {
      const { server, terminal } = stage
      yield* logIn(stage)
      const out = yield* terminal.run(["logout", server.url])
      assert.strictEqual(out.stdout, `Logged out of ${server.url}.\n`)
      assert.deepStrictEqual(filesOf(terminal), [])
      const again = yield* terminal.run(["logout", server.url, "--json"])
      assert.deepStrictEqual(JSON.parse(again.stdout), { server: server.url, removed: false })
      assert.strictEqual((yield* terminal.run(["ping", server.url])).code, 1)
    })
  )
})

describe("a server that is a command", () => {
  scenario("stands after --, with its own flags", ({ terminal }) =>
    Effect.gen(function* () {
      const everything = ["--", path.join(import.meta.dirname, "../node_modules/.bin/mcp-server-everything"), "stdio"]
      const tools = yield* terminal.run(["tools", "--json", ...everything])
      assert.include(tools.stdout, `"name":"echo"`, tools.stderr)
      const call = yield* terminal.run(["call", "echo", "--arg", "message=hi", ...everything])
      assert.strictEqual(call.stdout, "Echo: hi\n", call.stderr)
      assert.strictEqual((yield* terminal.run(["ping", ...everything])).code, 0)
      const missing = yield* terminal.run(["ping", "--", "no-such-command-anywhere"])
      assert.strictEqual(missing.code, 1)
      assert.include(missing.stderr, "no-such-command-anywhere")
      assert.deepStrictEqual(filesOf(terminal), [])
    })
  )
})
