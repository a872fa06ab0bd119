//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr

/// How many subscriptions a relay takes on one connection, and how large they may be.
struct SubscriptionLimits: Hashable, Sendable {
    /// Maximum number of keys in one REQ.
    let keysPerRequest: Int
    /// Maximum number of keys in one filter.
    let keysPerFilter: Int
    /// Maximum number of active subscriptions.
    let subscriptions: Int
    /// Whether there is no room for a subscription beside the one that it replaces.
    let replacesInPlace: Bool

    /// Maximum length of a REQ in bytes for a relay that declares no limit.
    private static let undeclaredLength = 64 << 10
    /// Maximum number of filters in a REQ for a relay that declares no limit.
    private static let undeclaredFilters = 10
    /// Maximum number of filters in a REQ, and of keys in a filter, if the relay declares more.
    private static let mostFilters = 1_000
    /// Maximum number of active subscriptions for a relay that declares no limit. Some relays allow ten per connection.
    private static let undeclaredSubscriptions = 7
    /// Maximum number of active subscriptions if the relay declares more.
    private static let mostSubscriptions = 32
    /// Subscriptions left for a query and for the REQ that replaces another.
    private static let spare = 2
    /// Bytes of a key in a filter, of a filter without its keys, and of a REQ without its filters.
    private static let length = (key: 67, filter: 80, request: 64)
    /// Most keys are in two filters after a reconnect: one for live and one for missed events.
    private static let filtersPerKey = 2

    /// - Parameters:
    ///   - declared: The limits that the relay declares (NIP-11).
    ///   - keysPerFilter: Maximum number of keys in one filter.
    init(_ declared: RelayInformation.Limitation, keysPerFilter: Int) {
        let length = declared.maximumMessageLength ?? Self.undeclaredLength
        // The relay chooses these numbers, which may be large.
        let declaredFilters = min(declared.maximumFilters ?? Self.undeclaredFilters, Self.mostFilters)
        let filters = max(1, declaredFilters / Self.filtersPerKey)
        self.keysPerFilter = max(1, min(keysPerFilter, Self.mostFilters))
        let room = max(0, length - Self.length.request) / Self.filtersPerKey - Self.length.filter
        let lengthOfKey = Self.length.key + (Self.length.filter + self.keysPerFilter - 1) / self.keysPerFilter
        self.keysPerRequest = max(1, min(room / lengthOfKey, filters * self.keysPerFilter))
        let subscriptions = declared.maximumSubscriptions.map { $0 - Self.spare } ?? Self.undeclaredSubscriptions
        self.replacesInPlace = declared.maximumSubscriptions.map { $0 < Self.spare } ?? false
        self.subscriptions = max(1, min(subscriptions, Self.mostSubscriptions))
    }
}
