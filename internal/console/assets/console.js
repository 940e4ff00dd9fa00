// What the pages do with scripts; without them, loading a page again does the same.
"use strict";

// relative says how far a time lies from now, as the server does.
function relative(time) {
  let seconds = (Date.now() - time) / 1000;
  const ahead = seconds < 0;
  seconds = Math.abs(seconds);
  if (seconds < 1) return "now";
  const text = seconds < 60 ? Math.floor(seconds) + " s"
    : seconds < 3600 ? Math.floor(seconds / 60) + " min"
    : seconds < 172800 ? Math.floor(seconds / 3600) + " h"
    : Math.floor(seconds / 86400) + " days";
  return ahead ? "in " + text : text + " ago";
}

function tick() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const text = relative(Date.parse(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
  }
}

// A form is sent once: the answer to a second press would replace that to the
// first, which may show what is shown once only.
addEventListener("submit", (event) => {
  const form = event.target;
  if (form.getAttribute("method")?.toLowerCase() !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// busy tells whether somebody is at work in an element, so that it must stay.
function busy(element) {
  const inside = element.contains(document.activeElement) && document.activeElement !== document.body;
  const chosen = document.getSelection();
  return inside || element.matches(":active") || element.querySelector("details[open]") || chosen && !chosen.isCollapsed && element.contains(chosen.anchorNode);
}

// Elements with data-live are brought up to date every so many milliseconds, for
// as long as the server gives them this attribute.
async function refresh() {
  const parts = [...document.querySelectorAll("[data-live]")];
  if (parts.length === 0) return;
  const wait = Math.min(...parts.map((part) => Number(part.dataset.live)));
  await new Promise((resolve) => setTimeout(resolve, wait));
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) return location.reload(); // the session has ended
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of parts) {
          const fresh = page.getElementById(part.id);
          if (fresh && part.isConnected && part.dataset.live && !busy(part)) part.replaceWith(document.adoptNode(fresh));
        }
        tick();
      }
    } catch { /* the server is away: try again */ }
  }
  refresh();
}

// Rows that a stream brings stand at the top; as many as on a page of the list
// and some more are kept.
function stream(body) {
  const state = document.getElementById("stream-state");
  const pause = document.getElementById("stream-pause");
  const most = 100;
  let source, last = "";
  const say = (text, on) => { state.textContent = text; state.classList.toggle("on", on); };
  const start = () => {
    const from = new URL(body.dataset.stream, location.href);
    if (last) from.searchParams.set("last", last);
    source = new EventSource(from);
    source.onopen = () => say("Live", true);
    source.onerror = () => say("Not connected, trying again", false);
    source.onmessage = (message) => {
      last = message.lastEventId;
      const holder = document.createElement("template");
      holder.innerHTML = message.data;
      const row = holder.content.firstElementChild;
      row.classList.add("fresh");
      body.prepend(row);
      while (body.rows.length > most) body.lastElementChild.remove();
      document.getElementById("event-table").hidden = false;
      document.getElementById("no-events")?.remove();
    };
    pause.textContent = "Pause";
  };
  pause.hidden = false;
  pause.addEventListener("click", () => {
    if (source) { source.close(); source = undefined; say("Paused", false); pause.textContent = "Go on"; } else start();
  });
  addEventListener("pagehide", () => source?.close());
  say("Connecting", false);
  start();
}

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}
const streamed = document.querySelector("[data-stream]");
if (streamed) stream(streamed);
setInterval(tick, 1000);
refresh();
