// One job at a time, journaled, going on without whoever asked for it.

import Foundation

/// A job that runs, or ran.
final class RunningJob: @unchecked Sendable {
    let key: String
    let ask: String
    let attempt: Int
    let start: Moment
    private let condition = NSCondition()
    private var end: Result<Data, Failure>?
    private var latest: (done: Int, of: Int, unit: String)?

    init(key: String, ask: String, attempt: Int, start: Moment) {
        self.key = key
        self.ask = ask
        self.attempt = attempt
        self.start = start
    }

    func report(_ done: Int, _ of: Int, _ unit: String) {
        condition.withLock { latest = (done, of, unit) }
    }

    func finish(_ result: Result<Data, Failure>) {
        condition.withLock {
            end = result
            condition.broadcast()
        }
    }

    /// Wakes whoever waits, to look at the world.
    func nudge() { condition.withLock { condition.broadcast() } }

    /// How it ended, as soon as it has; nothing after a nudge or `seconds`.
    func wait(_ seconds: Double, unless isOver: () -> Bool) -> Result<Data, Failure>? {
        condition.withLock {
            if end == nil, !isOver() {
                _ = condition.wait(until: Date(timeIntervalSinceNow: seconds))
            }
            return end
        }
    }

    /// How far it is.
    var progress: (done: Int, of: Int, unit: String)? { condition.withLock { latest } }
}

/// The jobs of a runner.
final class Jobs: @unchecked Sendable {
    /// What is to be answered to a request for a job.
    enum Outcome {
        /// It runs; wait for it.
        case running(RunningJob)
        /// The journal has it.
        case replayed(Journal.End, attempt: Int)
        /// It ran when the process ended.
        case interrupted(attempt: Int)
    }

    let worker: Worker
    let journal: Journal
    private let lock = NSLock()
    private var current: RunningJob?
    /// Told of jobs, for a screen.
    private let watch: @Sendable (RunnerEvent) -> Void

    init(worker: Worker, journal: Journal, watch: @escaping @Sendable (RunnerEvent) -> Void) {
        self.worker = worker
        self.journal = journal
        self.watch = watch
    }

    /// The job that runs.
    var running: RunningJob? { lock.withLock { current } }

    /// Does `work` with the engine at rest. Fails (`busy`) while a job runs.
    func atRest<T>(_ work: () throws -> T) throws -> T {
        try lock.withLock {
            if let current { throw Failure(.busy, "the job \(current.key) runs") }
            return try work()
        }
    }

    /// Starts a job, or finds out what became of it.
    func ask(_ job: Job, at arrival: Moment) throws -> Outcome {
        try job.check()
        let key = job.job
        let ask = try job.fingerprint()
        return try lock.withLock {
            if let current {
                guard current.key == key else {
                    throw Failure(.busy, "the job \(current.key) runs")
                }
                try Self.compare(current.ask, ask)
                return .running(current)
            }
            if let entry = journal.entry(key) {
                try Self.compare(entry.ask, ask)
                if let end = entry.end { return .replayed(end, attempt: entry.attempt) }
                guard job.attempt > entry.attempt else {
                    return .interrupted(attempt: entry.attempt)
                }
            }
            try worker.check(job)
            try journal.start(key, attempt: job.attempt, ask: ask)
            let running = RunningJob(key: key, ask: ask, attempt: job.attempt, start: arrival)
            current = running
            launch(job, running)
            return .running(running)
        }
    }

    private static func compare(_ first: String, _ now: String) throws {
        guard first == now else {
            throw Failure(.badRequest, "this job was first asked for with other fields")
        }
    }

    private func launch(_ job: Job, _ running: RunningJob) {
        watch(.jobStarted(job))
        Thread.start { [self] in
            var result: Result<Data, Failure>
            do {
                result = .success(
                    try worker.run(job, from: running.start) { done, of, unit in
                        running.report(done, of, unit)
                    })
            } catch { result = .failure(Failure.from(error, otherwise: .engine)) }
            do {
                try journal.finish(running.key, attempt: running.attempt, result: result)
            } catch { result = .failure(Failure.from(error, otherwise: .io)) }
            lock.withLock { current = nil }
            running.finish(result)
            watch(.jobEnded(job, result))
        }
    }
}

/// What a screen is told.
public enum RunnerEvent: Sendable {
    case listening(port: UInt16)
    case stoppedListening(String)
    case connected(client: String)
    case refused(Code)
    case disconnected
    case receiving(path: String, doneBytes: Int64, ofBytes: Int64)
    case jobStarted(Job)
    case jobEnded(Job, Result<Data, Failure>)
}
