// The stream of the receiver: the whole picture, then changes, and each second a sign of life.
//
// What is shown is true only while signs of life come. A change that is missing (its number tells) is as bad as none:
// then everything is asked for again.

import { get } from "./api.js";

const SILENT_MS = 3000;
const ANEW_MS = 6000;

// `hear`: {snapshot(content), change(content), state(content)}.
export class Stream {
  constructor(hear) {
    this.hear = hear;
    this.state = null;
    this.heardAt = -Infinity;
    this.triedAt = performance.now();
    this.number = null;
    this.source = null;
    this.open();
  }

  open() {
    this.source?.close();
    this.number = null;
    this.triedAt = performance.now();
    const source = new EventSource("/api/stream");
    this.source = source;
    source.addEventListener("snapshot", (event) => this.take(source, event, (c) => {
      [this.boot, this.number] = [c.boot, c.number];
      this.hear.snapshot(c);
    }));
    source.addEventListener("change", (event) => this.take(source, event, (c) => {
      if (c.boot !== this.boot || c.number !== this.number + 1) return this.open();
      this.number = c.number;
      this.hear.change(c);
    }));
    source.addEventListener("state", (event) => this.take(source, event, (c) => {
      if (c.boot !== this.boot || c.number !== this.number) return this.open();
      this.state = c;
      this.hear.state(c);
    }));
    source.addEventListener("error", () => this.failed(source));
  }

  take(source, event, use) {
    if (source !== this.source) return;
    this.heardAt = performance.now();
    use(JSON.parse(event.data));
  }

  // The browser tries again by itself, unless the answer was a refusal: then it may be the session that ended.
  failed(source) {
    if (source !== this.source) return;
    this.heardAt = -Infinity;
    if (source.readyState === EventSource.CLOSED) get("/api/me").catch(() => {});
  }

  // Called twice a second: is the picture true?
  look() {
    const now = performance.now();
    if (now - Math.max(this.heardAt, this.triedAt) > ANEW_MS) this.open();
    return now - this.heardAt <= SILENT_MS && this.number !== null && this.state !== null;
  }

  // A request failed as if nobody were there: do not wait for silence.
  doubt() {
    if (performance.now() - this.heardAt > 1500) this.heardAt = -Infinity;
  }
}
