//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import Testing

@Suite("Token bucket")
struct TokenBucketTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    @Test("a bucket allows its burst at once, then tokens at its rate")
    func burstThenRate() {
        var bucket = TokenBucket(perSecond: 10, burst: 3, now: Self.start)
        let taken = (0..<5).map { _ in bucket.take(at: Self.start) }
        #expect(taken == [true, true, true, false, false])
        let afterPause = bucket.take(at: Self.start + .milliseconds(100))
        let again = bucket.take(at: Self.start + .milliseconds(100))
        #expect(afterPause)
        #expect(!again)
    }

    @Test("the default burst is twice the rate, and a clock that goes backwards adds no tokens")
    func defaults() {
        var bucket = TokenBucket(perSecond: 10, now: Self.start)
        let atOnce = (0..<30).map { _ in bucket.take(at: Self.start) }
        let before = bucket.take(at: Self.start - .seconds(1))
        let later = (0..<30).map { _ in bucket.take(at: Self.start + .seconds(1)) }
        #expect(atOnce.count { $0 } == 20)
        #expect(!before)
        #expect(later.count { $0 } == 10)
    }
}
