// The command-line runner: for a Mac, and with the simulated engine for Linux.

import Foundation
import RunnerCore

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#endif

signal(SIGPIPE, SIG_IGN)
do {
    try CommandLineRunner(arguments: Array(CommandLine.arguments.dropFirst())).run()
} catch let error as CommandLineError {
    FileHandle.standardError.write(Data((error.text + "\n").utf8))
    exit(error.exitCode)
} catch {
    FileHandle.standardError.write(Data("error: \(error)\n".utf8))
    exit(3)
}
