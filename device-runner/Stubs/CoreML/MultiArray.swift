// The arrays of the stand-in; see CoreML.swift. They have strides of their own, as outputs of the
// Neural Engine have, and move to other memory with other strides whenever they are written to.

import Foundation

/// developer.apple.com/documentation/coreml/mlmultiarray
/// Objective-C: MLMultiArray, iOS 11.0
open class MLMultiArray: NSObject {
    private let lengths: [Int]
    private var steps: [Int]
    private var bytes: [UInt8]
    private var isPadded = false

    /// developer.apple.com/documentation/coreml/mlmultiarray/init(shape:datatype:)
    /// Objective-C: -[MLMultiArray initWithShape:dataType:error:], iOS 11.0
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        lengths = shape.map(\.intValue)
        self.dataType = dataType
        steps = Self.steps(lengths, padding: 0)
        bytes = Self.garbage(lengths, steps, dataType)
    }
    /// developer.apple.com/documentation/coreml/mlmultiarray/shape
    /// Objective-C: -[MLMultiArray shape], iOS 11.0
    open var shape: [NSNumber] { lengths.map { NSNumber(value: $0) } }
    /// developer.apple.com/documentation/coreml/mlmultiarray/strides
    /// Objective-C: -[MLMultiArray strides], iOS 11.0
    open var strides: [NSNumber] { steps.map { NSNumber(value: $0) } }
    /// developer.apple.com/documentation/coreml/mlmultiarray/count
    /// Objective-C: -[MLMultiArray count], iOS 11.0
    open var count: Int { lengths.reduce(1, *) }
    /// developer.apple.com/documentation/coreml/mlmultiarray/datatype
    /// Objective-C: -[MLMultiArray dataType], iOS 11.0
    open private(set) var dataType: MLMultiArrayDataType
    /// developer.apple.com/documentation/coreml/mlmultiarray/withunsafebytes(_:)
    /// Objective-C: -[MLMultiArray getBytesWithHandler:], iOS 15.4
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try bytes.withUnsafeBytes(body)
    }
    /// developer.apple.com/documentation/coreml/mlmultiarray/withunsafemutablebytes(_:). MLMultiArray.h: the
    /// strides are a parameter "because the method may switch to a new backing buffer with different
    /// strides".
    /// Objective-C: -[MLMultiArray getMutableBytesWithHandler:], iOS 15.4
    public func withUnsafeMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
    ) rethrows -> R {
        move()
        return try bytes.withUnsafeMutableBytes { try body($0, steps) }
    }

    private func move() {
        isPadded.toggle()
        let next = Self.steps(lengths, padding: isPadded ? 3 : 0)
        var moved = Self.garbage(lengths, next, dataType)
        let width = Self.width(dataType)
        for at in 0..<count {
            let index = Self.index(at, lengths)
            let from = zip(index, steps).reduce(0) { $0 + $1.0 * $1.1 } * width
            let to = zip(index, next).reduce(0) { $0 + $1.0 * $1.1 } * width
            for byte in 0..<width { moved[to + byte] = bytes[from + byte] }
        }
        (bytes, steps) = (moved, next)
    }

    private static func steps(_ lengths: [Int], padding: Int) -> [Int] {
        var steps: [Int] = []
        var step = 1
        for length in lengths.reversed() {
            steps.insert(step, at: 0)
            step *= length
            if steps.count == 1 { step += padding }
        }
        return steps
    }

    private static func garbage(
        _ lengths: [Int], _ steps: [Int], _ type: MLMultiArrayDataType
    ) -> [UInt8] {
        [UInt8](repeating: 0xa5, count: (lengths.first ?? 1) * (steps.first ?? 1) * width(type))
    }

    private static func width(_ type: MLMultiArrayDataType) -> Int {
        switch type {
        case .double: 8
        case .float32, .int32: 4
        case .float16: 2
        }
    }

    private static func index(_ at: Int, _ lengths: [Int]) -> [Int] {
        var rest = at
        var index: [Int] = []
        for length in lengths.reversed() {
            index.insert(rest % length, at: 0)
            rest /= length
        }
        return index
    }
}
