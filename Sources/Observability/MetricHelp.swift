//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What each metric means, for people who read the text.
enum MetricHelp {
    static let texts: [String: String] = [
        "nws_build_info": "The version that runs; always 1.",
        "nws_process_start_time_seconds": "When the process started, in seconds since 1970.",
        "nws_client_connects_total": "Connections to relays that were made.",
        "nws_client_disconnects_total": "Connections to relays that ended.",
        "nws_client_events_misdirected_total": "Events that a relay delivered without a subscription for them.",
        "nws_client_events_published_total": "Events sent to relays.",
        "nws_client_events_received_total": "Events that relays delivered.",
        "nws_client_messages_malformed_total": "Messages of relays that are none.",
        "nws_client_notices_total": "NOTICE messages of relays.",
        "nws_client_publishes_rejected_total": "Events that a relay refused.",
        "nws_client_publishes_unanswered_total": "Events that a relay did not answer in time.",
        "nws_entry_handshakes_failed_total": "Clients of the proxy that were turned away, by reason.",
        "nws_exit_streams_forbidden_total": "Streams refused because of who asked.",
        "nws_limits_reached_total": "How often a limit turned somebody away, by limit.",
        "nws_relay_authentications_total": "Clients that authenticated (NIP-42).",
        "nws_relay_connections_total": "Connections that were accepted.",
        "nws_relay_connections": "Connections that are open.",
        "nws_relay_events_accepted_total": "Events that were taken.",
        "nws_relay_events_delivered_total": "Events handed to subscribers.",
        "nws_relay_messages_total": "Messages of clients.",
        "nws_relay_received_bytes_total": "Bytes of messages of clients.",
        "nws_relay_sent_bytes_total": "Bytes of messages to clients.",
        "nws_relay_rejections_total": "What was refused, by reason.",
        "nws_relay_slow_readers_disconnected_total": "Clients that read too slowly.",
        "nws_tunnel_events_rejected_total": "Events dropped before their content was looked at, by reason.",
        "nws_tunnel_messages_reported_total": "Messages dropped or noted by the protocol, by kind.",
        "nws_tunnel_received_bytes_total": "Bytes of streams that came from the other side.",
        "nws_tunnel_sent_bytes_total": "Bytes of streams that went to the other side.",
        "nws_tunnel_sessions": "Sessions under way.",
        "nws_tunnel_sessions_opened_total": "Sessions that began.",
        "nws_tunnel_sessions_refused_total": "Sessions that were refused.",
        "nws_tunnel_streams": "Streams that are open.",
        "nws_tunnel_streams_ended_total": "Streams that ended, by reason.",
        "nws_tunnel_streams_opened_total": "Streams that were opened.",
        "nws_relay_path_up": "Whether a relay is connected (1) or not (0).",
        "nws_relay_path_round_trip_seconds": "Fastest round trip of a session through a relay.",
        "nws_relay_path_lost_packets_ratio": "Share of packets through a relay that were lost.",
    ]
}
