//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOPosix
import Nostr
import NostrClient

/// Tries relays of a list, and chooses those that work best.
struct RelayTrial {
    /// The result for one relay.
    struct Result {
        let entry: PublicRelayList.Entry
        let finding: RelayExamination.Finding

        /// Whether the relay delivers small events.
        var works: Bool { self.finding.roundTrip != nil && self.finding.connectionError == nil }

        /// Orders results, the best first: those without a rate limit that a short test finds, those that carry full packets,
        /// and then by their round trip.
        fileprivate var rank: (Int, Int, Double) {
            (
                self.finding.limitsRate ? 1 : 0, self.finding.carriesLargeMessages ? 0 : 1,
                self.finding.roundTrip ?? .infinity
            )
        }
    }

    /// Number of relays that are chosen.
    static let wanted = 3
    /// Number of relays that are tried at once.
    private static let parallelism = 8
    /// How long to wait for better relays when enough of them work.
    private static let patience: Duration = .seconds(3)

    let configuration: RelayClientConfiguration

    /// Tries relays. Reports each result as it arrives.
    ///
    /// - Parameters:
    ///   - entries: The relays, in the order in which they are tried.
    ///   - triesAll: Whether to try all relays, instead of stopping when enough of them work.
    /// - Returns: The results, the best first.
    func run(
        _ entries: [PublicRelayList.Entry],
        triesAll: Bool,
        report: @Sendable (Result) -> Void = { _ in }
    ) async throws -> [Result] {
        var configuration = self.configuration
        // The trial itself is small.
        configuration.budget = nil
        let settings = configuration
        var results: [Result] = []
        var remaining = entries[...]
        try await withThrowingTaskGroup(of: Result?.self) { group in
            func addNext() {
                guard let entry = remaining.popFirst() else { return }
                group.addTask {
                    let finding = try await RelayExamination.examine(
                        entry.url,
                        extent: .small,
                        configuration: settings,
                        on: MultiThreadedEventLoopGroup.singleton.next(),
                        logger: .console("nws.trial", .critical)
                    )
                    return Result(entry: entry, finding: finding)
                }
            }
            for _ in 0..<Self.parallelism { addNext() }
            var isEnding = false
            while let result = try await group.next() {
                // The time for better relays is over.
                guard let result else { break }
                results.append(result)
                report(result)
                if !isEnding { addNext() }
                if !triesAll, !isEnding, results.count(where: \.works) >= Self.wanted {
                    isEnding = true
                    group.addTask {
                        try await Task.sleep(for: Self.patience)
                        return nil
                    }
                }
                if isEnding, results.count == entries.count - remaining.count { break }
            }
            group.cancelAll()
        }
        return results.sorted {
            ($0.works ? 0 : 1, $0.rank.0, $0.rank.1, $0.rank.2) < ($1.works ? 0 : 1, $1.rank.0, $1.rank.1, $1.rank.2)
        }
    }

    /// The URLs of the relays to use.
    static func chosen(_ results: [Result]) -> [RelayURL] {
        results.filter(\.works).prefix(Self.wanted).map(\.entry.url)
    }
}
