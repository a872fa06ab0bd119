//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Which test covers each item of `Tests/Vectors/relay-tester-items.csv`.
///
/// Where an item allows several behaviours, the tested one is intended.
enum RelayItemCoverage {
    /// A test of this target, by the sentence that names it, and the items that it covers.
    struct Entry: Sendable {
        let test: String
        let items: [String]

        init(_ test: String, _ items: String...) {
            self.test = test
            self.items = items
        }
    }

    /// Items that need a process, sockets or HTTP. `Tests/EndToEnd/test_relay_conformance.py` covers them.
    static let endToEnd = [
        "Nip11Provided", "ClaimsSupportForNip11", "ClaimsSupportForNip96", "MaxConnections", "AllowsImmediateReconnect",
        "NoTimeoutWhileSubscribed", "IdleTimeoutIfUnsubscribed",
    ]

    static let entries: [Entry] = [
        Self.claims, Self.subscriptions, Self.rights, Self.authentication, Self.events, Self.json, Self.filters,
        Self.replacing, Self.deletion,
    ].flatMap { $0 }

    private static let claims = [
        Entry("NIP-04 is not claimed: encrypted messages are not withheld from strangers", "ClaimsSupportForNip4"),
        Entry("NIP-09 is claimed: an author can delete an event", "ClaimsSupportForNip9"),
        Entry("NIP-26 is not claimed: a delegated event is one of its signer alone", "ClaimsSupportForNip26"),
        Entry("NIP-29 is not claimed: the relay makes no groups", "ClaimsSupportForNip29"),
        Entry("NIP-40 is claimed: an event that has expired is neither accepted nor served", "ClaimsSupportForNip40"),
        Entry("NIP-42 is claimed: a protected event needs its authenticated author", "ClaimsSupportForNip42"),
        Entry("NIP-45 is not claimed: COUNT is not understood", "ClaimsSupportForNip45"),
        Entry(
            "NIP-50 is not claimed: the relay ignores a search, like all unknown members of a filter",
            "ClaimsSupportForNip50"
        ),
        Entry("NIP-59 is not claimed: gift wraps are not withheld from strangers", "ClaimsSupportForNip59"),
        Entry(
            "NIP-65 is not claimed, because it requires nothing of a relay but to store lists",
            "ClaimsSupportForNip65"
        ),
        Entry(
            "NIP-94 is not claimed, because it requires nothing of a relay but to store metadata",
            "ClaimsSupportForNip94"
        ),
    ]

    private static let subscriptions = [
        Entry("EOSE follows the stored events, even if there are none", "SupportsEose"),
        Entry(
            "a subscription that nothing else can match stays until the client closes it",
            "ClosesCompleteSubscriptionsAfterEose"
        ),
        Entry(
            "a subscription to the past stays open and gets events that come late",
            "KeepsOpenIncompleteSubscriptionsAfterEose"
        ),
        Entry("events after EOSE are served as they come, whatever the limit of the filter", "ServesPostEoseEvents"),
        Entry("with a limit of zero, only events after EOSE are served", "LimitZero"),
        Entry("a connection has at most as many subscriptions as the information document says", "MaxSubscriptions"),
        Entry(
            "an ephemeral event without a subscriber is accepted, and the answer says so",
            "AcceptsEphemeralEventsFromPublic"
        ),
        Entry("ephemeral events are handed on to subscribers", "EphemeralSubscriptionsWork"),
        Entry("ephemeral events are not stored", "PersistsEphemeralEvents"),
    ]

    private static let rights = [
        Entry("strangers may write, as the information document says", "PublicCanWrite"),
        Entry(
            "relay lists and lists of relays for messages are stored for strangers",
            "AcceptsRelayListsFromPublic",
            "AcceptsDmRelayListsFromPublic"
        ),
        Entry(
            "everybody may publish events of every author",
            "UnknownCanWriteOwn",
            "UnknownCanWriteOther",
            "KnownCanWriteOwn",
            "KnownCanWriteOther"
        ),
        Entry(
            "everybody may read events of every author",
            "UnknownCanReadbackOwn",
            "UnknownCanReadbackOther",
            "KnownCanReadbackOwn",
            "KnownCanReadbackOther"
        ),
        Entry("encrypted messages are served to everybody", "Nip4DmsRequireAuth", "GiftwrapsRequireAuth"),
    ]

    private static let authentication = [
        Entry("each connection begins with its own AUTH challenge", "PromptsForAuthInitially"),
        Entry("everybody may authenticate, again and with several keys", "CanAuthAsUnknown", "CanAuthAsKnown"),
        Entry("an answer of another kind proves nothing", "AuthEventKindVerified"),
        Entry("an answer for another relay proves nothing", "AuthEventRelayVerified"),
        Entry("an answer to another challenge proves nothing", "AuthEventChallengeVerified"),
        Entry("an answer of another time proves nothing", "AuthEventTimeVerified"),
    ]

