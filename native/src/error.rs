//! One conversion from every failure of the numeric crates to a JavaScript error.

use std::fmt::Display;

pub type Result<T> = napi::Result<T>;

/// Turns any failure into the `napi` error that `src/tensor` wraps in a typed one.
pub fn failure(error: impl Display) -> napi::Error {
    // candle appends a backtrace when one is asked for; only the first line says what is wrong.
    let text = error.to_string();
    napi::Error::from_reason(text.lines().next().unwrap_or_default())
}
