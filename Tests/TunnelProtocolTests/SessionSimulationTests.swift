//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import TestSupport
import Testing

@testable import TunnelProtocol

/// Runs whole sessions over simulated relays with random faults, one run per seed.
///
/// A failure names its seed. To repeat that run alone, call `run(seed:)` with it.
@Suite("Simulated sessions")
struct SessionSimulationTests {
    /// The data that each stream of a run should carry, and the streams to reset or refuse.
    private struct Plan {
        var up: [StreamID: [UInt8]] = [:]
        var down: [StreamID: [UInt8]] = [:]
        var resets: Set<StreamID> = []
        var refused: Set<StreamID> = []
    }

    private static func weather(_ session: SeededGenerator) -> [SimulatedSession.Weather] {
        var generator = session
        return (0..<Int.random(in: 1...3, using: &generator)).map { _ in
            var weather = SimulatedSession.Weather()
            weather.loss = [0, 0, 0.01, 0.1, 0.3].randomElement(using: &generator) ?? 0
            weather.duplication = [0, 0, 0.1].randomElement(using: &generator) ?? 0
            weather.replay = [0, 0, 0.05].randomElement(using: &generator) ?? 0
            weather.delay =
                [.microseconds(200), .milliseconds(5), .milliseconds(80)]
                .randomElement(using: &generator) ?? .zero
            weather.jitter = [.zero, .milliseconds(2), .milliseconds(60)].randomElement(using: &generator) ?? .zero
            weather.batches = Int.random(in: 0..<4, using: &generator) == 0
            weather.eventsPerSecond = Int.random(in: 0..<5, using: &generator) == 0 ? 60 : nil
            weather.largestPacket = [nil, (40_960, true), (40_960, false)].randomElement(using: &generator) ?? nil
            return weather
        }
    }

    /// Runs one simulation; returns what went wrong, or nil.
    private static func run(seed: UInt64) -> String? {
        var configuration = SessionConfiguration()
        var generator = SeededGenerator(seed: seed)
        if generator.next() % 3 == 0 {
            // Change the session keys every 700 ms.
            configuration.keyLifetime = .milliseconds(700)
            configuration.keyOverlap = .milliseconds(600)
        }
        if generator.next() % 8 == 0 {
            // Keep the credit of streams and of the session scarce.
            configuration.maximumStreams = 8
            configuration.initialStreamWindow = 8 << 10
            configuration.windowBudget = 0
        }
        let weather = Self.weather(generator)
        let session = SimulatedSession(seed: seed, weather: weather, configuration: configuration)
        var plan = Plan()
        let count = session.random(1...8)
        for raw in 1...UInt64(count) {
            let id = StreamID(rawValue: raw)
            plan.up[id] = patterned(session.random(0...1) * session.random(0...120_000), seed: seed &* 31 &+ raw)
            plan.down[id] = patterned(session.random(0...1) * session.random(0...200_000), seed: seed &* 37 &+ raw)
            if session.chance(0.1) { plan.refused.insert(id) }
        }
        let planned = plan
        session.dial = { id, _ in
            planned.refused.contains(id)
                ? .failure(.init(end: .refused)) : .success(planned.down[id] ?? [])
        }
        // Stream numbers follow the order of opening, so the times are sorted.
        let times = (0..<count).map { _ in session.random(0...400) }.sorted()
        for raw in 1...UInt64(count) {
            let id = StreamID(rawValue: raw)
            let isReset = session.chance(0.15)
            if isReset { plan.resets.insert(id) }
            session.after(.milliseconds(Int64(times[Int(raw) - 1]))) { [plan] in
                _ = session.open(raw, sending: plan.up[id] ?? []) {
                    if isReset { $0.resetsAfter = (plan.up[id]?.count ?? 0) / 2 }
                }
            }
        }
        Self.planTrouble(session, paths: weather.count)
        let ids = (1...UInt64(count)).map(StreamID.init(rawValue:))
        let isDone = session.run(for: .seconds(600)) {
            ids.allSatisfy { id in
                session.streams[0][id]?.ended != nil && session.streams[1][id].map { $0.ended != nil } ?? true
            }
        }
        return Self.fault(session, plan, ids, isDone: isDone)
    }

