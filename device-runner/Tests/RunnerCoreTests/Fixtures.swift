// The shared examples, and what tests need everywhere.

import Foundation
import XCTest

@testable import RunnerCore

/// The files that the Rust tests read as well.
enum Fixture {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("fixtures")

    static func read(_ name: String) throws -> [String: Any] {
        let data = try Data(contentsOf: folder.appendingPathComponent(name))
        return try XCTUnwrap(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    static func list(_ value: Any?) throws -> [[String: Any]] {
        let list = try XCTUnwrap(value as? [[String: Any]])
        XCTAssertFalse(list.isEmpty)
        return list
    }

    static func bytes(_ hex: String) -> Data {
        let digits = Array(hex.utf8)
        return Data(stride(from: 0, to: digits.count, by: 2).map { at in
            UInt8(String(decoding: digits[at..<at + 2], as: UTF8.self), radix: 16)!
        })
    }
}

/// Whether two JSON values are the same, whatever the order of keys.
func isSame(_ a: Any, _ b: Any) throws -> Bool {
    let options: JSONSerialization.WritingOptions = [.sortedKeys, .fragmentsAllowed]
    return try JSONSerialization.data(withJSONObject: a, options: options)
        == JSONSerialization.data(withJSONObject: b, options: options)
}

/// A folder that is gone after the test.
func temporaryFolder(_ test: XCTestCase) throws -> URL {
    let url = FileManager.default.temporaryDirectory
        .appendingPathComponent("evalkit-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    test.addTeardownBlock { try? FileManager.default.removeItem(at: url) }
    return url
}

/// Bytes as a stream.
final class BytesSource: ByteSource {
    private var rest: Data
    init(_ bytes: Data) { rest = bytes }

    func fill(_ buffer: UnsafeMutableRawBufferPointer, isWithinFrame: Bool) throws -> Bool {
        if rest.isEmpty, !buffer.isEmpty { return false }
        guard rest.count >= buffer.count else { throw StreamEnded(what: "cut") }
        buffer.copyBytes(from: rest.prefix(buffer.count))
        rest = Data(rest.dropFirst(buffer.count))
        return true
    }
}
