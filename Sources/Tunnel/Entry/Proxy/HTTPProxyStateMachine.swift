//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import TunnelProtocol

/// The state of one client connection of the HTTP proxy. Decides which stream each request uses, and when it is sent.
/// It performs no I/O.
///
/// Requests are served one at a time. The next request is read when the response is complete. It uses the same stream
/// if it has the same target and credentials. Bodies and responses are forwarded unchanged. After CONNECT, or when a
/// service has switched to another protocol, all bytes are forwarded unchanged.
package struct HTTPProxyStateMachine {
    private enum State {
        /// Between requests.
        case idle
        /// The stream of a request is being opened.
        case opening(HTTPProxyRequest)
        /// A request and its response are being forwarded.
        case exchanging(ProxiedExchange)
        /// All bytes are forwarded unchanged: after CONNECT, or after a protocol upgrade.
        case upgraded
        /// No further data is forwarded to the client. Its own data is dropped until it closes the connection.
        case closing
    }

    /// The next action of the handler.
    package enum Action {
        /// Open a stream for the request. It replaces the previous stream.
        case open(HTTPProxyRequest)
        /// Send bytes on the stream.
        case send(ByteBuffer)
        /// Tell the service that the client has finished sending.
        case endInput
        /// Forward bytes of the client that were not forwarded before, and the end of its input. The stream then uses
        /// the connection directly.
        case leave(ByteBuffer, isInputClosed: Bool)
        /// Send a response of the proxy itself, and close the connection.
        case respond(Answer, hasBody: Bool)
        /// Close the connection when all bytes are written.
        case close
        /// Reset the connection.
        case abort
    }

    /// A response of the proxy itself.
    package enum Answer {
        case ownPage(path: String, host: String?)
        case rejected(HTTPProxyRequest.Failure)
        case wrongCredentials
    }

    /// What to do with a stream that was opened.
    package enum Opened {
        /// Tell the client that the stream is open, and forward the bytes of the client that were already read.
        case tunnel(ByteBuffer, isInputClosed: Bool)
        /// Send the head of a request.
        case request(ByteBuffer)
    }

    /// The response to the client when its stream fails.
    package enum StreamFailureResponse: Equatable {
        /// A page that describes the failure.
        case page(hasBody: Bool)
        /// Close the connection. The client may retry the request, because it was not answered (RFC 9112, section
        /// 9.3.1).
        case close
        /// Reset the connection after the bytes of the service were delivered. A normal close would look like the end
        /// of the response.
        case reset
    }

    private let credentials: ProxyCredentials?
    private var state = State.idle
    private var reader = HTTPRequestReader()
    /// The request whose stream is open.
    private var served: HTTPProxyRequest?
    private var isInputClosed = false
    private var isOutputClosed = false
    /// Whether the service sent bytes after the end of a response, or the client sent another request although the end
    /// of the response is unknown.
    private var hasSurplus = false

    /// - Parameter credentials: The credentials that clients must send; nil if the proxy requires none.
    package init(credentials: ProxyCredentials?) {
        self.credentials = credentials
    }

    /// Whether another request may begin.
    package var isIdle: Bool { if case .idle = self.state { true } else { false } }

    /// Whether more bytes of the client can be processed now.
    package var wantsInput: Bool {
        switch self.state {
        case .idle, .upgraded, .closing: true
        // If the end of the response is unknown, another request shows that the client has found the end.
        case .exchanging(let exchange): !exchange.isRequestComplete || exchange.response.hasUncertainEnd
        case .opening: false
        }
    }

    /// Whether the client has finished sending while another request is unread. The client waits for several responses,
    /// or has disconnected.
    package var isWaitingAtEnd: Bool { self.isInputClosed && !self.isIdle && self.reader.hasUnread }

    /// Whether bytes are forwarded unchanged in both directions.
    package var isUpgraded: Bool { if case .upgraded = self.state { true } else { false } }

    // MARK: Client

    package mutating func receive(_ bytes: ByteBuffer) {
        if case .closing = self.state { return }
        self.reader.append(bytes)
        guard case .exchanging(let exchange) = self.state, exchange.isRequestComplete, exchange.response.hasUncertainEnd
        else {
            return
        }
        // Drop empty lines between requests, so that they do not use memory.
        if self.reader.hasUnread { self.hasSurplus = true } else { _ = self.reader.takeUnread() }
    }

    /// Records that the client has finished sending.
    package mutating func inputClosed() { self.isInputClosed = true }

    /// Returns the next action. Nil if there is none until the next input.
    package mutating func next() -> Action? {
        do {
            switch self.state {
            case .idle:
                if self.hasSurplus { return self.close(.close) }
                if let head = try self.reader.readHead() { return self.receive(head) }
            case .exchanging(var exchange) where !exchange.isRequestComplete:
                let bytes = try self.reader.readBody()
                exchange.isRequestComplete = self.reader.isBodyComplete
                self.setExchange(exchange)
                if let bytes { return .send(bytes) }
                if exchange.isRequestComplete { return self.next() }
            case .upgraded:
                return self.leave()
            case .exchanging where self.hasSurplus:
                return self.close(.close)
            case .exchanging, .opening, .closing:
                break
            }
        } catch {
            return self.reject(.malformed(error))
        }
        return self.nextAtEndOfInput()
    }

    private mutating func nextAtEndOfInput() -> Action? {
        guard self.isInputClosed else { return nil }
        switch self.state {
        case .exchanging(let exchange) where self.reader.hasUnread && !exchange.response.hasUncertainEnd: return nil
        case .idle where self.reader.hasUnread: return self.reject(.truncated)
        case .idle where self.served == nil: return self.close(.close)
        case .closing where self.served == nil: return nil
        case .idle, .exchanging, .closing:
            self.isInputClosed = false
            return .endInput
        case .opening, .upgraded: return nil
        }
    }

    /// Enters the state `closing` and returns the last action. The stream is no longer needed.
    private mutating func close(_ action: Action) -> Action {
        self.state = .closing
        self.served = nil
        self.reader = HTTPRequestReader()
        return action
    }

    private mutating func leave() -> Action? {
        defer { self.isInputClosed = false }
        let bytes = self.reader.takeUnread()
        guard bytes.readableBytes > 0 || self.isInputClosed else { return nil }
        return .leave(bytes, isInputClosed: self.isInputClosed)
    }

    private mutating func receive(_ head: HTTPHead) -> Action {
        let request: HTTPProxyRequest
        do {
            request = try HTTPProxyRequest(head)
        } catch .ownPath(let path) {
            let host = head.fields(named: "host").first?.text
            let isHead = head.startLine.starts(with: "HEAD ".utf8)
            return self.close(.respond(.ownPage(path: path, host: host), hasBody: !isHead))
        } catch {
            return self.reject(error)
        }
        if let required = self.credentials, request.credentials.map({ required.matches($0) }) != true {
            return self.close(.respond(.wrongCredentials, hasBody: request.allowsResponseBody))
        }
        self.reader.beginBody(request.plain?.bodyLength)
        if let plain = request.plain, let served, served.sharesStream(with: request) {
            self.setExchange(ProxiedExchange(plain, isFirst: false))
            return .send(plain.head)
        }
        self.served = nil
        self.state = .opening(request)
        return .open(request)
    }

    private mutating func reject(_ failure: HTTPProxyRequest.Failure) -> Action {
        guard case .exchanging(let exchange) = self.state, exchange.response.hasBegun else {
            return self.close(.respond(.rejected(failure), hasBody: true))
        }
        // A second response would look like a part of the first.
        return self.close(exchange.response.isComplete ? .close : .abort)
    }

    // MARK: Service

    /// Records that the stream of the request is open. Returns what to do with it. Nil if no request waits for a
    /// stream.
    package mutating func opened() -> Opened? {
        guard case .opening(let request) = self.state else { return nil }
        guard let plain = request.plain else {
            self.state = .upgraded
            return .tunnel(self.reader.takeUnread(), isInputClosed: self.isInputClosed)
        }
        self.served = request
        self.setExchange(ProxiedExchange(plain, isFirst: true))
        return .request(plain.head)
    }

    /// Processes bytes of the service. Returns how many of them are forwarded to the client.
    package mutating func receiveFromService(_ bytes: ByteBuffer) -> Int {
        switch self.state {
        case .exchanging(var exchange):
            let count = exchange.response.receive(bytes)
            self.setExchange(exchange)
            if count < bytes.readableBytes { self.hasSurplus = true }
            return count
        case .idle:
            // These bytes must not be mistaken for the response to the next request.
            self.hasSurplus = true
            return 0
        case .upgraded: return bytes.readableBytes
        case .opening, .closing: return 0
        }
    }

    /// Records that the service has finished sending. The output to the client can then be closed, unless the service
    /// has sent nothing of the response that the client waits for: returns what the client gets instead.
    package mutating func outputClosed() -> StreamFailureResponse? {
        if case .exchanging(let exchange) = self.state, !exchange.response.hasBegun { return self.streamFailed() }
        self.isOutputClosed = true
        switch self.state {
        case .idle: self.state = .closing
        case .exchanging(let exchange): self.setExchange(exchange)
        case .opening, .upgraded, .closing: break
        }
        return nil
    }

    /// Records that the stream failed or could not be opened. Returns the response to the client.
    package mutating func streamFailed() -> StreamFailureResponse {
        let state = self.state
        if !self.isUpgraded { _ = self.close(.close) }
        switch state {
        case .opening(let request): return .page(hasBody: request.allowsResponseBody)
        case .exchanging(let exchange) where !exchange.response.hasBegun:
            // The service may have closed the persistent connection while the request was sent.
            return exchange.isFirst ? .page(hasBody: !exchange.isHead) : .close
        case .idle, .closing: return .close
        case .exchanging, .upgraded: return .reset
        }
    }

    private mutating func setExchange(_ exchange: ProxiedExchange) {
        if exchange.isUpgraded {
            self.state = .upgraded
        } else if exchange.isRequestComplete, self.isOutputClosed {
            self.state = .closing
        } else {
            self.state = exchange.isComplete ? .idle : .exchanging(exchange)
        }
    }
}
