/** One HTTP exchange on a real socket: bodies that are encoded, endless, slow, cut off, or not wanted any more. */
import { assert, describe, it } from "@effect/vitest"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net"
import { brotliCompressSync, createGzip, deflateSync, gzipSync, constants as zlib } from "node:zlib"
import { Agent } from "undici"
import { exchange, type Outgoing } from "../../src/internal/driver/exchange.ts"

interface Noted {
  readonly happened: Array<string>
  bytes: number
}

/** What is exchanged with a server that answers as it is told to, and in the end what it has seen of the connection. */
const withServer = async (
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  use: (
    ask: (outgoing?: Partial<Outgoing>, onData?: (chunk: Uint8Array) => void) => Promise<Response>,
    noted: Noted,
    sockets: ReadonlyArray<Socket>
  ) => Promise<void>
): Promise<void> => {
  const sockets: Array<Socket> = []
  const server = createServer(answer).on("connection", (socket) => sockets.push(socket))
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const agent = new Agent({ bodyTimeout: 0, headersTimeout: 0 })
  const target = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp?key=value`)
  const noted: Noted = { happened: [], bytes: 0 }
  const note = (what: string) => noted.happened.push(what)
  try {
    await use(
      (outgoing, onData = () => {}) =>
        exchange(
          agent,
          target,
          { method: "POST", headers: new Headers(), body: "{}", signal: undefined, ...outgoing },
          {
            onSent: () => note("sent"),
            onHead: () => note("head"),
            onData: (chunk) => {
              noted.bytes += chunk.length
              onData(chunk)
            },
            onEnd: (broken) => note(broken === undefined ? "end" : "broken")
          }
        ),
      noted,
      sockets
    )
  } finally {
    await agent.destroy()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

/** Until it holds: what the other side of a socket sees comes when it comes. */
const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}

const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => assert.fail("it should have failed"),
    (error: unknown) => error
  )

const text = `{"text":"${"ä€𝄞".repeat(1_000)}"}`

describe("an exchange", () => {
  it("sends what it is given, and hands over status, fields and body", () =>
    withServer(
      (request, response) => {
        const chunks: Array<Buffer> = []
        request.on("data", (chunk: Buffer) => chunks.push(chunk))
        request.on("end", () => {
          response.writeHead(418, { "x-one": "1", "x-latin": Buffer.from("grüße").toString("latin1") })
          response.end(
            JSON.stringify([request.method, request.url, request.headers["x-mine"], Buffer.concat(chunks).toString()])
          )
        })
      },
      async (ask, { happened }) => {
        const response = await ask({ headers: new Headers({ "x-mine": "yes" }), body: text })
        assert.deepStrictEqual([response.status, response.ok], [418, false])
        assert.strictEqual(response.headers.get("x-one"), "1")
        assert.strictEqual(response.headers.get("x-latin"), Buffer.from("grüße").toString("latin1"))
        assert.deepStrictEqual(await response.json(), ["POST", "/mcp?key=value", "yes", text])
        assert.deepStrictEqual(happened, ["sent", "head", "end"])
      }
    ))

  it("has the user's own fields in the place of its own", () =>
    withServer(
      ({ headers }, response) => void response.end(JSON.stringify([headers["user-agent"], headers["accept-encoding"]])),
      async (ask) => {
        assert.deepStrictEqual(await (await ask()).json(), ["mcp-tether", "gzip"])
        const headers = new Headers({ "user-agent": "mine", "accept-encoding": "identity" })
        assert.deepStrictEqual(await (await ask({ headers })).json(), ["mine", "identity"])
      }
    ))

  it("waits for the answer behind informational ones", () =>
    withServer(
      (_, response) => {
        response.writeEarlyHints({ link: "</style.css>; rel=preload" })
        response.writeProcessing()
        response.end("late")
      },
      async (ask, { happened }) => {
        assert.strictEqual(await (await ask()).text(), "late")
        assert.deepStrictEqual(happened, ["sent", "head", "end"])
      }
    ))

  it("says what fetch would: that any type will do, and that a stream is not to come out of a cache", () =>
    withServer(
      ({ headers }, response) => void response.end(JSON.stringify([headers.accept, headers["cache-control"] ?? null])),
      async (ask) => {
        assert.deepStrictEqual(await (await ask()).json(), ["*/*", null])
        assert.deepStrictEqual(await (await ask({ method: "GET", body: undefined })).json(), ["*/*", "no-cache"])
      }
    ))

  it("has a body that can be read once, and an empty one at once", () =>
    withServer(
      (_, response) => void response.writeHead(202).end(),
      async (ask) => {
        const response = await ask()
        assert.strictEqual(await response.text(), "")
        assert.instanceOf(await failureOf(response.text()), TypeError)
        await response.body?.cancel()
        const other = await ask()
        await other.body?.cancel()
        assert.instanceOf(await failureOf(other.text()), TypeError)
      }
    ))
})

describe("an encoded body", () => {
  const encodings = {
    gzip: gzipSync(text),
    "X-Gzip": gzipSync(text),
    deflate: deflateSync(text),
    br: brotliCompressSync(text),
    "deflate, gzip": gzipSync(deflateSync(text))
  }
  for (const [encoding, body] of Object.entries(encodings))
    it(`is decoded: ${encoding}`, () =>
      withServer(
        (_, response) => {
          response.writeHead(200, { "content-encoding": encoding })
          // In two pieces, which no encoding cares about.
          response.write(body.subarray(0, 10))
          setTimeout(() => response.end(body.subarray(10)), 5)
        },
        async (ask, noted) => {
          assert.strictEqual(await (await ask()).text(), text)
          assert.strictEqual(noted.bytes, Buffer.byteLength(text))
          assert.strictEqual(noted.happened.at(-1), "end")
        }
      ))

  it("is handed over as it is where its encoding is not known", () =>
    withServer(
      (_, response) => void response.writeHead(200, { "content-encoding": "rot13" }).end("uryyb"),
      async (ask) => assert.strictEqual(await (await ask()).text(), "uryyb")
    ))

  it("that ends too early is worth what has come", () =>
    withServer(
      (_, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(text).subarray(0, -8)),
      async (ask) => assert.strictEqual(await (await ask()).text(), text)
    ))

  for (const [encoding, body] of Object.entries(encodings))
    it(`ends although something comes behind its end: ${encoding}`, () =>
      withServer(
        (_, response) => {
          response.writeHead(200, { "content-encoding": encoding })
          response.write(Buffer.concat([body, Buffer.alloc(8)]))
          setTimeout(() => response.end(), 20)
        },
        async (ask, noted) => {
          assert.strictEqual(await (await ask()).text(), text)
          assert.strictEqual(noted.happened.at(-1), "end")
        }
      ))

  it("that breaks while it streams is broken, for those who watch, too", () =>
    withServer(
      (_, response) => {
        response.writeHead(200, { "content-encoding": "gzip", "content-type": "text/event-stream" })
        const gzip = createGzip({ flush: zlib.Z_SYNC_FLUSH })
        gzip.pipe(response, { end: false })
        gzip.write("event")
        setTimeout(() => response.end("this is no gzip"), 20)
      },
      async (ask, { happened }) => {
        const reader = (await ask()).body?.getReader()
        assert.strictEqual(new TextDecoder().decode((await reader?.read())?.value), "event")
        assert.propertyVal(await failureOf(reader?.read() ?? Promise.resolve()), "code", "Z_DATA_ERROR")
        assert.deepStrictEqual(happened, ["sent", "head", "broken"])
      }
    ))

  it("that is none is a failure", () =>
    withServer(
      (_, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end("this is no gzip"),
      async (ask) => {
        const error = await failureOf((await ask()).text())
        assert.propertyVal(error, "code", "Z_DATA_ERROR")
      }
    ))

  it("in more encodings than anybody needs is a failure", () =>
    withServer(
      (_, response) => void response.writeHead(200, { "content-encoding": Array(6).fill("gzip").join(", ") }).end("x"),
      async (ask) => assert.instanceOf(await failureOf(ask()), Error)
    ))

  it("is counted decoded, so that a small one cannot become an endless one", () =>
    withServer(
      (_, response) =>
        void response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(Buffer.alloc(50_000_000))),
      async (ask, noted) => {
        const tooMuch = new Error("too much")
        const response = await ask({}, () => {
          if (noted.bytes > 100_000) throw tooMuch
        })
        assert.strictEqual(await failureOf(response.text()), tooMuch)
        assert.isBelow(noted.bytes, 1_000_000)
      }
    ))

  it("that is a stream tells of each event when it is there", () => {
    let say: (event: string) => void = () => {}
    let end = (): void => {}
    return withServer(
      (_, response) => {
        const gzip = createGzip({ flush: zlib.Z_SYNC_FLUSH })
        response.writeHead(200, { "content-encoding": "gzip", "content-type": "text/event-stream" })
        gzip.pipe(response)
        say = (event) => void gzip.write(event)
        end = () => void gzip.end()
        say("first")
      },
      async (ask) => {
        const reader = (await ask()).body?.getReader()
        const next = async () => new TextDecoder().decode((await reader?.read())?.value)
        assert.strictEqual(await next(), "first")
        say("second")
        assert.strictEqual(await next(), "second")
        end()
        assert.strictEqual((await reader?.read())?.done, true)
      }
    )
  })
})

describe("a body that nobody reads", () => {
  for (const encoding of ["identity", "gzip"])
    it(`holds the server up, and not the memory: ${encoding}`, () => {
      let written = 0
      return withServer(
        (_, response) => {
          response.writeHead(200, { "content-encoding": encoding })
          const out = encoding === "gzip" ? createGzip({ level: 0 }) : response
          if (out !== response) out.pipe(response)
          const more = (): void => {
            while (written < 64_000_000) {
              written += 64_000
              if (!out.write(Buffer.alloc(64_000, written))) return void out.once("drain", more)
            }
            out.end()
          }
          more()
        },
        async (ask, noted) => {
          const response = await ask()
          const reader = response.body?.getReader()
          await reader?.read()
          // At rest: neither side gets on without the other.
          let before = -1
          while (before !== written) {
            before = written
            await new Promise((resolve) => setTimeout(resolve, 100))
          }
          assert.isBelow(noted.bytes, 1_000_000)
          assert.isBelow(written, 32_000_000)
          // And goes on when somebody does.
          while (reader !== undefined && !(await reader.read()).done);
          assert.strictEqual(noted.bytes, 64_000_000)
        }
      )
    })

  it("is there in one piece for whoever comes late", () => {
    let written = 0
    return withServer(
      (_, response) => {
        const more = (): void => {
          while (written < 32_000_000) {
            written += 64_000
            if (!response.write(Buffer.alloc(64_000, "x"))) return void response.once("drain", more)
          }
          response.end()
        }
        more()
      },
      async (ask, noted) => {
        const response = await ask()
        let before = -1
        while (before !== written) {
          before = written
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
        assert.isBelow(noted.bytes, 1_000_000)
        assert.lengthOf(await response.text(), 32_000_000)
      }
    )
  })

  it("ends its connection when it is not wanted, and nothing is broken then", () =>
    withServer(
      (_, response) => void response.writeHead(200, { "content-type": "text/event-stream" }).write("event"),
      async (ask, { happened }, sockets) => {
        const response = await ask()
        await response.body?.cancel()
        assert.deepStrictEqual(happened, ["sent", "head", "end"])
        await until(() => sockets.every(({ destroyed }) => destroyed))
      }
    ))
})

describe("an exchange that is broken off", () => {
  it("fails with undici's error before the answer", () =>
    withServer(
      (_, response) => void response.destroy(),
      async (ask, { happened }) => {
        assert.propertyVal(await failureOf(ask()), "code", "UND_ERR_SOCKET")
        assert.deepStrictEqual(happened, ["sent", "broken"])
      }
    ))

  for (const encoding of ["identity", "gzip"])
    it(`fails whoever reads: ${encoding}`, () =>
      withServer(
        (_, response) => {
          response.writeHead(200, { "content-encoding": encoding, "content-length": "100000" })
          response.write(encoding === "gzip" ? gzipSync("some").subarray(0, 20) : "some")
          setTimeout(() => response.destroy(), 20)
        },
        async (ask, { happened }) => {
          const response = await ask()
          assert.propertyVal(await failureOf(response.text()), "code", "UND_ERR_SOCKET")
          const stream = (await ask()).body?.getReader()
          const read = async () => {
            while (!(await stream?.read())?.done);
          }
          assert.propertyVal(await failureOf(read()), "code", "UND_ERR_SOCKET")
          assert.deepStrictEqual(happened, ["sent", "head", "broken", "sent", "head", "broken"])
        }
      ))
})

describe("an exchange that is given up", () => {
  it("was never begun when it was before", () =>
    withServer(
      (_, response) => void response.end(),
      async (ask, { happened }, sockets) => {
        assert.strictEqual(await failureOf(ask({ signal: AbortSignal.abort("not wanted") })), "not wanted")
        assert.deepStrictEqual(happened, ["end"])
        assert.lengthOf(sockets, 0)
      }
    ))

  it("before there is a connection sends nothing when there is one", async () => {
    let seen = 0
    const server = createTcpServer((socket) => {
      socket.on("data", ({ length }) => (seen += length)).on("error", () => {})
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    let connect = (): void => {}
    const { port } = server.address() as AddressInfo
    const net = await import("node:net")
    const agent = new Agent({
      connect: (_, callback) => {
        const socket = net.connect(port, "127.0.0.1", () => {
          connect = () => callback(null, socket)
        })
      }
    })
    const abort = new AbortController()
    let sent = false
    const answer = exchange(
      agent,
      new URL(`http://127.0.0.1:${port}/`),
      { method: "POST", headers: new Headers(), body: "{}", signal: abort.signal },
      { onSent: () => (sent = true), onHead: () => {}, onData: () => {}, onEnd: () => {} }
    )
    const first = connect
    await until(() => connect !== first)
    abort.abort("not wanted")
    assert.strictEqual(await failureOf(answer), "not wanted")
    connect()
    await agent.close()
    assert.deepStrictEqual([sent, seen], [false, 0])
    await new Promise((resolve) => server.close(resolve))
  })

  it("under way fails with the reason, ends the connection, and is nobody's fault", () =>
    withServer(
      () => {},
      async (ask, { happened }, sockets) => {
        const abort = new AbortController()
        const answer = ask({ signal: abort.signal })
        await until(() => happened.includes("sent"))
        abort.abort("not wanted")
        assert.strictEqual(await failureOf(answer), "not wanted")
        assert.deepStrictEqual(happened, ["sent", "end"])
        await until(() => sockets.every(({ destroyed }) => destroyed))
      }
    ))

  it("while its body is read fails the reading with the reason", () =>
    withServer(
      (_, response) => void response.writeHead(200).write("some"),
      async (ask, { happened }) => {
        const abort = new AbortController()
        const response = await ask({ signal: abort.signal })
        const whole = response.text()
        abort.abort("not wanted")
        assert.strictEqual(await failureOf(whole), "not wanted")
        assert.deepStrictEqual(happened, ["sent", "head", "end"])
      }
    ))

  it("after its end is of no account, and forgotten by the signal", () =>
    withServer(
      (_, response) => void response.end("all"),
      async (ask) => {
        const abort = new AbortController()
        const { signal } = abort
        let listeners = 0
        const { addEventListener, removeEventListener } = signal
        signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
          listeners += 1
          addEventListener.apply(signal, args)
        }
        signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
          listeners -= 1
          removeEventListener.apply(signal, args)
        }
        const response = await ask({ signal })
        await until(() => listeners === 0)
        abort.abort("late")
        assert.strictEqual(await response.text(), "all")
      }
    ))
})
