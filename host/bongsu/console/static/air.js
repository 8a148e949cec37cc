// The air: advisories that stand, and what the chosen unit measures now. Nobody is dispatched for it, so it makes no sound.

import { get } from "./api.js";
import { el } from "./dom.js";
import { moment, ui, word } from "./words.js";

const AGAIN_MS = 60000;
const MARKS = { good: "○", moderate: "◔", bad: "◑", very_bad: "◕", hazardous: "●" };

function measured(number, unit) {
  return number === null || number === undefined ? "" : `${number} ${word("air_units", unit)}`.trim();
}

function level(name) {
  return name ? el("span", { class: `chip ${name === "good" ? "good" : name === "moderate" ? "" : "bad"}`.trim() }, `${MARKS[name] ?? "?"} ${word("air_levels", name)}`) : el("span", { class: "dim" }, ui("air_not_known"));
}

export class Air {
  constructor(shown) {
    this.shown = shown; // called when there is something new to show
    this.advisories = [];
    this.unit = null;
    this.rows = [];
    this.asked = -AGAIN_MS;
  }

  // Asks again if that was a while ago; `unit` ("site/unit") turns to this one.
  async look(unit = this.unit) {
    if (unit === this.unit && performance.now() - this.asked < AGAIN_MS) return;
    this.asked = performance.now();
    this.unit = unit;
    this.advisories = (await get("/api/air")).advisories;
    this.rows = unit ? (await get(`/api/air?unit=${encodeURIComponent(unit)}`)).air : [];
    this.shown();
  }

  pane(nowMs, failed) {
    const unitOf = (one) => (one.subject.startsWith("unit:") ? one.subject.slice(5) : null);
    const row = (one) => el("li", { class: "past", "data-air": one.id }, el("button", {
      type: "button", class: "quiet", "data-key": `air-${one.id}`, onclick: () => unitOf(one) && this.look(unitOf(one)).catch(failed),
    }, level(one.level), el("b", {}, [one.site, one.name ?? one.subject].filter(Boolean).join(" · ")),
    el("span", {}, `${word("air_quantities", one.quantity)} ${measured(one.average, one.unit)}`),
    el("span", { class: "dim" }, `${word("air_averaging", one.averaging)} · ${ui("since")} ${moment(one.began_ms, nowMs)}`)));
    const list = this.advisories.length ? el("ol", { id: "air" }, ...this.advisories.map(row)) : el("p", { class: "dim empty" }, ui("no_advisories"));
    return this.unit ? [list, this.table(nowMs)] : [list];
  }

  table(nowMs) {
    const cells = (one) => [word("air_quantities", one.quantity), measured(one.now, one.measure), level(one.level),
      one.average === null ? "" : `${measured(one.average, one.measure)} (${word("air_averaging", one.averaging)})`, moment(one.at_ms, nowMs)];
    return el("section", { "data-air-unit": this.unit }, el("h3", {}, this.unit), this.rows.length
      ? el("table", {}, el("tbody", {}, ...this.rows.map((one) => el("tr", {}, ...cells(one).map((cell) => el("td", {}, cell))))))
      : el("p", { class: "dim" }, ui("air_nothing")));
  }
}
