import { assert, describe, it } from "@effect/vitest"
import { Fault, Faults, JumpingClock, SimulatedServer, VirtualClock } from "@mcp-tether/testing"
import { Duration, Effect, Layer, Schema } from "effect"

/** One of every kind. */
const all: ReadonlyArray<Fault.Fault> = [
  Faults.crash({ when: "afterEffect", downFor: "3 seconds" }),
  Faults.refuseStarts(2),
  Faults.hangHandshakes(),
  Faults.freeze("5 seconds"),
  Faults.halfOpen,
  Faults.partition("20 seconds"),
  Faults.slowLink({ latency: "300 millis", for: "1 minute" }),
  Faults.drop("request"),
  Faults.duplicate("reply"),
  Faults.corrupt,
  Faults.expireSessions(),
  Faults.unauthorized(),
  Faults.unavailable({ status: 429, retryAfter: "2 seconds", for: "10 seconds" }),
  Faults.flap({ every: "1 second", times: 3 }),
  Faults.noise(),
  Faults.silentToPing("1 minute"),
  Faults.deploy("next"),
  Faults.clockJump("8 hours")
]

const everyScript: Faults.Script = all.flatMap((fault, index) => [
  Faults.at(index * 1_000, fault),
  Faults.on({ tool: "pay", nth: index + 1, times: 2 }, fault)
])

describe("Faults", () => {
  it("have a constructor for every kind", () => {
    const kinds = Fault.Fault.members.map(({ fields }) => fields._tag.schema.literal)
    assert.sameMembers(
      all.map(({ _tag }) => _tag),
      kinds
    )
  })

  it("have defaults: a crash at once and up again, one refusal, one handshake, 404, 401, 503", () => {
    assert.deepStrictEqual(Faults.crash(), { _tag: "Crash", when: "beforeReceiving", downMillis: 0 })
    assert.deepStrictEqual(Faults.hangHandshakes(), { _tag: "HangHandshakes", times: 1 })
    assert.deepStrictEqual(Faults.expireSessions(), { _tag: "ExpireSessions", status: 404 })
    assert.deepStrictEqual(Faults.unauthorized(), { _tag: "Unauthorized", status: 401 })
    assert.deepStrictEqual(Faults.unavailable(), { _tag: "Unavailable", status: 503, forMillis: 0 })
    assert.deepStrictEqual(Faults.noise(), { _tag: "Noise", lines: 1 })
    assert.deepStrictEqual(Faults.deploy("b"), { _tag: "Deploy", release: "b", how: "restart" })
  })

  it("take any duration, to the millisecond", () => {
    for (const second of ["1 second", 1_000, Duration.seconds(1), Duration.nanos(1_000_000_000n)] as const) {
      assert.deepStrictEqual(Faults.at(second, Faults.freeze(second)), {
        when: { _tag: "At", millis: 1_000 },
        fault: { _tag: "Freeze", forMillis: 1_000 }
      })
    }
    assert.strictEqual(Faults.partition(1.6).forMillis, 2)
  })

  it("happen on the first message of their kind, unless said otherwise", () => {
    assert.deepStrictEqual(Faults.on({ tool: "pay" }, Faults.corrupt).when, {
      _tag: "On",
      tool: "pay",
      nth: 1,
      times: 1
    })
    assert.deepStrictEqual(Faults.on({ method: "tools/list", nth: 3, times: 2 }, Faults.corrupt).when, {
      _tag: "On",
      method: "tools/list",
      nth: 3,
      times: 2
    })
  })
})

