//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import HTTPTransport
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrClient
import NostrCrypto
import STUN
import Tunnel
import TunnelProtocol

/// `nws doctor`
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check this machine, keys and relays, and suggest fixes.",
        discussion: """
            Prints one line for each check. Lines begin with ok, warn or FAIL, and describe the problem and its fix. \
            Relays are tested with messages to a temporary key. To examine the NAT, STUN servers are asked for this \
            machine's public address: those of the relays, or if they have none and one of them is on the public relay \
            list, those of the list. On Linux, the router is asked to forward a UDP port for some seconds. The exit \
            status is 1 if a check failed.
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Relay to check; repeat for several. Default: [NOSTR_RELAYS, separated by ;], else those of nws share.",
            valueName: "url"
        )
    )
    var relay: [String] = []

    @Option(help: ArgumentHelp("Key file to check. Default: the key in the state folder.", valueName: "file"))
    var keyFile: String?

    @Flag(help: "Try the relays on the public relay list, and suggest three.")
    var suggest = false

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "STUN server with which to examine this machine's NAT, in addition to the relays; repeat for several.",
            valueName: "host:port"
        )
    )
    var stun: [String] = []

    @Flag(help: "Do not ask the STUN servers of the public relay list.")
    var noPublicStun = false

    @Flag(help: "Do not ask the router to forward a UDP port.")
    var noPortMapping = false

    @OptionGroup var relayClient: RelayClientOptions

    private enum Verdict: String {
        case good = "ok  "
        case doubtful = "warn"
        case bad = "FAIL"
    }

    /// A limit on open files below this value causes a warning.
    private static let fewDescriptors: UInt = 4_096

    func run() async throws {
        try await reportingErrors {
            if self.suggest { return try await self.suggestRelays() }
            let settings = try Settings()
            var verdicts = [Self.machine(), self.key()]
            var relays = try settings.relays(self.relay)
            if relays.isEmpty { relays = try ShareState.read()?.name?.relays ?? [] }
            if relays.isEmpty {
                verdicts.append(
                    Self.say(.doubtful, "relays: none configured; use --relay URL, or set NOSTR_RELAYS")
                )
            }
            var findings: [RelayExamination.Finding] = []
            for url in relays {
                let finding = try await self.examine(url)
                verdicts.append(Self.judge(finding))
                findings.append(finding)
            }
            if try self.relayClient.configuration().proxy == nil {
                verdicts.append(try await self.nat(findings.flatMap(\.stunServers), checked: relays))
            }
            if !relays.isEmpty { verdicts.append(Self.clock(findings)) }
            guard !verdicts.contains(.bad) else { throw CommandError.failure("problems found, see above") }
        }
    }

    /// Tries the relays of the list, and prints the result of each.
    private func suggestRelays() async throws {
        let list = try self.relayClient.list()
        if self.relayClient.relayList == nil {
            Console.line(
                "These relays come from the public list that ships with nws; 'listed' is the date of the entry. The results were measured from this machine just now."
            )
            Console.line("")
        }
        let trial = RelayTrial(configuration: try self.relayClient.configuration())
        let results = try await trial.run(list.entries, triesAll: true)
        Console.table(
            [["relay", "result", "listed", "source"]]
                + results.map { result in
                    [result.entry.url.text, Self.summary(result), result.entry.date, result.entry.source].map {
                        Console.printable($0.isEmpty ? "-" : $0)
                    }
                }
        )
        let chosen = RelayTrial.chosen(results)
        guard !chosen.isEmpty else { throw CommandError.failure("none of these relays works from here") }
        Console.line("")
        Console.line("Use: \(chosen.map { "--relay \($0)" }.joined(separator: " "))")
        Console.line(
            "They belong to others: nws sends at most \(self.relayClient.publicRelayBudget) events a minute to each. For more, run a relay of your own: nws relay --help"
        )
    }

    private static func summary(_ result: RelayTrial.Result) -> String {
        let finding = result.finding
        if let error = finding.connectionError { return "failed: cannot connect: \(error)" }
        guard let roundTrip = finding.roundTrip else {
            return "failed: " + (finding.refusal.map { "\($0)" } ?? "a message was not delivered")
        }
        var words = [String(format: "ok: %.0f ms", roundTrip)]
        if finding.limitsRate { words.append("limits the rate") }
        if !finding.carriesLargeMessages { words.append("rejects 16 KiB messages") }
        return words.joined(separator: ", ")
    }

    private static func say(_ verdict: Verdict, _ text: String) -> Verdict {
        Console.line("\(verdict.rawValue)  \(Console.printable(text))")
        return verdict
    }

    private static func machine() -> Verdict {
        guard let count = ProcessSetup.raiseFileLimit() else {
            return Self.say(.doubtful, "open files: cannot read the limit")
        }
        return count < Self.fewDescriptors
            ? Self.say(
                .doubtful,
                "open files: the limit is \(count), and each stream needs one; raise it with ulimit -n or LimitNOFILE="
            )
            : Self.say(.good, "open files: \(count)")
    }

    private func key() -> Verdict {
        let file = self.keyFile.map(KeyFile.init) ?? .stateFile()
        guard file.exists else {
            return self.keyFile == nil
                ? Self.say(.good, "key: none; an exit creates one when it first starts")
                : Self.say(
                    .bad,
                    "key: \(file.path) does not exist; create it with: nws key generate --key-file '\(file.path)'"
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

    /// Examines how the NAT treats datagrams, which decides with whom direct paths are possible.
    private func nat(_ servers: [SocketAddress], checked relays: [RelayURL]) async throws -> Verdict {
        var named = try DirectOptions.stunServers(self.stun)
        // There is no NAT between this machine and itself.
        let servers = servers.filter { AddressClass($0) != .loopback }
        let list = try self.relayClient.list()
        if !self.noPublicStun, servers.isEmpty, named.isEmpty, list.entries.contains(where: { relays.contains($0.url) })
        {
            named = list.stunServers
        }
        guard !servers.isEmpty || !named.isEmpty else {
            return Self.say(
                .doubtful,
                "NAT: not examined, because none of these relays answers STUN requests from another machine; run a relay of your own (nws relay), or name a server with --stun HOST:PORT"
            )
        }
        let finding = try await NATExamination.examine(
            servers,
            named,
            mapsPort: !self.noPortMapping,
            on: MultiThreadedEventLoopGroup.singleton.next(),
            logger: .console("nws.doctor", .critical)
        )
        let seen = finding.mapped.joined(separator: ", ")
        if let mapping = finding.mapping, !finding.isOwn {
            let place = "\(mapping.address), by \(mapping.by)"
            return mapping.isPublic
                ? Self.say(.good, "NAT: the router forwards a UDP port (\(place)), so direct paths are possible")
                : Self.say(
                    .doubtful,
                    "NAT: the router forwards a UDP port (\(place)), but its own address is not public, so peers on the internet may not reach it"
                )
        }
        switch (finding.behavior, finding.isOwn) {
        case _ where finding.mapped.isEmpty:
            return Self.say(
                .doubtful,
                "NAT: no STUN server answered, so this machine does not know its public address; check that the firewall allows UDP, or forward a UDP port and use --direct-port and --direct-address"
            )
        case (_, true): return Self.say(.good, "NAT: none; datagrams from here come from \(seen)")
        case (.endpointDependent, _):
            return Self.say(
                .doubtful,
                "NAT: gives every destination another port (\(seen)), so direct paths are possible only with peers that have a public address, a forwarded port or IPv6; the router forwards no port on request, so switch on PCP or NAT-PMP there, or forward a UDP port by hand and use --direct-port and --direct-address"
            )
        case (.endpointIndependent, _):
            return Self.say(
                .good,
                "NAT: keeps one address for all destinations (\(seen)), so direct paths are possible"
            )
        case (.unknown, _):
            return Self.say(.good, "NAT: datagrams from here come from \(seen); one server does not show more")
        }
    }

    /// Tolerated difference between the clocks of this machine and a relay, in seconds. With larger differences some
    /// relays and peers reject messages because of their date.
    private static let tolerableOffset: Int64 = 60

    /// Compares this machine's clock with those of the relays whose time is known.
    private static func clock(_ findings: [RelayExamination.Finding]) -> Verdict {
        let offsets = findings.compactMap(\.clockOffset).sorted { abs($0) < abs($1) }
        guard !offsets.isEmpty else {
            return findings.contains { $0.roundTrip != nil }
                ? Self.say(.good, "clock: no relay reports its time, but they accept messages with this machine's date")
                : Self.say(.doubtful, "clock: not checked, because no relay responded")
        }
        let offset = offsets[0]
        guard abs(offset) > Self.tolerableOffset else {
            let odd = findings.filter { abs($0.clockOffset ?? 0) > Self.tolerableOffset }.map(\.url.text)
            guard odd.isEmpty else {
                return Self.say(
                    .doubtful,
                    "clock: within \(max(1, abs(offset))) s of a relay's, but not of \(odd.joined(separator: ", ")), whose clocks may be wrong"
                )
            }
            return Self.say(.good, "clock: within \(max(1, abs(offset))) s of the relays'")
        }
        return Self.say(
            .doubtful,
            "clock: \(abs(offset)) s \(offset > 0 ? "behind" : "ahead of") the relays'; set this machine's clock"
        )
    }

    /// The limits that a relay declares, as text; empty if it declares none.
    private static func limits(_ information: RelayInformation) -> String {
        let limitation = information.limitation
        let parts = [
            limitation.maximumMessageLength.map { "\($0) bytes per message" },
            limitation.maximumEventsPerSecond.map { "\($0) events per second" },
            limitation.maximumSubscriptions.map { "\($0) subscriptions" },
            limitation.maximumContentLength.map { "\($0) characters of content" },
            limitation.minimumProofOfWork.flatMap { $0 > 0 ? "requires \($0) bits of proof of work" : nil },
            limitation.authenticationRequired == true ? "requires authentication" : nil,
            limitation.paymentRequired == true ? "requires payment" : nil,
        ]
        let said = parts.compactMap { $0 }.joined(separator: ", ")
        return said.isEmpty ? "" : "; limits: \(said)"
    }

    private static func judge(_ finding: RelayExamination.Finding) -> Verdict {
        let url = finding.url
        if let error = finding.connectionError {
            let advice = finding.isBusy ? "try again later" : "check the URL and this machine's network"
            return Self.say(.bad, "\(url): cannot connect: \(error); \(advice)")
        }
        let software = [finding.information.software, finding.information.version].compactMap { $0 }.joined(
            separator: " "
        )
        let named = software.isEmpty ? "" : " (\(software.prefix(80)))"
        if let refusal = finding.refusal, finding.roundTrip == nil {
            return Self.say(.bad, "\(url)\(named): rejected a message: \(refusal); \(Self.advice(refusal))")
        }
        guard let roundTrip = finding.roundTrip else {
            return Self.say(
                .bad,
                "\(url)\(named): a message was not delivered; the relay may not support ephemeral events, use another relay"
            )
        }
        let trip = String(format: "round trip %.1f ms", roundTrip)
        if finding.limitsRate {
            let accepted =
                finding.acceptedOfBurst.map { "\($0) of \(RelayExamination.Extent.full.burstLength)" } ?? "not all"
            return Self.say(
                .doubtful,
                "\(url)\(named): \(trip), but the relay limits the rate of events: it accepted \(accepted) that were sent at once; good for finding an exit, too slow for transfers\(Self.limits(finding.information))"
            )
        }
        guard finding.carriesLargeMessages else {
            let why = finding.refusal.map { ": \($0)" } ?? ""
            return Self.say(
                .doubtful,
                "\(url)\(named): \(trip), but large packets (55 kB) were not delivered\(why); sessions are slower or fail on this relay\(Self.limits(finding.information))"
            )
        }
        return Self.say(
            .good,
            "\(url)\(named): \(trip), large packets delivered, no limit on the rate found in a short test; good for all uses\(Self.limits(finding.information))"
        )
    }

    private static func advice(_ reason: ReasonText) -> String {
        switch reason.prefix {
        case .invalid where reason.text.contains("created"), .invalid where reason.text.contains("date"):
            "set this machine's clock"
        case .authRequired, .restricted, .blocked:
            "the relay admits only known keys: start with --auth-key and a key that it admits, or use another relay"
        case .pow: "proof of work is not supported, use another relay"
        case .rateLimited: "try again later, or use another relay"
        case .duplicate, .mute, .invalid, .error, nil: "use another relay"
        }
    }
}
