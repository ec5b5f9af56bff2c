/** What a proxy over HTTP does to sockets and to messages, seen by clients and servers that look at every byte. */
import { assert, it } from "@effect/vitest"
import { type Fault, Faults, FaultProxy } from "@mcp-tether/testing"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from "node:http"
import { type AddressInfo, connect, type Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { assertAtLeast, timed, until } from "./rig.ts"

interface Message {
  readonly id?: number
  readonly method?: string
}

interface Asked {
  readonly message: Message | undefined
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** A server that answers as it is told, or each request with its method as JSON; and all that came to it. */
const serve = (answer: (asked: Asked) => void = says) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly came: Array<string>; readonly close: () => void }>((resume) => {
      const came: Array<string> = []
      const server = createServer((request, response) => {
        let body = ""
        request.setEncoding("utf8")
        request.on("error", () => {})
        request.on("data", (text: string) => {
          body += text
        })
        request.on("end", () => {
          const message = body === "" ? undefined : (JSON.parse(body) as Message)
          came.push(message?.method ?? `${request.method} ${request.url}`)
          answer({ message, request, response })
        })
      })
      server.listen(0, "127.0.0.1", () =>
        resume(
          Effect.succeed({
            url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
            came,
            close: () => {
              server.closeAllConnections()
              server.close()
            }
          })
        )
      )
    }),
    ({ close }) => Effect.sync(close)
  )

const json = (response: ServerResponse, value: unknown, status = 200): void => {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value))
}

const says = ({ message, response }: Asked): void =>
  json(response, { jsonrpc: "2.0", id: message?.id ?? null, result: { did: message?.method } })

const event = (value: unknown): string => `event: message\r\ndata: ${JSON.stringify(value)}\r\n\r\n`

interface Answer {
  readonly status: number
  readonly type: string | undefined
  readonly body: string
  readonly headers: IncomingMessage["headers"]
}

/** What a client is answered, or the code of what it met instead. */
const ask = (
  url: string,
  method: string | undefined,
  options: {
    readonly agent?: Agent
    readonly headers?: Record<string, string>
    readonly onSocket?: (socket: Socket) => void
    readonly onText?: (text: string) => void
  } = {}
): Effect.Effect<Answer | string> =>
  Effect.callback((resume) => {
    const sent = request(url, {
      method: method === undefined ? "GET" : "POST",
      agent: options.agent ?? false,
      headers: { accept: "application/json, text/event-stream", ...options.headers }
    })
    sent.on("socket", (socket) => options.onSocket?.(socket))
    sent.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code ?? error.message)))
    sent.on("response", (response) => {
      let body = ""
      response.setEncoding("utf8")
      response.on("data", (text: string) => {
        body += text
        options.onText?.(text)
      })
      response.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code ?? error.message)))
      response.on("end", () =>
        resume(
          Effect.succeed({
            status: response.statusCode ?? 0,
            type: response.headers["content-type"],
            body,
            headers: response.headers
          })
        )
      )
    })
    sent.end(method === undefined ? undefined : JSON.stringify({ jsonrpc: "2.0", id: 7, method }))
    return Effect.sync(() => sent.destroy())
  })

const did = (method: string): string => JSON.stringify({ jsonrpc: "2.0", id: 7, result: { did: method } })

const bodyOf = (answer: Answer | string): string => (typeof answer === "string" ? answer : answer.body)
const statusOf = (answer: Answer | string): number | string => (typeof answer === "string" ? answer : answer.status)

/** In the end nothing that was begun here keeps the process alive. */
const scenario = <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>): void =>
  it.live(name, () =>
    Effect.gen(function* () {
      const before = process.getActiveResourcesInfo()
      yield* Effect.scoped(body)
      yield* Effect.promise(async () => {
        // Closed handles are let go some turns of the loop later. Not `until`: its own timers would be found.
        for (let turn = 0; turn < 200 && left(before).length > 0; turn += 1) await sleep(10)
        assert.deepStrictEqual(left(before), [])
      })
    })
  )

const left = (before: ReadonlyArray<string>): ReadonlyArray<string> => {
  const known = [...before]
  return process.getActiveResourcesInfo().filter((resource) => {
    const index = known.indexOf(resource)
    if (index !== -1) known.splice(index, 1)
    return index === -1
  })
}

