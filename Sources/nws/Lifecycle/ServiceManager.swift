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

/// Reports the state of the process to the service manager (sd_notify(3)).
struct ServiceManager {
    private let address: [UInt8]
    /// The watchdog timeout of the service manager; nil if the watchdog is disabled.
    let watchdogInterval: Duration?

    /// Nil if the process was not started by a service manager that expects notifications.
    init?(_ environment: [String: String] = ProcessInfo.processInfo.environment) {
        guard let path = environment["NOTIFY_SOCKET"], path.hasPrefix("/") || path.hasPrefix("@"),
            path.utf8.count < 108
        else { return nil }
        // A leading @ denotes the abstract namespace (unix(7)).
        self.address = path.hasPrefix("@") ? [0] + path.utf8.dropFirst() : Array(path.utf8)
        let isOurs = environment["WATCHDOG_PID"].map { Int32($0) == getpid() } ?? true
        let interval = environment["WATCHDOG_USEC"].flatMap { Int64($0) }.flatMap {
            $0 > 0 ? Duration.microseconds($0) : nil
        }
        self.watchdogInterval = isOurs ? interval : nil
    }

    /// Reports that the role is ready.
    func ready() { self.send("READY=1") }

    /// Reports that the role is stopping.
    func stopping() { self.send("STOPPING=1") }

    /// Resets the watchdog.
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
        // A service manager that does not read must not block the process.
        let flags = CInt(MSG_DONTWAIT)
        // A failure is ignored: the process works without the service manager.
        _ = unsafe withUnsafePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe sendto(descriptor, bytes, bytes.count, flags, $0, length)
            }
        }
    }
}
