//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging
import NIOPosix
import Nostr
import NostrClient
import NostrCrypto

/// `nws doctor`
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Look for what is in the way: this machine, keys, relays.",
        discussion: """
            Each line begins with ok, warn or FAIL; what is wrong says what to do about it. Relays are tried with \
            messages to a throwaway key. Ends with 1 if something failed.
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("Relay to try; repeat for several. [NOSTR_RELAYS, separated by ;]", valueName: "url")
    )
    var relay: [String] = []

    @Option(help: ArgumentHelp("Key file to look at; by default the one in the state folder.", valueName: "file"))
    var keyFile: String?

    @OptionGroup var relayClient: RelayClientOptions

    private enum Verdict: String {
        case good = "ok  "
        case doubtful = "warn"
        case bad = "FAIL"
    }

    /// Fewer open files than this are few for an exit or a relay.
    private static let fewDescriptors: UInt = 4_096

    func run() async throws {
        try await reportingErrors {
            let settings = try Settings()
            var verdicts = [Self.machine(), self.key()]
            let relays = try settings.relays(self.relay)
            if relays.isEmpty {
                verdicts.append(
                    Self.say(.doubtful, "relays: none given, so none was tried (--relay URL, NOSTR_RELAYS)")
                )
            }
            var findings: [RelayExamination.Finding] = []
            for url in relays {
                let finding = try await self.examine(url)
                verdicts.append(Self.judge(finding))
                findings.append(finding)
            }
            if !relays.isEmpty { verdicts.append(Self.clock(findings)) }
            guard !verdicts.contains(.bad) else { throw CommandError.failure("something is in the way, see above") }
        }
    }

    private static func say(_ verdict: Verdict, _ text: String) -> Verdict {
        Console.line("\(verdict.rawValue)  \(Console.printable(text))")
        return verdict
    }

    private static func machine() -> Verdict {
        guard let count = ProcessSetup.raiseFileLimit() else {
            return Self.say(.doubtful, "open files: the limit cannot be read")
        }
        return count < Self.fewDescriptors
            ? Self.say(
                .doubtful,
                "open files: \(count) at most, one for each stream; raise it (ulimit -n, LimitNOFILE=)"
            )
            : Self.say(.good, "open files: \(count)")
    }

    private func key() -> Verdict {
        let file = self.keyFile.map(KeyFile.init) ?? .stateFile()
        guard file.exists else {
            return self.keyFile == nil
                ? Self.say(.good, "key: none yet; an exit makes one on its first start")
                : Self.say(
                    .bad,
                    "key: \(file.path) is not there; make it with: nws key generate --key-file '\(file.path)'"
                )
        }
        do {
            return Self.say(.good, "key: \(try file.read().publicKey.npub)")
        } catch {
            return Self.say(.bad, "key: \(error)")
        }
    }

    private func examine(_ url: RelayURL) async throws -> RelayExamination.Finding {
        try await RelayExamination.examine(
            url,
            configuration: self.relayClient.configuration(),
            on: MultiThreadedEventLoopGroup.singleton.next(),
            logger: .console("nws.doctor", .critical)
        )
    }

    /// Seconds that a relay's clock may differ by: more, and dates of messages are refused here and there.
    private static let tolerableOffset: Int64 = 60

    /// This machine's clock beside those of relays that tell the time.
    private static func clock(_ findings: [RelayExamination.Finding]) -> Verdict {
        let offsets = findings.compactMap(\.clockOffset).sorted { abs($0) < abs($1) }
        guard !offsets.isEmpty else {
            return findings.contains { $0.roundTrip != nil }
                ? Self.say(.good, "clock: no relay tells the time, but they take messages with this machine's date")
                : Self.say(.doubtful, "clock: not compared, because no relay could be asked")
        }
        let offset = offsets[0]
        guard abs(offset) > Self.tolerableOffset else {
            let odd = findings.filter { abs($0.clockOffset ?? 0) > Self.tolerableOffset }.map(\.url.text)
            guard odd.isEmpty else {
                return Self.say(
                    .doubtful,
                    "clock: within \(max(1, abs(offset))) s of a relay's, but not of \(odd.joined(separator: ", ")): theirs may be wrong"
                )
            }
            return Self.say(.good, "clock: within \(max(1, abs(offset))) s of the relays'")
        }
        return Self.say(
            .doubtful,
            "clock: \(abs(offset)) s \(offset > 0 ? "behind" : "ahead of") the relays'; set this machine's clock"
        )
    }

    /// What a relay says that it takes; empty if it says nothing.
    private static func limits(_ information: RelayInformation) -> String {
        let limitation = information.limitation
        let parts = [
            limitation.maximumMessageLength.map { "messages of \($0) bytes" },
            limitation.maximumEventsPerSecond.map { "\($0) events a second" },
            limitation.maximumSubscriptions.map { "\($0) subscriptions" },
            limitation.maximumContentLength.map { "contents of \($0) characters" },
            limitation.minimumProofOfWork.flatMap { $0 > 0 ? "only proof of work of \($0) bits" : nil },
            limitation.authenticationRequired == true ? "members only" : nil,
            limitation.paymentRequired == true ? "paid" : nil,
        ]
        let said = parts.compactMap { $0 }.joined(separator: ", ")
        return said.isEmpty ? "" : "; takes \(said)"
    }

    private static func judge(_ finding: RelayExamination.Finding) -> Verdict {
        let url = finding.url
        if let error = finding.connectionError {
            return Self.say(.bad, "\(url): no connection: \(error); check its address, and the network of this machine")
        }
        let software = [finding.information.software, finding.information.version].compactMap { $0 }.joined(
            separator: " "
        )
        let named = software.isEmpty ? "" : " (\(software.prefix(80)))"
        if let refusal = finding.refusal, finding.roundTrip == nil {
            return Self.say(.bad, "\(url)\(named): takes no messages: \(refusal); \(Self.advice(refusal))")
        }
        guard let roundTrip = finding.roundTrip else {
            return Self.say(
                .bad,
                "\(url)\(named): takes a message and does not deliver it; it may not carry ephemeral events, use another"
            )
        }
        let trip = String(format: "round trip %.1f ms", roundTrip)
        guard finding.carriesFullPackets else {
            let why = finding.refusal.map { ": \($0)" } ?? ""
            return Self.say(
                .doubtful,
                "\(url)\(named): \(trip), but no full packets (55 kB)\(why); it carries sessions more slowly, or not at all\(Self.limits(finding.information))"
            )
        }
        return Self.say(.good, "\(url)\(named): \(trip), full packets\(Self.limits(finding.information))")
    }

    private static func advice(_ reason: ReasonText) -> String {
        switch reason.prefix {
        case .invalid where reason.text.contains("created"), .invalid where reason.text.contains("date"):
            "set this machine's clock"
        case .authRequired, .restricted, .blocked:
            "it admits only keys that it knows (--auth-key), use another if yours is none"
        case .pow: "it wants proof of work, which tunnels cannot afford; use another"
        case .rateLimited: "wait, or use another"
        case .duplicate, .mute, .invalid, .error, nil: "use another"
        }
    }
}
