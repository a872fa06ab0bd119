//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The help texts of the metrics.
enum MetricHelp {
    static let texts: [String: String] = [
        "nws_build_info": "Version and role of the process, as labels; always 1.",
        "nws_process_start_time_seconds": "Start time of the process in seconds since 1970.",
        "nws_client_connects_total": "Established connections to relays.",
        "nws_client_disconnects_total": "Ended connections to relays.",
        "nws_client_events_misdirected_total": "Events from relays that are not tunnel messages for a subscriber.",
        "nws_client_events_published_total": "Events sent to relays.",
        "nws_client_events_received_total": "Events received from relays.",
        "nws_client_messages_malformed_total": "Malformed relay messages.",
        "nws_client_notices_total": "NOTICE messages received from relays.",
        "nws_client_publishes_held_total": "Events not sent because the relay limits their rate.",
        "nws_client_publishes_rejected_total": "Published events that a relay rejected or had no subscriber for.",
        "nws_client_publishes_unanswered_total": "Published events for which a relay sent no OK in time.",
        "nws_entry_handshakes_failed_total": "Failed handshakes of proxy clients, by reason.",
        "nws_exit_streams_forbidden_total": "Streams refused by the access list or by the rules for destinations.",
        "nws_limits_reached_total": "How often a limit was reached, by limit.",
        "nws_relay_stun_requests_total": "STUN requests that were answered.",
        "nws_relay_authentications_total": "Successful authentications of clients (NIP-42).",
        "nws_relay_connections_total": "Accepted client connections.",
        "nws_relay_connections": "Open client connections.",
        "nws_relay_events_accepted_total": "Accepted events, without duplicates.",
        "nws_relay_events_delivered_total": "New events delivered, once for each matching subscription.",
        "nws_relay_messages_total": "Messages received from clients.",
        "nws_relay_received_bytes_total": "Bytes of messages received from clients.",
        "nws_relay_sent_bytes_total": "Bytes of messages sent to clients.",
        "nws_relay_rejections_total": "Rejected events and requests, by reason.",
        "nws_relay_slow_readers_disconnected_total": "Clients disconnected because they read too slowly.",
        "nws_tunnel_events_rejected_total":
            "Rejected events, frames with an identity and reverse connections, by reason.",
        "nws_tunnel_messages_reported_total": "Protocol anomalies, such as malformed or repeated messages, by kind.",
        "nws_tunnel_received_bytes_total": "Bytes of stream data received from peers.",
        "nws_tunnel_sent_bytes_total": "Bytes of stream data sent to peers.",
        "nws_tunnel_sessions": "Active sessions, including peers that use plain NIP-74.",
        "nws_tunnel_sessions_opened_total": "Established sessions.",
        "nws_tunnel_sessions_refused_total": "Refused sessions.",
        "nws_tunnel_streams": "Open streams.",
        "nws_tunnel_streams_ended_total": "Ended streams, by reason.",
        "nws_tunnel_streams_opened_total": "Opened streams; at an exit, including those that it then refused.",
        "nws_relay_path_up": "Whether the connection to the relay is up (1) or not (0).",
        "nws_relay_path_round_trip_seconds": "Lowest round-trip time of a session through the relay.",
        "nws_relay_path_lost_packets_ratio": "Fraction of the packets sent through the relay that were lost.",
    ]
}
