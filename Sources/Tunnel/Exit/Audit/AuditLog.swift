//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Dispatch
import Logging
import NIOConcurrencyHelpers
import NIOCore
import TunnelProtocol

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The function of the system, which has the same name as a method below.
private func openFile(_ path: String, _ flags: Int32, _ mode: mode_t) -> Int32 { unsafe open(path, flags, mode) }

/// A file with one JSON line for each session and stream of an exit. Lines are written on a thread of its own, so that a
/// slow disk does not delay streams.
final class AuditLog: Sendable {
    private struct State {
        var descriptor: Int32 = -1
        var waiting: [ByteBuffer] = []
        var isWriting = false
        var rates: AuditRates
        var hasFailed = false
    }

    /// Maximum number of lines that wait to be written. More are left out.
    private static let maximumWaiting = 10_000

    private let path: String
    private let logger: Logger
    private let queue = DispatchQueue(label: "nws.audit-log")
    private let state: NIOLockedValueBox<State>

    /// Opens the file for appending, or creates it with mode 0600.
    ///
    /// - Throws: The system's error if the file cannot be opened.
    init(path: String, logger: Logger) throws {
        self.path = path
        self.logger = logger
        self.state = NIOLockedValueBox(State(descriptor: try Self.open(path), rates: AuditRates(now: .now())))
    }

    deinit {
        let descriptor = self.state.withLockedValue { $0.descriptor }
        if descriptor >= 0 { close(descriptor) }
    }

    private static func open(_ path: String) throws -> Int32 {
        let descriptor = openFile(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "open \(path)") }
        return descriptor
    }

    /// Opens the file again, for example after it was renamed.
    func reopen() {
        self.queue.async {
            do {
                let created = try Self.open(self.path)
                let old = self.state.withLockedValue { state in
                    defer { state.descriptor = created }
                    return state.descriptor
                }
                if old >= 0 { close(old) }
            } catch {
                self.logger.error("cannot open the audit log again", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Adds a line.
    func write(_ record: AuditRecord) {
        let now = NIODeadline.now()
        let starts = self.state.withLockedValue { state in
            if let count = state.rates.report(at: now) {
                state.waiting.append(Self.lineAboutLeftOut(count, at: record.ended))
            }
            guard state.rates.admit(record.identity, at: now) else { return false }
            guard state.waiting.count < Self.maximumWaiting else {
                state.rates.lost(1)
                return false
            }
            state.waiting.append(record.line)
            guard !state.isWriting else { return false }
            state.isWriting = true
            return true
        }
        if starts { self.queue.async { self.writeWaiting() } }
    }

    private static func lineAboutLeftOut(_ count: Int, at seconds: Int64) -> ByteBuffer {
        ByteBuffer(string: "{\"event\":\"left-out\",\"ended\":\"\(Self.date(seconds))\",\"lines\":\(count)}\n")
    }

    private func writeWaiting() {
        while true {
            let (descriptor, lines) = self.state.withLockedValue { state in
                defer { state.waiting = [] }
                if state.waiting.isEmpty { state.isWriting = false }
                return (state.descriptor, state.waiting)
            }
            guard !lines.isEmpty else { return }
            let isWritten = StateFile.append(lines.flatMap { Array($0.readableBytesView) }, to: descriptor)
            let isNew = self.state.withLockedValue { state in
                defer { state.hasFailed = !isWritten }
                if !isWritten { state.rates.lost(lines.count) }
                return state.hasFailed == isWritten
            }
            if isNew {
                if isWritten {
                    self.logger.notice("the audit log is written again", metadata: ["file": "\(self.path)"])
                } else {
                    self.logger.error(
                        "cannot write to the audit log; lines are left out. Is the disk full?",
                        metadata: ["file": "\(self.path)"]
                    )
                }
            }
        }
    }

    /// Waits until everything is written, with the number of lines that were left out.
    func flush() {
        self.state.withLockedValue { state in
            guard let count = state.rates.report() else { return }
            state.waiting.append(Self.lineAboutLeftOut(count, at: Moment.now.seconds))
        }
        self.queue.sync { self.writeWaiting() }
    }

    /// A date in UTC, as in RFC 3339.
    static func date(_ seconds: Int64) -> String {
        Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
    }
}
