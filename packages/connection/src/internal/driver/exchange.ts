/**
 * One HTTP exchange, straight on undici's dispatcher. undici's `fetch` makes a request, a response and three streams of a message of a hundred
 * bytes, and takes half of a call with it; here a body is a stream where one is read as it comes, and else its chunks.
 */
import * as Predicate from "effect/Predicate"
import type { Dispatcher } from "undici"
import type { Transform } from "node:stream"
import { createBrotliDecompress, createGunzip, createInflate, constants as zlib } from "node:zlib"

export interface Outgoing {
  readonly method: string
  readonly headers: Headers
  readonly body: string | undefined
  readonly signal: AbortSignal | undefined
}

/** Told what happens, before whoever waits for the response. */
export interface Observer {
  /** There is a connection, and the request is about to be written to it. */
  readonly onSent: () => void
  readonly onHead: (headers: Headers) => void
  /** Of the body, decoded. What it throws ends the exchange. */
  readonly onData: (chunk: Uint8Array) => void
  /** Nothing more comes; `broken`: why not, unless that was our own doing. */
  readonly onEnd: (broken?: Error) => void
}

/** Redirects are handed over, and not followed. Rejects with undici's or zlib's own errors, what `onData` throws, or the signal's reason. */
export const exchange = (
  dispatcher: Pick<Dispatcher, "dispatch">,
  target: URL,
  { body, headers, method, signal }: Outgoing,
  observer: Observer
): Promise<Response> =>
  new Promise((resolve, reject) => {
    let connection: Dispatcher.DispatchController | undefined
    let received: Body | undefined
    /** Why nothing more is wanted, once that is so. */
    let left: { readonly reason: unknown } | undefined
    let over = false

    const end = (broken?: Error): void => {
      if (over) return
      over = true
      signal?.removeEventListener("abort", abort)
      observer.onEnd(left === undefined ? broken : undefined)
      const failed = left ?? (broken === undefined ? undefined : { reason: broken })
      received?.end(failed)
      if (failed !== undefined) reject(failed.reason)
    }
    const leave = (reason: unknown): void => {
      left ??= { reason }
      connection?.abort(errorOf(reason))
      end()
    }
    const breakOff = (error: Error): void => {
      end(error)
      connection?.abort(error)
    }
    const abort = (): void => leave(signal?.reason)

    if (signal?.aborted === true) return abort()
    signal?.addEventListener("abort", abort)
    const options = {
      origin: target.origin,
      path: target.pathname + target.search,
      method,
      headers: fieldsOf(method, headers, target)
    }
    dispatcher.dispatch(body === undefined ? options : { ...options, body }, {
      onRequestStart: (controller) => {
        if (left !== undefined) return controller.abort(errorOf(left.reason))
        connection = controller
        observer.onSent()
      },
      onResponseStart: (controller, status, parsed, statusText) => {
        // Informational: the response is still to come.
        if (status < 200) return
        const headers = headersOf(controller.rawHeaders ?? parsed)
        observer.onHead(headers)
        received = new Body(
          controller,
          { leave, breakOff, onData: observer.onData },
          decodersOf(headers.get("content-encoding"))
        )
        resolve(new Received(target, status, statusText ?? "", headers, received) as unknown as Response)
      },
      onResponseData: (_, chunk) => received?.push(chunk),
      onResponseEnd: () => {
        if (received === undefined) end()
        else received.finish(end)
      },
      onResponseError: (_, error) => end(error)
    })
  })

const errorOf = (reason: unknown): Error =>
  reason instanceof Error ? reason : new DOMException("nobody waits for it", "AbortError")

/** As much of a `Response` as the SDK reads. */
class Received {
  readonly type = "default"
  readonly redirected = false
  readonly url: string
  readonly status: number
  readonly statusText: string
  readonly headers: Headers
  readonly #body: Body

  constructor(target: URL, status: number, statusText: string, headers: Headers, body: Body) {
    this.url = target.href
    this.status = status
    this.statusText = statusText
    this.headers = headers
    this.#body = body
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }

  get body(): ReadableStream<Uint8Array> {
    return this.#body.stream()
  }

  text(): Promise<string> {
    return this.#body.text()
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.#body.text())
  }
}

interface Handlers {
  /** Nobody wants the rest. */
  readonly leave: (reason: unknown) => void
  /** There is no rest to be had. */
  readonly breakOff: (error: Error) => void
  readonly onData: (chunk: Uint8Array) => void
}

interface Failed {
  readonly reason: unknown
}

/** How much waits for a reader before the server has to. */
const highWater = 64 * 1024

const utf8 = new TextDecoder()

/** Chunks that are kept until somebody wants them: all at once, or as they come. */
class Body {
  readonly #connection: Dispatcher.DispatchController
  readonly #on: Handlers
  readonly #decoders: ReadonlyArray<Transform>
  #chunks: Array<Uint8Array> = []
  #size = 0
  #reader: ReadableStreamDefaultController<Uint8Array> | undefined
  #stream: ReadableStream<Uint8Array> | undefined
  #whole: (() => void) | undefined
  #failed: Failed | undefined
  #ended = false

