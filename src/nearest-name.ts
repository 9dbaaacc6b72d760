/** The known name that the user probably meant; undefined when none is near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const limit = Math.max(2, Math.floor(name.length / 3)); // one slip in three letters, and always two
  const ranked = known.map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) }));
  const best = ranked.sort((a, b) => a.distance - b.distance)[0];
  return best && best.distance <= limit && best.distance < name.length ? best.candidate : undefined;
}

/** Fewest insertions, deletions and substitutions that turn a into b (Levenshtein 1966). */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const at = (cells: number[], k: number) => cells[k] as number;
      const substituted = at(above, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substituted, at(above, j) + 1, at(row, j - 1) + 1));
    }
    above = row;
  }
  return above[b.length] as number;
}
