// A stand-in for Apple's Core ML, for type-checking on Linux, and for tests, which say what its
// functions compute (StubModels.swift).
//
// Each declaration names the page of developer.apple.com that it was written from, what it is in
// Objective-C, and the first system that has it, as the headers say; tests/peers/coreml_selectors.py
// holds it against a list of Core ML's selectors. Sendable and default arguments are those of Apple's
// Swift interface. Where stub and framework differ, the framework is right.

import Foundation

/// developer.apple.com/documentation/coreml/mlcomputeunits
/// Objective-C: MLComputeUnits, iOS 12.0
public enum MLComputeUnits: Int, Sendable {
    /// Objective-C: MLComputeUnitsCPUOnly, iOS 12.0
    case cpuOnly = 0
    /// Objective-C: MLComputeUnitsCPUAndGPU, iOS 12.0
    case cpuAndGPU = 1
    /// Objective-C: MLComputeUnitsAll, iOS 12.0
    case all = 2
    /// Objective-C: MLComputeUnitsCPUAndNeuralEngine, iOS 16.0
    case cpuAndNeuralEngine = 3
}

/// developer.apple.com/documentation/coreml/mlmodelconfiguration
/// Objective-C: MLModelConfiguration, iOS 12.0
open class MLModelConfiguration: NSObject {
    /// Objective-C: -[MLModelConfiguration init], iOS 12.0
    public override init() {}
    /// developer.apple.com/documentation/coreml/mlmodelconfiguration/computeunits
    /// Objective-C: -[MLModelConfiguration computeUnits], iOS 12.0
    open var computeUnits: MLComputeUnits = .all
    /// developer.apple.com/documentation/coreml/mlmodelconfiguration/functionname
    /// Objective-C: -[MLModelConfiguration functionName], iOS 18.0
    open var functionName: String?
}

/// developer.apple.com/documentation/coreml/mlmultiarraydatatype
/// Objective-C: MLMultiArrayDataType, iOS 11.0
public enum MLMultiArrayDataType: Int, Sendable {
    /// Objective-C: MLMultiArrayDataTypeDouble, iOS 11.0
    case double = 65600
    /// Objective-C: MLMultiArrayDataTypeFloat32, iOS 11.0
    case float32 = 65568
    /// Objective-C: MLMultiArrayDataTypeFloat16, iOS 16.0
    case float16 = 65552
    /// Objective-C: MLMultiArrayDataTypeInt32, iOS 11.0
    case int32 = 131104
}

/// developer.apple.com/documentation/coreml/mlfeaturevalue
/// Objective-C: MLFeatureValue, iOS 11.0
open class MLFeatureValue: NSObject {
    /// developer.apple.com/documentation/coreml/mlfeaturevalue/init(multiarray:)
    /// Objective-C: +[MLFeatureValue featureValueWithMultiArray:], iOS 11.0
    public init(multiArray value: MLMultiArray) { multiArrayValue = value }
    /// developer.apple.com/documentation/coreml/mlfeaturevalue/multiarrayvalue
    /// Objective-C: -[MLFeatureValue multiArrayValue], iOS 11.0
    open private(set) var multiArrayValue: MLMultiArray?
}

/// developer.apple.com/documentation/coreml/mlfeatureprovider
/// Objective-C: MLFeatureProvider, iOS 11.0
public protocol MLFeatureProvider {
    /// developer.apple.com/documentation/coreml/mlfeatureprovider/featurenames
    /// Objective-C: -[MLFeatureProvider featureNames], iOS 11.0
    var featureNames: Set<String> { get }
    /// developer.apple.com/documentation/coreml/mlfeatureprovider/featurevalue(for:)
    /// Objective-C: -[MLFeatureProvider featureValueForName:], iOS 11.0
    func featureValue(for featureName: String) -> MLFeatureValue?
}

/// developer.apple.com/documentation/coreml/mldictionaryfeatureprovider
/// Objective-C: MLDictionaryFeatureProvider, iOS 11.0
open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    private let values: [String: MLFeatureValue]
    /// developer.apple.com/documentation/coreml/mldictionaryfeatureprovider/init(dictionary:)
    /// Objective-C: -[MLDictionaryFeatureProvider initWithDictionary:error:], iOS 11.0
    public init(dictionary: [String: Any]) throws {
        values = dictionary.compactMapValues { $0 as? MLFeatureValue }
        guard values.count == dictionary.count else { throw StubError("not a feature value") }
    }
    /// Objective-C: -[MLFeatureProvider featureNames], iOS 11.0
    open var featureNames: Set<String> { Set(values.keys) }
    /// Objective-C: -[MLFeatureProvider featureValueForName:], iOS 11.0
    open func featureValue(for featureName: String) -> MLFeatureValue? { values[featureName] }
}

