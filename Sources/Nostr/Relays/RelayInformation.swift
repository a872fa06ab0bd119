//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// The document that a relay serves about itself (NIP-11).
public struct RelayInformation: Hashable, Sendable {
    public var name: String?
    public var description: String?
    public var software: String?
    public var version: String?
    public var supportedNIPs: [Int] = []
    public var limitation = Limitation()

    /// What the relay says that it refuses. Absent is not unlimited: strfry never states its event size.
    public struct Limitation: Hashable, Sendable {
        /// Bytes from `[` to `]` of one message.
        public var maximumMessageLength: Int?
        public var maximumSubscriptions: Int?
        public var maximumFilters: Int?
        public var maximumLimit: Int?
        public var maximumSubscriptionIDLength: Int?
        public var maximumEventTags: Int?
        /// Unicode characters.
        public var maximumContentLength: Int?
        /// Leading zero bits of event ids (NIP-13).
        public var minimumProofOfWork: Int?
        public var authenticationRequired: Bool?
        public var paymentRequired: Bool?
        public var restrictedWrites: Bool?
        /// Seconds into the past that `created_at` may lie.
        public var createdAtLowerLimit: Int?
        /// Seconds into the future that `created_at` may lie.
        public var createdAtUpperLimit: Int?
        public var defaultLimit: Int?
        /// Bytes of one event's JSON. Not in NIP-11; ours say it.
        public var maximumEventLength: Int?
        /// Events a second of one connection. Not in NIP-11; ours say it.
        public var maximumEventsPerSecond: Int?
        /// Bytes that may wait for a slow reader. Not in NIP-11; ours say it.
        public var maximumOutboundBytes: Int?
        /// Not in NIP-11; ours say it.
        public var maximumConnectionsPerAddress: Int?

        public init() {}
    }

    public init() {}

    /// Reads what is there; members of the wrong type count as absent.
    public init(json: ByteBuffer) throws(JSONError) {
        let value = try JSONValue.parse(json)
        self.name = value["name"]?.text
        self.description = value["description"]?.text
        self.software = value["software"]?.text
        self.version = value["version"]?.text
        self.supportedNIPs =
            value["supported_nips"]?.elements?.compactMap { $0.integer.flatMap(Int.init(exactly:)) } ?? []
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

    /// The document.
    public var json: ByteBuffer {
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
