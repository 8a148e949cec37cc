// Elements out of data. Text only ever becomes text: nothing here, or anywhere in this page, parses HTML.

export const byId = (id) => document.getElementById(id);

// el("p", {class: "x", "data-id": 3, onclick: f, hidden: true}, "text", otherElement, null)
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

// Exchange an element's content; a button that had the focus in it gets it back.
export function fill(parent, ...children) {
  const active = document.activeElement;
  const key = parent.contains(active) ? active.getAttribute("data-key") : null;
  parent.replaceChildren(...children);
  if (key) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

// Set text only where it differs, so that screen readers say it once.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
