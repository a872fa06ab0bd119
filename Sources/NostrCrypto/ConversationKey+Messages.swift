//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Encryption and the decoding of base64 work in pieces, so that each piece and its output stay in the processor's cache and no step
/// allocates a whole message.
extension ConversationKey {
    /// Number of bytes of a piece: whole groups of base64.
    private static let pieceLength = 24_576
    private static let codeLength = 32
    /// Version and nonce, which are whole groups of base64.
    private static let headLength = 33

    // MARK: Encryption

    /// Encrypts `plaintext` with a random nonce and returns the payload as base64 characters.
    ///
    /// - Throws: ``NIP44Error/plaintextLength`` if `plaintext` is empty or longer than
    ///   ``NIP44/maximumPlaintextLength``.
    package func seal(_ plaintext: [UInt8]) throws(NIP44Error) -> [UInt8] {
        try self.seal(plaintext, nonce: .random())
    }

    /// Encrypts with the given nonce. For test vectors.
    package func seal(_ plaintext: [UInt8], nonce: Bytes32) throws(NIP44Error) -> [UInt8] {
        let length = NIP44.payloadLength(plaintextLength: plaintext.count)
        return try Self.array(length) { (output) throws(NIP44Error) in
            try unsafe self.seal(plaintext.span.bytes, nonce: nonce, to: &output) { _ in }
        }
    }

    /// Encrypts a plaintext that already has a length prefix and padding. Tests use it to create invalid padding.
    package func seal(padded: [UInt8], nonce: Bytes32) throws(NIP44Error) -> [UInt8] {
        try Self.array(Base64.encodedLength(NIP44.overhead + padded.count)) { (output) throws(NIP44Error) in
            try unsafe self.seal([], padded.span.bytes, padding: 0, nonce: nonce, to: &output) { _ in }
        }
    }

