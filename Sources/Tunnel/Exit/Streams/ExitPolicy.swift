//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import HTTPTransport
public import NIOCore

/// The rules of a public exit: the destinations to which clients may connect.
///
/// The first matching rule decides. Without a matching rule, only internet addresses at ``ports`` are allowed.
public struct ExitPolicy: Hashable, Sendable {
    /// `allow` or `deny`, with conditions that must all hold.
    public struct Rule: Hashable, Sendable {
        package var allows: Bool
        /// A host name, an IP address, `*.DOMAIN` for all subdomains, or `*`. Compared with the host in the request.
        package var host: String?
        package var network: IPNetwork?
        package var ports: [ClosedRange<UInt16>] = []

        private enum Condition: String {
            case host, cidr, port
        }

        /// Parses `allow|deny [host PATTERN] [cidr NETWORK] [port PORT[-PORT][,…]]`.
        ///
        /// - Throws: ``RuleError``, which names the part that is wrong.
        public init(_ text: String) throws(RuleError) {
            var words = text.split { $0.isWhitespace }.map { $0.lowercased() }[...]
            var seen: Set<String> = []
            switch words.popFirst() {
            case "allow": self.allows = true
            case "deny": self.allows = false
            default: throw RuleError(description: "expected allow or deny")
            }
            while let word = words.popFirst() {
                guard let condition = Condition(rawValue: word) else {
                    throw RuleError(description: "\(word): expected host, cidr or port")
                }
                guard let value = words.popFirst() else { throw RuleError(description: "\(word): needs a value") }
                guard seen.insert(word).inserted else { throw RuleError(description: "\(word): given twice") }
                switch condition {
                case .host:
                    let pattern = value.hasSuffix(".") ? String(value.dropLast()) : value
                    guard Self.isPattern(pattern) else {
                        throw RuleError(description: "host \(value): needs a host name, *.DOMAIN or *")
                    }
                    self.host = pattern
                case .cidr:
                    guard let network = IPNetwork(value) else {
                        throw RuleError(description: "cidr \(value): needs a network, for example 10.0.0.0/8")
                    }
                    self.network = network
                case .port: self.ports = try Self.ports(value)
                }
            }
        }

        /// Whether `text` is a valid host pattern. A pattern that can never match is an error.
        private static func isPattern(_ text: String) -> Bool {
            text == "*" || HostName.isValid(text.hasPrefix("*.") ? String(text.dropFirst(2)) : text)
        }

        private static func ports(_ text: String) throws(RuleError) -> [ClosedRange<UInt16>] {
            var ranges: [ClosedRange<UInt16>] = []
            for part in text.split(separator: ",", omittingEmptySubsequences: false) {
                let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
                guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2, 1 <= first,
                    first <= last
                else { throw RuleError(description: "port \(part): needs a port or range, as in 8000-8099") }
                ranges.append(first...last)
            }
            guard !ranges.isEmpty else { throw RuleError(description: "port: needs at least one port") }
            return ranges
        }

        func matches(host: String, address: SocketAddress, port: UInt16) -> Bool {
            if let pattern = self.host, !Self.matches(host, pattern) { return false }
            if let network, !network.contains(address) { return false }
            return self.ports.isEmpty || self.ports.contains { $0.contains(port) }
        }

        /// Returns whether the rule matches regardless of the host's address. Nil if the result depends on the address.
        func matches(host: String, port: UInt16) -> Bool? {
            if let pattern = self.host, !Self.matches(host, pattern) { return false }
            guard self.ports.isEmpty || self.ports.contains(where: { $0.contains(port) }) else { return false }
            return self.network == nil ? true : nil
        }

        private static func matches(_ host: String, _ pattern: String) -> Bool {
            var host = host.lowercased()
            if host.hasSuffix(".") { host.removeLast() }
            guard pattern.hasPrefix("*") else {
                // Compare addresses by value, because one address has several notations.
                if let address = SocketAddress.canonicalBytes(of: host) {
                    return address == SocketAddress.canonicalBytes(of: pattern)
                }
                return host == pattern
            }
            return pattern == "*" || host.hasSuffix(pattern.dropFirst())
        }
    }

    /// The error for an invalid rule.
    public struct RuleError: Error, Hashable, Sendable, CustomStringConvertible {
        /// A description of the error for the author of the rule.
        public let description: String
    }

    /// Limits on the clients of a public exit, for each client and for all together.
    public struct Limits: Hashable, Sendable {
        /// Maximum number of streams of one client. A client is its proven identity, or else its session.
        public var streamsPerClient = 128
        /// Maximum number of new streams per second of one client.
        public var connectsPerSecondPerClient = 32
        /// Maximum number of bytes per second of one client, both directions together; 0 for no limit.
        public var bytesPerSecondPerClient = 0
        /// Maximum number of bytes per second of all clients, both directions together; 0 for no limit.
        public var bytesPerSecond = 0

        /// Creates the default limits.
        public init() {}
    }

    /// The ports of SSH, HTTP, mail clients, DNS over TLS, chat (XMPP and IRC), Git, OpenPGP key servers, Bitcoin and
    /// Lightning.
    public static let defaultPorts: Set<UInt16> = [
        22, 80, 110, 143, 443, 465, 587, 853, 993, 995, 5222, 5223, 6667, 6697, 8080, 8333, 8443, 9418, 9735, 11371,
    ]

    /// The rules, in the order in which they are tried.
    public var rules: [Rule]
    /// The ports that are allowed where no rule matches.
    public var ports: Set<UInt16>
    /// The limits on clients.
    public var limits: Limits

    /// Creates a policy. Without rules it allows internet addresses at the default ports.
    public init(rules: [Rule] = [], ports: Set<UInt16> = Self.defaultPorts, limits: Limits = Limits()) {
        self.rules = rules
        self.ports = ports
        self.limits = limits
    }

    /// Returns whether the rules deny a host regardless of its addresses. The exit then does not resolve its name.
    public func forbids(host: String, port: UInt16) -> Bool {
        for rule in self.rules {
            switch rule.matches(host: host, port: port) {
            case true?: return !rule.allows
            case nil where rule.allows: return false
            case nil, false?: continue
            }
        }
        return !self.ports.contains(port)
    }

    /// Returns whether the exit may connect to an address of a host.
    ///
    /// An address that is not a public internet address is allowed only by a rule whose network contains no public
    /// internet addresses. A rule for 0.0.0.0/0 is therefore not sufficient.
    public func allows(host: String, address: SocketAddress, port: UInt16) -> Bool {
        let isGlobal = AddressClass(address) == .global
        for rule in self.rules where rule.matches(host: host, address: address, port: port) {
            return rule.allows && (isGlobal || rule.network?.hasNoPublicAddress == true)
        }
        return isGlobal && self.ports.contains(port)
    }
}