describe("a script", () => {
  const first = Faults.at("1 second", Faults.crash())
  const second = Faults.on({ tool: "pay" }, Faults.corrupt)
  const third = Faults.at("3 seconds", Faults.halfOpen)

  it("is made of steps and of other scripts, in their order", () => {
    assert.deepStrictEqual(Faults.script(), [])
    assert.deepStrictEqual(Faults.script(first, second, third), [first, second, third])
    assert.deepStrictEqual(Faults.script([first, second], third), [first, second, third])
    assert.deepStrictEqual(Faults.script(Faults.script(first), [], Faults.script(second, [third])), [
      first,
      second,
      third
    ])
  })

  it("that is later has its times moved, and not its messages; the first one stays as it is", () => {
    const script = Faults.script(first, second, third)
    const moved = Faults.later(script, "1 minute")
    assert.deepStrictEqual(moved, [
      Faults.at("61 seconds", Faults.crash()),
      second,
      Faults.at("63 seconds", Faults.halfOpen)
    ])
    assert.deepStrictEqual(Faults.later(moved, 5), Faults.later(script, 60_005))
    assert.deepStrictEqual(script, [first, second, third])
  })

  it("goes through JSON unharmed, with every kind of fault", () => {
    const json = JSON.stringify(Schema.encodeSync(Faults.Script)(everyScript))
    assert.deepStrictEqual(Schema.decodeUnknownSync(Faults.Script)(JSON.parse(json)), everyScript)
    assert.deepStrictEqual(JSON.parse(json), everyScript)
  })

  it("is not decoded where it is none", () => {
    const decode = Schema.decodeUnknownResult(Faults.Script)
    const step = { when: { _tag: "At", millis: 0 }, fault: { _tag: "HalfOpen" } }
    assert.strictEqual(decode([step])._tag, "Success")
    for (const wrong of [
      { ...step, when: { _tag: "At", millis: -1 } },
      { ...step, when: { _tag: "At", millis: 0.5 } },
      { ...step, when: { _tag: "At", millis: 86_400_001 } },
      { ...step, when: { _tag: "On", tool: "pay", nth: 0, times: 1 } },
      { ...step, when: { _tag: "Whenever" } },
      { ...step, fault: { _tag: "Meteorite" } },
      { ...step, fault: { _tag: "Unavailable", status: 200, forMillis: 0 } },
      { ...step, fault: { _tag: "Flap", everyMillis: 0, times: 1 } },
      { fault: step.fault }
    ])
      assert.strictEqual(decode([wrong])._tag, "Failure", JSON.stringify(wrong))
  })
})

describe("in words", () => {
  it("a step says when, and what", () => {
    const { describe, at, on } = Faults
    const words: ReadonlyArray<readonly [Faults.Step, string]> = [
      [at("5 seconds", Faults.crash({ downFor: "3 seconds" })), "at 5s: crash, down for 3s"],
      [at(0, Faults.crash({ when: "afterReplying" })), "at 0: crash after the reply"],
      [on({ tool: "pay" }, Faults.crash({ when: "afterEffect" })), "on the 1st call of pay: crash after the effect"],
      [on({ method: "initialize", nth: 2 }, Faults.refuseStarts(1)), "on the 2nd initialize: 1 start refused"],
      [on({ nth: 3, times: 20 }, Faults.corrupt), "on the 3rd to 22nd request: the reply is garbage"],
      [on({ tool: "pay", nth: 11, times: 2 }, Faults.halfOpen), "on the 11th to 12th call of pay: bytes go nowhere"],
      [on({ tool: "pay", nth: 113 }, Faults.drop("reply")), "on the 113th call of pay: the reply is lost"],
      [
        at("1 minute", Faults.unavailable({ status: 429, retryAfter: "2 seconds", for: "1 minute" })),
        "at 1m: 429, Retry-After 2s for 1m"
      ],
      [at(1_500, Faults.unavailable()), "at 1s 500ms: 503"],
      [at(0, Faults.flap({ every: "2 seconds", times: 1 })), "at 0: 1 crash, one every 2s"]
    ]
    for (const [step, expected] of words) assert.strictEqual(describe(step), expected)
  })

  it("every fault is told apart from every other", () => {
    assert.lengthOf(new Set(all.map(Fault.describe)), all.length)
  })
})

