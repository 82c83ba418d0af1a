// Live calls: shows events as they come; Words puts them into the page.
"use strict";

(() => {
  const list = document.getElementById("live");
  if (!list) return;
  const template = document.getElementById("call");
  const state = document.getElementById("state");
  const news = document.getElementById("news");
  const none = document.getElementById("none");
  const { term, step } = Words.of(list);
  const { visible, put } = Words;
  const words = state.dataset;
  const most = Number(list.dataset.most);
  const clock = new Intl.DateTimeFormat(list.dataset.locale, { timeStyle: "medium", timeZone: list.dataset.zone });
  let source = null;
  let refused = false;
  let waiting = 0; // announcements are gathered, so that a busy hour does not talk without a pause
  let announced = "";

  function rowOf(id) {
    return [...list.children].find((row) => row.dataset.call === id);
  }

  function decided(call) {
    if (rowOf(call.id)) return;
    const row = template.content.firstElementChild.cloneNode(true);
    const number = call.number || (call.number_state === "anonymous" ? "" : call.number_sent);
    row.dataset.call = call.id;
    row.classList.add(call.verdict, "fresh");
    put(row, "name", call.display_name || number || words.withheld);
    put(row, "number", number || words.withheld);
    put(row, "contact", call.contact ? call.contact.name : call.company);
    put(row, "did", call.did);
    put(row, "reason", term("reason", call.reason));
    put(row, "agent", call.agent ? `${call.agent.name} (${call.agent.extension})` : call.route);
    put(row, "verdict", term("verdict", call.verdict));
    row.querySelector('[data-slot="verdict"]').classList.add(call.verdict === "block" ? "bad" : "ok");
    put(row, "direction", term("direction", call.direction));
    const since = row.querySelector("time");
    since.dateTime = new Date(call.at * 1000).toISOString();
    since.textContent = clock.format(call.at * 1000);
    row.querySelector(".trace").replaceChildren(...call.trace.map(step));
    for (const link of row.querySelectorAll("[data-page]")) {
      link.href = `/calls/${encodeURIComponent(call.id)}${link.dataset.page}`;
    }
    for (const form of row.querySelectorAll("form[data-page]")) {
      form.setAttribute("action", `/calls/${encodeURIComponent(call.id)}${form.dataset.page}`);
      form.hidden = !number || call.direction !== "inbound" || call.verdict === "block";
    }
    list.prepend(row);
    if (call.verdict === "block" || call.direction !== "inbound") over(row, "");
    while (list.children.length > most && !list.lastElementChild.contains(document.activeElement)) {
      list.lastElementChild.remove();
    }
    if (none) none.hidden = true;
    announce(`${call.display_name || number || words.withheld}: ${term("verdict", call.verdict)}`);
  }

  function over(row, text) {
    if (text) put(row, "state", text);
    if (row.classList.contains("over")) return;
    row.classList.add("over");
    const first = list.querySelector(":scope > .over:not([data-call='" + CSS.escape(row.dataset.call) + "'])");
    if (!row.contains(document.activeElement)) list.insertBefore(row, first);
  }

  function answered(call) {
    const row = rowOf(call.id);
    if (row) put(row, "state", call.answered_by ? words.answeredBy.replace("%s", call.answered_by) : words.answered);
  }

  function ended(call) {
    const row = rowOf(call.id);
    if (row) over(row, call.answered ? words.ended : term("disposition", call.disposition.toLowerCase()) || words.ended);
  }

  function announce(text) {
    announced = text;
    if (waiting) return;
    waiting = setTimeout(() => {
      news.textContent = visible(announced);
      waiting = 0;
    }, 1500);
  }

  function show(name) {
    state.className = `state ${name}`;
    state.textContent = words[name];
  }

  function connect() {
    if (source) return;
    source = new EventSource(`/api/v1/events?types=decision,call.answered,call.ended&since=${list.dataset.since}`);
    source.onopen = () => (refused ? location.reload() : show("on")); // with what came meanwhile
    source.onerror = () => {
      show("lost");
      if (source.readyState === EventSource.CLOSED) {
        source = null; // the log-in has ended, or the server is not there yet
        refused = true;
        setTimeout(() => document.hidden || connect(), 10000);
      }
    };
    const on = (type, what) =>
      source.addEventListener(type, (event) => what(JSON.parse(event.data).data));
    on("decision", decided);
    on("call.answered", answered);
    on("call.ended", ended);
    source.addEventListener("gap", () => location.reload()); // some are missing: the server knows them
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return location.reload(); // with what came meanwhile
    if (source) source.close();
    source = null;
    show("paused");
  });
  document.getElementById("refresh").hidden = true;
  connect();
})();
