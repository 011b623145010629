import Foundation
import RunnerSimulated
import XCTest

@testable import RunnerCore

final class FaultTests: XCTestCase {
    static let modelJSON = Data(#"""
        {"format":"evalkit-model","version":1,"model":{"name":"t","variant":"fp16","model_hash":"","target":"ios18","compute":"gpu","context_tokens":32,"prefill_tokens":8,"layers":1,"hidden_size":8,"kv_heads":1,"head_dim":8,"vocab_size":50,"sliding_window_tokens":null,"size_bytes":1},"packages":[{"path":"model.mlpackage","role":"whole","size_bytes":1,"files":[]}],"files":[]}
        """#.utf8)
    static let job = String(repeating: "a", count: 32)

    private func start(_ engine: any Engine = SimulatedEngine(), seconds: Double = 10) throws -> TestServer {
        let server = try TestServer(try temporaryFolder(self), engine: engine, greetingSeconds: seconds)
        addTeardownBlock { server.server.stopListening() }
        return server
    }

    private func load(_ client: Client, job: String = String(repeating: "1", count: 32)) throws {
        let package = try client.put(["model.json": Self.modelJSON])
        let answer = try client.ask("load", [
            "job": job, "attempt": 1, "package": package, "compute_units": "cpu", "sample_ms": 0,
        ])
        XCTAssertEqual(answer["type"] as? String, "done", "\(answer)")
    }

    private let generate: [String: Any] = [
        "job": FaultTests.job, "attempt": 1, "prompt": [1, 2, 3], "tokens": 5, "sample_ms": 0,
    ]

    func testASilentClientIsGivenUpAndOthersAreServedMeanwhile() throws {
        let server = try start(seconds: 0.5)
        let silent = try Client(port: server.port)
        _ = try Client.welcome(server.port).ask("list")
        XCTAssertNil(try silent.next())
    }

    func testJobsRunAtThePriorityOfWhatSomebodyWaitsForWithAWholeStack() throws {
        let engine = GatedEngine()
        let server = try start(engine)
        let client = try Client.welcome(server.port)
        try load(client)
        let answer = try client.ask("generate", generate)
        XCTAssertEqual(answer["type"] as? String, "done", "\(answer)")
        XCTAssertEqual(engine.gate.thread?.quality, .userInitiated)
        XCTAssertEqual(engine.gate.thread?.stackBytes, 8 << 20)
    }

    func testDecodeAloneGivesTheSameTokensOneByOne() throws {
        let server = try start()
        let client = try Client.welcome(server.port)
        let package = try client.put(["model.json": Self.modelJSON])
        var ids: [[Int]] = []
        for (job, functions) in [("1", nil), ("2", ["decode"]), ("3", ["prefill", "decode"])] {
            var fields: [String: Any] = [
                "job": String(repeating: job, count: 32), "attempt": 1, "package": package,
                "compute_units": "cpu", "sample_ms": 0,
            ]
            fields["functions"] = functions
            let loaded = try client.ask("load", fields)
            let result = try XCTUnwrap(loaded["result"] as? [String: Any], "\(loaded)")
            XCTAssertEqual(result["functions"] as? [String], functions ?? ["decode", "prefill"])
            var asked = generate
            asked["job"] = String(repeating: job + "f", count: 16)
            let made = try XCTUnwrap(try client.ask("generate", asked)["result"] as? [String: Any])
            ids.append(try XCTUnwrap(made["ids"] as? [Int]))
        }
        XCTAssertEqual(ids[0].count, 5)
        XCTAssertEqual(Set(ids).count, 1)
    }

    func testAnInvalidGreetingNeverStopsTheServer() throws {
        let server = try start()
        for seed in 0..<50 {
            let client = try Client(port: server.port)
            let bytes = (0..<40).map { UInt8(truncatingIfNeeded: ($0 + 7) * (seed + 3) * 31 >> 2) }
            try? client.send(raw: Data(bytes))
            client.stream.shutDown()
        }
        _ = try Client.welcome(server.port).ask("list")
    }

    func testATruncatedFrameEndsOnlyItsSession() throws {
        let server = try start()
        let client = try Client.welcome(server.port)
        try client.send(raw: Data([100, 0, 0, 0, 1, 123]))
        client.stream.shutDown()
        _ = try Client.welcome(server.port).ask("list")
    }

    func testGenerateIsDeterministicAndReplayed() throws {
        let server = try start()
        let client = try Client.welcome(server.port)
        try load(client)
        let first = try client.ask("generate", generate)
        let again = try client.ask("generate", generate.merging(["attempt": 7]) { $1 })
        XCTAssertEqual(first["replayed"] as? Bool, false)
        XCTAssertEqual(again["replayed"] as? Bool, true)
        XCTAssertEqual(again["attempt"] as? Int, 1)
        XCTAssert(try isSame(first["result"]!, again["result"]!))
        let result = first["result"] as! [String: Any]
        XCTAssertEqual((result["ids"] as! [Int]).count, 5)
        XCTAssertEqual((result["token_ms"] as! [Any]).count, 4)
        let other = try client.ask("generate", generate.merging(["tokens": 6]) { $1 })
        XCTAssertEqual(other["code"] as? String, "bad_request")
    }

    func testScoreSendsTheSameLogitsAgainAndTheyFitItsLikelihoods() throws {
        let server = try start()
        let client = try Client.welcome(server.port)
        try load(client)
        let fields: [String: Any] = [
            "job": Self.job, "attempt": 1, "ids": Array(1...20), "logits_at": [0, 9, 19],
        ]
        try client.start("score", fields)
        let first = try XCTUnwrap(try client.next())
        try client.start("score", fields)
        let again = try XCTUnwrap(try client.next())
        XCTAssertEqual(first.logits, again.logits)
        XCTAssertEqual(again.message["replayed"] as? Bool, true)
        let nll = (first.message["result"] as! [String: Any])["nll_nats"] as! [Double]
        XCTAssertEqual(nll.count, 19)
        guard case .logits(9, let values) = first.logits[1] else { return XCTFail() }
        XCTAssertEqual(values.count, 50)
        let expected = try values.withUnsafeBufferPointer { try Logits.nll($0, 11) }
        XCTAssertEqual(nll[9], expected, accuracy: 1e-12)
    }

    func testWhatDoesNotFitTheCacheIsTooLarge() throws {
        let server = try start()
        let client = try Client.welcome(server.port)
        try load(client)
        let long = try client.ask("generate", generate.merging(["tokens": 30]) { $1 })
        XCTAssertEqual(long["code"] as? String, "too_large")
        let huge = try client.ask("generate", generate.merging(["tokens": Int.max]) { $1 })
        XCTAssertEqual(huge["code"] as? String, "too_large")
        let unknown = try client.ask("generate", generate.merging(["prompt": [50]]) { $1 })
        XCTAssertEqual(unknown["code"] as? String, "bad_request")
        // None of it is in the journal.
        XCTAssertEqual(try client.ask("generate", generate)["type"] as? String, "done")
    }

    func testAJobGoesOnWhenTheClientIsCutOff() throws {
        let engine = GatedEngine()
        let server = try start(engine)
        let client = try Client.welcome(server.port)
        try load(client)
        engine.gate.close()
        try client.start("generate", generate)
        engine.gate.waitUntilReached()
        client.stream.shutDown()
        let next = try Client.welcome(server.port)
        XCTAssertEqual(try next.ask("list")["code"] as? String, "busy")
        XCTAssertEqual(try next.ask("describe")["type"] as? String, "done")
        XCTAssertEqual(try next.ask("sample")["type"] as? String, "done")
        let other = generate.merging(["job": String(repeating: "b", count: 32)]) { $1 }
        XCTAssertEqual(try next.ask("generate", other)["code"] as? String, "busy")
        try next.start("generate", generate)
        engine.gate.open()
        let answer = try XCTUnwrap(try next.next()).message
        XCTAssertEqual(answer["type"] as? String, "done", "\(answer)")
        XCTAssertEqual(answer["attempt"] as? Int, 1)
        XCTAssertEqual(try next.ask("generate", generate)["replayed"] as? Bool, true)
    }

    func testAJobThatEndedUnheardIsReplayed() throws {
        let server = try start()
        let client = try Client.welcome(server.port)
        try load(client)
        try client.start("generate", generate)
        client.stream.shutDown()
        let next = try Client.welcome(server.port)
        let answer = try next.ask("generate", generate)
        XCTAssertEqual(answer["type"] as? String, "done", "\(answer)")
    }

    func testAJobThatRanWhenTheProcessEndedIsInterruptedAndRunsAgain() throws {
        let root = try temporaryFolder(self)
        do {
            let server = try TestServer(root, engine: SimulatedEngine())
            let client = try Client.welcome(server.port)
            _ = try client.put(["model.json": Self.modelJSON])
            let work = Job.Work.generate(prompt: [1, 2, 3], tokens: 5, sampleMs: 0)
            let job = Job(job: Self.job, attempt: 1, work: work)
            try server.server.jobs.journal.start(Self.job, attempt: 1, ask: try job.fingerprint())
            client.stream.shutDown()
            server.server.stopListening()
            _ = try? client.next()
            while server.server.hasSessionForTests { usleep(1000) }
        }
        let server = try restart(root)
        addTeardownBlock { server.server.stopListening() }
        let client = try Client.welcome(server.port)
        let answer = try client.ask("generate", generate)
        XCTAssertEqual(answer["code"] as? String, "interrupted", "\(answer)")
        XCTAssertEqual(answer["attempt"] as? Int, 1)
        XCTAssertEqual(answer["replayed"] as? Bool, true)
        let second = generate.merging(["attempt": 2]) { $1 }
        XCTAssertEqual(try client.ask("generate", second)["code"] as? String, "not_loaded")
        try load(client)
        let again = try client.ask("generate", second)
        XCTAssertEqual(again["type"] as? String, "done", "\(again)")
        XCTAssertEqual(again["attempt"] as? Int, 2)
        XCTAssertEqual(again["replayed"] as? Bool, false)
    }

    /// A new server on the same store, once threads of the old one have let go of it.
    private func restart(_ root: URL) throws -> TestServer {
        for _ in 0..<500 {
            if let server = try? TestServer(root, engine: SimulatedEngine()) { return server }
            usleep(10_000)
        }
        return try TestServer(root, engine: SimulatedEngine())
    }

    func testASecondStoreOnTheSameFolderIsRefused() throws {
        let root = try temporaryFolder(self)
        let store = try Store(root: root)
        XCTAssertThrowsError(try Store(root: root)) {
            XCTAssertEqual(($0 as? Failure)?.code, .busy)
        }
        _ = store.freeBytes
    }

    func testListeningAnewKeepsThePort() throws {
        let server = try start()
        _ = try Client.welcome(server.port).ask("list")
        XCTAssertEqual(try server.server.listen(port: server.port), server.port)
        _ = try Client.welcome(server.port).ask("list")
    }

    func testSamplesAreTakenWhileAJobRuns() throws {
        let engine = GatedEngine()
        let server = try start(engine)
        let client = try Client.welcome(server.port)
        try load(client)
        engine.gate.close()
        try client.start("generate", generate.merging(["sample_ms": 50]) { $1 })
        engine.gate.waitUntilReached()
        usleep(180_000)
        engine.gate.open()
        let result = try XCTUnwrap(try client.next()).message["result"] as! [String: Any]
        XCTAssertGreaterThanOrEqual((result["samples"] as! [Any]).count, 2)
        XCTAssertGreaterThanOrEqual(result["ttft_ms"] as! Double, 150)
    }

    func testTokensAreComparedWhole() {
        XCTAssert(Server.isSame(testToken, testToken))
        XCTAssertFalse(Server.isSame("", testToken))
        XCTAssertFalse(Server.isSame(testToken + "0", testToken))
        XCTAssertFalse(Server.isSame(String(testToken.dropLast()) + "e", testToken))
    }
}

/// The simulated engine behind a gate, to stop time without sleeping.
final class GatedEngine: Engine {
    final class Gate: @unchecked Sendable {
        private let condition = NSCondition()
        private var isClosed = false
        private var isReached = false

        func close() { condition.withLock { isClosed = true } }
        func open() {
            condition.withLock {
                isClosed = false
                condition.broadcast()
            }
        }
        /// The last thread that a model was called on.
        private(set) var thread: (quality: QualityOfService, stackBytes: Int)?
        func note(_ thread: Thread) {
            condition.withLock { self.thread = (thread.qualityOfService, thread.stackSize) }
        }
        func pass() {
            condition.withLock {
                isReached = isClosed || isReached
                condition.broadcast()
                while isClosed { condition.wait() }
            }
        }
        func waitUntilReached() { condition.withLock { while !isReached { condition.wait() } } }
    }

    private final class Model: LoadedModel {
        let inner: any LoadedModel
        let gate: Gate
        init(_ inner: any LoadedModel, _ gate: Gate) { (self.inner, self.gate) = (inner, gate) }
        var shape: ModelShape { inner.shape }
        func reset() throws { try inner.reset() }
        func run(_ call: Call, row: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
            gate.pass()
            gate.note(Thread.current)
            try inner.run(call, row: row)
        }
    }

    let gate = Gate()
    private let inner = SimulatedEngine()
    var identity: EngineIdentity { inner.identity }
    func load(
        _ place: PackagePlace, units: ComputeUnits, functions: [ModelFunction],
        compiling: (Double) -> Void
    ) throws -> any LoadedModel {
        Model(try inner.load(place, units: units, functions: functions, compiling: compiling), gate)
    }
    func plan(_ place: PackagePlace, units: ComputeUnits) throws -> Plan {
        try inner.plan(place, units: units)
    }
}
