// The runner's threads: somebody waits for what they do.

import Foundation

extension Thread {
    /// Starts a thread at the priority of work that a user waits for, with a stack of 8 MiB: the
    /// system's own choice is lower, and 512 KiB.
    static func start(_ work: @escaping @Sendable () -> Void) {
        let thread = Thread { autoreleasepool { work() } }
        thread.qualityOfService = .userInitiated
        thread.stackSize = 8 << 20
        thread.start()
    }
}
