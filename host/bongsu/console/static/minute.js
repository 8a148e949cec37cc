// The minute before an alarm: one small curve a quantity, each on a scale of its own, with its last and its extreme values.

import { el } from "./dom.js";
import { ui, word } from "./words.js";

const [WIDE, HIGH, EDGE] = [240, 48, 3];
const FIRST = ["temp_c", "smoke_od_per_m", "rh_pct", "co_ppm", "gas_index"];
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

// Where nothing was measured, or a part has not come, the line breaks.
function path(values, low, high) {
  const x = (at) => EDGE + (at * (WIDE - 2 * EDGE)) / Math.max(1, values.length - 1);
  const y = (value) => (high === low ? HIGH / 2 : HIGH - EDGE - ((value - low) * (HIGH - 2 * EDGE)) / (high - low));
  let pen = "M";
  return values.map((value, at) => {
    if (value === null) {
      pen = "M";
      return "";
    }
    const piece = `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
    return piece;
  }).join("");
}

function curve(name, values, seconds) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return null;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const said = `${word("quantities", name)} ${low} – ${high}`;
  return el("figure", { class: "curve", "data-quantity": name },
    el("figcaption", {}, el("b", {}, word("quantities", name)), ` ${known[known.length - 1]} `, el("span", { class: "dim" }, `(${low} – ${high}, ${seconds} s)`)),
    svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": said }, svg("path", { class: "line", d: path(values, low, high) })));
}

export function minute(history) {
  if (!history) return null;
  const seconds = Math.round(((history.rows - 1) * history.step_ms) / 1000);
  const rank = (name) => (FIRST.indexOf(name) + FIRST.length + 1) % (FIRST.length + 1);
  const names = Object.keys(history.columns).sort((a, b) => rank(a) - rank(b));
  return el("section", { class: "minute" }, el("h3", {}, ui("minute_before")), ...names.map((name) => curve(name, history.columns[name], seconds)),
    history.missing ? el("p", { class: "dim" }, ui("minute_missing", { n: history.missing, of: history.rows })) : null);
}
