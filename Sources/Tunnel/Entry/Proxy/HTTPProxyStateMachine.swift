//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import TunnelProtocol

/// The HTTP proxy's side of one client's connection: which request goes to which stream, and when. It performs no I/O.
///
/// Requests are served one at a time: the next is read when the response is complete, and uses the same stream if it has
/// the same target and credentials. Bodies and responses pass unchanged. After CONNECT, or when a service agreed to another
/// protocol, everything passes unchanged.
package struct HTTPProxyStateMachine {
    private enum State {
        /// Between requests.
        case idle
        /// The stream of a request is being opened.
        case opening(HTTPProxyRequest)
        /// A request and its response are passing.
        case exchanging(HTTPExchange)
        /// The client and the service speak another protocol.
        case switched
        /// The client gets nothing more. What it sends is dropped until it closes.
        case closing
    }

    /// What to do next.
    package enum Action {
        /// Open a stream for the request, in place of the last one.
        case open(HTTPProxyRequest)
        /// Send bytes on the stream.
        case send(ByteBuffer)
        /// Tell the service that the client sends no more.
        case endInput
        /// Leave the connection to the stream. The bytes are the client's, and were not passed.
        case leave(ByteBuffer, isInputClosed: Bool)
        /// Answer in place of a service, and close.
        case respond(Answer, hasBody: Bool)
        /// Close when everything was written.
        case close
        /// Reset the connection.
        case abort
    }

    /// What the proxy itself says.
    package enum Answer {
        case ownPage(path: String, host: String?)
        case rejected(HTTPProxyRequest.Failure)
        case wrongCredentials
    }

    /// What an open stream is for.
    package enum Opened {
        /// Tell the client that it is open, and pass the client's bytes that were read.
        case tunnel(ByteBuffer, isInputClosed: Bool)
        /// Send the head of a request.
        case request(ByteBuffer)
    }

    /// What the client gets when its stream fails.
    package enum StreamFailureResponse: Equatable {
        /// A page that names the failure.
        case page(hasBody: Bool)
        /// Close the connection. The client sends a request that was not answered again (RFC 9112, section 9.3.1).
        case close
        /// A reset, after what the service sent: the end would look like the end of a response.
        case reset
    }

    private let credentials: ProxyCredentials?
    private var state = State.idle
    private var reader = HTTPRequestReader()
    /// The request whose stream is open.
    private var served: HTTPProxyRequest?
    private var isInputClosed = false
    private var isOutputClosed = false
    /// The service sent bytes after the end of a response, or the client sent another request although the end of the
    /// response is unknown.
    private var hasSurplus = false

    /// - Parameter credentials: What clients must present; nil if the proxy is open.
    package init(credentials: ProxyCredentials?) {
        self.credentials = credentials
    }

    /// Whether another request may begin.
    package var isIdle: Bool { if case .idle = self.state { true } else { false } }

    /// Whether more bytes of the client are of use now.
    package var wantsInput: Bool {
        switch self.state {
        case .idle, .switched, .closing: true
        // If the end of the response is unknown, another request means that the client has found it.
        case .exchanging(let exchange): !exchange.isRequestComplete || exchange.response.isDoubtful
        case .opening: false
        }
    }

    /// Whether the client sends no more, and waits for the answers to several requests, or is gone.
    package var isWaitingAtEnd: Bool { self.isInputClosed && !self.isIdle && self.reader.hasUnread }

    /// Whether bytes pass unchanged in both directions.
    package var isSwitched: Bool { if case .switched = self.state { true } else { false } }

    // MARK: Client

    package mutating func receive(_ bytes: ByteBuffer) {
        if case .closing = self.state { return }
        self.reader.append(bytes)
        guard case .exchanging(let exchange) = self.state, exchange.isRequestComplete, exchange.response.isDoubtful
        else {
            return
        }
        // Empty lines between requests are dropped, so that any number of them takes no memory.
        if self.reader.hasUnread { self.hasSurplus = true } else { _ = self.reader.takeUnread() }
    }

    /// The client sends no more.
    package mutating func inputClosed() { self.isInputClosed = true }

    /// Returns what to do next; nil if nothing can be done before something else happens.
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
            case .switched:
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
        case .exchanging(let exchange) where self.reader.hasUnread && !exchange.response.isDoubtful: return nil
        case .idle where self.reader.hasUnread: return self.reject(.truncated)
        case .idle where self.served == nil: return self.close(.close)
        case .closing where self.served == nil: return nil
        case .idle, .exchanging, .closing:
            self.isInputClosed = false
            return .endInput
        case .opening, .switched: return nil
        }
    }

    /// The last action: the stream is not needed any more.
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
            self.setExchange(HTTPExchange(plain, isFirst: false))
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

    /// The stream of the request is open; nil if no request waits for one.
    package mutating func opened() -> Opened? {
        guard case .opening(let request) = self.state else { return nil }
        guard let plain = request.plain else {
            self.state = .switched
            return .tunnel(self.reader.takeUnread(), isInputClosed: self.isInputClosed)
        }
        self.served = request
        self.setExchange(HTTPExchange(plain, isFirst: true))
        return .request(plain.head)
    }

    /// The service sent bytes. Returns how many of them the client gets.
    package mutating func receiveFromService(_ bytes: ByteBuffer) -> Int {
        switch self.state {
        case .exchanging(var exchange):
            let count = exchange.response.receive(bytes)
            self.setExchange(exchange)
            if count < bytes.readableBytes { self.hasSurplus = true }
            return count
        case .idle:
            // These bytes must not be taken for the response to the next request.
            self.hasSurplus = true
            return 0
        case .switched: return bytes.readableBytes
        case .opening, .closing: return 0
        }
    }

    /// The service sends no more, and the client was told.
    package mutating func outputClosed() {
        self.isOutputClosed = true
        switch self.state {
        case .idle: self.state = .closing
        case .exchanging(let exchange): self.setExchange(exchange)
        case .opening, .switched, .closing: break
        }
    }

    /// The stream failed, or could not be opened.
    package mutating func streamFailed() -> StreamFailureResponse {
        let state = self.state
        if !self.isSwitched { _ = self.close(.close) }
        switch state {
        case .opening(let request): return .page(hasBody: request.allowsResponseBody)
        case .exchanging(let exchange) where !exchange.response.hasBegun:
            // The service may have closed the kept connection at the same time.
            return exchange.isFirst ? .page(hasBody: !exchange.isHead) : .close
        case .idle, .closing: return .close
        case .exchanging, .switched: return .reset
        }
    }

    private mutating func setExchange(_ exchange: HTTPExchange) {
        if exchange.isSwitched {
            self.state = .switched
        } else if exchange.isRequestComplete, self.isOutputClosed {
            self.state = .closing
        } else {
            self.state = exchange.isComplete ? .idle : .exchanging(exchange)
        }
    }
}

/// A request that was passed to its service, and the response, as far as both have passed.
private struct HTTPExchange {
    let isHead: Bool
    /// Whether it is the first of its stream.
    let isFirst: Bool
    /// Whether the whole request was passed.
    var isRequestComplete = false
    var response: HTTPResponseFramer

    init(_ plain: HTTPProxyRequest.Plain, isFirst: Bool) {
        self.isHead = plain.isHead
        self.isFirst = isFirst
        self.response = HTTPResponseFramer(isHead: plain.isHead, allowsSwitch: plain.isUpgrade)
    }

    /// Whether the connection is free for another request.
    var isComplete: Bool { self.isRequestComplete && self.response.isComplete }

    /// Whether the client and the service speak another protocol from now on.
    var isSwitched: Bool { self.isRequestComplete && self.response.isSwitched }
}
