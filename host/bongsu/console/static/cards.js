// One incident in the list: what burns where, since when, who takes care of it, who was told.

import { el } from "./dom.js";
import { clock, moment, names, placeOf, shopOf, ui, values, word } from "./words.js";

// Never by colour alone: each class has a shape and a word.
const SHAPES = { fire: "▲", co_gas: "◆", care: "♥", exercise: "◇", fault: "●" };
const MARKS = { pending: "…", sent: "→", accepted: "✓", delivered: "✓", failed: "✗", cancelled: "–" };
const RANKS = { fire: 0, co_gas: 1, care: 2, exercise: 3, fault: 4 };

export const isUrgent = (one) => one.class === "fire" || one.class === "co_gas";
export const isFault = (one) => one.class === "fault";
export const stands = (one) => one.restored_ms === null;
export const newest = (one) => one.last_alarm?.received_ms ?? one.opened_ms;
export const shape = (one) => SHAPES[one.class] ?? "■";
export const mark = (state) => MARKS[state] ?? "?";

// Fires first; of each class what nobody has taken on yet, the newest alarm on top.
export function inOrder(incidents) {
  const taken = (one) => (one.ack_ms ? 1 : 0);
  return [...incidents].sort((a, b) =>
    (RANKS[a.class] ?? 9) - (RANKS[b.class] ?? 9) || taken(a) - taken(b) || newest(b) - newest(a) || b.id - a.id);
}

export function what(one) {
  return names(one.standing.length ? one.standing : one.last_alarm?.phenomena);
}

export function spoken(one) {
  return ui("alarm_spoken", { class: word("classes", one.class), market: one.site ?? "", shop: shopOf(one), what: what(one) });
}

export function chip(text, kind = "") {
  return el("span", { class: `chip ${kind}`.trim() }, text);
}

export function chips(one, nowMs) {
  const made = [];
  if (one.exercise) made.push(chip(`◇ ${ui("exercise")}`, "drill"));
  if (isUrgent(one)) made.push(one.verified ? chip(`✓ ${ui("verified")}`, "good") : chip(ui("unverified")));
  if (one.round > 1) made.push(chip(ui("round", { n: one.round })));
  made.push(stands(one) ? chip(ui("still_stands"), isUrgent(one) ? "bad" : "") : chip(ui("restored_at", { time: moment(one.restored_ms, nowMs) }), "good"));
  made.push(one.ack_ms
    ? chip(`✓ ${ui("acknowledged_by", { name: one.ack_by, time: moment(one.ack_ms, nowMs) })}`, "good")
    : chip(`! ${ui("not_acknowledged")}`, isUrgent(one) ? "bad" : ""));
  return made;
}

function told(one) {
  // By purpose: that the restore was accepted says nothing of the alarm, and is not shown in its colour.
  const found = Object.entries(one.delivery_states ?? {}).flatMap(([purpose, channels]) =>
    Object.entries(channels).flatMap(([channel, states]) => Object.entries(states).map(([state, n]) => {
      const what = `${word("channels", channel)} ${word("states", state)}${n > 1 ? ` ${n}` : ""}`;
      const good = state === "accepted" || state === "delivered";
      return purpose === "alarm" ? chip(`${mark(state)} ${what}`, state) : chip(`${word("purposes", purpose)}: ${mark(state)} ${what}`, good ? "other" : state);
    })));
  return found.length ? found : isUrgent(one) ? [chip(`✗ ${ui("nobody_told")}`, "failed")] : [];
}

export function person(one, who, role, acts) {
  if (!who) return el("span", { class: "dim" }, ui("no_owner"));
  const number = el("span", { class: "phone" }, who.phone);
  const line = el("span", { class: "person" }, el("span", { class: "dim" }, role), el("b", {}, who.name), number);
  if (acts.may && who.id) {
    line.append(el("button", {
      type: "button", class: "quiet small", "data-key": `reveal-${one.id}-${who.id}`,
      onclick: (event) => acts.reveal(one, who.id, number, event.currentTarget),
    }, ui("reveal")));
  }
  return line;
}

function buttons(one, acts) {
  if (!acts.may) return null;
  const made = [];
  if (!one.ack_ms) {
    made.push(el("button", { type: "button", class: "primary act", "data-act": "ack", "data-key": `ack-${one.id}`, onclick: () => acts.acknowledge(one) }, ui("acknowledge")));
  }
  made.push(el("button", { type: "button", class: "act", "data-act": "close", "data-key": `close-${one.id}`, onclick: () => acts.close(one) }, ui("close")));
  return el("div", { class: "acts" }, ...made);
}

// What the operator is asked while the dispatch is held back.
export function question(one, acts) {
  if (!one.asks || !one.held_until_ms) return null;
  const key = one.asks === "exercise" ? "exercise_ask" : "verify_ask";
  const answers = one.asks === "exercise" ? [["exercise_yes", true], ["exercise_no", false]] : [["verify_yes", true]];
  return el("div", { class: "ask" },
    el("p", { "data-held": one.held_until_ms, "data-word": key }, ui(key, { n: "" })),
    acts.may && el("div", { class: "acts" }, ...answers.map(([name, yes]) => el("button", {
      type: "button", class: "act", "data-act": name, "data-key": `${name}-${one.id}`, onclick: () => acts.answer(one, yes),
    }, ui(name)))) || null);
}

function ownerOf(one) {
  const people = one.contacts ?? [];
  return people.find((p) => p.role === "owner") ?? people[0] ?? one.owner;
}

export function card(one, { acts, chosen, nowMs }) {
  const alarm = one.last_alarm;
  const criterion = alarm && alarm.criterion !== "none" ? word("criteria", alarm.criterion) : null;
  const measured = values(alarm?.values);
  const state = one.ack_ms ? "acked" : "unacked";
  return el("li", {
    class: `card ${one.class} ${state} ${stands(one) ? "stands" : "over"}`, "data-id": one.id, tabindex: 0,
    "data-key": `card-${one.id}`, "aria-current": chosen ? "true" : null,
    "aria-label": `${spoken(one)}, ${word("phases", one.phase)}`, onclick: () => acts.choose(one.id),
    onfocus: () => acts.choose(one.id),
  },
  el("div", { class: "top" },
    el("span", { class: "class" }, `${shape(one)} ${word("classes", one.class)}`),
    el("span", { class: "where" }, one.site ?? ""),
    el("span", { class: "since" }, el("span", { class: "dim" }, `${clock(one.since_ms)} `), el("time", { "data-since": one.since_ms }))),
  el("div", { class: "shop" }, el("strong", {}, shopOf(one)), el("span", { class: "place" }, placeOf(one))),
  el("div", { class: "what" }, el("b", {}, what(one)), criterion && el("span", {}, criterion), measured && el("b", { class: "values" }, measured)),
  question(one, acts),
  el("div", { class: "chips" }, ...chips(one, nowMs)),
  isUrgent(one) && el("div", { class: "who" }, person(one, ownerOf(one), ui("owner"), acts), alarm && el("span", { class: "dim node" }, `${ui("node")} ${alarm.node}`)) || null,
  el("div", { class: "bottom" }, el("div", { class: "chips told" }, ...(isUrgent(one) ? told(one) : [])), buttons(one, acts)));
}
