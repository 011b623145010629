// What the screen shows, and the server behind it. Everything here is on the main actor; the
// server's threads tell it of events.

import Foundation
import Observation
import RunnerCore
import RunnerCoreML
import UIKit

@MainActor
@Observable
final class RunnerModel {
    /// The port that evalkit asks for.
    static let port: UInt16 = 47193

    private(set) var state = "starting"
    private(set) var hasToken = false
    private(set) var port: UInt16?
    private(set) var client: String?
    private(set) var work: String?
    private(set) var progress: Double?
    private(set) var results: [String] = []
    private(set) var figures = Figures()
    let device: Device

    private var server: Server?
    private var wasStarted = false
    private let app = AppState()
    private let probe: AppleProbe

    init() {
        probe = AppleProbe(app: app)
        let name = UIDevice.current.name
        app.update { $0.name = name }
        device = probe.device()
    }

    /// Opens the store and listens.
    func start() {
        guard !wasStarted else { return }
        wasStarted = true
        UIApplication.shared.isIdleTimerDisabled = true
        UIDevice.current.isBatteryMonitoringEnabled = true
        readBattery()
        listen()
        Task { [weak self] in
            while let self {
                self.refresh()
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    /// iOS ends listeners of a suspended app: on becoming active it listens anew.
    func sceneChanged(_ isActive: Bool) {
        app.update { $0.foreground = isActive }
        if isActive, wasStarted { listen() }
    }

    /// Keeps a token that was typed in, and begins.
    func useToken(_ text: String) {
        do {
            try TokenKeeper.keep(text.trimmingCharacters(in: .whitespaces))
            server?.stopListening()
            server = nil
            listen()
        } catch { state = "that token cannot be kept: \(error)" }
    }

    private func listen() {
        do {
            guard let token = TokenKeeper.token() else {
                hasToken = false
                state = "no token"
                return
            }
            hasToken = true
            let server = try server ?? open(token)
            self.server = server
            port = try server.listen(port: Self.port)
            state = "listening"
        } catch {
            port = nil
            state = "cannot listen: \(error)"
        }
    }

    private func open(_ token: String) throws -> Server {
        var options = try Server.Options(token: token)
        options.onEvent = { [weak self] event in
            Task { @MainActor in self?.take(event) }
        }
        let root = URL.applicationSupportDirectory.appending(path: "evalkit-runner")
        let store = try keptStore ?? Store(root: root)
        keptStore = store
        return try Server(engine: CoreMLEngine(), probe: probe, store: store, options: options)
    }

    private var keptStore: Store?

    private func take(_ event: RunnerEvent) {
        switch event {
        case .listening(let port): (self.port, state) = (port, "listening")
        case .stoppedListening(let why): (port, state) = (nil, "not listening: \(why)")
        case .connected(let client): self.client = client
        case .refused(let code): state = "refused a client: \(code.rawValue)"
        case .disconnected: client = nil
        case .receiving(let path, let done, let of):
            work = done < of ? "receiving \(path)" : nil
            progress = done < of ? Double(done) / Double(max(of, 1)) : nil
        case .jobStarted(let job): (work, progress) = (Self.words(job), nil)
        case .jobEnded(let job, let result):
            (work, progress) = (nil, nil)
            results.insert(Self.words(job, result), at: 0)
            results = Array(results.prefix(20))
        }
    }

    private func refresh() {
        readBattery()
        figures = probe.figures()
    }

    private func readBattery() {
        let device = UIDevice.current
        let level = device.batteryLevel
        let power: Power? =
            switch device.batteryState {
            case .charging, .full: .plugged
            case .unplugged: .unplugged
            case .unknown: nil
            @unknown default: nil
            }
        app.update {
            $0.batteryPercent = level < 0 ? nil : Double(level * 100).rounded()
            $0.power = power
        }
    }

    private static func words(_ job: Job) -> String {
        switch job.work {
        case .load(let package, let units, let functions, _):
            "load \(package.prefix(8)) · \((functions.map(\.rawValue) + [units.rawValue]).joined(separator: " · "))"
        case .generate(let prompt, let tokens, _): "generate \(tokens) after \(prompt.count)"
        case .score(let ids, _): "score \(ids.count) tokens"
        case .plan(let package, _): "plan \(package.prefix(8))"
        }
    }

    private static func words(_ job: Job, _ result: Result<Data, Failure>) -> String {
        let decoder = JSONDecoder()
        switch result {
        case .failure(let failure): return "\(words(job)): \(failure.message)"
        case .success(let json):
            if let loaded = try? decoder.decode(Loaded.self, from: json) {
                return "\(words(job)): \(Int(loaded.load_ms)) ms"
            }
            if let made = try? decoder.decode(Generated.self, from: json), !made.token_ms.isEmpty {
                let seconds = made.token_ms.reduce(0, +) / 1000
                let rate = Double(made.token_ms.count) / max(seconds, 1e-9)
                return "\(words(job)): \(rate.formatted(.number.precision(.fractionLength(1)))) tokens/s"
            }
            return "\(words(job)): done"
        }
    }
}
