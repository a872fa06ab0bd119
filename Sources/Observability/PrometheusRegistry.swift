//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import CoreMetrics
import NIOConcurrencyHelpers
import Synchronization

/// Keeps what the libraries count, for the text that Prometheus reads.
///
/// Counters are atomic additions; everything else is looked up under a lock when it is made, and read when asked.
public final class PrometheusRegistry: MetricsFactory, Sendable {
    /// A metric's name and labels, as they are written.
    struct Key: Hashable, Comparable {
        let name: String
        let labels: String

        static func < (left: Key, right: Key) -> Bool { (left.name, left.labels) < (right.name, right.labels) }
    }

    private struct State {
        var counters: [Key: AtomicCounter] = [:]
        var gauges: [Key: Gauge] = [:]
    }

    /// Most series; libraries name a few hundred, none of them by what comes from the network.
    static let maximumSeries = 10_000

    private let state = NIOLockedValueBox(State())

    public init() {}

    // MARK: MetricsFactory

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        let key = Key(name: label, labels: PrometheusText.labels(dimensions))
        return self.state.withLockedValue { state in
            if let counter = state.counters[key] { return counter }
            let counter = AtomicCounter()
            if state.counters.count < Self.maximumSeries { state.counters[key] = counter }
            return counter
        }
    }

    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        let key = Key(name: label, labels: PrometheusText.labels(dimensions))
        return self.state.withLockedValue { state in
            if let gauge = state.gauges[key] { return gauge }
            let gauge = Gauge()
            if state.gauges.count < Self.maximumSeries { state.gauges[key] = gauge }
            return gauge
        }
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        // Nothing here is timed; what a dependency times is not shown.
        NOOPMetricsHandler.instance
    }

    public func destroyCounter(_ handler: any CounterHandler) {}
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    public func destroyTimer(_ handler: any TimerHandler) {}

    // MARK: Reading

    /// The sum of a counter over all its labels.
    public func total(_ name: String) -> Int64 {
        self.state.withLockedValue { state in
            state.counters.reduce(0) { $1.key.name == name ? $0 + $1.value.value : $0 }
        }
    }

    /// The text of all metrics and of `more`, sorted by name.
    public func text(and more: [PrometheusText.Sample] = []) -> String {
        var samples = more
        self.state.withLockedValue { state in
            samples += state.counters.map {
                PrometheusText.Sample($0.key.name, kind: .counter, labels: $0.key.labels, value: Double($0.value.value))
            }
            samples += state.gauges.map {
                PrometheusText.Sample($0.key.name, kind: .gauge, labels: $0.key.labels, value: $0.value.value)
            }
        }
        return PrometheusText.encode(samples)
    }
}

/// A counter that many threads add to.
final class AtomicCounter: CounterHandler {
    private let count = Atomic<Int64>(0)

    var value: Int64 { self.count.load(ordering: .relaxed) }

    func increment(by amount: Int64) { self.count.wrappingAdd(amount, ordering: .relaxed) }
    func reset() { self.count.store(0, ordering: .relaxed) }
}

/// The last value of something.
final class Gauge: RecorderHandler {
    private let bits = Atomic<UInt64>(0)

    var value: Double { Double(bitPattern: self.bits.load(ordering: .relaxed)) }

    func record(_ value: Int64) { self.record(Double(value)) }
    func record(_ value: Double) { self.bits.store(value.bitPattern, ordering: .relaxed) }
}
