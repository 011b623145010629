#if canImport(CoreML)
    import CoreML
    import Foundation
    import RunnerCore

    /// Core ML.
    public final class CoreMLEngine: Engine {
        public init() {}

        public let identity = EngineIdentity(
            engine: "core-ml", runtime: "Core ML", simulated: false,
            computeUnits: ComputeUnits.allCases)

        public func load(
            _ place: PackagePlace, units: ComputeUnits, functions: [ModelFunction],
            compiling: (_ ms: Double) -> Void
        ) throws -> any LoadedModel {
            let description = try ModelDescription.read(place.folder)
            let compiled = CompiledPackages(place)
            if let ms = try compiled.compile(description) { compiling(ms) }
            return try CoreMLModel(
                description, compiled: compiled, units: units, functions: functions)
        }

        public func plan(_ place: PackagePlace, units: ComputeUnits) throws -> Plan {
            let description = try ModelDescription.read(place.folder)
            let compiled = CompiledPackages(place)
            _ = try compiled.compile(description)
            return Plan(
                operations: try description.packages.flatMap { package in
                    try PlanReader(package, try compiled.url(package.path), units).operations()
                })
        }
    }

    /// Compiled packages beside the package, one folder per version of the system.
    struct CompiledPackages {
        private let place: PackagePlace

        init(_ place: PackagePlace) { self.place = place }

        /// Where the compiled package of this name is.
        func url(_ path: String) throws -> URL {
            try PathRule.check(path)
            return place.compiled.appendingPathComponent(path + ".mlmodelc")
        }

        /// Compiles what is not compiled yet; how long that took, nothing where all was there.
        func compile(_ description: ModelDescription) throws -> Double? {
            let manager = FileManager.default
            try manager.createDirectory(at: place.compiled, withIntermediateDirectories: true)
            var ms: Double?
            for package in description.packages {
                let target = try url(package.path)
                if manager.fileExists(atPath: target.path) { continue }
                let source = place.folder.appendingPathComponent(package.path)
                let start = Moment.now
                let made = try Blocking.wait { try await MLModel.compileModel(at: source) }
                try manager.moveItem(at: made, to: target)
                ms = (ms ?? 0) + start.elapsedMs
            }
            return ms
        }
    }

    /// Waiting for what is asynchronous alone, on a thread of the runner's own.
    enum Blocking {
        private final class Box<T>: @unchecked Sendable {
            var result: Result<T, any Error>?
        }

        /// Must not be called from a task: it blocks its thread.
        static func wait<T: Sendable>(_ work: @escaping @Sendable () async throws -> T) throws -> T {
            let box = Box<T>()
            let done = DispatchSemaphore(value: 0)
            Task.detached(priority: .userInitiated) {
                do { box.result = .success(try await work()) } catch { box.result = .failure(error) }
                done.signal()
            }
            done.wait()
            guard let result = box.result else { throw Failure(.engine, "a task without an end") }
            return try result.get()
        }
    }
#endif
