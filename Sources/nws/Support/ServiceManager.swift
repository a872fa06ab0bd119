//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Tells the service manager how the process does, where there is one (sd_notify(3)).
struct ServiceManager {
    private let address: [UInt8]
    /// How often it wants a sign of life; nil if it does not.
    let watchdogInterval: Duration?

    /// Nil where nobody asked to be told.
    init?(_ environment: [String: String] = ProcessInfo.processInfo.environment) {
        guard let path = environment["NOTIFY_SOCKET"], path.hasPrefix("/") || path.hasPrefix("@"),
            path.utf8.count < 108
        else { return nil }
        // A name that begins with @ is not in the file system.
        self.address = path.hasPrefix("@") ? [0] + path.utf8.dropFirst() : Array(path.utf8)
        let isOurs = environment["WATCHDOG_PID"].map { Int32($0) == getpid() } ?? true
        let interval = environment["WATCHDOG_USEC"].flatMap { Int64($0) }.map { Duration.microseconds($0) }
        self.watchdogInterval = isOurs ? interval : nil
    }

    /// The role does what it is for.
    func ready() { self.send("READY=1") }

    /// Streams finish, and then the process ends.
    func stopping() { self.send("STOPPING=1") }

    /// It still answers.
    func alive() { self.send("WATCHDOG=1") }

    private func send(_ text: String) {
        #if canImport(Glibc)
        let kind = CInt(SOCK_DGRAM.rawValue)
        #else
        let kind = SOCK_DGRAM
        #endif
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &name.sun_path) { unsafe $0.copyBytes(from: self.address) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + self.address.count)
        let bytes = Array(text.utf8)
        // Nobody is there to be told if it fails.
        _ = unsafe withUnsafePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe sendto(descriptor, bytes, bytes.count, 0, $0, length)
            }
        }
    }
}
