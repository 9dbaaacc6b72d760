//! The slow part of rankfold: tensors outside the JavaScript heap and the operations on them.
//! No algorithm of any paper lives here; those are TypeScript, over `src/tensor`.

mod attention;
mod error;
mod exp;
mod files;
mod linalg;
mod nn;
mod statistics;
mod tensor;
