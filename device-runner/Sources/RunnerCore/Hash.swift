// SHA-256: CryptoKit's where there is one, else our own.

import Foundation

#if canImport(CryptoKit)
    import CryptoKit
#endif

/// A SHA-256 in progress. Copies go on independently.
struct Hash {
    #if canImport(CryptoKit)
        private var inner = SHA256()
    #else
        private var inner = OwnSHA256()
    #endif

    /// Takes more bytes.
    mutating func update(_ bytes: Data) {
        #if canImport(CryptoKit)
            inner.update(data: bytes)
        #else
            bytes.withUnsafeBytes { inner.update($0) }
        #endif
    }

    /// The hash of everything so far, in lower-case hexadecimal.
    func hex() -> String {
        Hex.encode(Array(inner.finalize()))
    }

    /// The hash of `bytes`.
    static func of(_ bytes: Data) -> String {
        var hash = Hash()
        hash.update(bytes)
        return hash.hex()
    }
}

/// Hexadecimal digits.
enum Hex {
    private static let digits = Array("0123456789abcdef".utf8)

    /// Lower-case digits of `bytes`.
    static func encode(_ bytes: [UInt8]) -> String {
        let text = bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }

    /// Whether `text` is `count` hexadecimal digits; capitals only where they are allowed.
    static func isDigits(_ text: String, count: Int, capitals: Bool = false) -> Bool {
        text.utf8.count == count
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
                    || capitals && (UInt8(ascii: "A")...UInt8(ascii: "F")).contains(byte)
            }
    }
}
