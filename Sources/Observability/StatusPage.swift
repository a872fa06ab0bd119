//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The HTML page that shows a node's status. It loads no resources from other servers.
enum StatusPage {
    static let html = """
        <!doctype html>
        <html lang="en">
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>nws</title>
        <link rel="icon" href="data:,">
        <link rel="stylesheet" href="/status.css">
        <main>
          <header>
            <h1>nws <span id="role"></span></h1>
            <p id="state" role="status"><span class="dot"></span><b></b><span class="soft"></span></p>
          </header>
          <p class="name"><code id="name"></code> <button type="button" id="copy-name">Copy</button></p>
          <section class="tiles">
            <div><span>Received</span><b id="received-rate">–</b><i id="received">&nbsp;</i></div>
            <div><span>Sent</span><b id="sent-rate">–</b><i id="sent">&nbsp;</i></div>
            <div id="streams-tile"><span>Streams</span><b id="streams">–</b><i>open</i></div>
            <div><span id="sessions-label">Sessions</span><b id="sessions">–</b><i>active</i></div>
          </section>
          <section id="plot-section">
            <h2>Throughput <span class="soft">last 5 minutes</span></h2>
            <div class="plot">
              <svg id="plot" viewBox="0 0 600 160" preserveAspectRatio="none" role="img" aria-label="Bytes received and sent per second">
                <g class="grid"><line x1="0" y1="53" x2="600" y2="53"/><line x1="0" y1="106" x2="600" y2="106"/></g>
                <path id="received-area" class="received"/><path id="sent-line" class="sent"/>
              </svg>
              <span id="scale"></span>
              <p class="axis" aria-hidden="true"><span>5 min ago</span><span>4</span><span>3</span><span>2</span><span>1</span><span>now</span></p>
            </div>
            <p class="legend"><span class="received">received</span><span class="sent">sent</span></p>
          </section>
          <section id="services-section">
            <h2>Services</h2>
            <table><thead><tr><th>Port</th><th>Service</th><th>Address for clients</th></tr></thead><tbody id="services"></tbody></table>
          </section>
          <section id="work-section">
            <h2>Events</h2>
            <table><thead><tr><th>Events and subscriptions</th><th class="n">Count</th></tr></thead><tbody id="work"></tbody></table>
          </section>
          <section id="relays-section">
            <h2>Relays</h2>
            <table><thead><tr><th>Relay</th><th>State</th><th class="n">Round trip</th><th class="n">Loss</th><th class="n">Rate</th><th class="n">Sessions</th></tr></thead><tbody id="relays"></tbody></table>
          </section>
          <section id="sessions-section">
            <h2>Sessions</h2>
            <table><thead><tr><th>Peer</th><th>Protocol</th><th class="n">Streams</th><th class="n">Age</th></tr></thead><tbody id="peers"></tbody></table>
            <p class="soft" id="more"></p>
          </section>
          <section>
            <h2>Recent problems</h2>
            <ul id="problems"></ul>
          </section>
          <footer class="soft"><span id="version"></span> <a href="/metrics">metrics</a></footer>
        </main>
        <script src="/status.js"></script>
        </html>

        """

