import CoreML
import Foundation
import ObjectiveC
import XCTest

@testable import RunnerCore
@testable import RunnerCoreML

/// The Core ML engine, against functions that say what they were given.
final class EngineTests: XCTestCase {
    private let ids: [UInt32] = [3, 1, 4, 1, 5, 9, 2]

    /// The logits after every token of `ids`, the last two of which are decoded.
    private func rows(_ model: any LoadedModel) throws -> [[Float]] {
        var conversation = try Conversation(model)
        var rows: [[Float]] = []
        try conversation.prefill(Array(ids.prefix(5)), wantsAll: true) { rows.append(Array($1)) }
        for id in ids.suffix(2) { try conversation.decode(id) { rows.append(Array($0)) } }
        return rows
    }

    func testCachesThatAreInputsOfOnePackageWithBothFunctions() throws {
        StubModels.functions = [
            "toy.mlpackage.mlmodelc decode": Toy.overInputs(1),
            "toy.mlpackage.mlmodelc prefill": Toy.overInputs(Toy.prefill),
        ]
        let model = try Toy.load(Toy.whole, self)
        for _ in 0..<2 { XCTAssertEqual(try rows(model), Toy.sums(ids)) }
        XCTAssertEqual(
            StubModels.loaded,
            ["toy.mlpackage.mlmodelc decode", "toy.mlpackage.mlmodelc prefill"])
    }

    func testCachesThatAreInputsOfAPackagePerFunction() throws {
        StubModels.functions = [
            "decode.mlpackage.mlmodelc main": Toy.overInputs(1),
            "prefill.mlpackage.mlmodelc main": Toy.overInputs(Toy.prefill),
        ]
        XCTAssertEqual(try rows(try Toy.load(Toy.split, self)), Toy.sums(ids))
    }

    func testStatesAreSharedByBothFunctions() throws {
        let memory = Toy.Memory()
        StubModels.functions = [
            "toy.mlpackage.mlmodelc decode": Toy.overState(1, memory),
            "toy.mlpackage.mlmodelc prefill": Toy.overState(Toy.prefill, memory),
        ]
        let model = try Toy.load(Toy.whole, self)
        for _ in 0..<2 { XCTAssertEqual(try rows(model), Toy.sums(ids)) }
    }

    func testFunctionsThatKeepTheirCacheInDifferentWaysAreRefused() throws {
        StubModels.functions = [
            "toy.mlpackage.mlmodelc decode": Toy.overInputs(1),
            "toy.mlpackage.mlmodelc prefill": Toy.overState(Toy.prefill, Toy.Memory()),
        ]
        XCTAssertThrowsError(try Toy.load(Toy.whole, self)) {
            XCTAssert(
                ($0 as? Failure)?.message.contains("toy.mlpackage") == true, "\($0)")
        }
    }

    func testDecodeAloneTakesPromptsOneByOne() throws {
        for (packages, name) in [(Toy.whole, "toy.mlpackage.mlmodelc decode"),
            (Toy.split, "decode.mlpackage.mlmodelc main")]
        {
            StubModels.functions = [name: Toy.overInputs(1)]
            let model = try Toy.load(packages, self, functions: [.decode])
            XCTAssertEqual(model.shape.functions, [.decode])
            XCTAssertEqual(StubModels.loaded, [name])
            XCTAssertEqual(try rows(model), Toy.sums(ids))
        }
    }

    /// Apple advises about -4e4: infinities make the Neural Engine's softmax give no numbers.
    func testMasksHoldFiniteNumbers() throws {
        var masks: [Float] = []
        StubModels.functions = [
            "toy.mlpackage.mlmodelc decode": Toy.overInputs(1) { masks += $0 },
            "toy.mlpackage.mlmodelc prefill": Toy.overInputs(Toy.prefill) { masks += $0 },
        ]
        _ = try rows(try Toy.load(Toy.whole, self))
        XCTAssertEqual(Set(masks), [0, -40000])
        XCTAssertEqual(Half.float(Half.masked), -40000)
        XCTAssertEqual(Half.masked, Float16(-40000).bitPattern)
    }

    /// A model in three packages, whose middle one sends every token to two experts.
    private func loadExperts() throws -> any LoadedModel { try Toy.load(experts(), self) }

