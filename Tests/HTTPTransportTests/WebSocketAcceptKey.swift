//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto
import Foundation

/// Computes the `Sec-WebSocket-Accept` header for a client's key (RFC 6455, section 4.2.2), for scripted servers.
enum WebSocketAcceptKey {
    static func answer(to key: String) -> String {
        let text = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        return Data(Insecure.SHA1.hash(data: Data(text.utf8))).base64EncodedString()
    }
}
