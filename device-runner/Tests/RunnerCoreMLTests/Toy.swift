import CoreML
import Foundation
import ObjectiveC
import XCTest

@testable import RunnerCore
@testable import RunnerCoreML

/// Arrays as lists of numbers, whatever their strides.
enum Numbers {
    static func of(_ array: MLMultiArray) -> [Float] {
        let strides = array.strides.map(\.intValue)
        return array.withUnsafeBytes { bytes in
            places(array.shape.map(\.intValue), strides).map { at in
                switch array.dataType {
                case .float16:
                    Half.float(bytes.loadUnaligned(fromByteOffset: at * 2, as: UInt16.self))
                case .int32:
                    Float(bytes.loadUnaligned(fromByteOffset: at * 4, as: Int32.self))
                default: .nan
                }
            }
        }
    }

    static func array(
        _ shape: [Int], _ values: [Float], _ type: MLMultiArrayDataType = .float16
    ) throws -> MLMultiArray {
        let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: type)
        array.withUnsafeMutableBytes { bytes, strides in
            for (at, value) in zip(places(shape, strides), values) {
                switch type {
                case .float16:
                    bytes.storeBytes(of: Half.bits(value), toByteOffset: at * 2, as: UInt16.self)
                default:
                    bytes.storeBytes(of: Int32(value), toByteOffset: at * 4, as: Int32.self)
                }
            }
        }
        return array
    }

    private static func places(_ shape: [Int], _ strides: [Int]) -> [Int] {
        zip(shape, strides).reduce([0]) { places, axis in
            places.flatMap { place in (0..<axis.0).map { place + $0 * axis.1 } }
        }
    }
}

/// A model whose logits after a token are the sum of all ids that it sees, and how many they are.
enum Toy {
    static let context = 8
    static let prefill = 3

    /// Its only package, with the functions `decode` and `prefill`, as `model.json` describes it.
    static let whole = [["path": "toy.mlpackage", "role": "whole"]]

    /// The same in a package per function, as for iOS 17.
    static let split = ["decode", "prefill"].map {
        ["path": "\($0).mlpackage", "role": "whole", "function": $0]
    }

    static func load(
        _ packages: [[String: Any]], _ test: XCTestCase, functions: [ModelFunction] = ModelFunction.allCases,
        window: Int? = nil, units: ComputeUnits = .cpu
    ) throws -> any LoadedModel {
        StubModels.loaded = []
        return try CoreMLEngine().load(
            place(packages, test, window: window), units: units, functions: functions
        ) { _ in }
    }

    /// A folder of packages.
    static func place(
        _ packages: [[String: Any]], _ test: XCTestCase, window: Int? = nil
    ) throws -> PackagePlace {
        var model: [String: Any] = [
            "target": "ios18", "compute": "gpu", "context_tokens": context, "prefill_tokens": prefill,
            "vocab_size": 2,
        ]
        model["sliding_window_tokens"] = window
        let json: [String: Any] = [
            "format": "evalkit-model", "version": 1, "model": model, "packages": packages,
        ]
        let root = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
        test.addTeardownBlock { try? FileManager.default.removeItem(at: root) }
        try JSONSerialization.data(withJSONObject: json)
            .write(to: root.appendingPathComponent("model.json"))
        return PackagePlace(folder: root, compiled: root.appendingPathComponent("compiled"))
    }

    /// A function over caches that are inputs.
    static func overInputs(_ tokens: Int, seen: @escaping ([Float]) -> Void = { _ in })
        -> StubModels.Function
    {
        let cache = StubModels.Array([1, 1, context, 2], .float16)
        return StubModels.Function(inputs: [
            "input_ids": .init([1, tokens], .int32), "position_ids": .init([1, tokens], .int32),
            "causal_mask": .init([1, 1, tokens, context + tokens], .float16),
            "key_cache": cache, "value_cache": cache,
        ]) { inputs, _ in
            let ids = Numbers.of(inputs["input_ids"]!)
            let mask = Numbers.of(inputs["causal_mask"]!)
            seen(mask)
            let keys = Numbers.of(inputs["key_cache"]!)
            let known = (0..<context).map { keys[$0 * 2] } + ids
            let rows = ids.flatMap { [$0, -$0] }
            return [
                "logits": try logits(mask, known, tokens),
                "new_keys": try Numbers.array([1, 1, tokens, 2], rows),
                "new_values": try Numbers.array([1, 1, tokens, 2], rows.map { -$0 }),
            ]
        }
    }

    /// A function over a state, which `memory` stands for.
    static func overState(_ tokens: Int, _ memory: Memory) -> StubModels.Function {
        let cache = StubModels.Array([1, 1, context, 2], .float16)
        return StubModels.Function(
            inputs: [
                "input_ids": .init([1, tokens], .int32), "write_position": .init([1], .int32),
                "causal_mask": .init([1, 1, tokens, context], .float16),
            ], states: ["key_cache": cache, "value_cache": cache]
        ) { inputs, state in
            let ids = Numbers.of(inputs["input_ids"]!)
            let at = Int(Numbers.of(inputs["write_position"]!)[0])
            if memory.state !== state { memory.ids = Array(repeating: 0, count: context) }
            memory.state = state
            memory.ids.replaceSubrange(at..<at + tokens, with: ids)
            return ["logits": try logits(Numbers.of(inputs["causal_mask"]!), memory.ids, tokens)]
        }
    }

    /// The ids that a state holds.
    final class Memory {
        var state: MLState?
        var ids: [Float] = []
    }

    private static func logits(_ mask: [Float], _ ids: [Float], _ tokens: Int) throws -> MLMultiArray {
        try Numbers.array(
            [1, tokens, 2],
            (0..<tokens).flatMap { token -> [Float] in
                let seen = ids.indices.filter { mask[token * ids.count + $0] == 0 }
                return [seen.reduce(0) { $0 + ids[$1] }, Float(seen.count)]
            })
    }

    /// What the logits after a text must be.
    static func sums(_ ids: [UInt32]) -> [[Float]] {
        ids.indices.map { at in [Float(ids[...at].reduce(0, +)), Float(at + 1)] }
    }
}