const proxied = (
  answer: ((asked: Asked) => void) | undefined,
  ...faults: ReadonlyArray<Faults.Step<Fault.HttpFault>>
) =>
  Effect.gen(function* () {
    const server = yield* serve(answer)
    return { server, proxy: yield* FaultProxy.http({ target: server.url, faults }) }
  })

/** How many connections wait at a port for somebody who accepts them. */
const queueOf = (url: string): number => {
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, "0")
  return Math.max(
    0,
    ...readFileSync("/proc/self/net/tcp", "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local = "", , state]) => local.endsWith(`:${port}`) && state === "0A")
      .map(([, , , , queues = ""]) => Number.parseInt(queues.split(":")[1] ?? "", 16))
  )
}

const attempt = (url: string): Effect.Effect<"in" | "ECONNREFUSED" | "waiting"> =>
  Effect.callback((resume) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1")
    const end = (how: "in" | "ECONNREFUSED" | "waiting") => () => {
      clearTimeout(timer)
      socket.destroy()
      resume(Effect.succeed(how))
    }
    const timer = setTimeout(end("waiting"), 150)
    socket.once("connect", end("in"))
    socket.once("error", end("ECONNREFUSED"))
  })

scenario(
  "passes any method, status and header as they are, and the path of the target",
  Effect.gen(function* () {
    const { proxy, server } = yield* proxied(({ request, response }) => {
      response.writeHead(206, {
        "x-path": request.url ?? "",
        "x-last": request.headers["last-event-id"],
        "set-cookie": ["a", "b"]
      })
      response.end(request.method)
    })
    const answer = yield* ask(`${proxy.url}?q=1`, undefined, { headers: { "last-event-id": "42" } })
    assert(typeof answer !== "string")
    assert.deepInclude(answer, { status: 206, body: "GET" })
    assert.deepInclude(answer.headers, { "x-path": "/mcp?q=1", "x-last": "42", "set-cookie": ["a", "b"] })
    assert.deepStrictEqual(server.came, ["GET /mcp?q=1"])
  })
)

scenario(
  "one socket serves any number of requests, and nothing piles up on it",
  Effect.gen(function* () {
    const warnings: Array<string> = []
    const onWarning = ({ message }: Error): void => void warnings.push(message)
    process.on("warning", onWarning)
    yield* Effect.addFinalizer(() => Effect.sync(() => process.off("warning", onWarning)))
    const { proxy } = yield* proxied(undefined)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    yield* Effect.addFinalizer(() => Effect.sync(() => agent.destroy()))
    for (let count = 0; count < 30; count += 1)
      assert.strictEqual(bodyOf(yield* ask(proxy.url, "tools/list", { agent })), did("tools/list"))
    assert.strictEqual(proxy.connections(), 1)
    assert.deepStrictEqual(warnings, [])
  })
)

scenario(
  "in a partition connecting hangs, and nobody is refused; who goes on trying is let in when it is over",
  Effect.gen(function* () {
    const { proxy, server } = yield* proxied(undefined)
    yield* proxy.inject(Faults.partition("3 seconds"))
    // It takes a moment to get a thread that does nothing.
    yield* until("a queue that is full", () => queueOf(proxy.url) >= 2)
    assert.strictEqual(yield* attempt(proxy.url), "waiting")
    assert.strictEqual(bodyOf(yield* ask(proxy.url, "late")), did("late"))
    assert.deepStrictEqual(server.came, ["late"])
  })
)

scenario(
  "what was sent into a partition arrives when it is over, also when the client has given up by then",
  Effect.gen(function* () {
    const { proxy, server } = yield* proxied(undefined)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    yield* Effect.addFinalizer(() => Effect.sync(() => agent.destroy()))
    yield* ask(proxy.url, "before", { agent })
    yield* proxy.inject(Faults.partition("700 millis"))
    const answer = yield* Effect.timeoutOption(ask(proxy.url, "given up", { agent }), "300 millis")
    assert.strictEqual(answer._tag, "None")
    assert.deepStrictEqual(server.came, ["before"])
    yield* until("the request", () => server.came.includes("given up"))
    yield* until("the end of the socket", () => proxy.connections() === 0)
  })
)

