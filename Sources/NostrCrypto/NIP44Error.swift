//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why a NIP-44 payload was not sealed or opened.
public enum NIP44Error: Error, Hashable, Sendable {
    /// The plaintext is empty or longer than ``NIP44/maximumPlaintextLength``.
    case plaintextLength
    /// The payload starts with `#` or with a version byte other than 2.
    case unsupportedVersion
    /// The payload is shorter than any, or longer than ``NIP44/maximumPayloadLength``.
    case payloadLength
    /// The payload is not padded base64.
    case invalidBase64
    /// The message authentication code does not match: another key, or tampering.
    case invalidMAC
    /// The length prefix and the padded length do not belong together.
    case invalidPadding
    /// The cipher refused; not reachable with the key lengths used here.
    case cipherFailed
}
