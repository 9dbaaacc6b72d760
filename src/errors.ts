/**
 * The error family. Every message is one sentence: where, what was expected, what came, what to do.
 * The command line prints the message alone; programs read the fields.
 */

/** Base of every error that rankfold throws on purpose. */
export class RankfoldError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An operation got tensors whose shapes do not fit. */
export class ShapeError extends RankfoldError {
  constructor(
    readonly operation: string,
    readonly expected: string,
    readonly got: string,
  ) {
    super(`${operation}: expected ${expected}, got ${got}`);
  }
}

/** A file does not hold what its format promises. */
export class FormatError extends RankfoldError {
  constructor(
    readonly file: string,
    problem: string,
  ) {
    super(`${file}: ${problem}`);
  }
}

/** A model's config lacks a value, or holds one that cannot be. */
export class ConfigError extends RankfoldError {
  constructor(
    readonly key: string,
    problem: string,
  ) {
    super(`config.json: ${key} ${problem}`);
  }
}

/** The request is well formed, but rankfold cannot do it. */
export class UnsupportedError extends RankfoldError {}

/** Numbers that are not finite, or a decomposition that did not converge. */
export class NumericsError extends RankfoldError {}

/** An option or argument outside its range: the caller's mistake. */
export class UsageError extends RankfoldError {}

/** A plan that does not fit the memory it was given. */
export class MemoryError extends RankfoldError {}

/** Reading or writing failed: a full disk, a missing file, no permission. */
export class StorageError extends RankfoldError {}

/** The hub could not be reached, or did not give or take what was asked of it. */
export class HubError extends RankfoldError {
  constructor(
    readonly repo: string,
    problem: string,
    /** HTTP status of the answer; 0 where none came. */
    readonly status = 0,
  ) {
    super(`${repo}: ${problem}`);
  }
}

/** The native engine failed; it is built from `native/`. */
export class EngineError extends RankfoldError {}

/** The user asked to stop; what was finished is saved. */
export class InterruptedError extends RankfoldError {}