describe("a random script", () => {
  const seeds = Array.from({ length: 300 }, (_, seed) => seed)
  const during = "1 minute"

  it("is the same for the same seed and options, and another for another", () => {
    for (const over of ["stdio", "http"] as const) {
      const draw = (seed: number | string) =>
        JSON.stringify(
          over === "stdio"
            ? Faults.random(seed, { over, during, tools: ["pay"] })
            : Faults.random(seed, { over, during, tools: ["pay"] })
        )
      const scripts = seeds.map(draw)
      assert.deepStrictEqual(seeds.map(draw), scripts)
      assert.lengthOf(new Set(scripts), seeds.length)
      assert.strictEqual(draw("a seed"), draw("a seed"))
      assert.notStrictEqual(draw("a seed"), draw("another seed"))
    }
  })

  const kindsOver = (over: "stdio" | "http"): Set<string> =>
    new Set(
      seeds.flatMap((seed) =>
        (over === "stdio" ? Faults.random(seed, { over, during }) : Faults.random(seed, { over, during })).map(
          ({ fault }) => fault._tag
        )
      )
    )

  it("has only faults that can happen over its transport, and most of those", () => {
    const stdio = kindsOver("stdio")
    const http = kindsOver("http")
    for (const kind of ["ExpireSessions", "Unauthorized", "Unavailable", "Deploy", "ClockJump"])
      assert.isFalse(stdio.has(kind), kind)
    for (const kind of ["Noise", "Deploy", "ClockJump"]) assert.isFalse(http.has(kind), kind)
    assert.isTrue(stdio.has("Noise"))
    assert.isTrue(http.has("ExpireSessions") && http.has("Unavailable"))
    for (const kind of ["Crash", "RefuseStarts", "HangHandshakes", "Freeze", "HalfOpen", "Partition", "SlowLink"])
      assert.isTrue(stdio.has(kind) && http.has(kind), kind)
    for (const kind of ["Drop", "Duplicate", "Corrupt", "Flap", "SilentToPing"])
      assert.isTrue(stdio.has(kind) && http.has(kind), kind)
  })

  it("is valid, begins within its time, and what lasts, lasts at most a fifth of it", () => {
    for (const millis of [100, 777, 1_000, 10_000, 60_000, 3_600_000]) {
      for (const seed of seeds) {
        const script = Faults.random(seed, { over: "http", during: millis })
        assert.lengthOf(script, 10)
        Schema.decodeUnknownSync(Faults.Script)(script)
        for (const { fault, when } of script) {
          assert(when._tag === "At")
          assert.isBelow(when.millis, millis)
          assert.isAtMost(lastsFor(fault), millis / 5, `${fault._tag} of ${millis} ms`)
        }
      }
    }
  })

  it("duplicates replies, and never a request: no client could help what runs twice then", () => {
    const what = seeds.flatMap((seed) =>
      Faults.random(seed, { over: "stdio", during }).flatMap(({ fault }) =>
        fault._tag === "Duplicate" ? [fault.what] : []
      )
    )
    assert.deepStrictEqual([...new Set(what)], ["reply"])
  })

  it("has as many steps as asked for, half of them on calls of the tools", () => {
    assert.deepStrictEqual(Faults.random(1, { over: "stdio", during, faults: 0 }), [])
    const script = Faults.random(1, { over: "stdio", during, faults: 1_000, tools: ["pay", "read"] })
    assert.lengthOf(script, 1_000)
    const tools = script.flatMap(({ when }) => (when._tag === "On" ? [when.tool] : []))
    assert.isAtLeast(tools.length, 400)
    assert.isAtMost(tools.length, 600)
    assert.sameMembers([...new Set(tools)], ["pay", "read"])
  })
})

/** How long what is done at a time goes on. */
const lastsFor = (fault: Fault.Fault): number => {
  switch (fault._tag) {
    case "Crash":
      return fault.downMillis
    case "Freeze":
    case "Partition":
    case "SlowLink":
    case "SilentToPing":
    case "Unavailable":
      return fault.forMillis
    case "Flap":
      return fault.everyMillis * (fault.times - 1)
    default:
      return 0
  }
}

