// Have the browser open tel: links on the page that asks before it dials.
"use strict";

(() => {
  const button = document.getElementById("register");
  if (!button || !navigator.registerProtocolHandler || !window.isSecureContext) return;
  button.hidden = false;
  document.getElementById("unable").hidden = true;
  button.addEventListener("click", () => {
    // tel: is what pages link to; web+tel: is for pages that want this application and no other.
    for (const scheme of ["tel", "web+tel"]) navigator.registerProtocolHandler(scheme, `${location.origin}/call?number=%s`);
    document.getElementById("done").hidden = false;
  });
})();
