import Foundation
import XCTest

@testable import RunnerCore

final class FixtureTests: XCTestCase {
    private func frames(_ bytes: Data) throws -> [Frame] {
        let reader = FrameReader(BytesSource(bytes))
        var frames: [Frame] = []
        while let frame = try reader.next(maxBytes: Limits.frameBytes) { frames.append(frame) }
        return frames
    }

    private func described(_ frame: Frame) throws -> Any {
        switch frame {
        case .control(let json): ["control": try JSONSerialization.jsonObject(with: json)]
        case .chunk(let bytes): ["chunk": Hex.encode(Array(bytes))]
        case .logits(let position, let values):
            ["logits": ["position": position, "bits": values.map(\.bitPattern)] as [String: Any]]
        }
    }

    func testFramesAreReadAndWrittenAsTheFixturesSay() throws {
        let fixture = try Fixture.read("frames.json")
        for test in try Fixture.list(fixture["good"]) {
            let bytes = Fixture.bytes(test["hex"] as! String)
            let found = try frames(bytes)
            XCTAssert(try isSame(try found.map(described), test["frames"]!), "\(test["name"]!)")
            let again = try found.reduce(Data()) { $0 + (try $1.encoded()) }
            XCTAssertEqual(again, bytes, "\(test["name"]!)")
        }
        for test in try Fixture.list(fixture["bad"]) {
            XCTAssertThrowsError(try frames(Fixture.bytes(test["hex"] as! String)), "\(test)") {
                let isCut = $0 is StreamEnded
                XCTAssertEqual(isCut ? "cut" : ($0 as? Failure)?.code.rawValue, test["error"] as? String)
            }
        }
    }

    func testNoGarbageCrashesTheReader() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let length = Int.random(in: 0...64, using: &generator)
            var bytes = Data((0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) })
            if length > 4, Bool.random(using: &generator) {
                bytes.replaceSubrange(0..<5, with: [UInt8(length - 4), 0, 0, 0, UInt8.random(in: 1...3)])
            }
            _ = try? frames(bytes)
        }
    }

    func testPathsAreAllowedAsTheFixturesSay() throws {
        let fixture = try Fixture.read("names.json")
        for path in try XCTUnwrap(fixture["good"] as? [String]) {
            XCTAssertNoThrow(try PathRule.check(path), path)
        }
        for path in try XCTUnwrap(fixture["bad"] as? [String]) {
            XCTAssertThrowsError(try PathRule.check(path), path) {
                XCTAssertEqual(($0 as? Failure)?.code, .badName)
            }
        }
        XCTAssertThrowsError(try PathRule.check("e\u{301}"), "not in NFC")
    }

    func testManifestsAreNamedAndRefusedAsTheFixturesSay() throws {
        let fixture = try Fixture.read("manifests.json")
        for test in try Fixture.list(fixture["good"]) {
            let manifest = try self.manifest(test)
            XCTAssertNoThrow(try manifest.check())
            XCTAssertEqual(manifest.package, test["package"] as? String)
        }
        for test in try Fixture.list(fixture["bad"]) {
            XCTAssertThrowsError(try manifest(test).check(), "\(test["name"]!)") {
                XCTAssertEqual(($0 as? Failure)?.code.rawValue, test["code"] as? String)
            }
        }
    }

    private func manifest(_ test: [String: Any]) throws -> Manifest {
        let json = try JSONSerialization.data(withJSONObject: ["files": test["files"]!])
        return try JSONDecoder().decode(Manifest.self, from: json)
    }

    func testMessagesAreReadAndWrittenUnchanged() throws {
        let all = try XCTUnwrap(try Fixture.read("messages.json")["messages"] as? [String: Any])
        try roundTrip(all["hello"], Hello.self)
        try roundTrip(all["greetings"], Greeting.self)
        try roundTrip(all["requests"], Request.self)
        let results = try XCTUnwrap(all["results"] as? [String: Any])
        try roundTrip(results["description"], Description.self)
        try roundTrip(results["listing"], Listing.self)
        try roundTrip(results["held"], Held.self)
        try roundTrip(results["loaded"], Loaded.self)
        try roundTrip(results["generated"], Generated.self)
        try roundTrip(results["scored"], Scored.self)
        try roundTrip(results["plan"], Plan.self)
        try roundTrip(results["figures"], Figures.self)
        XCTAssertEqual(results.count, 8)
    }

    private func roundTrip<T: Codable>(_ values: Any?, _ type: T.Type) throws {
        for value in try Fixture.list(values) {
            let json = try JSONSerialization.data(withJSONObject: value)
            let again = try JSONEncoder().encode(try JSONDecoder().decode(T.self, from: json))
            XCTAssert(
                try isSame(value, try JSONSerialization.jsonObject(with: again)),
                "\(T.self): \(String(decoding: again, as: UTF8.self))")
        }
    }

    func testAnswersAreWrittenAsTheFixturesSay() throws {
        let all = try XCTUnwrap(try Fixture.read("messages.json")["messages"] as? [String: Any])
        let failure = Failure(.interrupted, "the runner stopped")
        let answers: [Answer] = [
            .alive, .progress(id: 7, done: 12, of: 128, unit: "tokens"),
            .done(id: 7, result: Data("{}".utf8), replayed: false, attempt: 1),
            .failed(id: 7, failure, replayed: true, attempt: 2),
        ]
        let expected = try Fixture.list(all["answers"])
        XCTAssertEqual(answers.count, expected.count)
        for (answer, expected) in zip(answers, expected) {
            XCTAssert(try isSame(expected, try JSONSerialization.jsonObject(with: try answer.json())))
        }
    }
}
