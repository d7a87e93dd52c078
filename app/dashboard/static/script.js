// Keeps the page up to date, shows the figures under the pointer, and remembers the theme.
// The page is whole without it: everything here replaces what the server has already drawn.
"use strict";

(() => {
  const prefix = new URL(document.currentScript.src).pathname.replace(/\/[^/]*$/, "");
  const byId = (id) => document.getElementById(id);
  const POLL_MS = 2000;
  const RETRY_STREAM_MS = 10000;
  const SILENCE_MS = 5000;
  const DEAD_MS = 20000;
  const RELOAD_MS = 3000;

  // --- what the server says ------------------------------------------------------------------------------

  const PLAIN = {
    title: (text) => { document.title = text; },
    icon: (text) => { byId("icon").href = `${prefix}/icon-${text}.svg`; },
    tone: (text) => { byId("now").dataset.tone = text; },
    // Spoken once for each new topic; the figures in the sentence change every second.
    topic: () => { spoken = false; },
    // Another program or other settings, which only a new page shows; in a moment, when all workers have them.
    edition: (text) => { if (text !== byId("main").dataset.edition) setTimeout(() => location.reload(), RELOAD_MS); },
  };
  let spoken = true;
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
    if (!spoken) {
      spoken = true;
      byId("spoken").textContent = `${byId("sentence").textContent} ${byId("advice").textContent}`;
    }
    for (const chart of charts) chart.refresh();
  }

  const link = byId("link");
  function say(state, text) {
    if (link.dataset.state === state) return;
    link.dataset.state = state;
    byId("link-text").textContent = text;
  }

  // --- events, or asking again and again -----------------------------------------------------------------

  let lastHeard = 0;
  let lastTried = 0;
  let polling = 0;
  let source;

  function listen() {
    lastTried = Date.now();
    source?.close();
    source = new EventSource(`${prefix}/events`);
    source.onmessage = (event) => {
      lastHeard = Date.now();
      clearTimeout(polling);
      polling = 0;
      say("live", "Live");
      apply(JSON.parse(event.data));
    };
    source.onerror = () => {
      // CONNECTING: the stream has ended and the browser comes back by itself. CLOSED: it was refused.
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(listen, RETRY_STREAM_MS);
      if (!polling) poll();
    };
  }

  async function poll() {
    try {
      const answer = await fetch(`${prefix}/frame`, { cache: "no-store" });
      if (source.readyState === EventSource.OPEN) {
        polling = 0;
        return;
      }
      if (answer.status === 401 || answer.status === 403) location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      apply(await answer.json());
      lastHeard = Date.now();
      say("polling", "Live, every 2 s");
    } catch {
      // The router is away; what is shown stays, and the watch below says so.
    }
    polling = setTimeout(poll, POLL_MS);
  }

  setInterval(() => {
    const silence = Date.now() - lastHeard;
    if (silence > SILENCE_MS) say("lost", "No answer from the router");
    // A network that has forgotten the connection never ends the stream: after a night's sleep, for instance.
    if (Math.min(silence, Date.now() - lastTried) > DEAD_MS && !polling) listen();
  }, 1000);

  // --- the figures under the pointer ---------------------------------------------------------------------

  class Charts {
    constructor(root) {
      this.root = root;
      this.range = root.dataset.range;
      this.share = null;
      this.figures = null;
      this.cursor = document.createElement("div");
      this.cursor.className = "cursor";
      this.cursor.hidden = true;
      this.cursor.innerHTML = '<span class="cursor-time"></span>';
      root.append(this.cursor);
      this.axis = root.querySelector(".axis");
      this.plot = root.querySelector(".plot");
      Object.entries({
        role: "slider", tabindex: "0", "aria-label": "Time under the cursor", "aria-orientation": "horizontal",
        "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "100", "aria-valuetext": "now",
      }).forEach(([name, value]) => this.axis.setAttribute(name, value));
      root.addEventListener("pointermove", (event) => this.follow(event));
      root.addEventListener("pointerleave", () => { if (document.activeElement !== this.axis) this.leave(); });
      this.axis.addEventListener("keydown", (event) => this.key(event));
      this.axis.addEventListener("focus", () => { if (this.axis.matches(":focus-visible")) this.point(1); });
      this.axis.addEventListener("blur", () => this.leave());
    }

    follow(event) {
      if (event.target.closest("details")) return;
      const box = this.plot.getBoundingClientRect();
      this.point((event.clientX - box.left) / box.width);
    }

    key(event) {
      const step = 1 / (this.figures ? this.figures.times.length : 100);
      const now = this.share ?? 1;
      const to = {
        ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
        PageUp: now + 10 * step, PageDown: now - 10 * step, Home: 0, End: 1,
      }[event.key];
      if (event.key === "Escape") this.leave();
      if (to === undefined) return;
      event.preventDefault();
      this.point(to);
    }

    async load() {
      if (this.loading) return;
      this.loading = true;
      try {
        const answer = await fetch(`${prefix}/figures/${this.range}`, { cache: "no-store" });
        if (answer.ok) this.figures = await answer.json();
      } catch {
        // The router is away; the next movement asks again.
      }
      this.loading = false;
      this.draw();
    }

    point(share) {
      this.share = Math.min(Math.max(share, 0), 1);
      if (!this.figures) this.load();
      this.draw();
    }

    draw() {
      if (this.share === null || !this.figures) return;
      const { times, panels } = this.figures;
      const column = Math.min(Math.floor(this.share * times.length + 1e-6), times.length - 1);
      const left = this.plot.getBoundingClientRect().left - this.root.getBoundingClientRect().left;
      this.cursor.hidden = false;
      this.cursor.style.left = `${left + (column + 0.5) / times.length * this.plot.getBoundingClientRect().width}px`;
      this.cursor.firstChild.textContent = times[column];
      this.root.dataset.pointed = "";
      for (const [panel, texts] of Object.entries(panels)) byId(`${this.range}-${panel}-now`).textContent = texts[column];
      this.axis.setAttribute("aria-valuenow", String(Math.round(this.share * 100)));
      const said = Object.entries(panels).map(([panel, texts]) => `${panel.replace("_", " ")}: ${texts[column]}`);
      this.axis.setAttribute("aria-valuetext", `${times[column]}. ${said.join(". ")}`);
    }

    refresh() {
      const drawn = shown.get(`${this.range}-axis`);
      if (this.share !== null && this.drawn !== drawn) this.load();
      this.drawn = drawn;
    }

    leave() {
      this.share = null;
      this.figures = null;
      this.cursor.hidden = true;
      delete this.root.dataset.pointed;
      this.root.querySelectorAll(".read-out").forEach((element) => {
        if (shown.has(element.id)) element.innerHTML = shown.get(element.id);
      });
    }
  }

  const charts = [...document.querySelectorAll(".charts")].map((root) => new Charts(root));

  // --- theme ---------------------------------------------------------------------------------------------

  const button = byId("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");

  function label() {
    button.textContent = theme() === "dark" ? "Light theme" : "Dark theme";
  }

  button.addEventListener("click", () => {
    const next = theme() === "dark" ? "light" : "dark";
    const isSystems = next === (dark.matches ? "dark" : "light");
    if (isSystems) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    // A cookie, so that the server draws the next page in this theme and nothing flashes.
    const keep = isSystems ? "max-age=0" : "max-age=31536000";
    document.cookie = `traffic_router_theme=${next}; ${keep}; path=${location.pathname}; SameSite=Strict`;
    label();
  });
  dark.addEventListener("change", label);
  label();
  button.hidden = false;

  // An open table closes as menus do.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll(".panel details[open]").forEach((details) => {
      details.open = false;
      details.querySelector("summary").focus();
    });
  });

  lastHeard = Date.now();
  listen();
})();
