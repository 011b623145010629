// What computes: the runner knows of engines only this.

import Foundation

/// What an engine is.
public struct EngineIdentity: Sendable {
    /// `core-ml` or `simulated`.
    public let engine: String
    /// What computes, with its version where known.
    public let runtime: String
    /// Whether nothing that it says is a measurement.
    public let simulated: Bool
    /// Values of `compute_units` that it takes.
    public let computeUnits: [ComputeUnits]

    public init(engine: String, runtime: String, simulated: Bool, computeUnits: [ComputeUnits]) {
        self.engine = engine
        self.runtime = runtime
        self.simulated = simulated
        self.computeUnits = computeUnits
    }
}

/// A package in the store.
public struct PackagePlace: Sendable {
    /// The folder, with `model.json`. Never written to.
    public let folder: URL
    /// Where the engine keeps what it makes of the package under this version of the system.
    public let compiled: URL

    public init(folder: URL, compiled: URL) {
        self.folder = folder
        self.compiled = compiled
    }
}

/// Loads models. Its methods are called on one thread at a time; `identity` at any time.
public protocol Engine: AnyObject, Sendable {
    /// What it is.
    var identity: EngineIdentity { get }

    /// Loads these functions of a package, `decode` among them; `compiling` is told how long compiling
    /// took, where something was compiled.
    func load(
        _ place: PackagePlace, units: ComputeUnits, functions: [ModelFunction],
        compiling: (_ ms: Double) -> Void
    ) throws -> any LoadedModel

    /// Where the system expects to compute each operation.
    func plan(_ place: PackagePlace, units: ComputeUnits) throws -> Plan
}

/// The functions of a model.
public enum ModelFunction: String, Codable, CaseIterable, Sendable {
    /// Takes one token.
    case decode
    /// Takes several tokens of a prompt.
    case prefill
}

/// The numbers of a model that a runner needs.
public struct ModelShape: Equatable, Sendable {
    /// Tokens that the cache holds.
    public let contextTokens: Int
    /// Tokens that `prefill` takes at a time.
    public let prefillTokens: Int
    /// Tokens in the vocabulary.
    public let vocabSize: Int
    /// Functions that are loaded, `decode` among them.
    public let functions: [ModelFunction]

    public init(contextTokens: Int, prefillTokens: Int, vocabSize: Int, functions: [ModelFunction]) {
        self.contextTokens = contextTokens
        self.prefillTokens = prefillTokens
        self.vocabSize = vocabSize
        self.functions = functions
    }
}

/// One call of a model: some tokens from a position on, filled up to the length of the function.
public struct Call: Sendable {
    /// The tokens.
    public let ids: [UInt32]
    /// 1 for `decode`, else the length of `prefill`.
    public let length: Int
    /// Whether it is `prefill` that is called, whatever its length.
    public let isPrefill: Bool
    /// Tokens in the cache before it.
    public let position: Int
    /// Whether the logits after every token are wanted, or only after the last.
    public let wantsAll: Bool

    public init(ids: [UInt32], length: Int, isPrefill: Bool, position: Int, wantsAll: Bool) {
        self.ids = ids
        self.length = length
        self.isPrefill = isPrefill
        self.position = position
        self.wantsAll = wantsAll
    }
}

/// A model that is loaded. Its methods are called on one thread at a time.
public protocol LoadedModel: AnyObject {
    /// Its numbers.
    var shape: ModelShape { get }

    /// Empties the cache.
    func reset() throws

    /// Computes; `row` is given the index in `call.ids` and the logits after that token,
    /// `[vocabulary]`, in order. Only the last, unless all are wanted.
    func run(_ call: Call, row: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws
}
