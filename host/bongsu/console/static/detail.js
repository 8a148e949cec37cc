// All of one incident: people, events, deliveries.

import { el } from "./dom.js";
import { chips, isUrgent, mark, person, question, shape, stands, what } from "./cards.js";
import { minute } from "./minute.js";
import { moment, names, placeOf, shopOf, span, ui, values, word } from "./words.js";

function table(heads, rows) {
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, ...rows));
}

function facts(one, nowMs) {
  const alarm = one.last_alarm;
  const found = [
    [ui("place"), [one.site, placeOf(one)].filter(Boolean).join(" · ")],
    [ui("at"), moment(one.since_ms, nowMs)],
    [ui("criterion"), alarm && alarm.criterion !== "none" ? word("criteria", alarm.criterion) : ""],
    [ui("values"), values(alarm?.values)],
    [ui("node"), alarm?.node ?? (one.subject.startsWith("node:") ? one.subject.slice(5) : "")],
    [ui("exercise"), one.exercise ? `${one.exercise.id} ${one.exercise.note}` : ""],
    [ui("what_was_it"), one.disposition ? `${word("dispositions", one.disposition)} (${one.closed_by ?? ""} ${moment(one.closed_ms, nowMs)})` : ""],
    [ui("note"), one.note],
  ].filter(([, text]) => text);
  return el("dl", {}, ...found.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
}

function people(one, acts) {
  const roles = { owner: ui("owner"), deputy: ui("deputy") };
  const found = [...(one.contacts ?? []).map((p) => [p, roles[p.role] ?? p.role]), ...(one.duty ?? []).map((p) => [p, ui("duty")])];
  return found.length ? found.map(([p, role]) => el("p", {}, person(one, p, role, acts))) : [el("p", { class: "dim" }, ui("no_owner"))];
}

function eventRow(event, nowMs) {
  return el("tr", {}, el("td", { class: "number" }, moment(event.event_ms ?? event.received_ms, nowMs)), el("td", {}, word("kinds", event.kind)),
    el("td", {}, [names(event.phenomena === "none" ? "" : event.phenomena), event.criterion !== "none" && event.criterion !== event.phenomena ? word("criteria", event.criterion) : ""].filter(Boolean).join(" · "), " ", el("span", { class: "dim" }, values(event.values))),
    el("td", { class: "dim number" }, event.node));
}

export function eventLines(events, nowMs) {
  return el("ul", {}, ...events.map((e) => el("li", {}, `${moment(e.event_ms ?? e.received_ms, nowMs)} ${word("kinds", e.kind)} ${names(e.phenomena)} ${values(e.values)}`)));
}

function deliveryRow(one, delivery, nowMs) {
  const [kind, id] = String(delivery.recipient).split(/:(.*)/);
  const who = kind === "contact" ? (one.contacts ?? []).concat(one.duty ?? []).find((p) => p.id === id)?.name ?? id : id;
  const at = delivery.delivered_ms ?? delivery.accepted_ms ?? delivery.sent_ms ?? delivery.created_ms;
  const late = at - delivery.created_ms;
  return el("tr", { class: delivery.state },
    el("td", {}, el("b", {}, who), el("span", { class: "dim" }, ` ${word("channels", delivery.channel)} · ${word("purposes", delivery.purpose)}`)),
    el("td", {}, el("span", { class: `chip ${delivery.state}` }, `${mark(delivery.state)} ${word("states", delivery.state)}`), delivery.escalated ? ` ${ui("escalated")}` : ""),
    el("td", { class: "number" }, moment(at, nowMs), delivery.state !== "pending" && late >= 1000 ? ` (+${span(late)})` : ""),
    el("td", { class: "number" }, ui("tries_n", { n: delivery.attempts })),
    el("td", { class: "dim" }, delivery.state === "accepted" || delivery.state === "delivered" ? "" : delivery.last_error));
}

const newestOf = (n, count) => (count > n ? el("p", { class: "dim" }, ui("shown_newest", { n: count })) : null);

export function detail(one, { acts, nowMs }) {
  const [events, deliveries] = [[...one.events].reverse(), [...one.deliveries].reverse()];
  return el("article", { class: `detail ${one.class}`, "data-detail": one.id },
    el("h2", {}, `${shape(one)} ${word("classes", one.class)} — ${shopOf(one)}`),
    el("p", { class: "what" }, el("b", {}, what(one)), " ", stands(one) && one.state === "open" ? el("time", { "data-since": one.since_ms }) : null),
    el("div", { class: "chips" }, ...chips(one, nowMs)),
    one.state === "open" ? question(one, acts) : null,
    one.state === "open" && isUrgent(one) && !one.verified && !one.asks && acts.may ? el("div", { class: "acts" }, el("button", {
      type: "button", "data-act": "verify", "data-key": `verify-${one.id}`, onclick: () => acts.answer(one, true),
    }, ui("verify_open"))) : null,
    facts(one, nowMs),
    minute(one.history),
    isUrgent(one) || (one.contacts ?? []).length ? el("section", {}, el("h3", {}, ui("contacts")), ...people(one, acts)) : null,
    el("section", {}, el("h3", {}, ui("deliveries")), deliveries.length
      ? table([ui("recipient"), ui("state"), ui("time"), ui("tries"), ui("last_error")], deliveries.map((d) => deliveryRow(one, d, nowMs)))
      : el("p", { class: isUrgent(one) ? "bad" : "dim" }, ui("nobody_told")), newestOf(deliveries.length, one.deliveries_count)),
    el("section", {}, el("h3", {}, ui("events")), events.length
      ? table([ui("time"), ui("kind"), ui("what"), ui("node")], events.map((e) => eventRow(e, nowMs)))
      : el("p", { class: "dim" }, "-"), newestOf(events.length, one.events_count)));
}