    static let style = """
        :root { color-scheme: light dark; --ink: #1b1c22; --soft: #5d6070; --paper: #fbfaf7; --card: #fff; --line: #dcd9d0; --good: #2f7d4f; --bad: #b3342d; --in: #6a3fc4; --out: #b8741a }
        @media (prefers-color-scheme: dark) { :root { --ink: #ecebf2; --soft: #a3a5b5; --paper: #16161c; --card: #1d1d25; --line: #34343f; --good: #7fce9c; --bad: #ff8f87; --in: #b497f2; --out: #eab25e } }
        * { box-sizing: border-box }
        body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums }
        main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 3rem }
        header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; justify-content: space-between }
        h1 { font-size: 1.7rem; margin: 0; letter-spacing: -.01em } h1 span { color: var(--soft); font-weight: 400 }
        h2 { font-size: 1.05rem; margin: 2rem 0 .6rem } h2 .soft { font-weight: 400; font-size: .9rem }
        p { margin: 0 } .soft { color: var(--soft) } a { color: inherit }
        #state { display: flex; align-items: center; gap: .5rem } .dot { width: .7rem; height: .7rem; border-radius: 50%; background: var(--soft) }
        .good .dot { background: var(--good) } .bad .dot { background: var(--bad) }
        .name { margin: .4rem 0 1.4rem } code { font: .8rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; color: var(--soft) }
        .tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: .75rem }
        .tiles div, .plot, table, #problems { background: var(--card); border: 1px solid var(--line); border-radius: .7rem }
        .tiles div { padding: .8rem 1rem } .tiles span, .tiles i { display: block; color: var(--soft); font-size: .85rem; font-style: normal }
        .tiles b { display: block; font-size: 1.5rem; font-weight: 600; white-space: nowrap }
        .plot { position: relative; padding: .5rem } svg { display: block; width: 100%; height: 10rem }
        .grid line { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; stroke-dasharray: 3 4 }
        path.received { fill: color-mix(in srgb, var(--in) 22%, transparent); stroke: var(--in); stroke-width: 1.6; vector-effect: non-scaling-stroke }
        path.sent { fill: none; stroke: var(--out); stroke-width: 1.6; vector-effect: non-scaling-stroke }
        button { font: inherit; font-size: .78rem; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .05rem .5rem; cursor: pointer } button:hover { border-color: var(--soft) }
        .axis { display: flex; justify-content: space-between; font-size: .75rem; color: var(--soft); padding: .2rem 0 0 }
        #scale { position: absolute; top: .5rem; left: .8rem; font-size: .8rem; color: var(--soft) }
        .legend { display: flex; gap: 1.25rem; margin-top: .4rem; font-size: .85rem; color: var(--soft) }
        .legend span::before { content: ""; display: inline-block; width: .7rem; height: .7rem; border-radius: .2rem; margin-right: .4rem; vertical-align: -1px }
        .legend .received::before { background: var(--in) } .legend .sent::before { background: var(--out) }
        table { width: 100%; border-spacing: 0; border-collapse: separate; overflow: hidden }
        th, td { text-align: left; padding: .5rem .9rem; font-size: .92rem; vertical-align: top } th { color: var(--soft); font-weight: 500; font-size: .8rem }
        td { border-top: 1px solid var(--line); overflow-wrap: anywhere } .n { text-align: right; white-space: nowrap }
        #services td:nth-child(-n+2) { white-space: nowrap } .address { font: .8rem/1.5 ui-monospace, monospace; color: var(--soft) } .address button { font: .78rem system-ui, sans-serif; color: var(--ink) }
        .up { color: var(--good) } .down { color: var(--bad) } small { display: block; color: var(--soft) } .empty { color: var(--soft) }
        #problems { list-style: none; margin: 0; padding: .3rem 0 } #problems li { padding: .35rem .9rem; font-size: .9rem; overflow-wrap: anywhere }
        #problems time { color: var(--soft); margin-right: .6rem } footer { margin-top: 2rem; font-size: .85rem; display: flex; gap: 1rem }
        [hidden] { display: none }
        @media (max-width: 40rem) {
          main { padding: 1.25rem .9rem 2rem } .tiles { grid-template-columns: repeat(2, 1fr) } .tiles b { font-size: 1.25rem } svg { height: 8rem }
          thead { display: none } tr { display: grid; grid-template-columns: 1fr auto; padding: .5rem .9rem; border-top: 1px solid var(--line); gap: .1rem .8rem } tbody tr:first-child { border-top: 0 }
          td { border: 0; padding: 0 } td:first-child { grid-column: 1 / -1; font-weight: 600 } td.n { text-align: left } td[data-label]::before { content: attr(data-label) " "; color: var(--soft); font-size: .85rem }
        }

        """

