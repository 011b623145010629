// SHA-256 (FIPS 180-4), for systems without CryptoKit.

import Foundation

/// SHA-256 in plain Swift.
struct OwnSHA256 {
    private var state: [UInt32] = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a,
        0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    /// Bytes that fill no block yet.
    private var rest: [UInt8] = []
    private var count: UInt64 = 0

    init() { rest.reserveCapacity(64) }

    /// Takes more bytes.
    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        count &+= UInt64(bytes.count)
        var at = 0
        if !rest.isEmpty {
            at = min(64 - rest.count, bytes.count)
            rest.append(contentsOf: bytes[0..<at])
            guard rest.count == 64 else { return }
            let block = rest
            block.withUnsafeBytes { compress($0, blocks: 1) }
            rest.removeAll(keepingCapacity: true)
        }
        let blocks = (bytes.count - at) / 64
        compress(UnsafeRawBufferPointer(rebasing: bytes[at...]), blocks: blocks)
        rest.append(contentsOf: bytes[(at + blocks * 64)...])
    }

    /// The hash of everything so far.
    func finalize() -> [UInt8] {
        let bits = count &* 8
        var tail: [UInt8] = [0x80]
        let used = (rest.count + 1) % 64
        tail.append(contentsOf: [UInt8](repeating: 0, count: (used <= 56 ? 56 : 120) - used))
        withUnsafeBytes(of: bits.bigEndian) { tail.append(contentsOf: $0) }
        var end = self
        tail.withUnsafeBytes { end.update($0) }
        return end.state.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
    }

    private mutating func compress(_ data: UnsafeRawBufferPointer, blocks: Int) {
        guard blocks > 0 else { return }
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { w in
            Self.constants.withUnsafeBufferPointer { k in
                state.withUnsafeMutableBufferPointer { h in
                    for block in 0..<blocks {
                        Self.compress(data, at: block * 64, w, k, h)
                    }
                }
            }
        }
    }

    private static func compress(
        _ data: UnsafeRawBufferPointer, at start: Int,
        _ w: UnsafeMutableBufferPointer<UInt32>, _ k: UnsafeBufferPointer<UInt32>,
        _ h: UnsafeMutableBufferPointer<UInt32>
    ) {
        for i in 0..<16 {
            let word = data.loadUnaligned(fromByteOffset: start + i * 4, as: UInt32.self)
            w[i] = UInt32(bigEndian: word)
        }
        for i in 16..<64 {
            let (x, y) = (w[i - 15], w[i - 2])
            let s0 = turn(x, 7) ^ turn(x, 18) ^ (x >> 3)
            let s1 = turn(y, 17) ^ turn(y, 19) ^ (y >> 10)
            w[i] = w[i - 16] &+ s0 &+ w[i - 7] &+ s1
        }
        var (a, b, c, d) = (h[0], h[1], h[2], h[3])
        var (e, f, g, last) = (h[4], h[5], h[6], h[7])
        for i in 0..<64 {
            let s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)
            let t1 = last &+ s1 &+ ((e & f) ^ (~e & g)) &+ k[i] &+ w[i]
            let s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)
            let t2 = s0 &+ ((a & b) ^ (a & c) ^ (b & c))
            (last, g, f, e) = (g, f, e, d &+ t1)
            (d, c, b, a) = (c, b, a, t1 &+ t2)
        }
        h[0] &+= a; h[1] &+= b; h[2] &+= c; h[3] &+= d
        h[4] &+= e; h[5] &+= f; h[6] &+= g; h[7] &+= last
    }

    @inline(__always)
    private static func turn(_ x: UInt32, _ by: UInt32) -> UInt32 { (x >> by) | (x << (32 - by)) }

    private static let constants: [UInt32] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ]
}
