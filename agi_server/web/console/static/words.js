// What pages with live parts have in common. Texts come from the page's attributes; whatever an event holds is put into
// the page as text, never as markup.
"use strict";

const Words = (() => {
  // Tokens and explanations in the reader's language: data-terms and data-sentences of an element (terms.py).
  function of(element) {
    const terms = JSON.parse(element.dataset.terms);
    const sentences = JSON.parse(element.dataset.sentences).map(([pattern, text]) => [new RegExp(`^(?:${pattern})$`), text]);
    const term = (kind, token) => (terms[kind] || {})[token] || token;

    function explain(detail) {
      for (const [pattern, text] of sentences) {
        const found = pattern.exec(detail);
        if (found) {
          return text.replace(/%\((\w+)\)s/g, (_, name) => {
            const part = found.groups[name];
            if (name === "kind" || name === "other_kind") return term("kind", part);
            return name === "who" || name === "because" ? explain(part) : part;
          });
        }
      }
      return detail;
    }

    // One step of a trace as an item of its list: {stage, outcome, detail, personal}.
    function step(each) {
      const item = document.createElement("li");
      if (each.stage === "error" || each.outcome === "block") item.className = "bad";
      const piece = (name, text, element = "span") => {
        if (!text) return;
        const made = document.createElement(element);
        made.className = name;
        made.textContent = visible(text);
        item.append(made, " ");
      };
      piece("stage", term("stage", each.stage));
      piece("outcome", term("outcome", each.outcome));
      piece("detail", explain(each.detail));
      piece("", each.personal, "bdi");
      return item;
    }

    return { term, explain, step };
  }

  // Control characters as signs, as the server shows them.
  const visible = (text) =>
    String(text).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (char) => {
      const code = char.charCodeAt(0);
      return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd";
    });

  // Fills the place data-slot of a row; a fact without a value is not shown.
  function put(row, slot, text) {
    const place = row.querySelector(`[data-slot="${slot}"]`);
    place.textContent = visible(text || "");
    const fact = place.closest("[data-fact]");
    if (fact) fact.hidden = !text;
  }

  return { of, visible, put };
})();
