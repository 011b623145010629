// The compute plan's part of the stand-in; see CoreML.swift.

import Foundation

/// developer.apple.com/documentation/coreml/mlcpucomputedevice
public final class MLCPUComputeDevice: NSObject {}
/// developer.apple.com/documentation/coreml/mlgpucomputedevice
public final class MLGPUComputeDevice: NSObject {}
/// developer.apple.com/documentation/coreml/mlneuralenginecomputedevice
public final class MLNeuralEngineComputeDevice: NSObject {}

/// developer.apple.com/documentation/coreml/mlcomputedevice
public enum MLComputeDevice: @unchecked Sendable {
    case cpu(MLCPUComputeDevice)
    case gpu(MLGPUComputeDevice)
    case neuralEngine(MLNeuralEngineComputeDevice)
}

/// developer.apple.com/documentation/coreml/mlmodelstructure
public enum MLModelStructure: Sendable {
    /// developer.apple.com/documentation/coreml/mlmodelstructure/program
    public struct Program: Sendable {
        /// developer.apple.com/documentation/coreml/mlmodelstructure/program/functions
        public let functions: [String: Function]

        /// developer.apple.com/documentation/coreml/mlmodelstructure/program/function
        public struct Function: Sendable {
            public let block: Block
        }
        /// developer.apple.com/documentation/coreml/mlmodelstructure/program/block
        public struct Block: Sendable {
            public let operations: [Operation]
        }
        /// developer.apple.com/documentation/coreml/mlmodelstructure/program/operation
        public struct Operation: Sendable {
            public let operatorName: String
            public let blocks: [Block]
        }
    }
    /// developer.apple.com/documentation/coreml/mlmodelstructure/neuralnetwork-swift.struct
    public struct NeuralNetwork: Sendable {}
    /// developer.apple.com/documentation/coreml/mlmodelstructure/pipeline-swift.struct
    public struct Pipeline: Sendable {}

    case neuralNetwork(NeuralNetwork)
    case program(Program)
    case pipeline(Pipeline)
    case unsupported
}

/// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n
public final class MLComputePlan {
    init(_ structure: MLModelStructure) { modelStructure = structure }
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/load(contentsof:configuration:)
    public class func load(
        contentsOf url: URL, configuration: MLModelConfiguration
    ) async throws -> MLComputePlan { MLComputePlan(StubModels.plan(url, configuration)) }
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/modelstructure
    public let modelStructure: MLModelStructure
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/deviceusage(for:)-7cdlm
    public func deviceUsage(for operation: MLModelStructure.Program.Operation) -> DeviceUsage? { nil }
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/estimatedcost(of:)
    public func estimatedCost(of operation: MLModelStructure.Program.Operation) -> Cost? { nil }

    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/deviceusage
    public struct DeviceUsage {
        public let preferred: MLComputeDevice
        public let supported: [MLComputeDevice]
    }
    /// developer.apple.com/documentation/coreml/mlcomputeplan-1w21n/cost
    public struct Cost {
        public let weight: Double
    }
}

@available(*, unavailable)
extension MLComputePlan: @unchecked Sendable {}
