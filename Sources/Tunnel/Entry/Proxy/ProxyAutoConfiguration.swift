//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// The proxy auto-configuration script (PAC), with which a browser uses the entry only for `.nostr` names, npubs and
/// nprofiles.
package enum ProxyAutoConfiguration {
    /// - Parameter proxy: `HOST:PORT` of the entry, as the browser reaches it.
    package static func script(proxy: String) -> String {
        """
        // .nostr names use the entry at \(proxy); everything else connects directly.
        function FindProxyForURL(url, host) {
          host = host.toLowerCase();
          if (dnsDomainIs(host, ".nostr") || dnsDomainIs(host, ".nostr.") || host.indexOf(".") < 0 && (shExpMatch(host, "npub1*") || shExpMatch(host, "nprofile1*")))
            return "PROXY \(proxy); SOCKS5 \(proxy)";
          return "DIRECT";
        }

        """
    }

    /// The address by which the client of a request reaches this server: the Host field if it contains only an address,
    /// or else the local address of the connection.
    static func address(_ host: String?, _ local: SocketAddress?) -> String {
        let allowed = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]")
        if let host, !host.isEmpty, host.utf8.count <= 255, host.allSatisfy(allowed.contains) { return host }
        return TargetAddress.text(host: local?.ipAddress ?? "127.0.0.1", port: local?.port ?? 0)
    }
}
