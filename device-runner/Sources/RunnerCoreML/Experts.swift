#if canImport(CoreML)
    import CoreML
    import Foundation
    import RunnerCore

    /// The experts of a layer: a function is loaded when a token is first sent there. The router's
    /// package chooses and weighs; what is added here is its sum.
    final class Experts {
        private let compiled: URL
        private let units: ComputeUnits
        private var loaded: [String: LoadedFunction] = [:]

        init(_ compiled: URL, units: ComputeUnits) {
            self.compiled = compiled
            self.units = units
        }

        /// `states` plus what the chosen experts give, weighted by the router.
        func run(
            _ call: Call, _ states: MLMultiArray, _ outputs: any MLFeatureProvider,
            _ layout: StatesLayout
        ) throws -> MLMultiArray {
            let normed = try Stage.array(outputs, "normed_states")
            let ids = try table(try Stage.array(outputs, "expert_ids"), call)
            let weights = try table(try Stage.array(outputs, "expert_weights"), call)
            let channels = try layout.axes(states).channels
            var sums = [[Float]](
                repeating: [Float](repeating: 0, count: channels), count: call.ids.count)
            for token in call.ids.indices {
                _ = try sums[token].withUnsafeMutableBufferPointer {
                    try layout.row(states, token: token, into: $0)
                }
            }
            var given = [Float](repeating: 0, count: channels)
            for expert in Set(ids.joined()).sorted() {
                try autoreleasepool {
                    let name = "expert_\(Int(expert))_\(call.isPrefill ? "prefill" : "decode")"
                    let result = try function(name).run(["normed_states": normed], state: nil)
                    let array = try Stage.array(result, "expert_output")
                    guard try layout.axes(array).channels == channels else {
                        throw Failure(.engine, "\(name) gives other than \(channels) channels")
                    }
                    for token in call.ids.indices {
                        for (place, id) in ids[token].enumerated() where id == expert {
                            _ = try given.withUnsafeMutableBufferPointer {
                                try layout.row(array, token: token, into: $0)
                            }
                            let weight = weights[token][place]
                            for channel in 0..<channels {
                                sums[token][channel] += weight * given[channel]
                            }
                        }
                    }
                }
            }
            return try Self.states(sums, like: states, layout)
        }

        /// `[tokens][experts per token]` of an output `[1, tokens, experts per token]`.
        private func table(_ array: MLMultiArray, _ call: Call) throws -> [[Float]] {
            let (shape, strides) = (Arrays.shape(array), array.strides.map(\.intValue))
            guard shape.count == 3, shape[1] == call.length else {
                throw Failure(.engine, "a router's choice of shape \(shape)")
            }
            return try call.ids.indices.map { token in
                var row = [Float](repeating: 0, count: shape[2])
                try row.withUnsafeMutableBufferPointer {
                    try Arrays.read(
                        array, from: token * strides[1], step: strides[2], count: shape[2], into: $0)
                }
                return row
            }
        }

        private func function(_ name: String) throws -> LoadedFunction {
            if let found = loaded[name] { return found }
            let function = try LoadedFunction(compiled, function: name, units: units)
            loaded[name] = function
            return function
        }

        /// fp16 states of the same shape; tokens that fill up are 0.
        private static func states(
            _ rows: [[Float]], like states: MLMultiArray, _ layout: StatesLayout
        ) throws -> MLMultiArray {
            let array = try Arrays.zeros(Arrays.shape(states), .float16)
            try array.withUnsafeMutableBytes { bytes, strides in
                let (channels, byToken, byChannel) = try layout.axes(
                    Arrays.shape(array), strides)
                let all = bytes.bindMemory(to: UInt16.self)
                guard
                    (rows.count - 1) * byToken + (channels - 1) * byChannel < all.count
                else { throw Failure(.engine, "states that are smaller than their shape") }
                for (token, row) in rows.enumerated() {
                    for (channel, value) in row.enumerated() {
                        all[token * byToken + channel * byChannel] = Half.bits(value)
                    }
                }
            }
            return array
        }
    }
#endif