/// developer.apple.com/documentation/coreml/mlmultiarrayconstraint
/// Objective-C: MLMultiArrayConstraint, iOS 11.0
open class MLMultiArrayConstraint: NSObject {
    init(_ array: StubModels.Array) {
        shape = array.shape.map { NSNumber(value: $0) }
        dataType = array.dataType
    }
    /// developer.apple.com/documentation/coreml/mlmultiarrayconstraint/shape
    /// Objective-C: -[MLMultiArrayConstraint shape], iOS 11.0
    open private(set) var shape: [NSNumber]
    /// developer.apple.com/documentation/coreml/mlmultiarrayconstraint/datatype
    /// Objective-C: -[MLMultiArrayConstraint dataType], iOS 11.0
    open private(set) var dataType: MLMultiArrayDataType
}

/// developer.apple.com/documentation/coreml/mlfeaturedescription
/// Objective-C: MLFeatureDescription, iOS 11.0
open class MLFeatureDescription: NSObject {
    init(_ array: StubModels.Array) { multiArrayConstraint = MLMultiArrayConstraint(array) }
    /// developer.apple.com/documentation/coreml/mlfeaturedescription/multiarrayconstraint
    /// Objective-C: -[MLFeatureDescription multiArrayConstraint], iOS 11.0
    open private(set) var multiArrayConstraint: MLMultiArrayConstraint?
}

/// developer.apple.com/documentation/coreml/mlmodeldescription
/// Objective-C: MLModelDescription, iOS 11.0
open class MLModelDescription: NSObject {
    private let function: StubModels.Function
    init(_ function: StubModels.Function) { self.function = function }
    /// developer.apple.com/documentation/coreml/mlmodeldescription/inputdescriptionsbyname
    /// Objective-C: -[MLModelDescription inputDescriptionsByName], iOS 11.0
    open var inputDescriptionsByName: [String: MLFeatureDescription] {
        function.inputs.mapValues { MLFeatureDescription($0) }
    }
    /// developer.apple.com/documentation/coreml/mlmodeldescription/statedescriptionsbyname
    /// Objective-C: -[MLModelDescription stateDescriptionsByName], iOS 18.0
    open var stateDescriptionsByName: [String: MLFeatureDescription] {
        function.states.mapValues { MLFeatureDescription($0) }
    }
}

/// developer.apple.com/documentation/coreml/mlpredictionoptions
/// Objective-C: MLPredictionOptions, iOS 11.0
open class MLPredictionOptions: NSObject {
    /// Objective-C: -[MLPredictionOptions init], iOS 11.0
    public override init() {}
}

/// developer.apple.com/documentation/coreml/mlstate
/// Objective-C: MLState, iOS 18.0
public final class MLState: NSObject, @unchecked Sendable {
    override init() {}
}

/// developer.apple.com/documentation/coreml/mlmodel
/// Objective-C: MLModel, iOS 11.0
open class MLModel: NSObject {
    private let function: StubModels.Function
    /// developer.apple.com/documentation/coreml/mlmodel/compilemodel(at:)
    /// Objective-C: +[MLModel compileModelAtURL:completionHandler:], iOS 16.0
    open class func compileModel(at modelURL: URL) async throws -> URL {
        let made = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: made, withIntermediateDirectories: true)
        return made
    }
    /// developer.apple.com/documentation/coreml/mlmodel/init(contentsof:configuration:)
    /// Objective-C: +[MLModel modelWithContentsOfURL:configuration:error:], iOS 12.0
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        function = try StubModels.load(url, configuration)
    }
    /// developer.apple.com/documentation/coreml/mlmodel/modeldescription
    /// Objective-C: -[MLModel modelDescription], iOS 11.0
    open var modelDescription: MLModelDescription { MLModelDescription(function) }
    /// developer.apple.com/documentation/coreml/mlmodel/makestate()
    /// Objective-C: -[MLModel newState], iOS 18.0
    public func makeState() -> MLState { MLState() }
    /// developer.apple.com/documentation/coreml/mlmodel/prediction(from:options:)
    /// Objective-C: -[MLModel predictionFromFeatures:options:error:], iOS 11.0
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider {
        try StubModels.predict(function, input, nil)
    }
    /// The same without a thread that waits; options have a default.
    /// Objective-C: -[MLModel predictionFromFeatures:options:completionHandler:], iOS 17.0
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> any MLFeatureProvider {
        try StubModels.predict(function, input, nil)
    }
    /// developer.apple.com/documentation/coreml/mlmodel/prediction(from:using:options:)
    /// Objective-C: -[MLModel predictionFromFeatures:usingState:options:error:], iOS 18.0
    public func prediction(
        from input: any MLFeatureProvider, using state: MLState, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider {
        try StubModels.predict(function, input, state)
    }
    /// The same without a thread that waits; options have a default.
    /// Objective-C: -[MLModel predictionFromFeatures:usingState:options:completionHandler:], iOS 18.0
    public func prediction(
        from input: any MLFeatureProvider, using state: MLState,
        options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> any MLFeatureProvider {
        try StubModels.predict(function, input, state)
    }
}
