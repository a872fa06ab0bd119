//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation

/// Measures nws and its parts.
///
/// Figures from different machines cannot be compared; ratios within one run can.
@main
struct BenchmarkProgram: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nws-bench",
        abstract: "Measure the processing stages, the relay and the whole tunnel of nws."
    )

    enum Part: String, CaseIterable, ExpressibleByArgument {
        case stages, relay, tunnel
    }

    @Argument(help: "What to measure: stages, relay or tunnel. (default: all)")
    var parts: [Part] = []

    @Option(help: "Path of the nws program to measure.")
    var program = ".build/release/nws"

    @Option(help: "Number of measurements of bulk, stream and relay rates; the median is reported.")
    var readings = 3

    @Option(help: "File to which the figures are also written, as JSON.")
    var json: String?

    @Option(help: "Another relay on this machine to measure in the same run, as NAME=PORT.")
    var other: [String] = []

    @Option(help: "Run only this stage, without measuring, for use with a profiler; 'list' prints all names.")
    var stage: String?

    @Option(help: "Number of times to run the stage given with --stage.")
    var count = 1

    func run() throws {
        if let stage { return try self.run(stage: stage) }
        let parts = self.parts.isEmpty ? Part.allCases : self.parts
        let report = Report()
        say(Machine().description)
        var roofline: StageBenchmark.Roofline?
        if parts.contains(.stages) || parts.contains(.tunnel) { roofline = try StageBenchmark(report: report).run() }
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("nws-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        if parts.contains(.relay) { try self.measureRelays(report, folder) }
        if parts.contains(.tunnel) {
            try self.withTunnel(report, roofline, folder.appendingPathComponent("tunnel")) { try $0.run() }
            try self.withTunnel(report, roofline, folder.appendingPathComponent("sessions")) { try $0.idleSessions() }
        }
        if let json { try report.write(to: json) }
    }

    private func withTunnel(
        _ report: Report,
        _ roofline: StageBenchmark.Roofline?,
        _ folder: URL,
        _ body: (TunnelBenchmark) throws -> Void
    ) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let tunnel = try TunnelBenchmark(
            program: URL(fileURLWithPath: self.program).path,
            report: report,
            roofline: roofline,
            readings: self.readings,
            folder: folder
        )
        defer { tunnel.stop() }
        try body(tunnel)
    }

    private func run(stage name: String) throws {
        let catalog = try Stage.all()
        let stages = catalog.large.stages + catalog.small.stages + catalog.session
        guard name != "list" else {
            for stage in stages { say(stage.name) }
            return
        }
        guard let stage = stages.first(where: { $0.name == name }) else {
            throw ValidationError("unknown stage \(name); '--stage list' prints the names of all stages")
        }
        for _ in 0..<max(0, self.count) { try stage.run() }
    }

    private func measureRelays(_ report: Report, _ folder: URL) throws {
        report.begin("Relays")
        let relay = try Node(
            "relay",
            program: URL(fileURLWithPath: self.program).path,
            [
                "relay", "--listen", "127.0.0.1:0", "--log-level", "error", "--max-events-per-second", "1000000",
                "--max-outbound-bytes", "1000000000",
            ],
            in: folder
        )
        defer { relay.stop() }
        let ports = [("nws relay", try relay.value("relay").split(separator: ":").last.flatMap { UInt16($0) })]
        let others = self.other.map { text in
            let parts = text.split(separator: "=")
            return (String(parts.first ?? ""), parts.last.flatMap { UInt16($0) })
        }
        let relays = try (ports + others).map { name, port in
            guard let port else { throw ValidationError("--other needs NAME=PORT, for example strfry=7777") }
            return RelayBenchmark(name: name, port: port, isOurs: name == ports[0].0)
        }
        try RelayBenchmark.run(relays, readings: self.readings, report: report)
    }
}
