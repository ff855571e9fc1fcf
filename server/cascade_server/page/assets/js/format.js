// Numbers as people read them: always in the unit that the heading names, never one more digit than is known.

export const NONE = "–";
const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function digits(number, significant = 3) {
  if (number === null || number === undefined) return NONE;
  if (number === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(number)));
  const places = Math.max(0, Math.min(3, significant - 1 - size));
  return number.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
}

// Settings, which people wrote: no zeros that they did not.
export const given = (number) => number.toLocaleString("en", { maximumFractionDigits: 6 });
export const promise = (share) => `${given(100 * share)} %`;
// Numbers stay with their units.
export const unbroken = (text) => text.replace(/(\d) (%|ms|s|min|h|MiB|KiB|GiB)(?![a-z])/g, "$1\u00a0$2");

export const whole = (number) => (number === null || number === undefined ? NONE : plain.format(number));
export const milliseconds = (number) => digits(number, 3);
export const rate = (number) => (number === null || number === undefined ? NONE : number >= 100 ? plain.format(number) : digits(number, 3));

export function percent(share) {
  if (share === null || share === undefined) return NONE;
  const value = 100 * share;
  if (value > 99 && value < 100) {
    const places = 100 - value >= 0.05 ? 2 : 4;
    return `${Math.min(value, 100 - 10 ** -places).toFixed(places)} %`;
  }
  return `${Math.abs(value) < 99.95 && value % 1 ? value.toFixed(1) : value.toFixed(0)} %`;
}

// Of an error budget; of one that is overspent, how many times it was spent.
export const budgetLeft = (share) => (share < 0 ? `spent ${digits(1 - share, 2)} ×` : percent(share));

export function bytes(number) {
  if (number === null || number === undefined) return NONE;
  if (number < 1024) return `${number} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = number;
  let place = -1;
  do { value /= 1024; place += 1; } while (value >= 1024 && place < 3);
  return `${digits(value, 3)} ${units[place]}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const ago = (moment, now) => (moment ? `${duration(now - moment)} ago` : NONE);

export function clock(moment, now) {
  const date = new Date(1000 * moment);
  const time = date.toLocaleTimeString("en-GB");
  if (now === undefined || now - moment < 86400) return time;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time.slice(0, 5)}`;
}

export const CLASSES = { realtime: "real time", full: "full", offline: "offline" };
export const LEVELS = { page: "Page", ticket: "Ticket", notice: "Note", ok: "All well", waiting: "Waiting" };
