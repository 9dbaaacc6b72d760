//! Loops compiled for the widest vectors of the processor at hand, chosen at run time.

/// Defines a function whose body runs with those vectors. (A closure given to `Arch::dispatch` is not sure to be inlined
/// there, and then is compiled for the oldest processors: five times slower.) What the body calls must be `inline(always)`.
macro_rules! vectorized {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $output:ty $body:block) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) -> $output {
            struct Body<T>(T);
            impl pulp::WithSimd for Body<($($type,)*)> {
                type Output = $output;
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> $output {
                    let Body(($($argument,)*)) = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Body(($($argument,)*)))
        }
    };
}

pub(crate) use vectorized;

/// Values that a loop takes at once; whole vectors of every instruction set.
pub const LANES: usize = 16;

/// A sum in independent lanes, so that it vectorises and its order is fixed.
#[inline(always)]
pub fn lanes_sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut rest = 0.0;
    for &v in chunks.remainder() {
        rest += f(v);
    }
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    folded(
        lanes,
        #[inline(always)]
        |a, b| a + b,
    ) + rest
}

#[inline(always)]
pub fn largest(row: &[f32]) -> f32 {
    if row.len() < LANES {
        return row.iter().copied().fold(f32::NEG_INFINITY, greater);
    }
    // The last values first, and again among those of the row that fill no vector.
    let mut lanes: [f32; LANES] = std::array::from_fn(
        #[inline(always)]
        |i| row[row.len() - LANES + i],
    );
    for chunk in row.chunks_exact(LANES) {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, v);
        }
    }
    folded(lanes, greater)
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// All lanes, a power of two of them, as one, by halves: one after the other would take as long as a short row.
#[inline(always)]
pub fn folded<const N: usize>(mut lanes: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