    static let script = #"""
        "use strict";
        const $ = id => document.getElementById(id);
        const token = new URLSearchParams(location.search).get("token");
        if (token) document.querySelector("footer a").search = location.search;
        const options = token ? { headers: { Authorization: "Bearer " + token } } : {};
        const units = ["B", "kB", "MB", "GB", "TB"];
        function bytes(n) {
          let i = 0;
          while (n >= 999.5 && i < units.length - 1) { n /= 1000; i++ }
          return (i && n < 99.95 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
        }
        function span(s) {
          if (s < 60) return Math.floor(s) + " s";
          if (s < 3600) return Math.floor(s / 60) + " min";
          if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
          return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
        }
        function cell(text, name, label) {
          const td = document.createElement("td");
          td.textContent = text;
          if (name) td.className = name;
          if (label) td.dataset.label = label;
          return td;
        }
        function rows(id, list, make, empty, columns) {
          const body = $(id);
          body.replaceChildren(...list.map(item => {
            const tr = document.createElement("tr");
            tr.append(...make(item));
            return tr;
          }));
          if (!list.length) {
            const tr = document.createElement("tr"), td = cell(empty, "empty");
            td.colSpan = columns;
            tr.append(td);
            body.append(tr);
          }
        }
        function copyButton(button, text) {
          button.onclick = async () => {
            try { await navigator.clipboard.writeText(text()); button.textContent = "Copied" }
            catch { button.textContent = "Select and copy by hand" }
            setTimeout(() => { button.textContent = "Copy" }, 1500);
          };
          return button;
        }
        // Keys and the labels of names are too long to read. The title shows the whole text, and Copy copies it.
        function short(text) {
          return text.replace(/[a-z0-9]{24,}/gi, word => word.slice(0, 9) + "…" + word.slice(-4));
        }
        function shorten(element, text) {
          element.textContent = short(text);
          if (element.textContent !== text) element.title = text;
          return element;
        }
        copyButton($("copy-name"), () => $("name").title || $("name").textContent);
        // Rows with buttons are replaced only when they change, so that a click is not lost.
        let shownServices = "";
        function services(report) {
          const key = JSON.stringify([report.name, report.services]);
          if (key === shownServices) return;
          shownServices = key;
          rows("services", report.services, service => {
            const address = report.name + (service.port == null ? "" : ":" + service.port);
            const last = shorten(cell("", "address"), address);
            if (service.port != null) last.append(" ", copyButton(Object.assign(document.createElement("button"), { type: "button", textContent: "Copy" }), () => address));
            return [cell(service.port ?? "other ports"), cell(service.target), last];
          }, "No services.", 3);
        }
        // One point per second. The newest is at the right edge.
        function points(rates, most) {
          const count = 300, start = count - rates.length;
          return rates.map((rate, i) => [(start + i) * 600 / (count - 1), 158 - rate / most * 148]);
        }
        function line(list) { return list.map(([x, y], i) => (i ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("") }
        function plot(report) {
          const most = Math.max(1000, ...report.receivedRates, ...report.sentRates);
          const received = points(report.receivedRates, most), sent = points(report.sentRates, most);
          $("received-area").setAttribute("d", received.length ? line(received) + "L600 158L" + received[0][0].toFixed(1) + " 158Z" : "");
          $("sent-line").setAttribute("d", line(sent));
          $("scale").textContent = bytes(most) + "/s";
        }
        function peer(session) {
          if (!session.device) return shorten(cell(""), session.peer);
          const td = cell(session.device);
          td.append(shorten(document.createElement("small"), session.peer));
          return td;
        }
        function way(session) {
          const td = cell(session.protocol);
          const direct = session.direct;
          const text = direct ? ["direct: " + direct.address,
              direct.roundTrip == null ? null : "round trip " + direct.roundTrip.toFixed(direct.roundTrip < 10 ? 1 : 0) + " ms",
              direct.loss == null ? null : "lost " + (direct.loss * 100).toFixed(1) + " %",
              direct.rate == null ? null : bytes(direct.rate) + "/s"].filter(part => part).join(", ")
            : session.reasonForRelays ? "through relays: " + session.reasonForRelays : null;
          if (text) td.append(Object.assign(document.createElement("small"), { textContent: text }));
          return td;
        }
        function state(kind, word, more) {
          const p = $("state");
          p.className = kind;
          p.querySelector("b").textContent = word;
          p.querySelector(".soft").textContent = more;
        }
        function show(report) {
          const isRelay = report.role === "relay";
          document.title = "nws " + report.role;
          $("role").textContent = report.role;
          if ($("name").dataset.whole !== report.name) {
            $("name").dataset.whole = report.name;
            shorten($("name"), report.name);
          }
          const age = Date.now() / 1000 - report.startedAt;
          state(report.isReady ? "good" : "bad", report.isReady ? "ready" : "not ready", "uptime " + span(age));
          $("received-rate").textContent = bytes(report.receivedRates.at(-1) ?? 0) + "/s";
          $("sent-rate").textContent = bytes(report.sentRates.at(-1) ?? 0) + "/s";
          $("received").textContent = bytes(report.receivedBytes) + " total";
          $("sent").textContent = bytes(report.sentBytes) + " total";
          $("streams").textContent = report.streams;
          $("sessions").textContent = isRelay ? report.connections ?? 0 : report.sessions.length + report.moreSessions;
          $("sessions-label").textContent = isRelay ? "Connections" : "Sessions";
          for (const id of ["streams-tile", "relays-section", "sessions-section"]) $(id).hidden = isRelay;
          $("services-section").hidden = !report.services.length;
          $("copy-name").hidden = !report.name;
          services(report);
          $("work-section").hidden = !report.work;
          if (report.work) {
            const rejections = Object.entries(report.work.rejections).sort((a, b) => b[1] - a[1]).map(([reason, count]) => ["rejected: " + reason.replaceAll("_", " "), count]);
            rows("work", [["accepted", report.work.accepted], ["delivered", report.work.delivered], ["open subscriptions", report.work.subscriptions], ["stored", report.work.stored], ...rejections],
              ([what, count]) => [cell(what), cell(count.toLocaleString(), "n")], "", 2);
          }
          plot(report);
          rows("relays", report.relays, relay => {
            const first = cell(relay.url);
            if (!relay.isUp && relay.error) first.append(Object.assign(document.createElement("small"), { textContent: relay.error }));
            if (relay.isUp && relay.limitedRate != null) first.append(Object.assign(document.createElement("small"), { textContent:
              "limits the rate of events, to about " + (relay.limitedRate < 1 ? (relay.limitedRate * 60).toFixed(1) + " a minute" : relay.limitedRate.toFixed(1) + " a second") }));
            return [first, cell(relay.isUp ? "up" : "down", relay.isUp ? "up" : "down"),
              cell(relay.roundTrip == null ? "–" : relay.roundTrip.toFixed(relay.roundTrip < 10 ? 1 : 0) + " ms", "n", "round trip"),
              cell(relay.loss == null ? "–" : (relay.loss * 100).toFixed(relay.loss < .1 ? 1 : 0) + " %", "n", "loss"),
              cell(relay.rate == null ? "–" : bytes(relay.rate) + "/s", "n", "rate"),
              cell(relay.sessions, "n", "sessions")];
          }, "No relays in use.", 6);
          rows("peers", report.sessions, session => [peer(session), way(session), cell(session.streams, "n", "streams"), cell(span(session.age), "n", "age")], "No active sessions.", 4);
          $("more").textContent = report.moreSessions ? "and " + report.moreSessions + " more" : "";
          const problems = $("problems");
          problems.replaceChildren(...[...report.problems].reverse().map(problem => {
            const li = document.createElement("li"), time = document.createElement("time");
            time.textContent = new Date(problem.time * 1000).toLocaleTimeString();
            li.append(time, problem.text[0].toUpperCase() + problem.text.slice(1));
            if (problem.count > 1) li.append(Object.assign(document.createElement("span"), { className: "soft", textContent: " (" + problem.count + " times)" }));
            // What to do comes first.
            const { remedy, ...details } = problem.details ?? {};
            if (remedy) li.append(Object.assign(document.createElement("small"), { textContent: remedy[0].toUpperCase() + remedy.slice(1) }));
            const rest = Object.entries(details).sort().map(([name, value]) => name + ": " + value).join(", ");
            if (rest) li.append(shorten(Object.assign(document.createElement("small"), { className: "soft" }), rest));
            return li;
          }));
          if (!report.problems.length) problems.append(Object.assign(document.createElement("li"), { className: "empty", textContent: "No problems so far." }));
          $("version").textContent = "nws " + report.version;
        }
        async function refresh() {
          try {
            const answer = await fetch("/status.json", options);
            if (!answer.ok) throw new Error(answer.status === 401 ? "token required: add ?token=TOKEN to the URL" : "the server answered HTTP " + answer.status);
            show(await answer.json());
          } catch (error) {
            state("bad", "no data", error instanceof TypeError ? "cannot connect to nws; retrying" : error.message);
          }
          setTimeout(refresh, 1000);
        }
        refresh();

        """#
}