    /// Schedules disconnects and freezes of the relays during the first seconds.
    private static func planTrouble(_ session: SimulatedSession, paths: Int) {
        for path in 0..<paths {
            for _ in 0..<session.random(0...2) {
                let start = TimeAmount.milliseconds(Int64(session.random(1...2_000)))
                let length = TimeAmount.milliseconds(Int64(session.random(10...4_000)))
                let kind = session.random(0...2)
                session.after(start) {
                    switch kind {
                    case 0: session.setFrozen(true, path: path)
                    case 1: session.setUp(false, end: session.random(0...1), path: path)
                    default: for end in 0...1 { session.setUp(false, end: end, path: path) }
                    }
                    session.after(length) {
                        session.setFrozen(false, path: path)
                        for end in 0...1 { session.setUp(true, end: end, path: path) }
                    }
                }
            }
        }
    }

    private static func fault(
        _ session: SimulatedSession,
        _ plan: Plan,
        _ ids: [StreamID],
        isDone: Bool
    ) -> String? {
        guard isDone else { return "some streams did not end" }
        guard session.unidentified == 0 else { return "a stream arrived before the client's identity" }
        guard !session.ends[0].isOver, !session.ends[1].isOver else { return "the session ended" }
        for id in ids {
            guard let client = session.streams[0][id] else { return "stream \(id) was never opened" }
            let exit = session.streams[1][id]
            let (up, down) = (plan.up[id] ?? [], plan.down[id] ?? [])
            if let exit, Array(up.prefix(exit.data.count)) != exit.data { return "stream \(id): wrong bytes up" }
            if Array(down.prefix(client.data.count)) != client.data { return "stream \(id): wrong bytes down" }
            if plan.refused.contains(id) {
                if client.ended != .some(.refused), !plan.resets.contains(id) { return "stream \(id): not refused" }
                continue
            }
            if plan.resets.contains(id) { continue }
            guard client.ended == .some(nil), let exit, exit.ended == .some(nil) else {
                return "stream \(id) failed: \(String(describing: client.ended)), \(String(describing: exit?.ended))"
            }
            if client.data != down || exit.data != up { return "stream \(id): data is missing" }
            if !client.finished || !exit.finished { return "stream \(id) did not finish in both directions" }
        }
        // Let the session become idle; no streams, buffers or credit may be left over.
        _ = session.run(for: .seconds(60)) { session.ends.allSatisfy(\.isIdle) }
        for (end, machine) in session.ends.enumerated() {
            if !machine.isIdle { return "end \(end) is not idle" }
            let waiting = machine.streams.scheduler.waitingBytes
            if waiting != 0 { return "end \(end) still has \(waiting) bytes to send" }
            let credit = machine.streams.credit
            if credit.windowGrowth != 0 { return "end \(end) holds \(credit.windowGrowth) bytes of windows" }
            if credit.receivedBytes != credit.consumedBytes { return "end \(end) did not return all credit" }
            let paths = machine.transport.paths
            if paths.indices.contains(where: { paths[$0].sent.numbers.count > 8_192 }) {
                return "end \(end) remembers more than 8,192 sent packets"
            }
        }
        let credits = session.ends.map(\.streams.credit)
        if credits[0].sentBytes != credits[1].receivedBytes { return "credit of the client was lost" }
        if credits[1].sentBytes != credits[0].receivedBytes { return "credit of the exit was lost" }
        return nil
    }

    /// Number of seeds: 2,000, or `NWS_SIMULATION_SEEDS` (at least 40), for example fewer under a sanitizer.
    private static let seeds =
        ProcessInfo.processInfo.environment["NWS_SIMULATION_SEEDS"].flatMap { Int($0) }.map { max(40, $0) } ?? 2_000

    @Test("every stream carries all of its data or reports a failure, whatever relays do", arguments: 0..<40)
    func anyWeather(block: Int) {
        let count = Self.seeds / 40
        for seed in UInt64(block * count)..<UInt64(block * count + count) {
            #expect(Self.run(seed: seed) == nil, "seed \(seed)")
        }
    }
}