    private static func array(
        _ count: Int,
        _ write: (inout OutputRawSpan) throws(NIP44Error) -> Void
    ) throws(NIP44Error) -> [UInt8] {
        var failure: NIP44Error?
        let array = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            var output = unsafe OutputRawSpan(buffer: UnsafeMutableRawBufferPointer(buffer), initializedCount: 0)
            do throws(NIP44Error) {
                try write(&output)
            } catch {
                failure = error
            }
            initialized = unsafe output.finalize(for: UnsafeMutableRawBufferPointer(buffer))
        }
        if let failure { throw failure }
        return array
    }

    /// Encrypts a message, and appends the payload as base64 characters.
    ///
    /// - Parameters:
    ///   - plaintext: The message.
    ///   - nonce: A nonce that was not used before.
    ///   - output: Receives the payload. It must have room for it (``NIP44/payloadLength(plaintextLength:)``).
    ///   - written: Is passed each piece of the payload, in order, directly after it was written.
    /// - Throws: ``NIP44Error/plaintextLength`` if `plaintext` is empty or longer than
    ///   ``NIP44/maximumPlaintextLength``.
    package func seal(
        _ plaintext: RawSpan,
        nonce: Bytes32,
        to output: inout OutputRawSpan,
        written: (RawSpan) -> Void
    ) throws(NIP44Error) {
        let length = plaintext.byteCount
        guard length > 0, length <= NIP44.maximumPlaintextLength else { throw .plaintextLength }
        try self.seal(
            Self.prefix(length),
            plaintext,
            padding: NIP44.paddedLength(length) - length,
            nonce: nonce,
            to: &output,
            written: written
        )
    }

    private static func prefix(_ length: Int) -> [UInt8] {
        let short = [UInt8(length >> 8 & 255), UInt8(length & 255)]
        guard length > NIP44.maximumShortPlaintextLength else { return short }
        return [0, 0, UInt8(length >> 24 & 255), UInt8(length >> 16 & 255)] + short
    }

    private func seal(
        _ prefix: [UInt8],
        _ content: RawSpan,
        padding: Int,
        nonce: Bytes32,
        to output: inout OutputRawSpan,
        written: (RawSpan) -> Void
    ) throws(NIP44Error) {
        let keys = self.messageKeys(nonce: nonce)
        let cipher = try MessageCipher(keys)
        var code = HMAC<SHA256>(key: SymmetricKey(data: keys.hmacKey))
        code.update(data: nonce.bytes)
        Self.append([NIP44.version] + nonce.bytes, to: &output, written)
        let total = prefix.count + content.byteCount + padding
        var failure: NIP44Error?
        let room = min(Self.pieceLength, total) + Self.codeLength
        unsafe withUnsafeTemporaryAllocation(byteCount: room, alignment: 64) { buffer in
            var start = 0
            repeat {
                let end = min(start + Self.pieceLength, total)
                var piece = unsafe OutputRawSpan(buffer: buffer, initializedCount: 0)
                do throws(NIP44Error) {
                    try Self.encrypt(start..<end, prefix, content, with: cipher, to: &piece)
                } catch {
                    failure = error
                    return
                }
                unsafe piece.bytes.withUnsafeBytes { unsafe code.update(data: $0) }
                if end == total { for byte in code.finalize() { piece.append(byte) } }
                unsafe piece.bytes.withUnsafeBytes { unsafe Self.append($0, to: &output, written) }
                _ = unsafe piece.finalize(for: buffer)
                start = end
            } while start < total
        }
        if let failure { throw failure }
    }

    /// Encrypts a piece of a padded plaintext, which consists of a prefix, the content and zeros.
    private static func encrypt(
        _ range: Range<Int>,
        _ prefix: [UInt8],
        _ content: RawSpan,
        with cipher: borrowing MessageCipher,
        to piece: inout OutputRawSpan
    ) throws(NIP44Error) {
        let end = prefix.count + content.byteCount
        let head = range.clamped(to: 0..<prefix.count)
        try unsafe cipher.apply(to: prefix.span.bytes.extracting(head), appendingTo: &piece)
        let part = range.clamped(to: prefix.count..<end)
        let place = (part.lowerBound - prefix.count)..<(part.upperBound - prefix.count)
        try cipher.apply(to: content.extracting(place), appendingTo: &piece)
        let padding = range.upperBound - max(end, range.lowerBound)
        if padding > 0 {
            try unsafe cipher.apply(to: Self.zeros.span.bytes.extracting(first: padding), appendingTo: &piece)
        }
    }

    private static let zeros = [UInt8](repeating: 0, count: pieceLength)

    private static func append(_ bytes: [UInt8], to output: inout OutputRawSpan, _ written: (RawSpan) -> Void) {
        unsafe bytes.withUnsafeBytes { unsafe Self.append($0, to: &output, written) }
    }

    private static func append(
        _ bytes: UnsafeRawBufferPointer,
        to output: inout OutputRawSpan,
        _ written: (RawSpan) -> Void
    ) {
        let start = output.byteCount
        unsafe Base64.encode(bytes, to: &output)
        written(output.bytes.extracting(droppingFirst: start))
    }

    // MARK: Decryption

    /// Decrypts a payload given as base64 characters. The MAC is verified before the ciphertext is decrypted.
    ///
    /// - Throws: ``NIP44Error`` if the payload is malformed, was encrypted with another key or was modified.
    package func open(_ payload: [UInt8]) throws(NIP44Error) -> [UInt8] {
        try Self.array(NIP44.maximumLength(ofPayload: payload.count)) { (output) throws(NIP44Error) in
            try unsafe self.open(payload.span.bytes, to: &output)
        }
    }

    /// Decrypts a payload, and appends the message. The MAC is verified before the ciphertext is decrypted.
    ///
    /// - Parameters:
    ///   - payload: The payload as base64 characters.
    ///   - output: Receives the message. It must have room for ``NIP44/maximumLength(ofPayload:)`` bytes.
    /// - Throws: ``NIP44Error`` if the payload is malformed, was encrypted with another key or was modified.
    package func open(_ payload: RawSpan, to output: inout OutputRawSpan) throws(NIP44Error) {
        let length = payload.byteCount
        guard length > 0, Self.byte(payload, 0) != UInt8(ascii: "#") else { throw .unsupportedVersion }
        guard (NIP44.minimumPayloadLength...NIP44.maximumPayloadLength).contains(length) else { throw .payloadLength }
        guard length.isMultiple(of: 4) else { throw .invalidBase64 }
        let capacity = length / 4 * 3
        var failure: NIP44Error?
        unsafe withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 16) { buffer in
            var decoded = unsafe OutputRawSpan(buffer: buffer, initializedCount: 0)
            do throws(NIP44Error) {
                try self.open(payload, by: &decoded, to: &output)
            } catch {
                failure = error
            }
            _ = unsafe decoded.finalize(for: buffer)
        }
        if let failure { throw failure }
    }

    private func open(
        _ payload: RawSpan,
        by decoded: inout OutputRawSpan,
        to output: inout OutputRawSpan
    ) throws(NIP44Error) {
        let head = Base64.encodedLength(Self.headLength)
        guard Base64.decode(payload.extracting(0..<head), isEnd: false, to: &decoded) else { throw .invalidBase64 }
        guard Self.byte(decoded.bytes, 0) == NIP44.version else { throw .unsupportedVersion }
        let last = payload.byteCount - 1
        let pads = [last, last - 1].count { Self.byte(payload, $0) == UInt8(ascii: "=") }
        let codeStart = payload.byteCount / 4 * 3 - pads - Self.codeLength
        guard codeStart >= Self.headLength + Self.leastPadded,
            let nonce = unsafe decoded.bytes.withUnsafeBytes({ unsafe Bytes32(Array($0[1...])) })
        else { throw .payloadLength }
        let keys = self.messageKeys(nonce: nonce)
        var code = HMAC<SHA256>(key: SymmetricKey(data: keys.hmacKey))
        code.update(data: nonce.bytes)
        var read = head
        while read < payload.byteCount {
            let start = decoded.byteCount
            let end = min(read + Base64.encodedLength(Self.pieceLength), payload.byteCount)
            let piece = payload.extracting(read..<end)
            guard Base64.decode(piece, isEnd: end == payload.byteCount, to: &decoded) else { throw .invalidBase64 }
            let authenticated = min(start, codeStart)..<min(decoded.byteCount, codeStart)
            unsafe decoded.bytes.extracting(authenticated).withUnsafeBytes { unsafe code.update(data: $0) }
            read = end
        }
        guard decoded.byteCount == codeStart + Self.codeLength else { throw .invalidBase64 }
        // Compared in constant time.
        let received = decoded.bytes.extracting(codeStart..<(codeStart + Self.codeLength))
        let computed = code.finalize()
        guard unsafe received.withUnsafeBytes({ unsafe computed == $0 }) else { throw .invalidMAC }
        try Self.decrypt(decoded.bytes.extracting(Self.headLength..<codeStart), try MessageCipher(keys), to: &output)
    }

    /// Minimum number of bytes of a padded plaintext.
    private static let leastPadded = 2 + 32

    /// Decrypts a ciphertext of at least ``leastPadded`` bytes, and appends it without its length prefix and padding.
    private static func decrypt(
        _ ciphertext: RawSpan,
        _ cipher: borrowing MessageCipher,
        to output: inout OutputRawSpan
    ) throws(NIP44Error) {
        var failure: NIP44Error?
        // The beginning contains the length prefix, which gives the range of the message.
        let start = Self.leastPadded
        unsafe withUnsafeTemporaryAllocation(byteCount: start, alignment: 16) { buffer in
            var head = unsafe OutputRawSpan(buffer: buffer, initializedCount: 0)
            do throws(NIP44Error) {
                try cipher.apply(to: ciphertext.extracting(first: start), appendingTo: &head)
                let content = try Self.content(head.bytes, padded: ciphertext.byteCount)
                Self.append(head.bytes.extracting(content.clamped(to: 0..<start)), to: &output)
                // The padding after the message is not decrypted.
                let rest = content.clamped(to: start..<ciphertext.byteCount)
                try cipher.apply(to: ciphertext.extracting(rest), appendingTo: &output)
            } catch {
                failure = error
            }
            _ = unsafe head.finalize(for: buffer)
        }
        if let failure { throw failure }
    }

    private static func append(_ bytes: RawSpan, to output: inout OutputRawSpan) {
        unsafe output.withUnsafeMutableBytes { buffer, initialized in
            let room = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[initialized...])
            unsafe bytes.withUnsafeBytes { unsafe room.copyMemory(from: $0) }
            initialized += bytes.byteCount
        }
    }

    /// The place of the message in a padded plaintext that starts with `start`.
    private static func content(_ start: RawSpan, padded: Int) throws(NIP44Error) -> Range<Int> {
        func integer(_ range: Range<Int>) -> Int { range.reduce(0) { $0 << 8 | Int(Self.byte(start, $1)) } }
        guard padded >= Self.leastPadded else { throw .invalidPadding }
        var length = integer(0..<2)
        if length == 0 {
            length = integer(2..<6)
            guard length > NIP44.maximumShortPlaintextLength else { throw .invalidPadding }
        }
        let prefix = NIP44.prefixLength(length)
        guard length <= NIP44.maximumPlaintextLength, padded == prefix + NIP44.paddedLength(length) else {
            throw .invalidPadding
        }
        return prefix..<(prefix + length)
    }

    private static func byte(_ bytes: RawSpan, _ index: Int) -> UInt8 {
        unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
    }
}
