//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOHTTP1
import TunnelProtocol

@testable import Tunnel

/// A client and its services, without sockets. Streams open at once unless told otherwise.
struct HTTPProxyClient {
    var machine: HTTPProxyStateMachine
    /// `HOST:PORT` and what was sent there, for each stream.
    var streams: [(target: String, sent: String)] = []
    /// What the proxy did besides.
    var events: [String] = []
    var opensAtOnce = true

    init(credentials: ProxyCredentials? = nil) {
        self.machine = HTTPProxyStateMachine(credentials: credentials)
    }

    mutating func send(_ text: String) {
        self.machine.receive(ByteBuffer(string: text))
        self.advance()
    }

    /// The service of the last stream sends. Returns what the client gets.
    mutating func serve(_ text: String) -> String {
        let count = self.machine.receiveFromService(ByteBuffer(string: text))
        self.advance()
        return String(decoding: text.utf8.prefix(count), as: UTF8.self)
    }

    mutating func closeInput() {
        self.machine.inputClosed()
        self.advance()
    }

    mutating func open() {
        switch self.machine.opened() {
        case .request(let head)?: self.pass(head)
        case .tunnel(let bytes, let isClosed)?:
            self.events.append("tunnel \(String(buffer: bytes))\(isClosed ? " end" : "")")
        case nil: break
        }
    }

    private mutating func pass(_ bytes: ByteBuffer) {
        self.streams[self.streams.count - 1].sent += String(buffer: bytes)
    }

    mutating func advance() {
        while let action = self.machine.next() {
            switch action {
            case .open(let request):
                self.streams.append(("\(request.target)", ""))
                if self.opensAtOnce { self.open() }
            case .send(let bytes): self.pass(bytes)
            case .endInput: self.events.append("end")
            case .leave(let bytes, let isClosed):
                self.events.append("leave \(String(buffer: bytes))\(isClosed ? " end" : "")")
            case .respond(.rejected(let failure), let hasBody):
                self.events.append("\(failure.httpStatus.code)\(hasBody ? "" : " without body")")
            case .respond(.wrongCredentials, let hasBody):
                self.events.append("407\(hasBody ? "" : " without body")")
            case .respond(.ownPage(let path, _), let hasBody):
                self.events.append("page \(path)\(hasBody ? "" : " without body")")
            case .close: self.events.append("close")
            case .abort: self.events.append("abort")
            }
        }
    }

    // MARK: Texts

    static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    static func get(_ path: String, _ host: String = "a", _ fields: String = "") -> String {
        "GET http://\(host)\(path) HTTP/1.1\r\n\(fields)\r\n"
    }

    static func origin(_ path: String, _ host: String = "a") -> String {
        "GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\r\n"
    }
}
