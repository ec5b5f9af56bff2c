import { assert, describe, it } from "@effect/vitest"
import * as Outbox from "../../src/internal/driver/outbox.ts"
import { RequestTicket } from "../../src/McpSession.ts"

const ticket = () => new RequestTicket("tools/call", undefined)

/** `pending`, `done`, or the message of its error: what a promise is once everything due has run. */
const settled = async (promise: Promise<void>): Promise<string> => {
  let state = "pending"
  promise.then(
    () => {
      state = "done"
    },
    (error: Error) => {
      state = error.message
    }
  )
  await new Promise((resolve) => setImmediate(resolve))
  return state
}

describe("outbox", () => {
  it("marks a request as sent when it is handed over, and not before", async () => {
    const outbox = Outbox.make(100)
    const one = ticket()
    const added = outbox.add("one\n", 1, one)
    assert.isFalse(one.sent)
    assert.strictEqual(await settled(added), "pending")
    assert.strictEqual(outbox.take(), "one\n")
    assert.isTrue(one.sent)
    assert.strictEqual(await settled(added), "done")
    assert.isUndefined(outbox.take())
  })

  it("hands over in order, in pieces of about the given size; the rest stays recallable", async () => {
    const outbox = Outbox.make(10)
    const tickets = Array.from({ length: 4 }, ticket)
    for (const [index, each] of tickets.entries()) void outbox.add(`${index}.....\n`, index, each)
    assert.strictEqual(outbox.take(), "0.....\n1.....\n")
    assert.deepStrictEqual(
      tickets.map(({ sent }) => sent),
      [true, true, false, false]
    )
    assert.isFalse(outbox.cancel(1))
    assert.isTrue(outbox.cancel(2))
    assert.strictEqual(outbox.take(), "3.....\n")
    assert.isFalse(tickets[2]?.sent)
  })

  it("hands over a message that is larger than a piece by itself", () => {
    const outbox = Outbox.make(10)
    void outbox.add(`${"x".repeat(50)}\n`, 1, ticket())
    void outbox.add("after\n", 2, ticket())
    assert.lengthOf(outbox.take() ?? "", 51)
    assert.strictEqual(outbox.take(), "after\n")
  })

  it("takes back a request, and settles it: nobody waits for it", async () => {
    const outbox = Outbox.make(100)
    const one = ticket()
    const added = outbox.add("one\n", 1, one)
    assert.isTrue(outbox.cancel(1))
    assert.isFalse(outbox.cancel(1))
    assert.isUndefined(outbox.take())
    assert.isFalse(one.sent)
    assert.strictEqual(await settled(added), "done")
  })

  it("does not take back what is no request of ours: a reply to the server may bear the same id", () => {
    const outbox = Outbox.make(100)
    void outbox.add("reply\n", 1, undefined)
    assert.isFalse(outbox.cancel(1))
    assert.strictEqual(outbox.take(), "reply\n")
  })

  it("calls back once, when there is something to take and all who run have sent what they will", async () => {
    const outbox = Outbox.make(100)
    let calls = 0
    const ready = (): void => {
      calls += 1
    }
    outbox.onReady(ready)
    assert.strictEqual(calls, 0)
    void outbox.add("one\n", 1, ticket())
    void Promise.resolve().then(() => outbox.add("two\n", 2, ticket()))
    assert.strictEqual(calls, 0)
    await new Promise((resolve) => setImmediate(resolve))
    assert.strictEqual(calls, 1)
    outbox.onReady(ready)
    assert.strictEqual(calls, 2)
    assert.strictEqual(outbox.take(), "one\ntwo\n")
    outbox.onReady(ready)
    outbox.onReady(undefined)
    void outbox.add("three\n", 3, ticket())
    await new Promise((resolve) => setImmediate(resolve))
    assert.strictEqual(calls, 2)
  })

  it("fails what waits when it is closed, and what comes after, and calls back", async () => {
    const outbox = Outbox.make(100)
    const waiting = ticket()
    const added = outbox.add("one\n", 1, waiting)
    let called = false
    outbox.take()
    const late = ticket()
    const second = settled(outbox.add("two\n", 2, late))
    outbox.onReady(undefined)
    outbox.close(new Error("closed"))
    outbox.close(new Error("closed twice"))
    assert.strictEqual(await settled(added), "done")
    assert.strictEqual(await second, "closed")
    assert.isFalse(late.sent)
    assert.isTrue(outbox.isClosed())
    assert.strictEqual(await settled(outbox.add("three\n", 3, ticket())), "closed")
    assert.isUndefined(outbox.take())
    outbox.onReady(() => {
      called = true
    })
    assert.isTrue(called)
  })
})
