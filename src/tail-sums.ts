/** tail[k] = sum of the values from k on, none counted below zero, for k = 0 ... length: losses of directions to losses at a size. */
export function tailSums(values: Float64Array): Float64Array {
  const tail = new Float64Array(values.length + 1);
  for (let i = values.length - 1; i >= 0; i--) tail[i] = (tail[i + 1] as number) + Math.max(values[i] as number, 0);
  return tail;
}
