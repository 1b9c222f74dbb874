// Puts into the page what the server sends whenever something has changed; the server makes and escapes it.
"use strict";
const SCROLLED = ".wide, pre, ol.log";
const fresh = document.getElementById("fresh"), waiting = new Map();
let source = null, updates = 0;

function say(text, tone) {
  fresh.textContent = text;
  fresh.className = tone;
}

// What is being selected to be copied stays until that is done.
function selected(section) {
  const selection = getSelection();
  return !selection.isCollapsed && section.contains(selection.anchorNode);
}

function put(section, content) {
  const places = [...section.querySelectorAll(SCROLLED)].map(each => [each.scrollLeft, each.scrollTop]);
  const focused = section.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  section.innerHTML = content;
  [...section.querySelectorAll(SCROLLED)].forEach((each, at) => each.scrollTo(...(places[at] ?? [0, 0])));
  const link = [...section.querySelectorAll("a")].find(each => each.getAttribute("href") === focused);
  if (link) link.focus({ preventScroll: true });
}

function update() {
  for (const [name, content] of waiting) {
    let section = document.getElementById(name);
    if (!section) {
      section = document.createElement("section");
      section.id = name;
      document.querySelector("footer").before(section);
    }
    if (selected(section)) continue;
    put(section, content);
    waiting.delete(name);
    document.documentElement.dataset.updates = ++updates;
  }
}

function listen() {
  source = new EventSource("/_harness/page/live" + location.search);
  source.onopen = () => say("live", "good");
  source.onerror = () => say("the server does not answer; what is shown is old", "bad");
  source.onmessage = event => {
    for (const [name, content] of Object.entries(JSON.parse(event.data))) waiting.set(name, content);
    update();
  };
}

// A browser has six connections to a server at most: pages that are not looked at need none.
function wake() {
  if (source && (document.hidden || source.readyState === EventSource.CLOSED)) {
    source.close();
    source = null;
  }
  if (!source && !document.hidden) listen();
}

document.addEventListener("visibilitychange", wake);
document.addEventListener("selectionchange", update);
// After an answer that is no stream a browser does not come back by itself.
setInterval(wake, 5000);
wake();
