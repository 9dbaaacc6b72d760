//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101): the moments of one parameter, in memory of their own.

use candle_core::{Device, Tensor as Candle};
use napi_derive::napi;
use rayon::prelude::*;

use crate::error::{Result, failure};
use crate::simd::vectorized;
use crate::tensor::{Tensor, with_slice, wrap};

/// Values that a thread takes at once.
const PART: usize = 1 << 15;

#[napi(object)]
pub struct AdamWOptions {
    pub learning_rate: f64,
    /// Decay of the mean of gradients, and of their squares, a step.
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub step: u32,
}

/// Decaying means of a parameter's gradients and of their squares.
#[napi]
pub struct AdamW {
    mean: Vec<f32>,
    square: Vec<f32>,
}

#[napi]
impl AdamW {
    #[napi(constructor, catch_unwind)]
    pub fn new(size: u32) -> Self {
        Self { mean: vec![0.0; size as usize], square: vec![0.0; size as usize] }
    }

    /// The parameter after a step along its gradient; both f32, of equal shape.
    #[napi(catch_unwind)]
    pub fn step(&mut self, weight: &Tensor, gradient: &Tensor, options: AdamWOptions) -> Result<Tensor> {
        let (weight, gradient) = (weight.candle()?, gradient.candle()?);
        if weight.dims() != gradient.dims() || weight.elem_count() != self.mean.len() {
            return Err(failure(format!(
                "expected a gradient of {:?} for {} values, got {:?}",
                weight.dims(),
                self.mean.len(),
                gradient.dims()
            )));
        }
        let rule = Rule::new(&options);
        let mut out = vec![0f32; self.mean.len()];
        with_slice(&weight, |weight: &[f32]| {
            with_slice(&gradient, |gradient: &[f32]| {
                let parts =
                    out.par_chunks_mut(PART).zip(weight.par_chunks(PART).zip(gradient.par_chunks(PART)));
                let moments = self.mean.par_chunks_mut(PART).zip(self.square.par_chunks_mut(PART));
                parts.zip(moments).for_each(|((out, (weight, gradient)), (mean, square))| {
                    apply(&rule, out, weight, gradient, mean, square);
                });
                Ok(())
            })
        })?;
        wrap(Candle::from_vec(out, weight.shape(), &Device::Cpu))
    }

    /// [mean, square], a copy.
    #[napi(catch_unwind)]
    pub fn moments(&self) -> Result<Vec<Tensor>> {
        let copy = |values: &Vec<f32>| wrap(Candle::from_slice(values, values.len(), &Device::Cpu));
        Ok(vec![copy(&self.mean)?, copy(&self.square)?])
    }

    /// Goes on from moments that were saved.
    #[napi(catch_unwind)]
    pub fn restore(&mut self, mean: &Tensor, square: &Tensor) -> Result<()> {
        for (own, saved) in [(&mut self.mean, mean), (&mut self.square, square)] {
            with_slice(&saved.candle()?, |saved: &[f32]| {
                if saved.len() != own.len() {
                    return Err(failure(format!("expected {} values, got {}", own.len(), saved.len())));
                }
                own.copy_from_slice(saved);
                Ok(())
            })?;
        }
        Ok(())
    }
}

struct Rule {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// Learning rate over the mean's bias correction.
    rate: f32,
    /// 1 / the square's bias correction.
    square_scale: f32,
    kept: f32,
}

impl Rule {
    fn new(o: &AdamWOptions) -> Self {
        let correction = |beta: f64| 1.0 - beta.powi(o.step as i32);
        Self {
            beta1: o.beta1 as f32,
            beta2: o.beta2 as f32,
            epsilon: o.epsilon as f32,
            rate: (o.learning_rate / correction(o.beta1)) as f32,
            square_scale: (1.0 / correction(o.beta2)) as f32,
            kept: (1.0 - o.learning_rate * o.weight_decay) as f32,
        }
    }
}

vectorized! {
    fn apply(rule: &Rule, out: &mut [f32], weight: &[f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32]) -> () {
        let values = out.iter_mut().zip(weight).zip(gradient).zip(mean.iter_mut().zip(square));
        for (((out, &w), &g), (mean, square)) in values {
            *mean = rule.beta1 * *mean + (1.0 - rule.beta1) * g;
            *square = rule.beta2 * *square + (1.0 - rule.beta2) * g * g;
            *out = w * rule.kept - rule.rate * *mean / ((*square * rule.square_scale).sqrt() + rule.epsilon);
        }
    }
}
