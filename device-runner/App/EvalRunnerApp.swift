// The runner as an app: one screen that shows what is happening.

import SwiftUI

@main
struct EvalRunnerApp: App {
    @State private var model = RunnerModel()
    @Environment(\.scenePhase) private var phase

    var body: some Scene {
        WindowGroup {
            RunnerScreen(model: model)
                .onAppear { model.start() }
                .onChange(of: phase, initial: true) { _, now in model.sceneChanged(now == .active) }
        }
    }
}
