//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Skipped packet numbers")
struct SkippedNumbersTests {
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    /// A path on which packets were sent, and their numbers.
    private func path(_ count: Int, _ description: PathDescription) -> (SessionPath, Set<UInt64>) {
        let configuration = SharedSessionConfiguration(SessionConfiguration())
        var path = SessionPath(id: .direct, description: description, configuration: configuration, peerTakes: 65_535)
        var numbers: Set<UInt64> = []
        for _ in 0..<count {
            numbers.insert(path.sent.nextNumber)
            path.record(size: 1_200, isAckEliciting: true, frames: [.ping], at: Self.now)
        }
        return (path, numbers)
    }

    private static let direct = PathDescription.direct(packet: 1_000, largest: 1_400, skippedNumbers: .sha256(of: [1]))

    @Test("a direct path skips packet numbers at unpredictable distances")
    func distances() throws {
        let (path, numbers) = self.path(50_000, Self.direct)
        let skipped = (0..<path.sent.nextNumber).filter { !numbers.contains($0) }
        let distances = zip([0] + skipped, skipped).map { $1 - $0 }
        #expect(distances.allSatisfy { SkippedNumbers.distance.contains($0) })
        #expect((12...40).contains(skipped.count) && Set(distances).count > 10)
        var other = Self.direct
        other.skippedNumbers = .sha256(of: [2])
        #expect(self.path(50_000, other).1 != numbers)
    }

    @Test("a relay path skips no packet numbers")
    func relay() {
        let description = PathDescription(relay: "wss://r.example", maximumPlaintext: 40_960, createdAtUpperLimit: nil)
        let (path, numbers) = self.path(50_000, description)
        #expect(path.sent.nextNumber == 50_000 && numbers.count == 50_000)
    }

    @Test(
        "acknowledging a skipped packet number is a protocol violation; acknowledging the others is not"
    )
    func acknowledgement() throws {
        let (path, numbers) = self.path(6_000, Self.direct)
        let skipped = try #require((0..<path.sent.nextNumber).first { !numbers.contains($0) })
        func acknowledged(_ ranges: [ClosedRange<UInt64>]) -> Bool {
            var copy = path
            let frame = SessionFrame.Acknowledgement(path: .direct, delay: 0, ranges: ranges)
            return copy.acknowledged(frame, returnDelay: nil, at: Self.now + .milliseconds(10)) != nil
        }
        let next = (skipped + 1..<path.sent.nextNumber).first { !numbers.contains($0) } ?? path.sent.nextNumber
        #expect(acknowledged([skipped + 1...next - 1, 0...skipped - 1]))
        #expect(!acknowledged([0...next - 1]))
    }
}
