import Foundation
import XCTest

@testable import RunnerCore

final class HashTests: XCTestCase {
    private func own(_ bytes: Data, parts: Int) -> String {
        var hash = OwnSHA256()
        var rest = bytes[...]
        while !rest.isEmpty {
            Data(rest.prefix(parts)).withUnsafeBytes { hash.update($0) }
            rest = rest.dropFirst(parts)
        }
        return Hex.encode(hash.finalize())
    }

    /// FIPS 180-4 and NIST's examples.
    func testNISTVectors() {
        let long = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"
        let vectors = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
            (long, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"),
            (String(repeating: "a", count: 1_000_000),
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ]
        for (text, expected) in vectors {
            XCTAssertEqual(own(Data(text.utf8), parts: 1 << 20), expected)
            XCTAssertEqual(own(Data(text.utf8), parts: 61), expected)
            XCTAssertEqual(Hash.of(Data(text.utf8)), expected)
        }
    }

    /// Every length around the blocks' borders, in parts of every size against at once.
    func testCutsDoNotMatter() {
        for length in 0...130 {
            let bytes = Data((0..<length).map { UInt8($0) })
            XCTAssertEqual(own(bytes, parts: 7), own(bytes, parts: 1000), "\(length)")
        }
    }
}
