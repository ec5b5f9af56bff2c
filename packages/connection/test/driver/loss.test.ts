import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { ConnectionError, TransportClosed } from "../../src/ConnectionError.ts"
import * as Loss from "../../src/internal/loss.ts"

const error = new ConnectionError({ server: "test", reason: new TransportClosed({ description: "over" }) })

describe("a loss", () => {
  for (const early of [true, false])
    it.effect(`is told to who waits, and to who listens ${early ? "before" : "afterwards"}`, () =>
      Effect.gen(function* () {
        const { lost, tell } = Loss.make()
        const listen = Loss.listenTo(lost)
        assert(listen !== undefined)
        const heard: Array<ConnectionError> = []
        const listenNow = () => listen((loss) => heard.push(loss))
        if (early) listenNow()
        assert.deepStrictEqual(heard, [])
        tell(error)
        if (!early) listenNow()
        assert.deepStrictEqual(heard, [error])
        assert.strictEqual(yield* lost, error)
      })
    )

  it("of anybody else has to be waited for", () => {
    assert.isUndefined(Loss.listenTo(Effect.raceFirst(Loss.make().lost, Effect.never)))
  })
})
