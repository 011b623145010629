// The one screen.

import RunnerCore
import SwiftUI

struct RunnerScreen: View {
    let model: RunnerModel
    @State private var typed = ""

    var body: some View {
        NavigationStack {
            List {
                if !model.hasToken { tokenSection }
                stateSection
                workSection
                figuresSection
                if !model.results.isEmpty {
                    Section("Last results") {
                        ForEach(Array(model.results.enumerated()), id: \.offset) { _, line in
                            Text(line).font(.footnote.monospaced())
                        }
                    }
                }
            }
            .navigationTitle("evalkit runner")
        }
    }

    private var tokenSection: some View {
        Section("No token") {
            Text(
                "evalkit sets one when it launches this app: run “evalkit devices install” on the Mac, or launch with EVALKIT_RUNNER_TOKEN set. By hand, type the 32 hexadecimal digits that evalkit is given."
            )
            TextField("32 hexadecimal digits", text: $typed)
                .textInputAutocapitalization(.never)
                .autocorrectionDisabled()
                .font(.body.monospaced())
            Button("Use this token") { model.useToken(typed) }
                .disabled(typed.count != 32)
        }
    }

    private var stateSection: some View {
        Section("Runner") {
            LabeledContent("State", value: model.state)
            LabeledContent("Port", value: model.port.map { "127.0.0.1:\($0)" } ?? "–")
            LabeledContent("Token", value: model.hasToken ? "set" : "not set")
            LabeledContent("Client", value: model.client ?? "–")
            LabeledContent("Device", value: "\(model.device.model_identifier), \(model.device.os)")
        }
    }

    private var workSection: some View {
        Section("Now") {
            if let work = model.work {
                Text(work).font(.body.monospaced())
                if let progress = model.progress {
                    ProgressView(value: progress)
                } else {
                    ProgressView()
                }
            } else {
                Text("idle").foregroundStyle(.secondary)
            }
        }
    }

    private var figuresSection: some View {
        Section("Device") {
            LabeledContent("Thermal state", value: model.figures.thermal?.rawValue ?? "–")
            LabeledContent("Low-power mode", value: model.figures.low_power == true ? "on" : "off")
            LabeledContent("Memory", value: memory)
            if let used = model.figures.footprint_bytes, let limit, limit > 0 {
                ProgressView(value: min(Double(used) / Double(limit), 1))
            }
            LabeledContent("Neural Engine memory", value: bytes(model.figures.neural_bytes))
            LabeledContent("Battery", value: battery)
        }
    }

    private var limit: Int64? {
        guard let used = model.figures.footprint_bytes, let free = model.figures.available_bytes
        else { return nil }
        return used + free
    }

    private var memory: String { "\(bytes(model.figures.footprint_bytes)) of \(bytes(limit))" }

    private var battery: String {
        let level = model.figures.battery_percent.map { "\(Int($0)) %" } ?? "–"
        return "\(level), \(model.figures.power?.rawValue ?? "–")"
    }

    private func bytes(_ count: Int64?) -> String {
        count.map { $0.formatted(.byteCount(style: .memory)) } ?? "–"
    }
}