  constructor(connection: Dispatcher.DispatchController, on: Handlers, decoders: ReadonlyArray<Transform>) {
    this.#connection = connection
    this.#on = on
    this.#decoders = decoders
    for (const [index, decoder] of decoders.entries()) {
      const next = decoders[index + 1]
      decoder.on("error", on.breakOff)
      decoder.on("drain", () => connection.resume())
      if (next === undefined) decoder.on("data", (chunk: Uint8Array) => this.#take(chunk))
      else decoder.pipe(next)
    }
  }

  /** A chunk as it came. */
  push(chunk: Uint8Array): void {
    const [first] = this.#decoders
    if (first === undefined) this.#take(chunk)
    else if (!first.write(chunk)) this.#connection.pause()
  }

  /** Nothing more comes, but what has come may still have to be decoded. */
  finish(then: () => void): void {
    const [first] = this.#decoders
    if (first === undefined) return then()
    // What came behind the end of the encoded body is nothing, but the decoder may have told of its end already.
    const last = this.#decoders.at(-1)
    if (last?.readableEnded === true) return then()
    last?.on("end", then)
    first.end()
  }

  end(failed: Failed | undefined): void {
    this.#ended = true
    this.#failed = failed
    for (const decoder of this.#decoders) decoder.destroy()
    this.#whole?.()
    if (failed === undefined) this.#reader?.close()
    else this.#reader?.error(failed.reason)
  }

  #take(chunk: Uint8Array): void {
    if (this.#ended) return
    try {
      this.#on.onData(chunk)
    } catch (error) {
      return this.#on.leave(error)
    }
    if (this.#reader !== undefined) {
      this.#reader.enqueue(chunk)
      if ((this.#reader.desiredSize ?? 0) <= 0) this.#pause()
      return
    }
    this.#chunks.push(chunk)
    this.#size += chunk.length
    if (this.#whole === undefined && this.#size > highWater) this.#pause()
  }

  #pause(): void {
    const last = this.#decoders.at(-1)
    if (last === undefined) this.#connection.pause()
    else last.pause()
  }

  #resume(): void {
    const last = this.#decoders.at(-1)
    if (last === undefined) this.#connection.resume()
    else last.resume()
  }

  text(): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#whole !== undefined || this.#stream !== undefined) {
        return reject(new TypeError("the body was read already"))
      }
      const done = (): void => {
        if (this.#failed !== undefined) return reject(this.#failed.reason)
        const [first] = this.#chunks
        const bytes = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks, this.#size)
        this.#chunks = []
        this.#size = 0
        try {
          resolve(utf8.decode(bytes))
        } catch (error) {
          reject(error)
        }
      }
      this.#whole = done
      if (this.#ended) done()
      else this.#resume()
    })
  }

  stream(): ReadableStream<Uint8Array> {
    this.#stream ??= new ReadableStream<Uint8Array>(
      {
        start: (reader) => {
          for (const chunk of this.#chunks) reader.enqueue(chunk)
          this.#chunks = []
          this.#size = 0
          if (!this.#ended) this.#reader = reader
          else if (this.#failed === undefined) reader.close()
          else reader.error(this.#failed.reason)
        },
        pull: () => this.#resume(),
        cancel: () => {
          this.#reader = undefined
          if (!this.#ended) this.#on.leave(new DOMException("nobody reads on", "AbortError"))
        }
      },
      { highWaterMark: highWater, size: (chunk) => chunk.length }
    )
    return this.#stream
  }
}

const fieldsOf = (method: string, headers: Headers, { protocol }: URL): Record<string, string> => {
  const fields: Record<string, string> = {
    accept: "*/*",
    // Not `deflate`: half of those who send it mean something else by it (RFC 9110 §8.4.1.2).
    "accept-encoding": protocol === "https:" ? "br, gzip" : "gzip",
    "user-agent": "mcp-tether",
    // A stream of events out of a cache would be one of the past.
    ...(method === "GET" ? { "cache-control": "no-cache" } : {})
  }
  for (const [name, value] of headers) fields[name] = value
  return fields
}

/** As they came: what undici makes of them is UTF-8, and `Headers` takes bytes. */
const headersOf = (raw: NonNullable<Dispatcher.DispatchController["rawHeaders"]>): Headers => {
  const headers = new Headers()
  if (Array.isArray(raw)) {
    for (let index = 0; index + 1 < raw.length; index += 2)
      headers.append(byteString(raw[index]), byteString(raw[index + 1]))
    return headers
  }
  for (const [name, values] of Object.entries(raw)) {
    // HTTP/2 has fields of its own, like `:status`.
    if (name.startsWith(":") || values === undefined) continue
    for (const value of Predicate.isString(values) ? [values] : values) headers.append(name, value)
  }
  return headers
}

const byteString = (field: Buffer | string | undefined): string =>
  field === undefined ? "" : Predicate.isString(field) ? field : field.toString("latin1")

/** More would be an attack (CVE-2022-32206). */
const maxEncodings = 5

/** What undoes the encodings of a body, the last one first (RFC 9110 §8.4); nothing, where one is not known. */
const decodersOf = (encodings: string | null): ReadonlyArray<Transform> => {
  if (encodings === null) return []
  const names = encodings
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
  if (names.length > maxEncodings) throw new Error(`more than ${maxEncodings} encodings of one body`)
  const decoders = names.toReversed().map((name) => decoderOf(name))
  return decoders.every((decoder) => decoder !== undefined) ? decoders : []
}

/** An event has to come out as soon as it is in, and a body that was cut off is worth what has come. */
const lenient = { flush: zlib.Z_SYNC_FLUSH, finishFlush: zlib.Z_SYNC_FLUSH }

const decoderOf = (encoding: string): Transform | undefined => {
  switch (encoding) {
    case "gzip":
    case "x-gzip":
      return createGunzip(lenient)
    case "deflate":
      return createInflate(lenient)
    case "br":
      return createBrotliDecompress({ flush: zlib.BROTLI_OPERATION_FLUSH, finishFlush: zlib.BROTLI_OPERATION_FLUSH })
    default:
      return undefined
  }
}
