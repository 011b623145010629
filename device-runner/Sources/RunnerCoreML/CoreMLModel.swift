#if canImport(CoreML)
    import CoreML
    import Foundation
    import RunnerCore

    /// A folder of packages that is loaded, as `model.json` describes it.
    final class CoreMLModel: LoadedModel {
        let shape: ModelShape
        private let stages: [Stage]
        private let layout: StatesLayout
        private var logits: [Float]

        init(
            _ description: ModelDescription, compiled: CompiledPackages, units: ComputeUnits,
            functions: [ModelFunction]
        ) throws {
            let model = description.model
            shape = ModelShape(
                contextTokens: model.context_tokens, prefillTokens: model.prefill_tokens,
                vocabSize: model.vocab_size, functions: functions)
            layout = StatesLayout(isChannelsFirst: model.compute == "ane")
            logits = [Float](repeating: 0, count: model.vocab_size)
            // Where every function is a package of its own, `decode` stands for both.
            let links = description.packages.filter { $0.role != .experts && $0.function != "prefill" }
            var stages: [Stage] = []
            for link in links {
                var loaded: [ModelFunction: LoadedFunction] = [:]
                for name in functions {
                    loaded[name] = try Self.function(
                        name.rawValue, of: link, description, compiled, units)
                }
                let experts = try Self.experts(link, description, compiled, units)
                stages.append(
                    try Stage(link, functions: loaded, experts: experts, model: model))
            }
            self.stages = stages
            guard let last = stages.last, last.role == .whole || last.role == .head else {
                throw Failure(.engine, "no package gives logits")
            }
        }

        private static func function(
            _ name: String, of link: ModelDescription.Package, _ description: ModelDescription,
            _ compiled: CompiledPackages, _ units: ComputeUnits
        ) throws -> LoadedFunction {
            for own in description.packages where own.role == link.role && own.layers == link.layers {
                guard own.function == nil || own.function == name else { continue }
                let url = try compiled.url(own.path)
                return try LoadedFunction(
                    url, function: own.function == nil ? name : nil, units: own.units(asked: units))
            }
            throw Failure(.engine, "\(link.path): no package has its \(name)")
        }

        private static func experts(
            _ link: ModelDescription.Package, _ description: ModelDescription,
            _ compiled: CompiledPackages, _ units: ComputeUnits
        ) throws -> Experts? {
            guard link.role == .router else { return nil }
            let own = description.packages.first { $0.role == .experts && $0.layers == link.layers }
            guard let own else {
                throw Failure(.engine, "\(link.path): no package has this layer's experts")
            }
            return Experts(try compiled.url(own.path), units: own.units(asked: units))
        }

        func reset() throws { for stage in stages { try stage.reset() } }

        func run(_ call: Call, row: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
            var hidden: MLMultiArray?
            var slices: [MLMultiArray] = []
            for stage in stages {
                switch try autoreleasepool(invoking: { try stage.run(call, hidden: hidden) }) {
                case .hidden(let states): hidden = states
                case .logits(let found): slices = found
                }
            }
            for token in call.ids.indices where call.wantsAll || token + 1 == call.ids.count {
                try logits.withUnsafeMutableBufferPointer { target in
                    var at = 0
                    for slice in slices {
                        let rest = UnsafeMutableBufferPointer(rebasing: target[at...])
                        at += try layout.row(slice, token: token, into: rest)
                    }
                    guard at == target.count else {
                        throw Failure(.engine, "\(at) logits for \(target.count) tokens")
                    }
                    try row(token, UnsafeBufferPointer(target))
                }
            }
        }
    }
#endif
