// Arguments to a runner that listens, or speaks on standard input and output.

import Foundation
import RunnerCore
import RunnerCoreML
import RunnerSimulated

/// Why the runner does not start.
struct CommandLineError: Error {
    let text: String
    /// 2 for arguments, 3 for surroundings.
    let exitCode: Int32

    static func arguments(_ what: String) -> Self {
        Self(text: "error: \(what)\nhint: evalkit-runner --help", exitCode: 2)
    }
}

/// The command line.
struct CommandLineRunner {
    private static let help = """
        The runner that evalkit measures with, on this machine

        Usage: evalkit-runner (--listen 127.0.0.1:PORT | --stdio) --store FOLDER [--engine ENGINE]

          --listen 127.0.0.1:PORT  listen there; port 0 takes any. Prints one line of JSON when ready
          --stdio                  speak on standard input and output instead
          --store FOLDER           where packages and the journal are kept
          --engine ENGINE          core-ml, or simulated, which measures nothing [default: core-ml]

        The environment variable EVALKIT_RUNNER_TOKEN has the token that a client must know, 32
        hexadecimal digits. Exit codes: 0 done, 2 bad arguments, 3 surroundings failed.
        """

    private var port: UInt16?
    private var isStdio = false
    private var store: String?
    private var engine = "core-ml"
    private var wantsHelp = false

    init(arguments: [String]) throws {
        var rest = arguments[...]
        while let flag = rest.popFirst() {
            let value = { () throws -> String in
                guard let value = rest.popFirst() else {
                    throw CommandLineError.arguments("\(flag) wants a value")
                }
                return value
            }
            switch flag {
            case "--listen": port = try Self.port(try value())
            case "--stdio": isStdio = true
            case "--store": store = try value()
            case "--engine": engine = try value()
            case "-h", "--help": wantsHelp = true
            default: throw CommandLineError.arguments("unknown argument \(flag)")
            }
        }
    }

    func run() throws {
        if wantsHelp { return print(Self.help) }
        guard (port == nil) == isStdio else {
            throw CommandLineError.arguments("expected --listen or --stdio, one of them")
        }
        guard let store else { throw CommandLineError.arguments("expected --store FOLDER") }
        let token = ProcessInfo.processInfo.environment[RunnerProtocol.tokenVariable] ?? ""
        var options: Server.Options
        do { options = try Server.Options(token: token) } catch {
            throw CommandLineError(
                text: "error: \(RunnerProtocol.tokenVariable): expected 32 hexadecimal digits",
                exitCode: 2)
        }
        options.onExit = { exit(0) }
        let (engine, probe) = try chosenEngine()
        do {
            let root = URL(fileURLWithPath: store, isDirectory: true)
            let server = try Server(
                engine: engine, probe: probe, store: try Store(root: root), options: options)
            guard let port else {
                server.serve(ByteStream(input: 0, output: 1))
                exit(0)
            }
            let bound = try server.listen(port: port)
            FileHandle.standardOutput.write(Data("{\"listening\":\"127.0.0.1:\(bound)\"}\n".utf8))
        } catch let failure as Failure {
            throw CommandLineError(text: "error: \(failure.message)", exitCode: 3)
        }
        while true { Thread.sleep(forTimeInterval: 3600) }
    }

    private static func port(_ address: String) throws -> UInt16 {
        let parts = address.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == "127.0.0.1", let port = UInt16(parts[1]) else {
            throw CommandLineError.arguments(
                "--listen: expected 127.0.0.1:PORT, found \(address); a runner listens nowhere else")
        }
        return port
    }

    private func chosenEngine() throws -> (any Engine, any Probe) {
        switch engine {
        case "simulated": return (SimulatedEngine(), PlainProbe())
        case "core-ml":
            guard let engine = coreMLEngine() else {
                throw CommandLineError(
                    text: "error: this system has no Core ML\nhint: --engine simulated tries everything but the model; it measures nothing",
                    exitCode: 3)
            }
            return engine
        default:
            throw CommandLineError.arguments("--engine: expected core-ml or simulated, found \(engine)")
        }
    }
}
