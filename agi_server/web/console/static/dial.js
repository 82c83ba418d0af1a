// How a call goes that was ordered by a click. The words come from the page's attributes.
"use strict";

(() => {
  const card = document.getElementById("dial");
  if (!card) return;
  const words = JSON.parse(card.dataset.words);
  const said = document.getElementById("said");
  const STATES = ["asked", "ringing-agent", "dialling", "ringing", "answered", "ended", "failed"]; // as they follow

  let source = null;

  function show(told) {
    if (told.id !== card.dataset.dial) return;
    // An answer may be older than an event that came while it was on its way.
    if (STATES.indexOf(told.state) < STATES.indexOf(card.dataset.state)) return;
    const failed = told.state === "failed";
    said.textContent = (failed && words.reason[told.reason]) || words.state[told.state] || told.state;
    said.className = failed ? "error" : "notice";
    card.dataset.state = told.state;
    const over = failed || told.state === "ended";
    document.getElementById("going").hidden = over;
    document.getElementById("again").hidden = !over;
    if (over) source.close();
  }

  async function ask() {
    try {
      const answer = await fetch(`/api/v1/dials/${encodeURIComponent(card.dataset.dial)}`);
      if (answer.ok) return show(await answer.json());
      if (answer.status < 500) return;
    } catch {
      // no connection
    }
    setTimeout(ask, 3000);
  }

  function connect() {
    source = new EventSource("/api/v1/events?types=call.progress");
    source.addEventListener("call.progress", (event) => show(JSON.parse(event.data).data));
    source.onopen = ask; // what happened before this stream began, or while it was broken
    source.addEventListener("gap", ask);
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 10000);
    };
  }

  connect();
})();
