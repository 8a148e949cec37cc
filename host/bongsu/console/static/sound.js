// Sounds, made by the browser: no files. Browsers allow none before somebody has pressed something on the page.
//
// A cycle of two seconds is planned ahead at a time. An alarm and "not live" sound in turn, if both are there.

const CYCLE_S = 2;
const FAULT_EVERY_S = 30;
const TONES = {
  // [start s, length s, Hz]: two tones, high and low, twice.
  alarm: [[0, 0.45, 880], [0.45, 0.45, 620], [0.9, 0.45, 880], [1.35, 0.45, 620]],
  not_live: [[0, 0.6, 320], [0.7, 0.9, 210]],
  fault: [[0, 0.15, 520], [0.25, 0.15, 520]],
};
const LOUD = { alarm: 0.9, not_live: 0.7, fault: 0.25 };

export class Sound {
  constructor() {
    const Context = window.AudioContext;
    this.context = Context ? new Context() : null;
    this.plannedTo = 0;
    this.turn = 0;
    this.faultAt = -Infinity;
    this.playing = [];
  }

  get possible() {
    return this.context?.state === "running";
  }

  // By a gesture of the operator.
  async turnOn() {
    await this.context?.resume().catch(() => {});
    return this.possible;
  }

  test() {
    this.plan("alarm", this.context.currentTime + 0.05);
  }

  // What should be heard: {alarm, notLive, fault}; called twice a second. Returns the name of it.
  update({ alarm, notLive, fault }) {
    const wanted = [alarm && "alarm", notLive && "not_live"].filter(Boolean);
    if (!this.possible) return wanted[0] ?? (fault ? "fault" : "silent");
    const now = this.context.currentTime;
    if (!wanted.length) {
      this.stop();
      if (fault && now - this.faultAt > FAULT_EVERY_S) {
        this.faultAt = now;
        this.plan("fault", now + 0.05);
      }
      if (!fault) this.faultAt = -Infinity;
      return fault ? "fault" : "silent";
    }
    if (this.plannedTo < now + 0.6) {
      const start = Math.max(now + 0.05, this.plannedTo);
      this.plan(wanted[this.turn++ % wanted.length], start);
      this.plannedTo = start + CYCLE_S;
    }
    return wanted.join(" ");
  }

  plan(name, start) {
    for (const [from, length, hertz] of TONES[name]) {
      const [tone, gain] = [this.context.createOscillator(), this.context.createGain()];
      const [begin, end] = [start + from, start + from + length];
      tone.type = name === "fault" ? "sine" : "square";
      tone.frequency.value = hertz;
      gain.gain.setValueAtTime(0, begin);
      gain.gain.linearRampToValueAtTime(LOUD[name], begin + 0.02);
      gain.gain.setValueAtTime(LOUD[name], end - 0.03);
      gain.gain.linearRampToValueAtTime(0, end);
      tone.connect(gain).connect(this.context.destination);
      tone.start(begin);
      tone.stop(end);
      if (name !== "fault") this.playing.push(tone);
      tone.onended = () => { this.playing = this.playing.filter((one) => one !== tone); };
    }
    document.body.dataset.cycles = Number(document.body.dataset.cycles ?? 0) + 1;
  }

  // At once: an acknowledged alarm must not sound on for the rest of its cycle.
  stop() {
    if (!this.plannedTo) return;
    this.plannedTo = 0;
    for (const tone of this.playing) tone.stop();
  }
}
