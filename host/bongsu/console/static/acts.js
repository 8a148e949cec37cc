// What an operator does, and what is said when it cannot be done.

import { byId, el, fill } from "./dom.js";
import { eventLines } from "./detail.js";
import { isUrgent, stands } from "./cards.js";
import { get, post } from "./api.js";
import { shopOf, ui, word } from "./words.js";

const DISPOSITIONS = ["fire", "cooking", "steam", "dust", "insect", "device_fault", "test", "unknown"];
const REVEALED_MS = 30000;

// `host`: {live(), now(), choose(id), me()}, what the page knows.
export class Acts {
  constructor(host) {
    this.host = host;
    this.busy = new Set();
  }

  get may() {
    return this.host.me().may_act;
  }

  choose(id) {
    this.host.choose(id);
  }

  // Carry out once, however often it is pressed; say what came of it.
  async run(key, work, done) {
    if (this.busy.has(key)) return;
    if (!this.host.live()) return toast(ui("actions_off"), true);
    this.busy.add(key);
    try {
      await work();
      if (done) toast(done);
    } finally {
      this.busy.delete(key);
    }
  }

  acknowledge(one, seen = one.seen) {
    return this.run(`ack-${one.id}`, async () => {
      try {
        await post(`/api/incidents/${one.id}/ack`, { seen });
        toast(ui("done_ack"));
      } catch (error) {
        this.failed(error, seen, (now) => this.acknowledge(now, now.seen), ui("acknowledge"));
      }
    });
  }

  close(one, problem = "") {
    if (!this.host.live()) return toast(ui("actions_off"), true);
    const seen = one.seen;
    const standing = one.state === "open" && stands(one);
    const choices = el("fieldset", {}, el("legend", {}, ui("what_was_it")),
      ...DISPOSITIONS.map((name) => el("label", { class: "choice" }, el("input", { type: "radio", name: "disposition", value: name, required: true }), word("dispositions", name))));
    const note = el("textarea", { name: "note", maxlength: 1000, rows: 2, "aria-label": ui("note"), placeholder: ui("note") });
    const nevertheless = standing ? el("label", { class: "nevertheless" }, el("input", { type: "checkbox", name: "standing", required: true }), ui("still_standing_ask")) : null;
    const said = el("p", { class: "problem", role: "alert" }, problem);
    const form = el("form", { class: isUrgent(one) ? "urgent" : "" },
      el("h2", { id: "dialog-title" }, `${ui("close_title", { n: one.id })} — ${shopOf(one)}`), choices, note, nevertheless, said,
      el("div", { class: "acts" }, el("button", { type: "submit", class: "primary", "data-act": "close-now" }, ui("close")), el("button", { type: "button", onclick: hide }, ui("cancel"))));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const given = new FormData(form);
      this.run(`close-${one.id}`, async () => {
        try {
          await post(`/api/incidents/${one.id}/close`, { seen, disposition: given.get("disposition"), note: given.get("note"), still_standing: given.has("standing") });
          hide();
          toast(ui("done_close"));
        } catch (error) {
          this.failed(error, seen, (now) => this.close(now), ui("close"));
        }
      });
    });
    show(form);
  }

  // Somebody was faster, or it burns anew: show what happened, and let the operator decide again.
  failed(error, seen, again, label) {
    const now = error.content?.incident;
    if (!now) {
      const known = { not_allowed: ui("not_allowed") };
      return toast(known[error.message] ?? `${ui("not_done")}: ${error.content?.what ?? error.message}`, true);
    }
    const later = now.events.filter((event) => event.event > parseInt(seen, 10));
    const open = now.state === "open";
    show(el("div", {},
      el("h2", { id: "dialog-title" }, shopOf(now)),
      el("p", { class: "problem", role: "alert" }, ui(open ? error.message : "not_possible")),
      later.length ? el("p", {}, ui("happened_since")) : null, later.length ? eventLines(later, this.host.now()) : null,
      now.ack_ms ? el("p", {}, ui("acknowledged_by", { name: now.ack_by, time: "" })) : null,
      el("div", { class: "acts" },
        open ? el("button", { type: "button", class: "primary", "data-act": "again", onclick: () => { hide(); again(now); } }, label) : null,
        el("button", { type: "button", onclick: hide }, ui("cancel")))));
  }

  answer(one, yes) {
    return this.run(`answer-${one.id}`, async () => {
      const path = one.asks === "exercise" ? "answer" : "verify";
      try {
        await post(`/api/incidents/${one.id}/${path}`, one.asks === "exercise" ? { seen: one.seen, exercise: yes } : { seen: one.seen });
      } catch (error) {
        this.failed(error, one.seen, (now) => this.answer(now, yes), ui(yes ? "verify_yes" : "exercise_no"));
      }
    });
  }

  // The number is shown for half a minute; that it was shown is written down.
  reveal(one, contact, place, button) {
    return this.run(`reveal-${contact}`, async () => {
      try {
        const masked = place.textContent;
        place.textContent = (await post(`/api/incidents/${one.id}/phone`, { contact })).phone;
        button.hidden = true;
        setTimeout(() => { place.textContent = masked; button.hidden = false; }, REVEALED_MS);
      } catch (error) {
        toast(`${ui("not_done")}: ${error.message}`, true);
      }
    });
  }
}

export function show(content) {
  fill(byId("dialog"), content);
  if (!byId("dialog").open) byId("dialog").showModal();
}

export function hide() {
  byId("dialog").close();
}

let toasted = 0;
export function toast(text, bad = false) {
  const place = byId("toast");
  place.textContent = text;
  place.className = bad ? "bad shown" : "shown";
  clearTimeout(toasted);
  toasted = setTimeout(() => { place.className = ""; }, 5000);
}

// Incidents closed within the last 24 h, page by page.
export class History {
  constructor(host) {
    this.host = host;
    this.rows = [];
    this.before = null;
  }

  async load(more = false) {
    const query = more && this.before ? `?before=${this.before}` : "";
    const found = await get(`/api/history${query}`);
    this.rows = more ? this.rows.concat(found.incidents) : found.incidents;
    this.before = found.before;
  }
}
