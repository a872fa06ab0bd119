//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CByteKernels
import NIOCore
import Nostr
import NostrCrypto
import TunnelProtocol

/// Measures each stage of event processing alone, and compares it with the total time of the primitives that it uses.
struct StageBenchmark {
    let report: Report

    /// The time in microseconds that the fastest known primitives take for one packet, for each task.
    struct Roofline {
        let seal: Double
        let send: Double
        let relay: Double
        let receive: Double

        /// Returns the bytes per second that `cores` cores could transfer if they executed only the primitives.
        func rate(of payload: Int, cores: Double) -> Double {
            Double(payload) / (self.send + self.relay + self.receive) * 1e6 * cores
        }
    }

    /// Size of a packet's plaintext, in bytes.
    static let payload = 40_960

    /// Measures all stages.
    ///
    /// - Returns: The roofline, or nil if libcrypto 3 is not installed.
    func run() throws -> Roofline? {
        let stages = try Stage.all()
        self.report.begin(
            "Primitives, fastest known, one packet of 40,960 bytes (event of \(stages.message.readableBytes) bytes)"
        )
        let roofline = try self.roofline(
            padded: stages.plaintext,
            event: Array(stages.message.readableBytesView),
            stages.event
        )
        for group in [stages.large, stages.small] {
            self.report.begin(group.title)
            for stage in group.stages {
                try self.add(
                    stage.name,
                    beside: stage.primitives.flatMap { path in roofline.map { $0[keyPath: path] } }
                ) {
                    try stage.run()
                }
            }
        }

        self.report.begin("Session state machine, both ends, without encryption and relay")
        for streams in [1, 10, 100, 1_000] {
            let bytes = 20_000_000
            let values = (0..<3).map { _ in
                SessionLoop(streams: streams).run(bytes: bytes) * 1e6 / Double(bytes) * 40_960
            }
            self.report.add("40,960 bytes, \(streams) streams", "µs", values)
        }
        return roofline
    }

    private func add(_ name: String, beside reference: Double? = nil, _ body: () throws -> Void) throws {
        let values = try microseconds { try body() }
        let ratio = reference.map { $0 / Distribution(values).median }
        self.report.add(name, "µs", values, reference: "the speed of the primitives", ratio: ratio)
    }

    private func roofline(padded: [UInt8], event: [UInt8], _ signed: Event) throws -> Roofline? {
        let own = SecretKey.generate()
        guard let fast = FastPrimitives() else {
            say("  libcrypto.so.3 not found: no roofline")
            return nil
        }
        var output = [UInt8](repeating: 0, count: padded.count)
        var base64 = [UInt8](repeating: 0, count: padded.count * 4 / 3 + 8)
        func time(_ name: String, _ body: () throws -> Void) rethrows -> Double {
            let values = try microseconds { try body() }
            self.report.add(name, "µs", values)
            return Distribution(values).median
        }
        let chacha = time("ChaCha20 (libcrypto)") { fast.chacha20(padded, into: &output) }
        let hmac = time("HMAC-SHA256 (libcrypto)") { fast.hmac(padded) }
        let hash = time("SHA-256 of the event (libcrypto)") { fast.sha256(event) }
        let encode = time("base64, encode (AVX2)") { keep(nws_base64_encode(padded, padded.count, &base64)) }
        let decode = time("base64, decode (AVX2)") { keep(nws_base64_decode(base64, padded.count * 4 / 3, &output)) }
        let scan = time("scan of the event (AVX2)") { keep(nws_json_plain_prefix(base64, padded.count * 4 / 3)) }
        let digest = Bytes32.sha256(of: event)
        let signature = try own.sign(digest)
        let sign = try time("sign (libsecp256k1)") { keep(try own.sign(digest)) }
        let verify = time("verify (libsecp256k1)") { keep(own.publicKey.verify(signature, of: digest)) }
        return Roofline(
            seal: chacha + hmac + encode,
            send: chacha + hmac + encode + hash + sign,
            relay: scan + hash + verify,
            // Includes hashing and signature verification, as a Nostr client normally needs them. The receiver of a
            // session packet skips them.
            receive: scan + hash + verify + decode + hmac + chacha
        )
    }
}
