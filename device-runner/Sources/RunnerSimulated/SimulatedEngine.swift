// An engine that computes no model, so that everything around engines can be tried without one.
//
// With `mix` the finalizer of SplitMix64 and all arithmetic modulo 2^64, the state after the ids
// `i_0 ... i_n` is `s = mix(... mix(mix(0 + i_0 + 1) + i_1 + 1) ... + i_n + 1)`, and the logit of
// token `t` is `(mix(s + t * 0x9e3779b97f4a7c15) >> 40) / 2^24 * 8 - 4`, an exact f32. Nothing
// else decides: the same ids give the same logits anywhere, however they are cut into calls. It
// never sleeps; its times are the times of computing this.

import Foundation
import RunnerCore

/// Loads packages by their `model.json` alone.
public final class SimulatedEngine: Engine {
    public init() {}

    public let identity = EngineIdentity(
        engine: "simulated", runtime: "simulated", simulated: true,
        computeUnits: ComputeUnits.allCases)

    public func load(
        _ place: PackagePlace, units: ComputeUnits, functions: [ModelFunction],
        compiling: (_ ms: Double) -> Void
    ) throws -> any LoadedModel {
        SimulatedModel(try ModelDescription.read(place.folder), functions)
    }

    /// One operation per package and function, all on the CPU.
    public func plan(_ place: PackagePlace, units: ComputeUnits) throws -> Plan {
        let packages = try ModelDescription.read(place.folder).packages
        let count = packages.reduce(0) { $0 + ($1.function == nil ? 2 : 1) }
        return Plan(
            operations: packages.flatMap { package in
                (package.function.map { [$0] } ?? ["decode", "prefill"]).map { function in
                    Plan.Operation(
                        package: package.path, function: function, operator: "simulated",
                        preferred: .cpu, supported: [.cpu], cost_weight: 1 / Double(max(count, 1)))
                }
            })
    }
}

/// A model that is a hash function.
final class SimulatedModel: LoadedModel {
    let shape: ModelShape
    private var state: UInt64 = 0
    private var logits: [Float]

    init(_ description: ModelDescription, _ functions: [ModelFunction]) {
        let model = description.model
        shape = ModelShape(
            contextTokens: model.context_tokens, prefillTokens: model.prefill_tokens,
            vocabSize: model.vocab_size, functions: functions)
        logits = [Float](repeating: 0, count: model.vocab_size)
    }

    func reset() { state = 0 }

    func run(_ call: Call, row: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        for (index, id) in call.ids.enumerated() {
            state = Self.mix(state &+ UInt64(id) &+ 1)
            guard call.wantsAll || index + 1 == call.ids.count else { continue }
            logits.withUnsafeMutableBufferPointer { logits in
                for token in logits.indices {
                    let bits = Self.mix(state &+ UInt64(token) &* 0x9e37_79b9_7f4a_7c15) >> 40
                    logits[token] = Float(bits) / 16_777_216 * 8 - 4
                }
            }
            try logits.withUnsafeBufferPointer { try row(index, $0) }
        }
    }

    /// The finalizer of SplitMix64.
    @inline(__always)
    static func mix(_ x: UInt64) -> UInt64 {
        var z = x
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
