// Results of requests: what a runner is, what it holds, what it measured. Optional fields are
// written as null, never left out; so each type with one writes itself.

import Foundation

/// What a runner is, and where it runs.
public struct Description: Codable, Equatable, Sendable {
    public let runner: String
    public let engine: String
    public let runtime: String
    public let simulated: Bool
    public let device: Device
    public let free_bytes: Int64?
    public let memory_limit_bytes: Int64?
    public let compute_units: [ComputeUnits]
    public let figures: Figures

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(runner, forKey: .runner)
        try fields.encode(engine, forKey: .engine)
        try fields.encode(runtime, forKey: .runtime)
        try fields.encode(simulated, forKey: .simulated)
        try fields.encode(device, forKey: .device)
        try fields.encode(free_bytes, forKey: .free_bytes)
        try fields.encode(memory_limit_bytes, forKey: .memory_limit_bytes)
        try fields.encode(compute_units, forKey: .compute_units)
        try fields.encode(figures, forKey: .figures)
    }
}

/// A device, as it names itself.
public struct Device: Codable, Equatable, Sendable {
    public var model_identifier: String
    public var name: String?
    public var chip: String?
    public var os: String
    public var os_build: String?
    public var memory_bytes: Int64?
    public var processors: Int?

    public init(model_identifier: String, os: String) {
        self.model_identifier = model_identifier
        self.os = os
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(model_identifier, forKey: .model_identifier)
        try fields.encode(name, forKey: .name)
        try fields.encode(chip, forKey: .chip)
        try fields.encode(os, forKey: .os)
        try fields.encode(os_build, forKey: .os_build)
        try fields.encode(memory_bytes, forKey: .memory_bytes)
        try fields.encode(processors, forKey: .processors)
    }
}

/// `ProcessInfo.ThermalState`, coolest first.
public enum Thermal: String, Codable, Sendable { case nominal, fair, serious, critical }

/// Where power comes from.
public enum Power: String, Codable, Sendable { case plugged, unplugged }

/// What the system says at a moment; nil where it says nothing.
public struct Figures: Codable, Equatable, Sendable {
    /// Since the job's start.
    public var at_ms: Double
    public var footprint_bytes: Int64?
    public var footprint_peak_bytes: Int64?
    public var neural_bytes: Int64?
    public var neural_peak_bytes: Int64?
    public var available_bytes: Int64?
    public var thermal: Thermal?
    public var low_power: Bool?
    public var battery_percent: Double?
    public var power: Power?
    public var foreground: Bool?

    public init(at_ms: Double = 0) { self.at_ms = at_ms }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(at_ms, forKey: .at_ms)
        try fields.encode(footprint_bytes, forKey: .footprint_bytes)
        try fields.encode(footprint_peak_bytes, forKey: .footprint_peak_bytes)
        try fields.encode(neural_bytes, forKey: .neural_bytes)
        try fields.encode(neural_peak_bytes, forKey: .neural_peak_bytes)
        try fields.encode(available_bytes, forKey: .available_bytes)
        try fields.encode(thermal, forKey: .thermal)
        try fields.encode(low_power, forKey: .low_power)
        try fields.encode(battery_percent, forKey: .battery_percent)
        try fields.encode(power, forKey: .power)
        try fields.encode(foreground, forKey: .foreground)
    }
}

/// Packages that a runner holds.
public struct Listing: Codable, Equatable, Sendable {
    /// A package in place.
    public struct Package: Codable, Equatable, Sendable {
        public let package: String
        public let size_bytes: Int64
        public let last_used_unix_s: Int64
        public let loaded: Bool
    }

    public let packages: [Package]
}

/// How much of a package a runner holds.
public struct Held: Codable, Equatable, Sendable {
    /// How much of a file: all of it, or a multiple of 1 MiB from its start.
    public struct File: Codable, Equatable, Sendable {
        public let path: String
        public let have_bytes: Int64
    }

    /// Whether it is in place.
    public let complete: Bool
    /// In the manifest's order; empty when it is in place.
    public let files: [File]
}

/// A model that was loaded.
public struct Loaded: Codable, Equatable, Sendable {
    public let load_ms: Double
    public let compile_ms: Double?
    public let first: Bool
    public let functions: [String]
    public let context_tokens: Int
    public let prefill_tokens: Int
    public let vocab_size: Int
    public let before: Figures
    public let after: Figures
    public let samples: [Figures]

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(load_ms, forKey: .load_ms)
        try fields.encode(compile_ms, forKey: .compile_ms)
        try fields.encode(first, forKey: .first)
        try fields.encode(functions, forKey: .functions)
        try fields.encode(context_tokens, forKey: .context_tokens)
        try fields.encode(prefill_tokens, forKey: .prefill_tokens)
        try fields.encode(vocab_size, forKey: .vocab_size)
        try fields.encode(before, forKey: .before)
        try fields.encode(after, forKey: .after)
        try fields.encode(samples, forKey: .samples)
    }
}

/// A prompt that was continued.
public struct Generated: Codable, Equatable, Sendable {
    public let prompt_tokens: Int
    public let ids: [UInt32]
    public let ttft_ms: Double
    public let token_ms: [Double]
    public let before: Figures
    public let after: Figures
    public let samples: [Figures]
}

/// A text that was scored.
public struct Scored: Codable, Equatable, Sendable {
    public let nll_nats: [Double]
    public let positions: [UInt32]
    public let vocab_size: Int
}

/// What the system expects to compute where.
public struct Plan: Codable, Equatable, Sendable {
    /// A unit that computes.
    public enum Unit: String, Codable, Sendable {
        case cpu, gpu
        case neuralEngine = "neural_engine"
    }

    /// An operation of a program.
    public struct Operation: Codable, Equatable, Sendable {
        public let package: String
        public let function: String
        public let `operator`: String
        public let preferred: Unit?
        public let supported: [Unit]
        public let cost_weight: Double?

        public init(
            package: String, function: String, operator: String, preferred: Unit?,
            supported: [Unit], cost_weight: Double?
        ) {
            self.package = package
            self.function = function
            self.operator = `operator`
            self.preferred = preferred
            self.supported = supported
            self.cost_weight = cost_weight
        }

        public func encode(to encoder: any Encoder) throws {
            var fields = encoder.container(keyedBy: CodingKeys.self)
            try fields.encode(package, forKey: .package)
            try fields.encode(function, forKey: .function)
            try fields.encode(`operator`, forKey: .operator)
            try fields.encode(preferred, forKey: .preferred)
            try fields.encode(supported, forKey: .supported)
            try fields.encode(cost_weight, forKey: .cost_weight)
        }
    }

    public let operations: [Operation]

    public init(operations: [Operation]) { self.operations = operations }
}