scenario(
  "a slow link delays each piece of a stream by the same time, not one by another's",
  Effect.gen(function* () {
    const { proxy } = yield* proxied(({ response }) => {
      response.writeHead(200, { "content-type": "text/event-stream" })
      let count = 0
      const timer = setInterval(() => {
        response.write(`data: ${(count += 1)}\n\n`)
        if (count < 10) return
        clearInterval(timer)
        response.end()
      }, 10)
    })
    yield* proxy.inject(Faults.slowLink({ latency: "300 millis", for: "1 minute" }))
    const [answer, millis] = yield* timed(ask(proxy.url, undefined))
    assert.include(bodyOf(answer), "data: 10")
    assertAtLeast(millis, 600)
    assert.isBelow(millis, 2_000)
  })
)

scenario(
  "bytes of sockets that are half open go nowhere, and both ends keep them open; new ones work",
  Effect.gen(function* () {
    const open: Array<ServerResponse> = []
    const { proxy, server } = yield* proxied((asked) => {
      if (asked.message?.method === "held") open.push(asked.response)
      else says(asked)
    })
    const held = yield* Effect.forkScoped(ask(proxy.url, "held"))
    yield* until("the request", () => server.came.length === 1)
    yield* proxy.inject(Faults.halfOpen)
    const [response] = open
    assert(response !== undefined)
    json(response, { never: "seen" })
    yield* until("the end of the answer", () => response.writableFinished)
    assert.strictEqual(bodyOf(yield* ask(proxy.url, "new")), did("new"))
    assert.strictEqual(held.pollUnsafe(), undefined)
    yield* until("the end of the new one", () => proxy.connections() === 1)
  })
)

scenario(
  "to a server of the modern era the handshake is its question for the era",
  Effect.gen(function* () {
    const { proxy, server } = yield* proxied(
      undefined,
      Faults.at(0, Faults.refuseStarts(1)),
      Faults.at(0, Faults.drop("request")),
      Faults.on({ method: "initialize", nth: 3 }, Faults.corrupt)
    )
    assert.strictEqual(yield* ask(proxy.url, "server/discover"), "ECONNRESET")
    assert.strictEqual(bodyOf(yield* ask(proxy.url, "server/discover")), did("server/discover"))
    assert.include(bodyOf(yield* ask(proxy.url, "server/discover")), "<!doctype html>")
    assert.deepStrictEqual(server.came, ["server/discover", "server/discover"])
    assert.deepStrictEqual(
      proxy.happened.map(({ fault, to }) => `${fault._tag} ${to?.method ?? ""}`),
      ["RefuseStarts ", "Corrupt server/discover"]
    )
  })
)

for (const [what, refusal] of [
  ["a status", (response: ServerResponse) => json(response, {}, 404)],
  ["an error", (response: ServerResponse) => json(response, { jsonrpc: "2.0", id: 7, error: { code: -32601 } })]
] as const)
  scenario(
    `to a server of the older era, which refuses that question with ${what}, the handshake goes on with initialize`,
    Effect.gen(function* () {
      const { proxy } = yield* proxied(
        (asked) => {
          if (asked.message?.method === "server/discover") refusal(asked.response)
          else says(asked)
        },
        Faults.on({ method: "initialize", nth: 2 }, Faults.crash())
      )
      yield* ask(proxy.url, "server/discover")
      assert.strictEqual(bodyOf(yield* ask(proxy.url, "initialize")), did("initialize"))
      assert.strictEqual(yield* ask(proxy.url, "initialize"), "ECONNRESET")
    })
  )

scenario(
  "credentials are refused before any were seen, with a challenge, and at the endpoint only; others are taken",
  Effect.gen(function* () {
    const { proxy } = yield* proxied(undefined, Faults.at(0, Faults.unauthorized()))
    const as = (authorization: string) => ask(proxy.url, "ping", { headers: { authorization } })
    assert.strictEqual(statusOf(yield* ask(new URL("/.well-known/x", proxy.url).href, undefined)), 200)
    const refused = yield* as("Bearer old")
    assert(typeof refused !== "string")
    assert.strictEqual(refused.status, 401)
    assert.strictEqual(refused.headers["www-authenticate"], 'Bearer error="invalid_token"')
    assert.strictEqual(statusOf(yield* as("Bearer new")), 200)
    assert.strictEqual(statusOf(yield* as("Bearer old")), 401)
  })
)

