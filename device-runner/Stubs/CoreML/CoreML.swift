// A stand-in for Apple's Core ML, for type-checking on Linux, and for tests, which say what its
// functions compute (StubModels.swift).
//
// Each declaration names the page of developer.apple.com that it was written from; Sendable and default
// arguments are those of Apple's Swift interface. Where stub and framework differ, the framework is
// right.

import Foundation

/// developer.apple.com/documentation/coreml/mlcomputeunits
public enum MLComputeUnits: Int, Sendable {
    case cpuOnly = 0
    case cpuAndGPU = 1
    case all = 2
    case cpuAndNeuralEngine = 3
}

/// developer.apple.com/documentation/coreml/mlmodelconfiguration
open class MLModelConfiguration: NSObject {
    public override init() {}
    /// developer.apple.com/documentation/coreml/mlmodelconfiguration/computeunits
    open var computeUnits: MLComputeUnits = .all
    /// developer.apple.com/documentation/coreml/mlmodelconfiguration/functionname (iOS 18)
    open var functionName: String?
}

/// developer.apple.com/documentation/coreml/mlmultiarraydatatype
public enum MLMultiArrayDataType: Int, Sendable {
    case double = 65600
    case float32 = 65568
    case float16 = 65552
    case int32 = 131104
}

/// developer.apple.com/documentation/coreml/mlfeaturevalue
open class MLFeatureValue: NSObject {
    /// developer.apple.com/documentation/coreml/mlfeaturevalue/init(multiarray:)
    public init(multiArray value: MLMultiArray) { multiArrayValue = value }
    /// developer.apple.com/documentation/coreml/mlfeaturevalue/multiarrayvalue
    open private(set) var multiArrayValue: MLMultiArray?
}

/// developer.apple.com/documentation/coreml/mlfeatureprovider
public protocol MLFeatureProvider {
    /// developer.apple.com/documentation/coreml/mlfeatureprovider/featurenames
    var featureNames: Set<String> { get }
    /// developer.apple.com/documentation/coreml/mlfeatureprovider/featurevalue(for:)
    func featureValue(for featureName: String) -> MLFeatureValue?
}

/// developer.apple.com/documentation/coreml/mldictionaryfeatureprovider
open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    private let values: [String: MLFeatureValue]
    /// developer.apple.com/documentation/coreml/mldictionaryfeatureprovider/init(dictionary:)
    public init(dictionary: [String: Any]) throws {
        values = dictionary.compactMapValues { $0 as? MLFeatureValue }
        guard values.count == dictionary.count else { throw StubError("not a feature value") }
    }
    open var featureNames: Set<String> { Set(values.keys) }
    open func featureValue(for featureName: String) -> MLFeatureValue? { values[featureName] }
}

/// developer.apple.com/documentation/coreml/mlmultiarrayconstraint
open class MLMultiArrayConstraint: NSObject {
    init(_ array: StubModels.Array) {
        shape = array.shape.map { NSNumber(value: $0) }
        dataType = array.dataType
    }
    /// developer.apple.com/documentation/coreml/mlmultiarrayconstraint/shape
    open private(set) var shape: [NSNumber]
    /// developer.apple.com/documentation/coreml/mlmultiarrayconstraint/datatype
    open private(set) var dataType: MLMultiArrayDataType
}

/// developer.apple.com/documentation/coreml/mlfeaturedescription
open class MLFeatureDescription: NSObject {
    init(_ array: StubModels.Array) { multiArrayConstraint = MLMultiArrayConstraint(array) }
    /// developer.apple.com/documentation/coreml/mlfeaturedescription/multiarrayconstraint
    open private(set) var multiArrayConstraint: MLMultiArrayConstraint?
}

/// developer.apple.com/documentation/coreml/mlmodeldescription
open class MLModelDescription: NSObject {
    private let function: StubModels.Function
    init(_ function: StubModels.Function) { self.function = function }
    /// developer.apple.com/documentation/coreml/mlmodeldescription/inputdescriptionsbyname
    open var inputDescriptionsByName: [String: MLFeatureDescription] {
        function.inputs.mapValues { MLFeatureDescription($0) }
    }
    /// developer.apple.com/documentation/coreml/mlmodeldescription/statedescriptionsbyname (iOS 18)
    open var stateDescriptionsByName: [String: MLFeatureDescription] {
        function.states.mapValues { MLFeatureDescription($0) }
    }
}

/// developer.apple.com/documentation/coreml/mlpredictionoptions
open class MLPredictionOptions: NSObject {
    public override init() {}
}

/// developer.apple.com/documentation/coreml/mlstate (iOS 18)
public final class MLState: @unchecked Sendable {
    init() {}
}

/// developer.apple.com/documentation/coreml/mlmodel
open class MLModel: NSObject {
    private let function: StubModels.Function
    /// developer.apple.com/documentation/coreml/mlmodel/compilemodel(at:) (async, iOS 16)
    open class func compileModel(at modelURL: URL) async throws -> URL {
        let made = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: made, withIntermediateDirectories: true)
        return made
    }
    /// developer.apple.com/documentation/coreml/mlmodel/init(contentsof:configuration:)
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        function = try StubModels.load(url, configuration)
    }
    /// developer.apple.com/documentation/coreml/mlmodel/modeldescription
    open var modelDescription: MLModelDescription { MLModelDescription(function) }
    /// developer.apple.com/documentation/coreml/mlmodel/makestate() (iOS 18)
    public func makeState() -> MLState { MLState() }
    /// developer.apple.com/documentation/coreml/mlmodel/prediction(from:options:)
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider {
        try StubModels.predict(function, input, nil)
    }
    /// The same without a thread that waits; options have a default (iOS 17).
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> any MLFeatureProvider {
        try StubModels.predict(function, input, nil)
    }
    /// developer.apple.com/documentation/coreml/mlmodel/prediction(from:using:options:) (iOS 18)
    public func prediction(
        from input: any MLFeatureProvider, using state: MLState, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider {
        try StubModels.predict(function, input, state)
    }
    /// The same without a thread that waits; options have a default (iOS 18).
    public func prediction(
        from input: any MLFeatureProvider, using state: MLState,
        options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> any MLFeatureProvider {
        try StubModels.predict(function, input, state)
    }
}
