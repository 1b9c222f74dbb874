// Fetches the page's content again every two seconds; the worker makes and escapes it.
"use strict";
const EVERY_MS = 2000;
let refreshes = 0;
async function refresh() {
  const state = document.getElementById("fresh");
  try {
    const answer = await fetch("/status", { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(5000) });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const old = document.querySelector("main"), log = document.querySelector("ol.log");
    const kept = log ? log.scrollTop : 0;
    old.replaceWith(document.adoptNode(fresh.querySelector("main")));
    const now = document.querySelector("ol.log");
    if (now) now.scrollTop = kept;
    document.title = fresh.title;
    document.documentElement.dataset.refreshes = ++refreshes;
  } catch {
    if (state) {
      state.textContent = "the worker does not answer; what is shown is old";
      state.className = "bad";
    }
  }
  setTimeout(refresh, EVERY_MS);
}
setTimeout(refresh, EVERY_MS);
