//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The information document of a relay (NIP-11): its description and its limits.
package struct RelayInformation: Hashable, Sendable {
    /// The relay's name.
    package var name: String?
    /// A description of the relay as plain text.
    package var description: String?
    /// The relay's software, usually a URL.
    package var software: String?
    /// The version of the software.
    package var version: String?
    /// Numbers of the NIPs that the relay supports.
    package var supportedNIPs: [Int] = []
    /// The UDP ports at which the relay's host answers STUN binding requests (RFC 8489), at most ``maximumSTUNPorts``. Not part
    /// of NIP-11; the relay of this project declares them.
    package var stunPorts: [UInt16] = []
    /// Maximum number of STUN ports; further ones are ignored.
    package static let maximumSTUNPorts = 2
    /// The limits that the relay declares.
    package var limitation = Limitation()

    /// Limits that a relay declares (`limitation` in NIP-11).
    ///
    /// A missing value does not mean that there is no limit. strfry, for example, does not declare its maximum event
    /// size.
    package struct Limitation: Hashable, Sendable {
        /// Maximum length of a message in bytes, from `[` to `]`.
        package var maximumMessageLength: Int?
        /// Maximum number of open subscriptions per connection.
        package var maximumSubscriptions: Int?
        /// Maximum number of filters in one REQ.
        package var maximumFilters: Int?
        /// Largest `limit` of a filter; the relay lowers larger ones to this value.
        package var maximumLimit: Int?
        /// Maximum length of a subscription ID in characters.
        package var maximumSubscriptionIDLength: Int?
        /// Maximum number of tags of an event.
        package var maximumEventTags: Int?
        /// Maximum length of an event's content in Unicode characters.
        package var maximumContentLength: Int?
        /// Minimum number of leading zero bits of event IDs (NIP-13).
        package var minimumProofOfWork: Int?
        /// Whether clients must authenticate (NIP-42) before any other request.
        package var authenticationRequired: Bool?
        /// Whether clients must pay before they can use the relay.
        package var paymentRequired: Bool?
        /// Whether the relay accepts only events that meet some condition, such as certain kinds.
        package var restrictedWrites: Bool?
        /// How far in the past `created_at` may be, in seconds.
        package var createdAtLowerLimit: Int?
        /// How far in the future `created_at` may be, in seconds.
        package var createdAtUpperLimit: Int?
        /// The `limit` that the relay uses for filters without one.
        package var defaultLimit: Int?
        /// Maximum length of an event's JSON in bytes. Not part of NIP-11; the relay of this project declares it.
        package var maximumEventLength: Int?
        /// Maximum events per second on one connection. Not part of NIP-11; the relay of this project declares it.
        package var maximumEventsPerSecond: Int?
        /// Maximum bytes queued for a client that reads too slowly. Not part of NIP-11; the relay of this project
        /// declares it.
        package var maximumOutboundBytes: Int?
        /// Maximum connections from one IP address. Not part of NIP-11; the relay of this project declares it.
        package var maximumConnectionsPerAddress: Int?

        /// Creates a value without limits.
        package init() {}
    }

    /// Creates an empty document.
    package init() {}

    /// Parses the document. Members that are missing or have the wrong type are nil or empty.
    ///
    /// - Throws: ``JSONError`` if the text is not JSON.
    package init(json: ByteBuffer) throws(JSONError) {
        let value = try JSONValue.parse(json)
        self.name = value["name"]?.text
        self.description = value["description"]?.text
        self.software = value["software"]?.text
        self.version = value["version"]?.text
        self.supportedNIPs =
            value["supported_nips"]?.elements?.compactMap { $0.integer.flatMap(Int.init(exactly:)) } ?? []
        let ports = value["stun_ports"]?.elements?.compactMap { $0.integer.flatMap(UInt16.init(exactly:)) } ?? []
        self.stunPorts = Array(ports.filter { $0 != 0 }.prefix(Self.maximumSTUNPorts))
        guard let limitation = value["limitation"] else { return }
        func count(_ key: String) -> Int? {
            guard let integer = limitation[key]?.integer, integer >= 0 else { return nil }
            return Int(exactly: integer)
        }
        self.limitation.maximumMessageLength = count("max_message_length")
        self.limitation.maximumSubscriptions = count("max_subscriptions")
        self.limitation.maximumFilters = count("max_filters")
        self.limitation.maximumLimit = count("max_limit")
        self.limitation.maximumSubscriptionIDLength = count("max_subid_length")
        self.limitation.maximumEventTags = count("max_event_tags")
        self.limitation.maximumContentLength = count("max_content_length")
        self.limitation.minimumProofOfWork = count("min_pow_difficulty")
        self.limitation.authenticationRequired = limitation["auth_required"]?.bool
        self.limitation.paymentRequired = limitation["payment_required"]?.bool
        self.limitation.restrictedWrites = limitation["restricted_writes"]?.bool
        self.limitation.createdAtLowerLimit = count("created_at_lower_limit")
        self.limitation.createdAtUpperLimit = count("created_at_upper_limit")
        self.limitation.defaultLimit = count("default_limit")
        self.limitation.maximumEventLength = count("max_event_length")
        self.limitation.maximumEventsPerSecond = count("max_events_per_second")
        self.limitation.maximumOutboundBytes = count("max_outbound_bytes")
        self.limitation.maximumConnectionsPerAddress = count("max_connections_per_address")
    }

    /// The document as JSON.
    package var json: ByteBuffer {
        var buffer = ByteBuffer()
        var isFirst = true
        func key(_ name: String) {
            buffer.writeStaticString(isFirst ? "{" : ",")
            isFirst = false
            buffer.writeJSONString(name)
            buffer.writeStaticString(":")
        }
        for (name, text) in [
            ("name", self.name), ("description", self.description), ("software", self.software),
            ("version", self.version),
        ] {
            guard let text else { continue }
            key(name)
            buffer.writeJSONString(text)
        }
        key("supported_nips")
        buffer.writeString("[\(self.supportedNIPs.map(String.init).joined(separator: ","))]")
        if !self.stunPorts.isEmpty {
            key("stun_ports")
            buffer.writeString("[\(self.stunPorts.map(String.init).joined(separator: ","))]")
        }
        key("limitation")
        buffer.writeStaticString("{")
        let counts: [(String, Int?)] = [
            ("max_message_length", self.limitation.maximumMessageLength),
            ("max_subscriptions", self.limitation.maximumSubscriptions),
            ("max_filters", self.limitation.maximumFilters),
            ("max_limit", self.limitation.maximumLimit),
            ("max_subid_length", self.limitation.maximumSubscriptionIDLength),
            ("max_event_tags", self.limitation.maximumEventTags),
            ("max_content_length", self.limitation.maximumContentLength),
            ("min_pow_difficulty", self.limitation.minimumProofOfWork),
            ("created_at_lower_limit", self.limitation.createdAtLowerLimit),
            ("created_at_upper_limit", self.limitation.createdAtUpperLimit),
            ("default_limit", self.limitation.defaultLimit),
            ("max_event_length", self.limitation.maximumEventLength),
            ("max_events_per_second", self.limitation.maximumEventsPerSecond),
            ("max_outbound_bytes", self.limitation.maximumOutboundBytes),
            ("max_connections_per_address", self.limitation.maximumConnectionsPerAddress),
        ]
        let flags: [(String, Bool?)] = [
            ("auth_required", self.limitation.authenticationRequired),
            ("payment_required", self.limitation.paymentRequired),
            ("restricted_writes", self.limitation.restrictedWrites),
        ]
        let members =
            counts.compactMap { name, value in value.map { "\"\(name)\":\($0)" } }
            + flags.compactMap { name, value in value.map { "\"\(name)\":\($0)" } }
        buffer.writeString(members.joined(separator: ","))
        buffer.writeStaticString("}}")
        return buffer
    }
}
