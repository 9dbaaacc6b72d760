//! The slow part of rankfold: tensors outside the JavaScript heap and the operations on them.
//! No algorithm of any paper lives here; those are TypeScript, over `src/tensor`.

// Test builds leave out the exports to JavaScript, so all that only they use would be reported.
#![cfg_attr(test, allow(dead_code))]

mod attention;
mod bfloat;
mod error;
mod exp;
mod files;
mod gradients;
mod gram;
mod linalg;
mod memory;
mod nn;
mod optimizer;
mod product;
mod select;
mod simd;
mod statistics;
mod tensor;
