//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOConcurrencyHelpers

/// The service behind the exit.
///
/// The first byte that a client sends selects what the service does. `d` and `u` are followed by a length: 8 bytes,
/// little-endian.
/// - `e` echoes all data.
/// - `d` sends that many bytes, and closes the connection.
/// - `u` receives that many bytes, sends `k`, and closes the connection.
/// - `i` keeps the connection open and idle.
final class Backend: Sendable {
    let port: UInt16
    private let listener: CInt
    private static let idle = NIOLockedValueBox<[BlockingSocket]>([])

    init() throws {
        self.listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var address = BlockingSocket.loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = self.listener
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 4_096) == 0
                    && getsockname(listener, $0, &length) == 0
            }
        }
        guard bound else { throw BlockingSocket.Failure(what: "listen", code: errno) }
        self.port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { Self.accept(listener) }
    }

    private static func accept(_ listener: CInt) {
        while true {
            let descriptor = Foundation.accept(listener, nil, nil)
            guard descriptor >= 0 else { continue }
            let connection = BlockingSocket(descriptor: descriptor)
            _ = Worker { try? Self.serve(connection) }
        }
    }

    private static func serve(_ connection: BlockingSocket) throws {
        var buffer = [UInt8](repeating: 0, count: 256 << 10)
        switch try connection.read(exactly: 1)[0] {
        case UInt8(ascii: "d"):
            var rest = Self.length(try connection.read(exactly: 8))
            while rest > 0 {
                let part = min(rest, buffer.count)
                try buffer.withUnsafeBytes { try connection.write(UnsafeRawBufferPointer(rebasing: $0[0..<part])) }
                rest -= part
            }
        case UInt8(ascii: "u"):
            var rest = Self.length(try connection.read(exactly: 8))
            while rest > 0 {
                let count = try connection.read(into: &buffer)
                guard count > 0 else { return }
                rest -= count
            }
            try connection.write([UInt8(ascii: "k")])
        case UInt8(ascii: "e"):
            while true {
                let count = try connection.read(into: &buffer)
                guard count > 0 else { return }
                try buffer.withUnsafeBytes { try connection.write(UnsafeRawBufferPointer(rebasing: $0[0..<count])) }
            }
        default:
            // Keep the connection open without a thread.
            Self.idle.withLockedValue { $0.append(connection) }
        }
    }

    /// Closes the idle connections, because a stream stays half open until both sides have ended it.
    static func endIdle() { Self.idle.withLockedValue { $0 = [] } }

    /// Encodes the length that follows `d` or `u`.
    static func encoded(_ length: Int) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } }

    private static func length(_ bytes: [UInt8]) -> Int {
        bytes.enumerated().reduce(0) { $0 | Int($1.element) << ($1.offset * 8) }
    }
}
