// My calls: who rings or was answered, as the events of one extension tell; Words puts it into the page.
"use strict";

(() => {
  const list = document.getElementById("pops");
  if (!list) return;
  const template = document.getElementById("pop");
  const state = document.getElementById("state");
  const news = document.getElementById("news");
  const ask = document.getElementById("notify");
  const { term, step } = Words.of(list);
  const { visible, put } = Words;
  const words = state.dataset;
  const mine = list.dataset.extension;
  const clock = new Intl.DateTimeFormat(list.dataset.locale, { timeStyle: "medium", timeZone: list.dataset.zone });
  const MOST = 10; // callers shown at once
  const SETTLES = 3000; // milliseconds until the journal has what an event told
  const TRIES = 3; // looks for a call that the journal has not yet
  let due = 0;
  let turn = 0;
  let refused = false;

  const rowOf = (id) => [...list.children].find((row) => row.dataset.call === id);
  const numberOf = (call) => call.number || (call.number_state === "anonymous" ? "" : call.number_sent);

  function link(row, name, address) {
    const place = row.querySelector(`[data-link="${name}"]`);
    place.hidden = !address;
    if (address) place.href = address;
  }

  // A line of `why` as it was a step of the trace: "match: exact (one contact)".
  function stepOf(line) {
    const found = /^(\w+): (\S+)(?: \((.*)\))?$/.exec(line);
    return step(found ? { stage: found[1], outcome: found[2], detail: found[3] || "" } : { stage: "", outcome: line, detail: "" });
  }

  function popped(call) {
    const before = rowOf(call.id);
    const row = before || template.content.firstElementChild.cloneNode(true);
    const name = (call.contact && call.contact.name) || call.display_name || numberOf(call) || words.withheld;
    row.dataset.call = call.id;
    row.classList.remove("over");
    put(row, "name", name);
    put(row, "number", numberOf(call));
    put(row, "company", call.contact ? call.contact.account : call.company);
    put(row, "did", call.did);
    put(row, "reason", term("reason", call.reason));
    put(row, "state", call.on === "answer" ? words.answered : words.ringing);
    const since = row.querySelector("time");
    since.dateTime = new Date(call.at * 1000).toISOString();
    since.textContent = clock.format(call.at * 1000);
    link(row, "record", /^https?:/.test(call.record_url) ? call.record_url : "");
    link(row, "contact", call.contact ? `/contacts/${call.contact.id}` : "");
    link(row, "call", `/calls/${encodeURIComponent(call.id)}`);
    row.querySelector(".trace").replaceChildren(...call.why.map(stepOf));
    if (!before) {
      row.classList.add("fresh");
      list.prepend(row);
      while (list.children.length > MOST) list.lastElementChild.remove();
    }
    const text = visible(`${row.querySelector('[data-slot="state"]').textContent}: ${name}`);
    news.textContent = text;
    if (document.hidden) notify(text, visible(numberOf(call)), call.id);
    settle(call.id);
  }

  function notify(text, body, tag) {
    if (!window.Notification || Notification.permission !== "granted") return;
    try {
      const notification = new Notification(text, { body, tag });
      notification.onclick = () => {
        window.focus();
        notification.close();
      };
    } catch {
      // browsers of telephones know it and forbid it
    }
  }

  function answered(call) {
    const row = rowOf(call.id);
    if (!row) return;
    const elsewhere = call.answered_by && call.answered_by !== mine;
    put(row, "state", elsewhere ? words.answeredBy.replace("%s", call.answered_by) : words.answered);
    row.classList.toggle("over", Boolean(elsewhere));
    settle(call.id);
  }

  function ended(call) {
    const row = rowOf(call.id);
    if (row) {
      put(row, "state", call.answered ? words.ended : words.missed);
      row.classList.add("over");
    }
    if (row || call.extension === mine || call.answered_by === mine) settle(call.id);
  }

  // Has the server show the lists anew, once what happened is written: again where a call is not in them yet.
  function settle(id = "", tries = TRIES) {
    clearTimeout(due);
    due = setTimeout(async () => {
      const now = ++turn;
      const fresh = await lists();
      if (now !== turn) return; // a later one has been asked for
      const shown = document.getElementById("lists");
      const busy = shown.contains(document.activeElement);
      const missing = !fresh || (id && !fresh.querySelector(`a[href="/calls/${encodeURIComponent(id)}"]`));
      if (fresh && !busy) shown.replaceWith(document.adoptNode(fresh));
      if (tries > 1 && (busy || missing)) settle(id, tries - 1);
    }, SETTLES);
  }

  async function lists() {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("lists") : null;
    } catch {
      return null;
    }
  }

  function show(name) {
    state.className = `state ${name}`;
    state.textContent = words[name];
  }

  function connect() {
    const source = new EventSource(
      `/api/v1/events?types=screen.pop,call.answered,call.ended,reminder.missed_call&since=${list.dataset.since}`,
    );
    source.onopen = () => (refused ? location.reload() : show("on")); // with what came meanwhile
    source.onerror = () => {
      show("lost");
      if (source.readyState === EventSource.CLOSED) {
        refused = true; // the log-in has ended, or the server is not there yet
        setTimeout(connect, 10000);
      }
    };
    const on = (type, what) =>
      source.addEventListener(type, (event) => {
        const told = JSON.parse(event.data);
        if (!told.extension || told.extension === mine) what(told.data);
      });
    on("screen.pop", popped);
    on("call.answered", answered);
    on("call.ended", ended);
    on("reminder.missed_call", () => settle());
    source.addEventListener("gap", () => location.reload()); // some are missing: the server knows them
  }

  if (window.Notification && Notification.permission === "default") {
    ask.hidden = false;
    ask.addEventListener("click", async () => {
      ask.hidden = (await Notification.requestPermission()) !== "default";
    });
  }
  document.getElementById("refresh").hidden = true;
  connect();
})();
