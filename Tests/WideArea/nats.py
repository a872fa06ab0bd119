# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Hosts behind NATs and firewalls: namespaces between a host and the network, with rules of nftables."""

import subprocess

from network import Network

ESTABLISHED = "ct state established,related accept"
KINDS = ("open", "restricted", "symmetric", "mapped", "router", "blocked", "firewall6")
"""open: no NAT. restricted: one mapping for all destinations, and only answers come in. symmetric: another port for each
destination. mapped: as restricted, but UDP port 4433 leads to the host. router: as symmetric, and
maps ports for hosts that ask (miniupnpd). blocked: as restricted, without UDP.
firewall6: no NAT, no UDP over IPv4, and only answers come in over IPv6."""
MAPPED_PORT = 4433
ROUTER_TABLE = """
    table inet miniupnpd {
        chain forward { type filter hook forward priority filter; policy accept; jump miniupnpd
        }
        chain before { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd
        }
        chain after { type nat hook postrouting priority srcnat; jump postrouting_miniupnpd
        }
        chain miniupnpd {
        }
        chain prerouting_miniupnpd {
        }
        chain postrouting_miniupnpd {
        }
    }"""


def run(host, *command, text=None):
    subprocess.run(
        ["ip", "netns", "exec", f"wan-{host}", *command], check=True, capture_output=True, input=text, text=True
    )