    private static let events = [
        Entry("every event is answered with OK, also a malformed one", "SendsOkAfterEvent"),
        Entry("an event with a wrong signature is rejected", "VerifiesSignatures"),
        Entry(
            "an event whose id is not its hash is rejected, also if the signature is one of that id",
            "VerifiesIdHashes"
        ),
        Entry("a tag without a name is rejected", "AcceptsEventsWithEmptyTags"),
        Entry("contact lists may be as long as events, which is more than 1,500 contacts", "LargeContactLists"),
        Entry("kinds have sixteen bits; an event of a larger kind is rejected", "HandlesEventKindLargerThan16bit"),
        Entry(
            "an event of any date since 1970 is accepted",
            "AcceptsEventsOneWeekOld",
            "AcceptsEventsOneMonthOld",
            "AcceptsEventsOneYearOld",
            "AcceptsEventsFromBeforeNostr",
            "AcceptsEventsFromBefore2000",
            "AcceptsEventsFrom1970"
        ),
        Entry(
            "an event of the future or from before 1970 is rejected",
            "AcceptsEventsFromBefore1970",
            "AcceptsEventsOneYearIntoTheFuture",
            "AcceptsEventsInTheDistantFuture",
            "AcceptsEventsWithCreatedAtGreaterThanSigned32Bit",
            "AcceptsEventsWithCreatedAtGreaterThanUnsigned32Bit"
        ),
        Entry(
            "a date is written as an integer without exponent and fraction",
            "AcceptsEventsWithCreatedAtInScientificNotation"
        ),
    ]

    private static let json = [
        Entry("the escapes of NIP-01 are accepted", "AcceptsNip1JsonEscapeSequences"),
        Entry(
            "all other escapes of JSON are accepted, and the id is the hash of the characters that they stand for",
            "AcceptsUnlistedJsonEscapeSequences"
        ),
        Entry(
            "a control character that is not escaped makes the message invalid",
            "AcceptsLiteralsForJsonEscapeSequences"
        ),
        Entry("an escaped null is a character like others", "AcceptsNullCharacters"),
        Entry("noncharacters of Unicode are accepted", "AcceptsUtf8NonCharacters"),
        Entry("the members of an event keep their order", "PreservesJsonFieldOrder"),
        Entry("members with other names are kept", "PreservesNonstandardJsonFields"),
    ]

    private static let filters = [
        Entry("events are found by id", "FindById"),
        Entry("events are found by author", "FindByPubkey"),
        Entry("events are found by author and kind", "FindByPubkeyAndKind"),
        Entry("events are found by author and tag", "FindByPubkeyAndTags"),
        Entry("events are found by kind and tag", "FindByKindAndTags"),
        Entry("events are found by any value of a tag, if it is equal", "FindByTags"),
        Entry("events are found by several tags, if they have all of them", "FindByMultipleTags"),
        Entry("an empty filter finds everything", "FindByScrape"),
        Entry(
            "the newest event comes first, and of events of one second the one with the lowest id",
            "EventsOrderedFromNewestToOldest"
        ),
        Entry("a limit leaves the newest events", "NewestEventsWhenLimited"),
        Entry("since and until are inclusive, for stored and for live events", "SinceUntilAreInclusive"),
        Entry("since and until may be negative", "AcceptsNegativeFilterCreatedAt"),
        Entry("a filter with a part of an id or of an author is rejected", "HandlesFilterPrefixes"),
        Entry(
            "kinds of more than sixteen bits are allowed in a filter and match nothing",
            "HandlesFilterKindLargerThan16bit"
        ),
    ]

    private static let replacing = [
        Entry("profiles and contact lists are stored", "AcceptsMetadata", "AcceptsContactlist"),
        Entry(
            "a newer version replaces the older one, but no event of another author, kind or identifier",
            "ReplacesMetadata",
            "ReplacesContactlist",
            "ReplaceableEventRemovesPrevious",
            "AddressableEventRemovesPrevious"
        ),
        Entry("a replaced event cannot be found by its id", "ReplacedEventsStillAvailableById"),
        Entry(
            "an older version is rejected after the newer one",
            "ReplaceableEventRejectedIfFuture",
            "AddressableEventRejectedIfFuture"
        ),
        Entry("the newest version of a replaceable event is found by author and kind", "FindReplaceableEvent"),
        Entry(
            "the newest version of an addressable event is found by kind and identifier, a missing one being empty",
            "FindAddressableEvent"
        ),
    ]

    private static let deletion = [
        Entry("events are deleted by id, and the deletion request is stored", "DeleteById"),
        Entry("events are deleted by address", "DeleteByAddr"),
        Entry("a deletion by address does not delete newer events", "DeleteByAddrOnlyDeletesOlder"),
        Entry("a deletion by address does not delete events of other addresses", "DeleteByAddrIsBoundByTag"),
        Entry(
            "a deletion by id does not delete events of other authors, also if they come later",
            "DeleteByIdOfOthers"
        ),
        Entry(
            "a deletion by address does not delete events of other authors, also if they come later",
            "DeleteByAddrOfOthers"
        ),
        Entry(
            "an event that was deleted by id is rejected, also if it comes after its deletion",
            "ResubmissionOfDeletedById"
        ),
        Entry("a deleted address takes no event from before the deletion", "ResubmissionOfOlderDeletedByAddr"),
        Entry("a deleted address takes an event from after the deletion", "SubmissionOfNewerDeletedByAddr"),
        Entry("a deletion does not delete what refers to the event", "DeletePropogatesToReferrers"),
    ]
}