describe("a script that a server cannot play", () => {
  /** What is wrong with it, as the error of `make` says. */
  const issuesOf = (faults: Faults.Script, options: SimulatedServer.Options = {}) =>
    SimulatedServer.make({ ...options, faults }).pipe(
      Effect.as([]),
      Effect.catchTag("InvalidOptions", ({ issues, of }) => {
        assert.strictEqual(of, "SimulatedServer")
        return Effect.succeed(issues)
      }),
      Effect.scoped,
      Effect.provide(VirtualClock.layer())
    )
  const fine = Faults.at(0, Faults.crash())

  it.live("names every step that cannot happen over its transport, and what would do", () =>
    Effect.gen(function* () {
      const http = [Faults.expireSessions(), Faults.unauthorized(), Faults.unavailable()]
      const issues = yield* issuesOf([fine, ...http.map((fault) => Faults.at(0, fault)), fine])
      assert.deepStrictEqual(
        issues.map(({ option }) => option),
        ["faults[1]", "faults[2]", "faults[3]"]
      )
      for (const [index, { actual, expected }] of issues.entries()) {
        assert.include(expected, `over: "http"`)
        assert.strictEqual(actual, Fault.describe(http[index] ?? Faults.corrupt))
      }
      const noise = yield* issuesOf([Faults.on({ tool: "pay" }, Faults.noise())], { over: "http" })
      assert.lengthOf(noise, 1)
      assert.include(noise[0]?.expected, `over: "stdio"`)
    })
  )

  it.live("names the releases that there are", () =>
    Effect.gen(function* () {
      const [issue] = yield* issuesOf([Faults.at(0, Faults.deploy("c"))], { releases: { a: {}, b: {} } })
      assert.include(issue?.expected, "a, b")
      assert.include(issue?.actual, "release c")
      assert.lengthOf(yield* issuesOf([Faults.at(0, Faults.deploy("constructor"))]), 1)
      assert.lengthOf(yield* issuesOf([Faults.at(0, Faults.deploy("b", "live"))], { releases: { b: {} } }), 0)
    })
  )

  it.live("asks for a JumpingClock where the clock is to jump", () =>
    Effect.gen(function* () {
      const jumps = [Faults.at(0, Faults.clockJump("1 hour"))]
      const [issue] = yield* issuesOf(jumps)
      assert.include(issue?.expected, "JumpingClock")
      yield* SimulatedServer.make({ faults: jumps }).pipe(
        Effect.scoped,
        Effect.provide(Layer.provideMerge(JumpingClock.layer, VirtualClock.layer()))
      )
    })
  )

  it.live("says which value is out of range, and what the range is", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [Faults.Step, RegExp]> = [
        [Faults.at(-5, Faults.crash()), /between 0 and 86400000[^]*millis/],
        [Faults.at(Duration.infinity, Faults.crash()), /millis/],
        [Faults.at(Number.NaN, Faults.crash()), /millis/],
        [Faults.at(0, Faults.freeze(Number.NaN)), /forMillis/],
        [
          Faults.later([Faults.at("1 second", Faults.crash())], "-2 seconds")[0] ?? fine,
          /between 0 and 86400000[^]*millis/
        ],
        [Faults.at("2 days", Faults.crash()), /between 0 and 86400000[^]*millis/],
        [Faults.at(0, Faults.freeze(-1)), /between 0 and 86400000[^]*forMillis/],
        [Faults.at(0, Faults.partition(Duration.infinity)), /forMillis/],
        [Faults.at(0, Faults.refuseStarts(0)), /between 1 and 1000000[^]*times/],
        [Faults.at(0, Faults.refuseStarts(Number.NaN)), /times/],
        [Faults.at(0, Faults.hangHandshakes(1.5)), /times/],
        [Faults.at(0, Faults.flap({ every: 0, times: 1 })), /everyMillis/],
        [Faults.on({ tool: "pay", nth: 0 }, Faults.corrupt), /nth/],
        [Faults.on({ tool: "pay", times: -1 }, Faults.corrupt), /times/],
        [Faults.at(0, { _tag: "Meteorite" } as never), /Meteorite|_tag/],
        [Faults.at(0, Faults.drop("everything" as never)), /what/],
        [{ when: "tomorrow", fault: Faults.corrupt } as never, /when/],
        [undefined as never, /object/]
      ]
      for (const [step, about] of wrong) {
        const issues = yield* issuesOf([fine, step])
        assert.lengthOf(issues, 1, String(about))
        const [issue] = issues
        assert.strictEqual(issue?.option, "faults[1]")
        assert.match(issue?.actual ?? "", about)
      }
    })
  )

  it.live("is told in one line that a person can act on", () =>
    Effect.gen(function* () {
      const error = yield* SimulatedServer.make({ faults: [fine, Faults.at(0, Faults.unauthorized())] }).pipe(
        Effect.flip,
        Effect.scoped
      )
      assert.strictEqual(
        error.message,
        'invalid options of SimulatedServer: faults[1]: expected a fault of stdio, or over: "http", got credentials refused with 401'
      )
    })
  )
})
