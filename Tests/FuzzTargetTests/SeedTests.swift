//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import FuzzTargets
import TestSupport
import Testing

@Suite("Fuzzing seeds")
struct SeedTests {
    /// Number of mutated inputs made from each seed: 200, or `NWS_FUZZ_MUTATIONS`.
    private static let mutations = ProcessInfo.processInfo.environment["NWS_FUZZ_MUTATIONS"].flatMap { Int($0) } ?? 200
    /// Maximum length of a mutated input, in bytes.
    private static let longest = 4_096

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fuzzing/Seeds")

    private static func seeds(of target: FuzzTarget) throws -> [[UInt8]] {
        let folder = Self.folder.appending(path: target.rawValue)
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .sorted { $0.lastPathComponent < $1.lastPathComponent }.map { Array(try Data(contentsOf: $0)) }
    }

    /// A failed check in a target traps and ends the process, as under the fuzzer; the output names the check.
    @Test("every target handles its seeds and small mutations of them", arguments: FuzzTarget.allCases)
    func holds(target: FuzzTarget) throws {
        let seeds = try Self.seeds(of: target)
        try #require(!seeds.isEmpty)
        var random = SeededGenerator(seed: 7)
        for seed in seeds {
            target.run(seed)
            for _ in 0..<Self.mutations { target.run(Self.mutated(seed, beside: seeds, &random)) }
        }
    }

    private static func mutated(
        _ seed: [UInt8],
        beside seeds: [[UInt8]],
        _ random: inout SeededGenerator
    ) -> [UInt8] {
        var input = seed
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let index = Int.random(in: 0...input.count, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0 where index < input.count: input[index] = .random(in: 0...255, using: &random)
            case 1 where index < input.count: input[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 2: input.insert(.random(in: 0...255, using: &random), at: index)
            case 3: input.removeSubrange(index..<min(input.count, index + 8))
            default: input.insert(contentsOf: seeds.randomElement(using: &random)?.prefix(64) ?? [], at: index)
            }
        }
        return Array(input.prefix(Self.longest))
    }
}
