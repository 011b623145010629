import Foundation
import RunnerSimulated
import XCTest

@testable import RunnerCore

/// Conversations that every runner must hold.
final class TranscriptTests: XCTestCase {
    func testConversations() throws {
        let file = Fixture.folder.appendingPathComponent("transcripts.json")
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw XCTSkip("no transcripts.json")
        }
        let fixture = try Fixture.read("transcripts.json")
        XCTAssertEqual(fixture["token"] as? String, testToken)
        for conversation in try Fixture.list(fixture["conversations"]) {
            try play(conversation)
        }
    }

    private func play(_ conversation: [String: Any]) throws {
        let name = conversation["name"] as! String
        let server = try TestServer(try temporaryFolder(self), engine: SimulatedEngine())
        defer { server.server.stopListening() }
        var clients: [Int: Client] = [1: try Client(port: server.port)]
        var isReconnected = false
        for (index, step) in try Fixture.list(conversation["steps"]).enumerated() {
            let place = "\(name), step \(index + 1)"
            let on = step["on"] as? Int ?? 1
            if clients[on] == nil { clients[on] = try Client(port: server.port) }
            let client = clients[on]!
            if let message = step["send"] as? [String: Any] {
                if isReconnected, message["type"] as? String == "hello" {
                    clients[on] = try greet(server.port, client, message)
                    isReconnected = false
                    continue
                }
                try? client.send(message)
            } else if let raw = step["raw"] as? String {
                try? client.send(raw: Fixture.bytes(raw))
            } else if let chunk = step["chunk"] as? String {
                try? client.send(chunk: Fixture.bytes(chunk))
            } else if let byte = step["chunk_of"] as? Int {
                try? client.send(chunk: Data(repeating: UInt8(byte), count: step["bytes"] as! Int))
            } else if let expected = step["expect"] {
                if let found = pending {
                    pending = nil
                    assertHas(found, expected, place)
                } else {
                    let found = try XCTUnwrap(try client.next(), place).message
                    assertHas(found, expected, place)
                }
            } else if step["closed"] != nil {
                XCTAssertNil(try client.next(), place)
            } else if step["connect"] != nil {
                client.stream.shutDown()
                clients[on] = try Client(port: server.port)
                isReconnected = true
            } else {
                XCTFail("\(place): \(step)")
            }
        }
    }

    /// The answer to a greeting, read ahead to see whether the runner is busy.
    private var pending: [String: Any]?

    private func greet(_ port: UInt16, _ first: Client, _ hello: [String: Any]) throws -> Client {
        var client = first
        for _ in 0..<200 {
            try client.send(hello)
            let answer = try XCTUnwrap(try client.next()).message
            if answer["code"] as? String != "busy" {
                pending = answer
                return client
            }
            usleep(50_000)
            client = try Client(port: port)
        }
        throw Failure(.busy, "for 10 seconds")
    }

    private func assertHas(_ found: Any, _ expected: Any, _ place: String) {
        if let expected = expected as? [String: Any] {
            guard let found = found as? [String: Any] else { return XCTFail("\(place): \(found)") }
            for (key, value) in expected {
                guard let inner = found[key] else { return XCTFail("\(place): no \(key) in \(found)") }
                assertHas(inner, value, place)
            }
        } else if let expected = expected as? [Any] {
            guard let found = found as? [Any], found.count == expected.count else {
                return XCTFail("\(place): expected \(expected), found \(found)")
            }
            for (found, expected) in zip(found, expected) { assertHas(found, expected, place) }
        } else {
            XCTAssert((try? isSame(found, expected)) == true, "\(place): expected \(expected), found \(found)")
        }
    }
}
