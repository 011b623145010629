// The compute plan's part of the stand-in; see CoreML.swift.

import Foundation

/// developer.apple.com/documentation/coreml/mlcpucomputedevice
/// Objective-C: MLCPUComputeDevice, iOS 17.0
public final class MLCPUComputeDevice: NSObject, @unchecked Sendable {}
/// developer.apple.com/documentation/coreml/mlgpucomputedevice
/// Objective-C: MLGPUComputeDevice, iOS 17.0
public final class MLGPUComputeDevice: NSObject, @unchecked Sendable {}
/// developer.apple.com/documentation/coreml/mlneuralenginecomputedevice
/// Objective-C: MLNeuralEngineComputeDevice, iOS 17.0
public final class MLNeuralEngineComputeDevice: NSObject, @unchecked Sendable {}

/// developer.apple.com/documentation/coreml/mlcomputedevice
/// Swift only, iOS 17.0
public enum MLComputeDevice: Sendable {
    /// Objective-C: MLCPUComputeDevice, iOS 17.0
    case cpu(MLCPUComputeDevice)
    /// Objective-C: MLGPUComputeDevice, iOS 17.0
    case gpu(MLGPUComputeDevice)
    /// Objective-C: MLNeuralEngineComputeDevice, iOS 17.0
    case neuralEngine(MLNeuralEngineComputeDevice)
}

/// developer.apple.com/documentation/coreml/mlmodelstructure
/// Objective-C: MLModelStructure, iOS 17.4
public enum MLModelStructure: Sendable {
    /// developer.apple.com/documentation/coreml/mlmodelstructure/program
    /// Objective-C: MLModelStructureProgram, iOS 17.4
    public struct Program: Sendable {
        /// developer.apple.com/documentation/coreml/mlmodelstructure/program/functions
        /// Objective-C: -[MLModelStructureProgram functions], iOS 17.4
        public let functions: [String: Function]

        /// developer.apple.com/documentation/coreml/mlmodelstructure/program/function
        /// Objective-C: MLModelStructureProgramFunction, iOS 17.4
        public struct Function: Sendable {
            /// Objective-C: -[MLModelStructureProgramFunction block], iOS 17.4
            public let block: Block
        }
        /// developer.apple.com/documentation/coreml/mlmodelstructure/program/block
        /// Objective-C: MLModelStructureProgramBlock, iOS 17.4
        public struct Block: Sendable {
            /// Objective-C: -[MLModelStructureProgramBlock operations], iOS 17.4
            public let operations: [Operation]
        }
        /// developer.apple.com/documentation/coreml/mlmodelstructure/program/operation
        /// Objective-C: MLModelStructureProgramOperation, iOS 17.4
        public struct Operation: Sendable {
            /// Objective-C: -[MLModelStructureProgramOperation operatorName], iOS 17.4
            public let operatorName: String
            /// Objective-C: -[MLModelStructureProgramOperation blocks], iOS 17.4
            public let blocks: [Block]
        }
    }
    /// developer.apple.com/documentation/coreml/mlmodelstructure/neuralnetwork-swift.struct
    /// Objective-C: MLModelStructureNeuralNetwork, iOS 17.4
    public struct NeuralNetwork: Sendable {}
    /// developer.apple.com/documentation/coreml/mlmodelstructure/pipeline-swift.struct
    /// Objective-C: MLModelStructurePipeline, iOS 17.4
    public struct Pipeline: Sendable {}

    /// Objective-C: -[MLModelStructure neuralNetwork], iOS 17.4
    case neuralNetwork(NeuralNetwork)
    /// Objective-C: -[MLModelStructure program], iOS 17.4
    case program(Program)
    /// Objective-C: -[MLModelStructure pipeline], iOS 17.4
    case pipeline(Pipeline)
    /// Swift only, iOS 17.4
    case unsupported
}

/// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n
/// Objective-C: MLComputePlan, iOS 17.4
public final class MLComputePlan {
    init(_ structure: MLModelStructure) { modelStructure = structure }
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/load(contentsof:configuration:)
    /// Objective-C: +[MLComputePlan loadContentsOfURL:configuration:completionHandler:], iOS 17.4
    public class func load(
        contentsOf url: URL, configuration: MLModelConfiguration
    ) async throws -> MLComputePlan { MLComputePlan(StubModels.plan(url, configuration)) }
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/modelstructure
    /// Objective-C: -[MLComputePlan modelStructure], iOS 17.4
    public let modelStructure: MLModelStructure
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/deviceusage(for:)-7cdlm
    /// Objective-C: -[MLComputePlan computeDeviceUsageForMLProgramOperation:], iOS 17.4
    public func deviceUsage(for operation: MLModelStructure.Program.Operation) -> DeviceUsage? { nil }
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/estimatedcost(of:)
    /// Objective-C: -[MLComputePlan estimatedCostOfMLProgramOperation:], iOS 17.4
    public func estimatedCost(of operation: MLModelStructure.Program.Operation) -> Cost? { nil }

    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/deviceusage
    /// Objective-C: MLComputePlanDeviceUsage, iOS 17.4
    public struct DeviceUsage: Sendable {
        /// Objective-C: -[MLComputePlanDeviceUsage preferredComputeDevice], iOS 17.4
        public let preferred: MLComputeDevice
        /// Objective-C: -[MLComputePlanDeviceUsage supportedComputeDevices], iOS 17.4
        public let supported: [MLComputeDevice]
    }
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/cost
    /// Objective-C: MLComputePlanCost, iOS 17.4
    public struct Cost: Sendable {
        /// Objective-C: -[MLComputePlanCost weight], iOS 17.4
        public let weight: Double
    }
}

@available(*, unavailable)
extension MLComputePlan: @unchecked Sendable {}
