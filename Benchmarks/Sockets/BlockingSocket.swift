//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// A blocking TCP connection that is used by one thread.
///
/// Blocking calls use little processor time, which leaves more of it for the measured processes.
final class BlockingSocket: @unchecked Sendable {
    struct Failure: Error, CustomStringConvertible {
        let what: String
        /// The `errno` of the failed call, or 0.
        var code: CInt = 0
        var description: String { self.code == 0 ? self.what : "\(self.what): \(String(cString: strerror(self.code)))" }
    }

    let descriptor: CInt

    init(descriptor: CInt) {
        self.descriptor = descriptor
        var one: CInt = 1
        setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
    }

    /// Connects to a port on loopback.
    convenience init(port: UInt16) throws {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var address = Self.loopback(port)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            throw Failure(what: "connect to port \(port)", code: errno)
        }
        self.init(descriptor: descriptor)
    }

    deinit { close(self.descriptor) }

    static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < bytes.count {
            let count = send(self.descriptor, bytes.baseAddress! + done, bytes.count - done, CInt(MSG_NOSIGNAL))
            guard count > 0 else { throw Failure(what: "send", code: errno) }
            done += count
        }
    }

    func write(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try self.write($0) }
    }

    /// Reads available bytes into `buffer`; returns their number, or 0 at the end of the stream.
    func read(into buffer: inout [UInt8]) throws -> Int {
        let count = recv(self.descriptor, &buffer, buffer.count, 0)
        guard count >= 0 else { throw Failure(what: "recv", code: errno) }
        return count
    }

    func read(exactly count: Int) throws -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let part = result.withUnsafeMutableBytes { recv(self.descriptor, $0.baseAddress! + done, count - done, 0) }
            guard part > 0 else { throw Failure(what: "connection ended after \(done) of \(count) bytes") }
            done += part
        }
        return result
    }

    func finishWriting() { shutdown(self.descriptor, CInt(SHUT_WR)) }

    func abort() { shutdown(self.descriptor, CInt(SHUT_RDWR)) }
}

/// Runs a closure on a new thread.
final class Worker<Value: Sendable>: @unchecked Sendable {
    private let done = DispatchSemaphore(value: 0)
    private var result: Result<Value, any Error>?

    init(_ body: @escaping @Sendable () throws -> Value) {
        let thread = Thread {
            self.result = Result { try body() }
            self.done.signal()
        }
        thread.stackSize = 512 << 10
        thread.start()
    }

    /// Waits until the closure ends, and returns or throws its result.
    func value() throws -> Value {
        self.done.wait()
        self.done.signal()
        guard let result else { throw BlockingSocket.Failure(what: "worker thread ended without a result") }
        return try result.get()
    }
}
