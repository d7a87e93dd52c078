// Keeps the page up to date, and says so when it is not: whatever the router has not just said is old.
// The page is whole without it: everything here replaces what the server has already drawn.
"use strict";

(() => {
  const prefix = new URL(document.currentScript.src).pathname.replace(/\/[^/]*$/, "");
  const byId = (id) => document.getElementById(id);
  // The router speaks once a second.
  const DOUBT_MS = 2500;
  const SILENCE_MS = 5000;
  const ASK_MS = 2000;
  const ASK_REFUSED_MS = 10000;
  const PATIENCE_MS = 4000;
  const RETRY_STREAM_MS = 10000;
  const NEWS_MS = 300000;
  const RELOAD_MS = 3000;

  // A machine that sleeps stops one of its clocks, and somebody may set the other.
  const mark = () => ({ wall: Date.now(), steady: performance.now() });
  const since = (then) => Math.max(Date.now() - then.wall, performance.now() - then.steady);

  // --- what the server says ------------------------------------------------------------------------------

  const main = byId("main");
  const PLAIN = {
    at: (text) => { main.dataset.at = text; },
    title: (text) => { document.title = text; },
    icon: (text) => { byId("icon").href = `${prefix}/icon-${text}.svg`; },
    tone: (text) => { byId("now").dataset.tone = text; },
    // Spoken once for each new topic; the figures in the sentence change every second.
    topic: () => { spoken = false; },
    // Another program or other settings, which only a new page shows; in a moment, when all workers have them.
    edition: (text) => { if (text !== main.dataset.edition) setTimeout(reload, RELOAD_MS); },
  };
  let spoken = true;
  const known = {};
  const shown = new Map();

  function apply(frame) {
    for (const [name, text] of Object.entries(frame)) {
      if (shown.get(name) === text) continue;
      const isFirst = !shown.has(name);
      shown.set(name, text);
      if (name in PLAIN) {
        if (!(isFirst && name === "topic")) PLAIN[name](text);
        continue;
      }
      const element = byId(name);
      if (element && !element.closest("[data-pointed] .panel > .read-out")) element.innerHTML = text;
    }
    if (!spoken) speak();
    document.dispatchEvent(new CustomEvent("frame", { detail: known }));
  }

  // Not while the router is gone again: the browser's own error page does not come back by itself.
  function reload() {
    if (!lost) location.reload();
  }

  function speak() {
    spoken = true;
    byId("spoken").textContent = `${byId("sentence").textContent} ${byId("advice").textContent}`;
  }

  function hear(frame) {
    heard = mark();
    Object.assign(known, frame);
    if (lost) returned();
    apply(shown.size ? frame : known);
    if (since(streamed) < SILENCE_MS) say("live", "Live");
    else say("polling", "Live, every 2 s");
  }

  function say(state, text) {
    if (byId("link").dataset.state !== state) byId("link").dataset.state = state;
    if (byId("link-text").textContent !== text) byId("link-text").textContent = text;
  }

  // --- what is said when the router says nothing ---------------------------------------------------------

  const LOST = (at, duration) => ({
    headline: `No word from the router since ${at}, for ${duration}.`, title: `No word since ${at}`, link: `No word since ${at}`,
  });
  const SIGNED_OUT = (at) => ({
    headline: `This page may not look any more: nothing new since ${at}.`, title: "Signed out", link: "Signed out",
  });
  const AWAY = (at, duration) => ({
    headline: `This page was away for ${duration}: the last word is of ${at}, and it asks anew.`, title: `Away since ${at}`, link: "Asking anew",
  });

  const HANGS = "The connection stands, but no answer comes: the router hangs, or the network between does.";
  const OFFLINE = "This browser is offline.";
  const NOBODY = `Nobody answers at ${location.host}: the router has stopped, or the network between is gone.`;
  const ANOTHER = `Something answers at ${location.host}, but it is not the router.`;
  const ASKING = "Asking again.";
  const answered = (status) => ({
    401: "The sign-in of this browser has ended; it lasts for twelve hours. Sign in again, and this page goes on by itself:",
    403: "This address is not in admin_allow any more. What the router says about it:",
    404: "The page is not here any more: the router's settings have moved it or turned it off.",
  })[status] ?? `The answer at ${location.host} is ${status}: of the router, whose log says why, or of what stands in front of it.`;

  function durationText(milliseconds) {
    const seconds = Math.round(milliseconds / 1000);
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(minutes / 60);
    if (seconds < 60) return `${seconds} s`;
    if (hours < 1) return `${minutes} min`;
    return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
  }

  let lost = null; // how the page is lost: LOST, SIGNED_OUT or AWAY
  let cause = ASKING;
  const suffix = document.title.slice(document.title.lastIndexOf(" · "));

  function lose(how) {
    const isNew = lost !== how;
    if (!lost) age();
    lost = how;
    const said = how(main.dataset.at, durationText(since(heard)));
    byId("sentence").textContent = said.headline;
    if (isNew) document.title = `⚠ ${said.title}${suffix}`;
    say("lost", said.link);
    const advice = byId("advice");
    if (isNew || advice.dataset.cause !== cause) {
      advice.dataset.cause = cause;
      advice.replaceChildren(`${cause} `, ...wayOut(how));
      speak();
    }
  }

  function wayOut(how) {
    if (how === AWAY) return [];
    const way = document.createElement(how === LOST ? "code" : "a");
    way.textContent = how === LOST ? main.dataset.look : `${location.host}${location.pathname}`;
    if (how === SIGNED_OUT) way.href = location.pathname;
    return how === LOST ? ["On the router's machine: ", way] : [way];
  }

  // Nothing on the page looks as if it were of this moment.
  function age() {
    const at = main.dataset.at;
    document.body.dataset.old = "";
    byId("now").dataset.tone = "alarm";
    byId("icon").href = byId("icon").dataset.lost;
    byId("gap").hidden = true;
    document.querySelectorAll(".as-of").forEach((element) => { element.textContent = `${element.dataset.old} ${at}`; });
    document.querySelectorAll(".tick.now").forEach((element) => { element.textContent = at; });
    document.querySelectorAll(".card .role").forEach((element) => { element.textContent = `Was ${element.textContent.toLowerCase()}`; });
    document.querySelectorAll(".card .status").forEach((element) => {
      element.className = "status off";
      element.lastChild.textContent = `As of ${at}`;
    });
    gap = { from: at, since: heard };
  }

  let gap = null;
  let gapTimer = 0;

  function returned() {
    lost = null;
    cause = ASKING;
    delete document.body.dataset.old;
    document.querySelectorAll(".as-of").forEach((element) => { element.textContent = element.dataset.live; });
    // Everything is drawn again, also what the router says as it did before.
    shown.clear();
    spoken = false;
    byId("gap").textContent = `This page hears the router again since ${known.at}. It heard nothing from ${gap.from} on, for ${durationText(since(gap.since))}.`;
    byId("gap").hidden = false;
    clearTimeout(gapTimer);
    gapTimer = setTimeout(() => { byId("gap").hidden = true; }, NEWS_MS);
  }

  // --- events, or asking again and again -----------------------------------------------------------------

  let heard = mark();
  let streamed = heard;
  let ticked = heard;
  let tried;
  let asked = { wall: 0, steady: 0 };
  let isAsking = false;
  let source;

  function listen() {
    tried = mark();
    source?.close();
    source = new EventSource(`${prefix}/events`);
    source.onmessage = (event) => {
      // What was sent to a page that slept is old, and there may be no more behind it.
      if (since(ticked) > SILENCE_MS) return tick();
      streamed = mark();
      hear(JSON.parse(event.data));
    };
    // CONNECTING: the stream has ended and the browser comes back by itself. CLOSED: it was refused.
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) ask(); };
  }

  async function ask() {
    if (isAsking) return;
    isAsking = true;
    asked = mark();
    try {
      const answer = await fetch(`${prefix}/frame`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (answer.ok) {
        hear(await answer.json());
        // A network that has forgotten the connection never ends the stream.
        if (source.readyState !== EventSource.CLOSED && Math.min(since(streamed), since(tried)) > SILENCE_MS) listen();
      } else {
        cause = answered(answer.status);
        if (answer.status === 401 || answer.status === 403) lose(SIGNED_OUT);
        else if (lost === SIGNED_OUT) lose(LOST);
      }
    } catch (error) {
      const away = navigator.onLine ? NOBODY : OFFLINE;
      cause = { TimeoutError: HANGS, SyntaxError: ANOTHER }[error.name] ?? away;
      if (lost === SIGNED_OUT) lose(LOST);
    }
    isAsking = false;
  }

  function tick() {
    const isAwake = since(ticked) <= SILENCE_MS;
    ticked = mark();
    if (!isAwake) return wake();
    if (lost === SIGNED_OUT) lose(SIGNED_OUT);
    else if (since(heard) > SILENCE_MS && !(lost === AWAY && since(tried) < SILENCE_MS)) lose(LOST);
    const isRefused = source.readyState === EventSource.CLOSED;
    if (isRefused && since(tried) > RETRY_STREAM_MS) listen();
    const every = lost === SIGNED_OUT ? ASK_REFUSED_MS : ASK_MS;
    if ((isRefused || since(heard) > DOUBT_MS) && since(asked) > every - 500) ask();
  }

  function wake() {
    ticked = mark();
    lose(AWAY);
    listen();
  }

  addEventListener("pageshow", (event) => { if (event.persisted) wake(); });
  addEventListener("online", tick);
  document.addEventListener("visibilitychange", tick);
  setInterval(tick, 1000);
  new Worker(`${prefix}/clock.js`).onmessage = tick;

  say("still", "Connecting");
  listen();
})();
