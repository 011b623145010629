#if canImport(CoreML)
    import CoreML
    import Foundation
    import RunnerCore

    /// Reading and writing multi-arrays in place, with whatever strides they have: what the Neural
    /// Engine gives is padded.
    enum Arrays {
        /// A new array, all zeros.
        static func zeros(_ shape: [Int], _ type: MLMultiArrayDataType) throws -> MLMultiArray {
            let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: type)
            array.withUnsafeMutableBytes { bytes, _ in
                _ = bytes.initializeMemory(as: UInt8.self, repeating: 0)
            }
            return array
        }

        /// The axes' lengths.
        static func shape(_ array: MLMultiArray) -> [Int] { array.shape.map(\.intValue) }

        /// Writes int32 numbers to an array of one row.
        static func write(_ values: [Int32], to array: MLMultiArray) throws {
            try array.withUnsafeMutableBytes { bytes, strides in
                let step = strides.last ?? 1
                let all = bytes.bindMemory(to: Int32.self)
                guard array.dataType == .int32, values.isEmpty || (values.count - 1) * step < all.count
                else { throw Failure(.engine, "an input of ids that has another size") }
                for (at, value) in values.enumerated() { all[at * step] = value }
            }
        }

        /// `count` numbers from an element on, every `step`-th, as f32.
        static func read(
            _ array: MLMultiArray, from start: Int, step: Int, count: Int,
            into target: UnsafeMutableBufferPointer<Float>
        ) throws {
            try array.withUnsafeBytes { bytes in
                let width = array.dataType == .float16 ? 2 : 4
                guard count <= target.count, start >= 0, step >= 0,
                    count == 0 || (start + (count - 1) * step + 1) * width <= bytes.count
                else { throw Failure(.engine, "an output that is smaller than its shape") }
                switch array.dataType {
                case .float16:
                    let all = bytes.bindMemory(to: UInt16.self)
                    for i in 0..<count { target[i] = Half.float(all[start + i * step]) }
                case .float32:
                    let all = bytes.bindMemory(to: Float.self)
                    for i in 0..<count { target[i] = all[start + i * step] }
                case .int32:
                    let all = bytes.bindMemory(to: Int32.self)
                    for i in 0..<count { target[i] = Float(all[start + i * step]) }
                default: throw Failure(.engine, "an output of doubles")
                }
            }
        }
    }

    /// How states lie in memory: `[1, tokens, channels]`, or `[1, channels, 1, tokens]` for the
    /// Neural Engine.
    struct StatesLayout {
        let isChannelsFirst: Bool

        /// Channels of an array, and its strides by token and by channel.
        func axes(_ array: MLMultiArray) throws -> (channels: Int, byToken: Int, byChannel: Int) {
            try axes(Arrays.shape(array), array.strides.map(\.intValue))
        }

        /// The same of an array's shape and strides.
        func axes(
            _ shape: [Int], _ strides: [Int]
        ) throws -> (channels: Int, byToken: Int, byChannel: Int) {
            guard shape.count == (isChannelsFirst ? 4 : 3), strides.count == shape.count else {
                throw Failure(.engine, "states of shape \(shape)")
            }
            return isChannelsFirst
                ? (shape[1], strides[3], strides[1]) : (shape[2], strides[1], strides[2])
        }

        /// The channels of a token, as f32, into the beginning of `target`; how many.
        func row(
            _ array: MLMultiArray, token: Int, into target: UnsafeMutableBufferPointer<Float>
        ) throws -> Int {
            let (channels, byToken, byChannel) = try axes(array)
            try Arrays.read(
                array, from: token * byToken, step: byChannel, count: channels, into: target)
            return channels
        }
    }
#endif
