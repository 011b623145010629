#if canImport(CoreML)
    import CoreML
    import Foundation
    import RunnerCore

    /// A function that is loaded, with arrays for what it is given.
    final class LoadedFunction {
        let model: MLModel
        /// Shapes of its inputs.
        let shapes: [String: [Int]]
        /// Whether it keeps its cache in a state.
        let isStateful: Bool
        private var arrays: [String: MLMultiArray] = [:]

        init(_ compiled: URL, function: String?, units: ComputeUnits) throws {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units.coreML
            if let function { configuration.functionName = function }
            model = try autoreleasepool {
                try MLModel(contentsOf: compiled, configuration: configuration)
            }
            var shapes: [String: [Int]] = [:]
            for (name, feature) in model.modelDescription.inputDescriptionsByName {
                guard let constraint = feature.multiArrayConstraint else {
                    throw Failure(.engine, "the input \(name) is not an array")
                }
                shapes[name] = constraint.shape.map(\.intValue)
            }
            self.shapes = shapes
            isStateful = !model.modelDescription.stateDescriptionsByName.isEmpty
        }

        /// Calls the function.
        func run(
            _ inputs: [String: MLMultiArray], state: MLState?
        ) throws -> any MLFeatureProvider {
            try autoreleasepool {
                let values = inputs.mapValues { MLFeatureValue(multiArray: $0) }
                let provider = try MLDictionaryFeatureProvider(dictionary: values)
                if let state {
                    return try model.prediction(
                        from: provider, using: state, options: MLPredictionOptions())
                }
                return try model.prediction(from: provider, options: MLPredictionOptions())
            }
        }

        /// Everything that the function asks for and the call knows: ids, positions, masks.
        func inputs(_ call: Call, windowTokens: Int?) throws -> [String: MLMultiArray] {
            var inputs: [String: MLMultiArray] = [:]
            for (name, shape) in shapes {
                switch name {
                case "input_ids":
                    inputs[name] = try ints(name, shape, padded(call) { Int32(call.ids[$0]) })
                case "position_ids":
                    inputs[name] = try ints(name, shape, padded(call) { Int32(call.position + $0) })
                case "write_position":
                    inputs[name] = try ints(name, shape, [Int32(call.position)])
                case "causal_mask":
                    inputs[name] = try mask(name, shape, call, window: .max)
                case "sliding_mask":
                    guard let windowTokens else {
                        throw Failure(.engine, "model.json gives no sliding_window_tokens")
                    }
                    inputs[name] = try mask(name, shape, call, window: windowTokens)
                default: break
                }
            }
            return inputs
        }

        /// A number per token; those that fill up are 0, an id and a position that exist.
        private func padded(_ call: Call, _ of: (Int) -> Int32) -> [Int32] {
            (0..<call.length).map { $0 < call.ids.count ? of($0) : 0 }
        }

        private func ints(_ name: String, _ shape: [Int], _ values: [Int32]) throws -> MLMultiArray {
            let array = try arrays[name] ?? Arrays.zeros(shape, .int32)
            arrays[name] = array
            guard array.count == values.count else {
                throw Failure(.engine, "\(name) of shape \(shape) for \(values.count) numbers")
            }
            try Arrays.write(values, to: array)
            return array
        }

        /// 0 where a token sees another, else `Half.masked`; what is seen is `MaskRule`'s.
        private func mask(
            _ name: String, _ shape: [Int], _ call: Call, window: Int
        ) throws -> MLMultiArray {
            guard shape.count == 4, shape[2] == call.length, let columns = shape.last else {
                throw Failure(.engine, "\(name) of shape \(shape) for \(call.length) tokens")
            }
            let rule = MaskRule(
                call, columns: columns, hasCacheInput: shapes["key_cache"] != nil, window: window)
            let array = try arrays[name] ?? Arrays.zeros(shape, .float16)
            arrays[name] = array
            try array.withUnsafeMutableBytes { bytes, strides in
                let all = bytes.bindMemory(to: UInt16.self)
                guard strides.count == 4,
                    (call.length - 1) * strides[2] + (columns - 1) * strides[3] < all.count
                else { throw Failure(.engine, "\(name) is smaller than its shape") }
                for token in 0..<call.length {
                    for column in 0..<columns {
                        let isSeen = rule.sees(token: token, column: column)
                        all[token * strides[2] + column * strides[3]] =
                            isSeen ? 0 : Half.masked
                    }
                }
            }
            return array
        }
    }

    extension ComputeUnits {
        /// The same as Core ML says it.
        var coreML: MLComputeUnits {
            switch self {
            case .cpu: .cpuOnly
            case .cpuAndGPU: .cpuAndGPU
            case .cpuAndNeuralEngine: .cpuAndNeuralEngine
            case .all: .all
            }
        }
    }
#endif
