/** Numbers as people read them. Bytes in powers of 1024, as memory is sold and `--memory 8G` is read. */

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `1.25 GiB`: three significant digits, from 100 on whole. */
export function formatBytes(bytes: number): string {
  const power = Math.min(BYTE_UNITS.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${threeDigits(bytes / 1024 ** power, power === 0)} ${BYTE_UNITS[power]}`;
}

/** `5.48 M`, `134 M`, `6.74 B`: counts of parameters. */
export function formatCount(count: number): string {
  if (count < 10_000) return String(count);
  const [divisor, unit] = count < 1e6 ? [1e3, "K"] : count < 1e9 ? [1e6, "M"] : [1e9, "B"];
  return `${threeDigits(count / divisor, false)} ${unit}`;
}

/** `0.8 s`, `42 s`, `3 min 20 s`, `1 h 5 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** `80.0 %`. */
export const formatPercent = (fraction: number): string => `${(100 * fraction).toFixed(1)} %`;

/** Perplexity: two decimals, in powers of ten when it is beyond reading. */
export const formatPerplexity = (value: number): string => (value < 1e6 ? value.toFixed(2) : value.toExponential(2));

function threeDigits(value: number, isWhole: boolean): string {
  if (isWhole) return String(Math.round(value));
  return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}
