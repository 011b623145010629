#if canImport(CoreML)
    import CoreML
    import Foundation
    import RunnerCore

    /// What Core ML expects of a compiled package: a prediction, not a measurement.
    struct PlanReader: Sendable {
        private let package: ModelDescription.Package
        private let compiled: URL
        private let units: ComputeUnits

        init(_ package: ModelDescription.Package, _ compiled: URL, _ units: ComputeUnits) {
            self.package = package
            self.compiled = compiled
            self.units = package.units(asked: units)
        }

        /// Every operation of every function, those of inner blocks too.
        func operations() throws -> [Plan.Operation] {
            try Blocking.wait {
                // The structure names the functions; each is then planned by itself.
                let structure = try await load(nil).modelStructure
                guard case .program(let program) = structure else {
                    throw Failure(.engine, "\(package.path) is no program")
                }
                var found: [Plan.Operation] = []
                for name in program.functions.keys.sorted() {
                    let plan = try await load(package.function == nil ? name : nil)
                    guard case .program(let program) = plan.modelStructure,
                        let function = program.functions[name]
                    else { continue }
                    autoreleasepool {
                        collect(function.block, package.function ?? name, plan, &found)
                    }
                }
                return found
            }
        }

        private func load(_ function: String?) async throws -> MLComputePlan {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units.coreML
            if let function { configuration.functionName = function }
            return try await MLComputePlan.load(contentsOf: compiled, configuration: configuration)
        }

        private func collect(
            _ block: MLModelStructure.Program.Block, _ function: String, _ plan: MLComputePlan,
            _ found: inout [Plan.Operation]
        ) {
            for operation in block.operations {
                let usage = plan.deviceUsage(for: operation)
                found.append(
                    Plan.Operation(
                        package: package.path, function: function,
                        operator: operation.operatorName,
                        preferred: usage.flatMap { Self.unit($0.preferred) },
                        supported: usage?.supported.compactMap(Self.unit) ?? [],
                        cost_weight: plan.estimatedCost(of: operation)?.weight))
                for inner in operation.blocks { collect(inner, function, plan, &found) }
            }
        }

        private static func unit(_ device: MLComputeDevice) -> Plan.Unit? {
            switch device {
            case .cpu: .cpu
            case .gpu: .gpu
            case .neuralEngine: .neuralEngine
            @unknown default: nil
            }
        }
    }
#endif
