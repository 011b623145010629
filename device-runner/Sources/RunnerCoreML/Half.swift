// fp16 as its bits: Float16 is missing on Macs with Intel processors.

/// Numbers of 16 bits.
enum Half {
    /// -40000, what a mask adds to a score that is not seen: exact, far below any score, and finite.
    /// The Neural Engine's softmax does not take infinities.
    static let masked: UInt16 = 0xf8e2

    /// The same number with 32 bits.
    @inline(__always)
    static func float(_ bits: UInt16) -> Float {
        #if os(macOS) && arch(x86_64)
            return floatInSoftware(bits)
        #else
            return Float(Float16(bitPattern: bits))
        #endif
    }

    /// The nearest number with 16 bits, of two equally near the even one.
    @inline(__always)
    static func bits(_ value: Float) -> UInt16 {
        #if os(macOS) && arch(x86_64)
            return bitsInSoftware(value)
        #else
            return Float16(value).bitPattern
        #endif
    }

    static func floatInSoftware(_ bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        let exponent = UInt32(bits >> 10) & 31
        let fraction = UInt32(bits & 0x3ff)
        if exponent == 31 { return Float(bitPattern: sign | 0x7f80_0000 | fraction << 13) }
        if exponent == 0 {
            let value = Float(fraction) * 0x1p-24
            return sign == 0 ? value : -value
        }
        return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
    }

    static func bitsInSoftware(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        let sign = UInt16(bits >> 16) & 0x8000
        if value.isNaN { return sign | 0x7e00 }
        let size = value.magnitude
        if size >= 65_520 { return sign | 0x7c00 }
        if size < 0x1p-14 { return sign | UInt16((size * 0x1p24).rounded(.toNearestOrEven)) }
        let rest = bits & 0x7fff_ffff
        let rounded = rest + 0xfff + ((rest >> 13) & 1)
        return sign | UInt16((rounded >> 13) - (112 << 10))
    }
}
