#if canImport(CoreML)
    import CoreML
    import RunnerCore

    /// One link of a chain: a package with its cache, or a block with its experts.
    final class Stage {
        let role: ModelDescription.Role
        private let functions: [ModelFunction: LoadedFunction]
        /// Keys and values where they are inputs.
        private var caches: [String: MLMultiArray] = [:]
        /// One state for all functions, made by `decode`.
        private var state: MLState?
        /// Shapes of the caches that are inputs.
        private let cacheShapes: [String: [Int]]
        private let experts: Experts?
        private let layout: StatesLayout
        private let windowTokens: Int?

        /// Cache inputs, and the outputs that extend them.
        private static let cacheNames = [("key_cache", "new_keys"), ("value_cache", "new_values")]

        init(
            _ link: ModelDescription.Package, functions: [ModelFunction: LoadedFunction],
            experts: Experts?, model: ModelDescription.Model
        ) throws {
            role = link.role
            cacheShapes = try Self.cacheShapes(link, functions)
            self.functions = functions
            self.experts = experts
            layout = StatesLayout(isChannelsFirst: model.compute == "ane")
            windowTokens = model.sliding_window_tokens
            try reset()
        }

        /// Empties the cache.
        func reset() throws {
            state = functions[.decode].flatMap { $0.isStateful ? $0.model.makeState() : nil }
            for (name, shape) in cacheShapes { caches[name] = try Arrays.zeros(shape, .float16) }
        }

        /// The caches that the functions take as inputs. How a cache is kept is the functions' own
        /// word, whatever they were made for, but it is one cache: all must say the same.
        private static func cacheShapes(
            _ link: ModelDescription.Package, _ functions: [ModelFunction: LoadedFunction]
        ) throws -> [String: [Int]] {
            let ways = functions.mapValues { function in
                let inputs = cacheNames.compactMap { name, _ in
                    function.shapes[name].map { (name, $0) }
                }
                return (function.isStateful, Dictionary(uniqueKeysWithValues: inputs))
            }
            guard let first = ways.values.first else { return [:] }
            for (name, way) in ways where way != first {
                throw Failure(
                    .engine,
                    "\(link.path): \(name.rawValue) keeps its cache in another way than the other function"
                )
            }
            return first.1
        }

        /// What a stage hands on.
        enum Output {
            case hidden(MLMultiArray)
            /// Slices of the vocabulary, in order.
            case logits([MLMultiArray])
        }

        /// Runs the stage over the states of the one before it.
        func run(_ call: Call, hidden: MLMultiArray?) throws -> Output {
            let name: ModelFunction = call.isPrefill ? .prefill : .decode
            guard let function = functions[name] else {
                throw Failure(.engine, "\(name.rawValue) is not loaded")
            }
            var inputs = try function.inputs(call, windowTokens: windowTokens)
            if role != .whole, role != .embedding {
                guard let hidden else { throw Failure(.engine, "no package gives its input") }
                inputs["hidden_states"] = hidden
            }
            inputs.merge(caches) { $1 }
            let outputs = try function.run(inputs, state: state)
            try extend(call, outputs)
            switch role {
            case .whole, .head: return .logits(try Self.logits(outputs))
            case .embedding, .blocks, .router, .experts:
                let states = try Self.array(outputs, "output_hidden_states")
                guard let experts else { return .hidden(states) }
                return .hidden(try experts.run(call, states, outputs, layout))
            }
        }

        /// `logits`, or the slices `logits_0`, `logits_1`, ....
        private static func logits(_ outputs: any MLFeatureProvider) throws -> [MLMultiArray] {
            if outputs.featureNames.contains("logits") { return [try array(outputs, "logits")] }
            let names = (0..<outputs.featureNames.count).map { "logits_\($0)" }
            let slices = names.prefix { outputs.featureNames.contains($0) }
            return try slices.map { try array(outputs, $0) }
        }

        /// An output.
        static func array(_ outputs: any MLFeatureProvider, _ name: String) throws -> MLMultiArray {
            guard let array = outputs.featureValue(for: name)?.multiArrayValue else {
                throw Failure(.engine, "a package without \(name)")
            }
            return array
        }

        /// Writes the rows of this call into caches that are inputs,
        /// `[layers, heads, context, width]`.
        private func extend(_ call: Call, _ outputs: any MLFeatureProvider) throws {
            for (name, new) in Self.cacheNames {
                guard let cache = caches[name] else { continue }
                let rows = try Self.array(outputs, new)
                let (to, from) = (Arrays.shape(cache), Arrays.shape(rows))
                guard to.count == 4, from.count == 4, to[0] == from[0], to[1] == from[1],
                    to[3] == from[3], from[2] == call.length,
                    call.position + call.ids.count <= to[2]
                else { throw Failure(.engine, "\(new) of shape \(from) for \(name) of \(to)") }
                try Self.copyRows(rows, to: cache, call)
            }
        }

        private static func copyRows(
            _ rows: MLMultiArray, to cache: MLMultiArray, _ call: Call
        ) throws {
            let shape = Arrays.shape(rows)
            let from = rows.strides.map(\.intValue)
            var row = [Float](repeating: 0, count: shape[3])
            try cache.withUnsafeMutableBytes { bytes, to in
                let all = bytes.bindMemory(to: UInt16.self)
                for layer in 0..<shape[0] {
                    for head in 0..<shape[1] {
                        for token in 0..<call.ids.count {
                            let start = layer * from[0] + head * from[1] + token * from[2]
                            try row.withUnsafeMutableBufferPointer {
                                try Arrays.read(
                                    rows, from: start, step: from[3], count: shape[3], into: $0)
                            }
                            let place =
                                layer * to[0] + head * to[1] + (call.position + token) * to[2]
                            guard place + (shape[3] - 1) * to[3] < all.count else {
                                throw Failure(.engine, "a cache that is smaller than its shape")
                            }
                            for (at, value) in row.enumerated() {
                                all[place + at * to[3]] = Half.bits(value)
                            }
                        }
                    }
                }
            }
        }
    }
#endif
