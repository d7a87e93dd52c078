// Shows the figures under the pointer, and remembers the theme.
// The page is whole without it.
"use strict";

(() => {
  const prefix = new URL(document.currentScript.src).pathname.replace(/\/[^/]*$/, "");
  const byId = (id) => document.getElementById(id);

  let known = {};
  document.addEventListener("frame", (event) => {
    known = event.detail;
    for (const chart of charts) chart.refresh();
  });

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
      const drawn = known[`${this.range}-axis`];
      if (this.share !== null && this.drawn !== drawn) this.load();
      this.drawn = drawn;
    }

    leave() {
      this.share = null;
      this.figures = null;
      this.cursor.hidden = true;
      delete this.root.dataset.pointed;
      this.root.querySelectorAll(".read-out").forEach((element) => {
        if (element.id in known) element.innerHTML = known[element.id];
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
})();