scenario(
  "Retry-After is whole seconds, rounded up, for as long as the fault holds",
  Effect.gen(function* () {
    const { proxy, server } = yield* proxied(undefined)
    yield* proxy.inject(Faults.unavailable({ status: 504, retryAfter: "1100 millis", for: "400 millis" }))
    const answer = yield* ask(proxy.url, "a")
    assert(typeof answer !== "string")
    assert.deepStrictEqual([answer.status, answer.headers["retry-after"]], [504, "2"])
    const taken = Effect.filterOrFail(Effect.map(ask(proxy.url, "a"), statusOf), (status) => status === 200)
    yield* Effect.retry(taken, { schedule: Schedule.spaced("20 millis"), times: 100 })
    assert.deepStrictEqual(server.came, ["a"])
  })
)

scenario(
  "a reply in JSON that arrives twice is a stream that says it twice",
  Effect.gen(function* () {
    const { proxy } = yield* proxied(undefined, Faults.on({ method: "a" }, Faults.duplicate("reply")))
    const answer = yield* ask(proxy.url, "a")
    assert(typeof answer !== "string")
    assert.strictEqual(answer.type, "text/event-stream")
    assert.lengthOf(answer.body.split(did("a")), 3)
  })
)

scenario(
  "a request that arrives twice arrives again when it has been answered",
  Effect.gen(function* () {
    let now = 0
    let most = 0
    const { proxy, server } = yield* proxied(
      (asked) => {
        now += 1
        most = Math.max(most, now)
        setTimeout(() => {
          now -= 1
          says(asked)
        }, 50)
      },
      Faults.on({ method: "a" }, Faults.duplicate("request"))
    )
    assert.strictEqual(bodyOf(yield* ask(proxy.url, "a")), did("a"))
    yield* until("the second", () => server.came.length === 2 && now === 0)
    assert.strictEqual(most, 1)
  })
)

for (const [what, fault, ending] of [
  ["twice", Faults.duplicate("reply"), (reply: string) => `${reply}${reply}`],
  ["as garbage", Faults.corrupt, () => "data: <!doctype html><title>Sign in</title>\n\n"]
] as const)
  scenario(
    `in a stream only the reply comes ${what}: a question before it gets through at once`,
    Effect.gen(function* () {
      const question = event({ jsonrpc: "2.0", id: 7, method: "elicitation/create", params: { text: "é\u2028" } })
      const reply = event({ jsonrpc: "2.0", id: 7, result: {} })
      let answered = (): void => {}
      const { proxy } = yield* proxied(
        ({ response }) => {
          response.writeHead(200, { "content-type": "text/event-stream" })
          // In two pieces, which end in the middle of a character and of the end of the event.
          const bytes = Buffer.from(`id: 1\r\ndata:\r\n\r\n${question}`)
          const cut = bytes.indexOf(0xc3) + 1
          response.write(bytes.subarray(0, cut))
          response.write(bytes.subarray(cut, -1))
          setTimeout(() => response.write(bytes.subarray(-1)), 20)
          // The stream stays open after the reply.
          answered = () => void response.write(reply)
        },
        Faults.on({ method: "a" }, fault)
      )
      let text = ""
      const answer = yield* Effect.forkScoped(ask(proxy.url, "a", { onText: (piece) => (text += piece) }))
      yield* until("the question", () => text.endsWith(question))
      answered()
      yield* until("the reply", () => text === `id: 1\r\ndata:\r\n\r\n${question}${ending(reply)}`)
      yield* Fiber.interrupt(answer)
    })
  )

