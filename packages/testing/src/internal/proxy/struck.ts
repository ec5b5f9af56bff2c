/** The body of an answer whose reply is struck. What comes before the reply in its stream, like progress or a question, gets through. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http"
import type { Strikes } from "./director.ts"
import { parse, replyIdIn } from "./message.ts"

export interface Struck {
  readonly id: string | number
  readonly strikes: Strikes
  readonly answer: IncomingMessage
  readonly response: ServerResponse
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Whether the client takes streams of events. */
  readonly takesStream: boolean
  /** Kills the server, before the client has the reply or once it has it. */
  readonly crash: (when: "afterEffect" | "afterReplying") => void
}

/** What is sent instead of the server's body; writes the head before the first of it. */
export async function* bodyOf(struck: Struck): AsyncGenerator<Buffer, void> {
  const { answer, headers, id, response, status, strikes } = struck
  const begin = (): void => {
    if (!response.headersSent) response.writeHead(status, headers)
  }
  const isStream = isEventStream(answer)
  /** Events without a message, like the one that a server begins with so that its stream can be resumed. */
  const silent: Array<Buffer> = []
  for await (const piece of isStream ? eventsOf(answer) : whole(answer)) {
    if (isStream && replyIdIn(messageIn(piece)) !== id) {
      silent.push(piece)
      if (messageIn(piece) === undefined) continue
      begin()
      yield* silent.splice(0)
      continue
    }
    if (strikes.crash === "afterEffect") return struck.crash("afterEffect")
    if (strikes.drop === "reply") {
      // Nothing comes any more, until the client gives up.
      await new Promise<void>((resolve) => response.once("close", () => resolve()))
      return
    }
    if (strikes.corrupt) return yield* garbage(response)
    yield* twice(struck, piece, silent, begin)
    if (strikes.crash === "afterReplying") {
      response.once("finish", () => struck.crash("afterReplying"))
      return
    }
  }
  begin()
}

const html = "<!doctype html><title>Sign in</title>"

async function* garbage(response: ServerResponse): AsyncGenerator<Buffer, void> {
  const isBegun = response.headersSent
  if (!isBegun) response.writeHead(200, { "content-type": "text/html" })
  yield Buffer.from(isBegun ? `data: ${html}\n\n` : html)
}

/** The reply, twice if it is to be. One answer is all that a body of JSON has room for: it becomes a stream, which can say it twice. */
async function* twice(
  { answer, response, strikes, takesStream }: Struck,
  reply: Buffer,
  silent: ReadonlyArray<Buffer>,
  begin: () => void
): AsyncGenerator<Buffer, void> {
  const isTwice = strikes.duplicate === "reply"
  if (isTwice && takesStream && !isEventStream(answer)) {
    const event = Buffer.from(`event: message\ndata: ${JSON.stringify(parse(reply.toString("utf8")))}\n\n`)
    const session = answer.headers["mcp-session-id"]
    response.writeHead(200, {
      "content-type": "text/event-stream",
      ...(session === undefined ? {} : { "mcp-session-id": session })
    })
    yield* [event, event]
    return
  }
  begin()
  yield* isTwice && isEventStream(answer) ? [...silent, reply, reply] : [...silent, reply]
}

const isEventStream = ({ headers }: IncomingMessage): boolean =>
  headers["content-type"]?.startsWith("text/event-stream") === true

async function* whole(answer: IncomingMessage): AsyncGenerator<Buffer, void> {
  const chunks: Array<Buffer> = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  yield Buffer.concat(chunks)
}

/** Each event with the empty line that ends it, byte for byte. */
async function* eventsOf(answer: IncomingMessage): AsyncGenerator<Buffer, void> {
  let rest = ""
  for await (const chunk of answer) {
    // One character for each byte, whatever the text is.
    const events = `${rest}${(chunk as Buffer).toString("latin1")}`.split(/(?<=\r\n\r\n|\n\n|\r\r)/)
    rest = /(\r\n\r\n|\n\n|\r\r)$/.test(events.at(-1) ?? "") ? "" : (events.pop() ?? "")
    for (const event of events) yield Buffer.from(event, "latin1")
  }
  if (rest !== "") yield Buffer.from(rest, "latin1")
}

/** The JSON-RPC message of an event, if it has one. */
const messageIn = (event: Buffer): unknown =>
  parse(
    event
      .toString("utf8")
      .split(/\r\n|\n|\r/)
      .flatMap((line) => (line.startsWith("data:") ? [line.slice(5)] : []))
      .join("\n")
  )