    /// Its packages as `model.json` describes them; some keep to compute units of their own.
    private func experts(_ units: [String: String] = [:]) throws -> [[String: Any]] {
        for (name, tokens) in [("decode", 1), ("prefill", Toy.prefill)] {
            let states = StubModels.Array([1, tokens, 2], .float16)
            StubModels.functions["embedding.mlpackage.mlmodelc \(name)"] = .init(
                inputs: ["input_ids": .init([1, tokens], .int32)]
            ) { inputs, _ in
                let rows = Numbers.of(inputs["input_ids"]!).flatMap { [$0, $0 + 1] }
                return ["output_hidden_states": try Numbers.array([1, tokens, 2], rows)]
            }
            StubModels.functions["router.mlpackage.mlmodelc \(name)"] = .init(
                inputs: ["hidden_states": states]
            ) { inputs, _ in
                let rows = Numbers.of(inputs["hidden_states"]!)
                let repeated = { (values: [Float]) in (0..<tokens).flatMap { _ in values } }
                return [
                    "output_hidden_states": try Numbers.array([1, tokens, 2], rows),
                    "normed_states": try Numbers.array([1, tokens, 2], rows),
                    "expert_ids": try Numbers.array([1, tokens, 2], repeated([0, 1]), .int32),
                    "expert_weights": try Numbers.array([1, tokens, 2], repeated([0.5, 0.25])),
                ]
            }
            for expert in 0..<2 {
                StubModels.functions["experts.mlpackage.mlmodelc expert_\(expert)_\(name)"] = .init(
                    inputs: ["normed_states": states]
                ) { inputs, _ in
                    let rows = Numbers.of(inputs["normed_states"]!).map { $0 * Float(expert + 1) }
                    return ["expert_output": try Numbers.array([1, tokens, 2], rows)]
                }
            }
            StubModels.functions["head.mlpackage.mlmodelc \(name)"] = .init(
                inputs: ["hidden_states": states]
            ) { inputs, _ in ["logits": inputs["hidden_states"]!] }
        }
        return ["embedding", "router", "experts", "head"].map { role in
            var package: [String: Any] = ["path": "\(role).mlpackage", "role": role]
            package["compute_units"] = units[role]
            return package
        }
    }

    /// `gather` from more than 65,536 rows is wrong on the Neural Engine: the host then makes the
    /// embedding a package of its own, with `cpu_and_gpu` (`src/package/bundle/compute_units.rs`).
    func testAPackageWithComputeUnitsOfItsOwnIsLoadedAndPlannedWithThem() throws {
        let own = ["embedding": "cpu_and_gpu", "experts": "cpu_and_gpu"]
        let asked: [(ComputeUnits, MLComputeUnits, MLComputeUnits)] = [
            (.all, .all, .cpuAndGPU), (.cpuAndNeuralEngine, .cpuAndNeuralEngine, .cpuOnly),
            (.cpuAndGPU, .cpuAndGPU, .cpuAndGPU), (.cpu, .cpuOnly, .cpuOnly),
        ]
        for (units, others, owns) in asked {
            (StubModels.units, StubModels.plannedUnits) = ([:], [:])
            let packages = try experts(own)
            _ = try rows(try Toy.load(packages, self, units: units))
            let plan = try CoreMLEngine().plan(try Toy.place(packages, self), units: units)
            XCTAssertEqual(plan.operations.count, StubModels.functions.count, "one of each function")
            for (name, used) in [StubModels.units, StubModels.plannedUnits].flatMap({ $0 }) {
                let isOwn = own.keys.contains { name.hasPrefix($0) }
                XCTAssertEqual(used, isOwn ? owns : others, "\(name) if \(units) are asked for")
            }
            XCTAssertEqual(StubModels.units.count, StubModels.functions.count)
        }
    }

    func testExpertsAreAddedByWeightWhereverTheArrayMoves() throws {
        let model = try loadExperts()
        // The state, half of it, and a quarter of its double.
        XCTAssertEqual(try rows(model), ids.map { [2 * Float($0), 2 * Float($0) + 2] })
    }

    func testPredictionsLeaveNothingInTheAutoreleasePool() throws {
        let before = AutoreleasePool.count
        let experts = try loadExperts()
        XCTAssertEqual(AutoreleasePool.count, before, "after a load")
        _ = try rows(experts)
        XCTAssertEqual(AutoreleasePool.count, before, "after calls of experts")

        var most = 0
        StubModels.functions = [
            "toy.mlpackage.mlmodelc decode": Toy.overInputs(1) { _ in
                most = max(most, AutoreleasePool.count - before)
            },
            "toy.mlpackage.mlmodelc prefill": Toy.overInputs(Toy.prefill),
        ]
        let model = try Toy.load(Toy.whole, self)
        for _ in 0..<20 { _ = try rows(model) }
        XCTAssertLessThanOrEqual(most, 1, "while predictions follow one another")
        XCTAssertEqual(AutoreleasePool.count, before)
    }
}
