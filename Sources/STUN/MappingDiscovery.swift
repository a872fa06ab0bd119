//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
package import NIOCore

/// Learns from STUN servers under which addresses a socket is seen, and how the NAT in front of it assigns them (RFC 8489,
/// section 6; RFC 5780, section 4.3).
///
/// It performs no I/O. The driver sends the requests that ``nextRequest()`` returns.
package struct MappingDiscovery: Sendable {
    /// A request to send.
    package struct Request: Hashable, Sendable {
        package let message: STUNMessage
        package let server: TransportAddress
    }

    /// How a NAT assigns outer addresses.
    package enum Behavior: String, Hashable, Sendable {
        /// Fewer than two servers have answered.
        case unknown
        /// All servers see the same address, so that a peer can send to it, too.
        case endpointIndependent
        /// Each server sees another address (a symmetric NAT): what a server sees is of no use to a peer.
        case endpointDependent
    }

    /// A request that is repeated until it is answered.
    private struct Transaction: Sendable {
        let id: STUNMessage.TransactionID
        let server: TransportAddress
        var attempts = 0
        var due: NIODeadline
    }

    /// Maximum number of servers that are asked at the same time, and whose answers are kept. Further ones are ignored.
    package static let maximumServers = 16
    /// How long an answer is used before the server is asked again. NATs forget mappings after 30 s and more.
    package static let validity: TimeAmount = .seconds(15)
    /// How long an answer is kept beside newer answers of other servers.
    private static let lifetime: TimeAmount = .seconds(30)
    /// Time until the first repetition of a request. It doubles with each one.
    private static let repetition: TimeAmount = .milliseconds(250)
    /// Number of requests to a server that does not answer.
    private static let attempts = 5

    private var transactions: [Transaction] = []
    private var answers: [(server: TransportAddress, mapped: TransportAddress, at: NIODeadline)] = []
    private var requests: Deque<Request> = []

    package init() {}

    package mutating func nextRequest() -> Request? { self.requests.popFirst() }

    // MARK: Asking

    /// Asks servers that have not answered lately.
    ///
    /// - Parameters:
    ///   - servers: The addresses of the servers.
    ///   - makeID: Returns a random transaction ID.
    ///   - now: The current time.
    package mutating func ask(
        _ servers: [TransportAddress],
        makeID: () -> STUNMessage.TransactionID,
        at now: NIODeadline
    ) {
        for server in servers where self.transactions.count < Self.maximumServers {
            guard !self.transactions.contains(where: { $0.server == server }),
                !self.answers.contains(where: { $0.server == server && now - $0.at < Self.validity })
            else { continue }
            self.transactions.append(Transaction(id: makeID(), server: server, due: now))
        }
        self.timeout(at: now)
    }

    /// Forgets all answers, because this machine's address has changed.
    package mutating func networkChanged() {
        self.answers = []
        self.transactions = []
    }

    // MARK: Answers

    /// What a message contained.
    package enum Outcome: Hashable, Sendable {
        /// It answers no request.
        case unexpected
        /// An address that was known already.
        case known
        /// Another address.
        case changed
    }

    /// Handles a response.
    ///
    /// Only the transaction ID is compared, because a server with several addresses may answer from another one.
    package mutating func receive(_ message: STUNMessage, at now: NIODeadline) -> Outcome {
        guard case .response(let id, let mapped) = message,
            let index = self.transactions.firstIndex(where: { $0.id == id })
        else { return .unexpected }
        let server = self.transactions.remove(at: index).server
        let isNew = !self.mapped.contains(mapped)
        // Servers that are not asked any more may have seen an address that the NAT has forgotten.
        self.answers.removeAll { $0.server == server || now - $0.at > Self.lifetime }
        if self.answers.count >= Self.maximumServers { self.answers.removeFirst() }
        self.answers.append((server, mapped, now))
        return isNew ? .changed : .known
    }

    /// The addresses under which this node is seen, each once.
    package var mapped: [TransportAddress] {
        self.answers.reduce(into: []) { addresses, answer in
            if !addresses.contains(answer.mapped) { addresses.append(answer.mapped) }
        }
    }

    /// How the NAT assigns addresses of a family.
    package func behavior(isIPv6: Bool) -> Behavior {
        let seen = self.answers.filter { $0.server.isIPv6 == isIPv6 }
        guard seen.count > 1 else { return .unknown }
        return Set(seen.map(\.mapped)).count == 1 ? .endpointIndependent : .endpointDependent
    }

    // MARK: Time

    /// When ``timeout(at:)`` must be called; nil if nothing is due.
    package var nextDeadline: NIODeadline? { self.transactions.map(\.due).min() }

    /// Repeats requests, and gives up those that were repeated often enough. What such a server has answered before is forgotten.
    package mutating func timeout(at now: NIODeadline) {
        let failed = self.transactions.filter { $0.due <= now && $0.attempts >= Self.attempts }.map(\.server)
        self.transactions.removeAll { failed.contains($0.server) }
        self.answers.removeAll { failed.contains($0.server) }
        for index in self.transactions.indices where self.transactions[index].due <= now {
            let transaction = self.transactions[index]
            self.requests.append(Request(message: .request(transaction.id), server: transaction.server))
            self.transactions[index].attempts += 1
            self.transactions[index].due = now + Self.repetition * (1 << transaction.attempts)
        }
    }
}
