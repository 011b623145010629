// A stand-in for Apple's Core ML, for type-checking on Linux. Nothing here computes.
//
// Each declaration names the page of developer.apple.com that it was written from. A stub proves
// agreement with the stub alone; where page and framework differ, the framework is right.

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

/// developer.apple.com/documentation/coreml/mlmultiarray
open class MLMultiArray: NSObject {
    /// developer.apple.com/documentation/coreml/mlmultiarray/init(shape:datatype:)
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        self.shape = shape
        self.dataType = dataType
    }
    /// developer.apple.com/documentation/coreml/mlmultiarray/shape
    open private(set) var shape: [NSNumber]
    /// developer.apple.com/documentation/coreml/mlmultiarray/strides
    open var strides: [NSNumber] { [] }
    /// developer.apple.com/documentation/coreml/mlmultiarray/count
    open var count: Int { 0 }
    /// developer.apple.com/documentation/coreml/mlmultiarray/datatype
    open private(set) var dataType: MLMultiArrayDataType
    /// developer.apple.com/documentation/coreml/mlmultiarray/withunsafebytes(_:)
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try body(UnsafeRawBufferPointer(start: nil, count: 0))
    }
    /// developer.apple.com/documentation/coreml/mlmultiarray/withunsafemutablebytes(_:)
    public func withUnsafeMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
    ) rethrows -> R {
        try body(UnsafeMutableRawBufferPointer(start: nil, count: 0), [])
    }
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
    /// developer.apple.com/documentation/coreml/mldictionaryfeatureprovider/init(dictionary:)
    public init(dictionary: [String: Any]) throws {}
    open var featureNames: Set<String> { [] }
    open func featureValue(for featureName: String) -> MLFeatureValue? { nil }
}

/// developer.apple.com/documentation/coreml/mlmultiarrayconstraint
open class MLMultiArrayConstraint: NSObject {
    /// developer.apple.com/documentation/coreml/mlmultiarrayconstraint/shape
    open var shape: [NSNumber] { [] }
    /// developer.apple.com/documentation/coreml/mlmultiarrayconstraint/datatype
    open var dataType: MLMultiArrayDataType { .float16 }
}

/// developer.apple.com/documentation/coreml/mlfeaturedescription
open class MLFeatureDescription: NSObject {
    /// developer.apple.com/documentation/coreml/mlfeaturedescription/multiarrayconstraint
    open var multiArrayConstraint: MLMultiArrayConstraint? { nil }
}

/// developer.apple.com/documentation/coreml/mlmodeldescription
open class MLModelDescription: NSObject {
    /// developer.apple.com/documentation/coreml/mlmodeldescription/inputdescriptionsbyname
    open var inputDescriptionsByName: [String: MLFeatureDescription] { [:] }
    /// developer.apple.com/documentation/coreml/mlmodeldescription/outputdescriptionsbyname
    open var outputDescriptionsByName: [String: MLFeatureDescription] { [:] }
    /// developer.apple.com/documentation/coreml/mlmodeldescription/statedescriptionsbyname (iOS 18)
    open var stateDescriptionsByName: [String: MLFeatureDescription] { [:] }
}

/// developer.apple.com/documentation/coreml/mlpredictionoptions
open class MLPredictionOptions: NSObject {
    public override init() {}
}

/// developer.apple.com/documentation/coreml/mlstate (iOS 18)
public final class MLState {
    init() {}
}

/// developer.apple.com/documentation/coreml/mlmodel
open class MLModel: NSObject {
    /// developer.apple.com/documentation/coreml/mlmodel/compilemodel(at:) (async, iOS 16)
    open class func compileModel(at modelURL: URL) async throws -> URL { modelURL }
    /// developer.apple.com/documentation/coreml/mlmodel/init(contentsof:configuration:)
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}
    /// developer.apple.com/documentation/coreml/mlmodel/modeldescription
    open var modelDescription: MLModelDescription { MLModelDescription() }
    /// developer.apple.com/documentation/coreml/mlmodel/makestate() (iOS 18)
    public func makeState() -> MLState { MLState() }
    /// developer.apple.com/documentation/coreml/mlmodel/prediction(from:options:)
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider { input }
    /// developer.apple.com/documentation/coreml/mlmodel/prediction(from:using:options:) (iOS 18)
    public func prediction(
        from input: any MLFeatureProvider, using state: MLState,
        options: MLPredictionOptions = MLPredictionOptions()
    ) throws -> any MLFeatureProvider { input }
}
