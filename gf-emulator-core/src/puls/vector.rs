//! Work on whole vector registers: the same code compiled twice, once for every processor and once for those with AVX2,
//! and the choice between the two at run time.
//!
//! This module has one of the two uses of `unsafe` in the crate: calling a function that is compiled for AVX2 is unsafe,
//! because a processor without it would run into an illegal instruction. The call stands right behind the question
//! whether the processor has it, and nothing else here is unsafe. What it brings: counting is 1.6 times as fast and
//! extents are 2.2 times as fast as without (`cargo bench -p gf-emulator-tests --bench steps`). Both ways are held
//! against each other by the tests of `counts` and `extents`.

#![expect(clippy::inline_always, reason = "to be compiled for the processor that the caller is compiled for")]

/// How many words a vector has: one AVX2 register, two of SSE2 or NEON.
pub(super) const WORDS: usize = 4;
/// How many bytes a vector has.
pub(super) const BYTES: usize = 8 * WORDS;

/// As many words as fit a vector register. Loops over it become instructions on one.
pub(super) type Vector = [u64; WORDS];

/// Something to be done with vectors.
pub(super) trait Kernel {
    type Output;

    /// Does it. Has to be `#[inline(always)]`, and so has what it calls, to be compiled for what the caller is.
    fn run(self) -> Self::Output;
}

/// Does it in the fastest way that this processor has.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code)]
        // SAFETY: the processor has AVX2, which is all that the function asks for.
        return unsafe { run_with_avx2(kernel) };
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_with_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// The sum of all bytes: the least that can be done with them all, for benches to compare with.
#[must_use]
pub fn plain_sum(bytes: &[u8]) -> u64 {
    struct Sum<'a>(&'a [u8]);
    impl Kernel for Sum<'_> {
        type Output = u64;

        #[inline(always)]
        fn run(self) -> u64 {
            self.0.iter().map(|&byte| u64::from(byte)).sum()
        }
    }
    run(Sum(bytes))
}

/// The same for each word of a vector.
#[inline(always)]
pub(super) fn map(one: Vector, f: impl Fn(u64) -> u64) -> Vector {
    std::array::from_fn(|i| f(one[i]))
}

/// The same for the words of two vectors.
#[inline(always)]
pub(super) fn zip(one: Vector, other: Vector, f: impl Fn(u64, u64) -> u64) -> Vector {
    std::array::from_fn(|i| f(one[i], other[i]))
}

/// That byte in each byte of a word.
pub(super) const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Leaves of each byte of a word what counts: a direction only with its step, and nothing but [`POWER`] of a power byte.
#[inline(always)]
pub(super) fn meaning(word: u64) -> u64 {
    use super::tick::{FIRE, POWER, X_STEP, Y_STEP, Z_STEP};
    let power = word & each(POWER);
    // 0x80 - 0x01 in the power bytes: the bits that mean nothing there.
    let word = word & !(power - (power >> 7));
    // Each direction is the bit above its step.
    let steps = word & each(X_STEP | Y_STEP | Z_STEP);
    word & (steps << 1 | each(X_STEP | Y_STEP | Z_STEP | FIRE | POWER))
}