scenario(
  "a server that was handed a request before it crashed carries it out, and is not told that anyone left",
  Effect.gen(function* () {
    const ends: Array<boolean> = []
    const { proxy, server } = yield* proxied(
      (asked) => {
        asked.response.once("close", () => ends.push(asked.response.writableFinished))
        if (asked.message?.method === "slow") setTimeout(() => says(asked), 300)
        else if (asked.message?.method !== "other") says(asked)
      },
      Faults.on({ method: "slow" }, Faults.crash({ when: "afterReceiving", downFor: "200 millis" }))
    )
    const other = yield* Effect.forkScoped(ask(proxy.url, "other"))
    yield* until("the other", () => server.came.length === 1)
    assert.strictEqual(yield* ask(proxy.url, "slow"), "ECONNRESET")
    assert.strictEqual(yield* Fiber.join(other), "ECONNRESET")
    assert.strictEqual(yield* ask(proxy.url, "slow"), "ECONNREFUSED")
    yield* until("both ends", () => ends.length === 2)
    assert.deepStrictEqual(ends, [false, true])
    const taken = Effect.filterOrFail(Effect.map(ask(proxy.url, "after"), bodyOf), (body) => body === did("after"))
    yield* Effect.retry(taken, { schedule: Schedule.spaced("20 millis"), times: 100 })
  })
)

scenario(
  "a client that leaves is a request that is broken off, and a server that breaks off is a socket that is reset",
  Effect.gen(function* () {
    let left = 0
    const { proxy, server } = yield* proxied(({ message, response }) => {
      response.on("close", () => (left += 1))
      response.writeHead(200, { "content-type": "text/event-stream" })
      response.write("data: begun\n\n")
      if (message?.method === "cut") setTimeout(() => response.socket?.resetAndDestroy(), 20)
    })
    const stream = yield* Effect.forkScoped(ask(proxy.url, undefined))
    yield* until("the stream", () => server.came.length === 1)
    yield* Fiber.interrupt(stream)
    yield* until("its end", () => left === 1)
    assert.strictEqual(yield* ask(proxy.url, "cut"), "ECONNRESET")
  })
)

scenario(
  "a client that does not read holds the server up",
  Effect.gen(function* () {
    let written = 0
    const { proxy } = yield* proxied(({ response }) => {
      const piece = Buffer.alloc(1024 * 1024)
      const more = (): void => {
        if (written === 200) return void response.end()
        written += 1
        response.write(piece, more)
      }
      more()
    })
    const sockets: Array<Socket> = []
    const slow = yield* Effect.forkScoped(
      ask(proxy.url, undefined, { onSocket: (socket) => void sockets.push(socket), onText: () => sockets[0]?.pause() })
    )
    let last = -1
    // It has stopped when a fifth of a second brings nothing.
    yield* Effect.repeat(
      Effect.delay(
        Effect.sync(() => {
          const isOver = written > 0 && written === last
          last = written
          return isOver
        }),
        "200 millis"
      ),
      { until: (isOver) => isOver, times: 100 }
    )
    assert.isBelow(written, 60)
    yield* Fiber.interrupt(slow)
  })
)

for (const [what, fault] of [
  ["is down", Faults.crash({ downFor: "1 minute" })],
  ["is in a partition", Faults.partition("1 minute")],
  ["is frozen", Faults.freeze("1 minute")]
] as const)
  scenario(
    `a proxy that ${what} when its scope closes leaves nothing`,
    Effect.gen(function* () {
      const server = yield* serve()
      const url = yield* Effect.scoped(
        Effect.gen(function* () {
          const proxy = yield* FaultProxy.http({ target: server.url })
          yield* ask(proxy.url, "a")
          yield* proxy.inject(fault)
          yield* Effect.timeoutOption(ask(proxy.url, "b"), "100 millis")
          return proxy.url
        })
      )
      assert.strictEqual(yield* attempt(url), "ECONNREFUSED")
    })
  )

it.effect("a target is a URL without credentials, which are not repeated", () =>
  Effect.gen(function* () {
    for (const [target, got] of [
      [new URL("http://me:secret@127.0.0.1:1/mcp"), "http://…@127.0.0.1:1"],
      ["https://127.0.0.1:1/mcp", "https://127.0.0.1:1"],
      [5, "no URL"]
    ] as const) {
      const error = yield* Effect.flip(FaultProxy.http({ target: target as string }))
      assert.strictEqual(
        error.message,
        `invalid options of FaultProxy.http: target: expected an http: URL on this machine, like http://127.0.0.1:3000/mcp, got ${got}`
      )
    }
  })
)
