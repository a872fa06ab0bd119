//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CSecp256k1

/// The one libsecp256k1 context of the process, randomised once at creation.
///
/// The library allows concurrent use of a context by functions that take it as constant, which are all that this
/// module calls after `init`.
@safe
final class Secp256k1Context: @unchecked Sendable {
    static let shared = Secp256k1Context()

    let pointer: OpaquePointer

    private init() {
        // Creation fails only when memory is exhausted, where nothing can go on.
        guard let context = unsafe secp256k1_context_create(UInt32(SECP256K1_CONTEXT_NONE)) else {
            preconditionFailure("secp256k1_context_create returned no context")
        }
        let seed = Bytes32.random().bytes
        let randomized = unsafe secp256k1_context_randomize(context, seed)
        precondition(randomized == 1, "secp256k1_context_randomize failed")
        unsafe self.pointer = context
    }
}
