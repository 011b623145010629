// What the functions of the stand-in compute: tests say it here. Not of Apple's.

import Foundation
import ObjectiveC

/// Why the stand-in refuses.
public struct StubError: Error, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}

/// The functions that can be loaded. Tests that use them run one after another.
public enum StubModels {
    /// An input or a state.
    public struct Array: Sendable {
        public let shape: [Int]
        public let dataType: MLMultiArrayDataType
        public init(_ shape: [Int], _ dataType: MLMultiArrayDataType) {
            self.shape = shape
            self.dataType = dataType
        }
    }

    /// Outputs for inputs; the state, where the function has one.
    public typealias Work = ([String: MLMultiArray], MLState?) throws -> [String: MLMultiArray]

    /// A function of a package.
    public struct Function {
        public var inputs: [String: Array]
        public var states: [String: Array]
        public var work: Work
        public init(inputs: [String: Array], states: [String: Array] = [:], work: @escaping Work) {
            self.inputs = inputs
            self.states = states
            self.work = work
        }
    }

    /// Functions by compiled package and name, such as `whole.mlpackage.mlmodelc decode`.
    nonisolated(unsafe) public static var functions: [String: Function] = [:]
    /// What was loaded, in order.
    nonisolated(unsafe) public static var loaded: [String] = []
    /// The compute units that functions were last loaded for, by package and name.
    nonisolated(unsafe) public static var units: [String: MLComputeUnits] = [:]
    /// The compute units that functions were last planned for, by package and name.
    nonisolated(unsafe) public static var plannedUnits: [String: MLComputeUnits] = [:]

    static func load(_ url: URL, _ configuration: MLModelConfiguration) throws -> Function {
        let name = name(url, configuration)
        guard let found = functions[name] else { throw StubError("no function \(name)") }
        loaded.append(name)
        units[name] = configuration.computeUnits
        AutoreleasePool.add(NSObject())
        return found
    }

    /// The structure of a package: the names of its functions, each of one operation.
    static func plan(_ url: URL, _ configuration: MLModelConfiguration) -> MLModelStructure {
        plannedUnits[name(url, configuration)] = configuration.computeUnits
        let prefix = url.lastPathComponent + " "
        let names = functions.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
        let operation = MLModelStructure.Program.Operation(operatorName: "toy", blocks: [])
        let function = MLModelStructure.Program.Function(block: .init(operations: [operation]))
        return .program(.init(functions: Dictionary(uniqueKeysWithValues: names.map { ($0, function) })))
    }

    private static func name(_ url: URL, _ configuration: MLModelConfiguration) -> String {
        "\(url.lastPathComponent) \(configuration.functionName ?? "main")"
    }

    static func predict(
        _ function: Function, _ input: any MLFeatureProvider, _ state: MLState?
    ) throws -> any MLFeatureProvider {
        guard input.featureNames == Set(function.inputs.keys) else {
            throw StubError("inputs \(input.featureNames.sorted())")
        }
        guard (state != nil) == !function.states.isEmpty else {
            throw StubError("a state that the function does not have, or none")
        }
        var inputs: [String: MLMultiArray] = [:]
        for (name, expected) in function.inputs {
            let found = input.featureValue(for: name)?.multiArrayValue
            guard let found, found.shape.map(\.intValue) == expected.shape,
                found.dataType == expected.dataType
            else { throw StubError("\(name): another shape or type") }
            inputs[name] = found
        }
        let outputs = try function.work(inputs, state).mapValues { MLFeatureValue(multiArray: $0) }
        let provider = try MLDictionaryFeatureProvider(dictionary: outputs)
        AutoreleasePool.add(provider)
        return provider
    }
}
