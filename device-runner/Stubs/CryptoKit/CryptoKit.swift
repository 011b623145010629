// A stand-in for CryptoKit.swiftinterface, for type-checking on Linux. Nothing here computes.

import Foundation

/// developer.apple.com/documentation/cryptokit/sha256
public struct SHA256: Sendable {
    public init() {}
    /// developer.apple.com/documentation/cryptokit/hashfunction/update(data:)
    public mutating func update<D: DataProtocol>(data: D) {}
    /// developer.apple.com/documentation/cryptokit/sha256/finalize(): not mutating
    public func finalize() -> SHA256Digest { SHA256Digest() }
}

/// developer.apple.com/documentation/cryptokit/sha256digest
public struct SHA256Digest: Sequence, Sendable {
    public func makeIterator() -> Array<UInt8>.Iterator { [UInt8]().makeIterator() }
}
