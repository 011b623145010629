// `model.json`: what a runner must know of a package. The host writes it (`src/package/bundle`).

import Foundation

/// A package's `model.json`, as far as a runner reads it.
public struct ModelDescription: Decodable, Sendable {
    /// The model, and what its packages were made for.
    public struct Model: Decodable, Sendable {
        public let target: String
        public let compute: String
        public let context_tokens: Int
        public let prefill_tokens: Int
        public let vocab_size: Int
        public let sliding_window_tokens: Int?
    }

    /// What an `.mlpackage` computes.
    public enum Role: String, Decodable, Sendable {
        case whole, embedding, blocks, router, experts, head
    }

    /// An `.mlpackage`.
    public struct Package: Decodable, Sendable {
        /// The folder's name.
        public let path: String
        public let role: Role
        /// The first of its blocks, and how many.
        public let layers: [Int]?
        /// Which function is its only one; nothing where it has all.
        public let function: String?
        /// Where it is to be run, whatever the others are run on; nothing where it goes with them.
        public let compute_units: ComputeUnits?

        /// Where it is run if a user asks for these: on no unit that either rules out.
        public func units(asked: ComputeUnits) -> ComputeUnits {
            compute_units.map(asked.narrowed(by:)) ?? asked
        }
    }

    /// How tokens are sent to experts.
    public struct Routing: Decodable, Sendable {
        public let experts: Int
        public let experts_per_token: Int
    }

    public let format: String
    public let version: Int
    public let model: Model
    /// In the order in which they run.
    public let packages: [Package]
    public let routing: Routing?

    /// The most bytes of the file.
    static let maxBytes: Int64 = 64 << 20
    /// The longest cache and the largest vocabulary that are believed.
    static let maxTokens = 1 << 24

    /// Reads and checks the description of the package in `folder`.
    public static func read(_ folder: URL) throws -> ModelDescription {
        guard let file = try Disk.open(folder, ["model.json"], .read) else {
            throw Failure(.engine, "the package has no model.json")
        }
        let size = try file.size()
        guard size <= maxBytes else {
            throw Failure(.engine, "a model.json of \(size) bytes: at most \(maxBytes)")
        }
        var text = Data()
        while case let part = try file.read(1 << 20), !part.isEmpty { text.append(part) }
        let found: ModelDescription
        do { found = try JSONDecoder().decode(ModelDescription.self, from: text) } catch {
            throw Failure(.engine, "model.json: \(JSONProblem.words(error))")
        }
        try found.check()
        return found
    }

    private func check() throws {
        guard format == "evalkit-model", version == 1 else {
            throw Failure(
                .engine, "model.json: expected evalkit-model 1, found \(format.prefix(64)) \(version)")
        }
        let range = 1...Self.maxTokens
        guard range.contains(model.context_tokens), range.contains(model.vocab_size),
            (1...model.context_tokens).contains(model.prefill_tokens)
        else { throw Failure(.engine, "model.json: lengths that no model has") }
        for package in packages {
            try PathRule.check(package.path)
            if let layers = package.layers, layers.count != 2 {
                throw Failure(.engine, "model.json: the layers of \(package.path)")
            }
        }
    }
}