class NatNetwork(Network):
    """A relay, and the hosts "exit" and "entry", each behind a NAT of some kind, or both in one network behind one."""

    def __init__(self, exit, entry, link="delay=10", relays=("relay",), shared=False, **options):
        self._kinds = {"exit": exit, "entry": entry}
        self._shared = shared
        self._inner = []
        hosts = {relay: link for relay in relays}
        for host, kind in self._kinds.items():
            if not (shared and host == "entry"):
                hosts[host if kind in ("open", "firewall6") else f"{host}nat"] = link
        super().__init__(hosts, **options)

    def __enter__(self):
        super().__enter__()
        try:
            for number, (host, kind) in enumerate(self._kinds.items(), 1):
                if kind == "firewall6":
                    run(host, "nft", "-f", "-", text=self._firewall())
                elif kind != "open":
                    self._place(host, "exitnat" if self._shared else f"{host}nat", 1 if self._shared else number)
            for host, kind in self._kinds.items():
                if kind not in ("open", "firewall6") and not (self._shared and host == "entry"):
                    self.set_rules(host, kind)
                if kind == "router":
                    self._map_on_request(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        for host in self._inner:
            subprocess.run(["ip", "netns", "delete", f"wan-{host}"], check=False)

    def _place(self, host, gateway, number):
        """Makes a host in the network 192.168.NUMBER.0/24 behind a gateway."""
        subprocess.run(["ip", "netns", "add", f"wan-{host}"], check=True)
        self._inner.append(host)
        last = 2 if host == "exit" else 3
        run(host, "ip", "link", "set", "lo", "up")
        run(gateway, "ip", "link", "add", f"to-{host}", "type", "veth", "peer", "eth0", "netns", f"wan-{host}")
        # A bridge, because two hosts may be in the network.
        subprocess.run(["ip", "-n", f"wan-{gateway}", "link", "add", "lan", "type", "bridge"], capture_output=True)
        run(gateway, "ip", "link", "set", f"to-{host}", "master", "lan", "up")
        run(gateway, "ip", "address", "replace", f"192.168.{number}.1/24", "dev", "lan")
        run(gateway, "ip", "link", "set", "lan", "up")
        run(gateway, "sysctl", "-q", "net.ipv4.ip_forward=1")
        run(host, "ip", "address", "add", f"192.168.{number}.{last}/24", "dev", "eth0")
        run(host, "ip", "link", "set", "eth0", "up")
        run(host, "ip", "route", "add", "default", "via", f"192.168.{number}.1")

    def _map_on_request(self, host):
        """Starts a router daemon. It needs a public address, so that each gateway has one of 11.77.0.0/16, too."""
        for gateway in self._hosts:
            address = self.address(gateway).replace("10.", "11.", 1)
            run(gateway, "ip", "address", "add", f"{address}/16", "dev", "wan0")
        outer = self.address(f"{host}nat").replace("10.", "11.", 1)
        run(f"{host}nat", "nft", "-f", "-", text=ROUTER_TABLE)
        settings = self.folder / "miniupnpd.conf"
        settings.write_text(
            f"ext_ifname=wan0\next_ip={outer}\nlistening_ip=lan\nenable_natpmp=yes\nenable_upnp=no\nport=0\n"
            "upnp_table_name=miniupnpd\nupnp_nat_table_name=miniupnpd\nupnp_forward_chain=miniupnpd\n"
            "upnp_nat_chain=prerouting_miniupnpd\nupnp_nat_postrouting_chain=postrouting_miniupnpd\n"
            "uuid=00000000-0000-0000-0000-000000000000\nallow 1-65535 192.168.0.0/16 1-65535\n"
        )
        log = open(self.folder / "miniupnpd.log", "wb")
        self.start(
            f"{host}nat", "/usr/sbin/miniupnpd", "-d", "-f", settings, "-P", self.folder / "miniupnpd.pid",
            stdout=log, stderr=log,
        )  # fmt: skip

    def set_rules(self, host, kind, ports=None, cut=False):
        """Replaces the rules of a host's gateway. `ports` is the range of outer ports, `cut` drops all UDP."""
        masquerade = "masquerade fully-random" if kind in ("symmetric", "router") else "masquerade"
        if ports:
            masquerade = f"meta l4proto udp masquerade to :{ports}; masquerade"
        rules = [masquerade_rule.strip() for masquerade_rule in masquerade.split(";")]
        inner = "192.168.1.2" if host == "exit" else "192.168.2.3"
        mapping = f"iifname wan0 udp dport {MAPPED_PORT} dnat to {inner}" if kind == "mapped" else ""
        blocked = "meta l4proto udp drop" if cut or kind == "blocked" else ""
        out = "\n".join(f"oifname wan0 {rule}" for rule in rules)
        text = f"""
            flush ruleset
            table ip gateway {{
                chain out {{ type nat hook postrouting priority srcnat; {out}
                }}
                chain in {{ type nat hook prerouting priority dstnat; {mapping}
                }}
                chain across {{ type filter hook forward priority filter; policy drop; {blocked}
                    {ESTABLISHED}
                    ct status dnat accept
                    iifname lan accept
                }}
                chain own {{ type filter hook input priority filter; policy drop; {ESTABLISHED}
                    iifname lan accept
                }}
            }}"""
        run(f"{host}nat", "nft", "-f", "-", text=text)

    def rebind(self, host, ports):
        """Makes a host's NAT forget its mappings of UDP. New ones have other ports, from a range such as 20000-20999."""
        self.set_rules(host, "restricted", ports)
        subprocess.run(
            ["ip", "netns", "exec", f"wan-{host}nat", "conntrack", "-D", "-p", "udp"], capture_output=True, check=False
        )

    def set_lifetime(self, host, seconds):
        """Sets after how many seconds a host's NAT forgets a mapping of UDP that is not used."""
        for name in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
            run(f"{host}nat", "sysctl", "-q", f"net.netfilter.{name}={seconds}")

    @staticmethod
    def _firewall():
        return f"""
            flush ruleset
            table inet firewall {{
                chain own {{ type filter hook input priority filter; policy drop; {ESTABLISHED}
                    iifname lo accept
                    meta l4proto {{ icmp, ipv6-icmp }} accept
                }}
                chain out {{ type filter hook output priority filter; meta nfproto ipv4 meta l4proto udp oifname wan0 drop
                }}
            }}"""
