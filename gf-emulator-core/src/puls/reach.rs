//! How far each axis goes within a block of ticks.

use super::Span;
use super::bit_planes::BLOCK_TICKS;
use super::tick::{FIRE, POWER, X_NEGATIVE, X_STEP, Y_POSITIVE, Y_STEP, Z_POSITIVE, Z_STEP};

/// The bits of an axis in a tick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    step: u8,
    direction: u8,
    /// Whether the direction bit stands for the negative direction.
    is_negative: bool,
}

pub(super) const X: Axis = Axis { step: X_STEP, direction: X_NEGATIVE, is_negative: true };
pub(super) const Y: Axis = Axis { step: Y_STEP, direction: Y_POSITIVE, is_negative: false };
pub(super) const Z: Axis = Axis { step: Z_STEP, direction: Z_POSITIVE, is_negative: false };

/// What is added to positions within a block, so that they are never negative.
const BIAS: u8 = 64;
const _: () = assert!(BIAS as usize == BLOCK_TICKS);
/// The position after each tick of a block, [`BIAS`] at its start.
type Path = [u8; BLOCK_TICKS];

/// 1 in each byte of a word.
const ONES: u64 = u64::from_ne_bytes([1; 8]);
/// 1 to 8 in the bytes of a word.
const RAMP: u64 = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);

/// Returns whether a span has all positions that a block with steps in these ticks can reach. Most blocks of a job
/// reach nothing new.
#[inline]
pub(super) fn contains_block(span: Span, steps: u64, start: i64) -> bool {
    let reach = if steps == 0 { 0 } else { i64::from(BIAS) };
    span.min <= start - reach && start + reach <= span.max
}

/// Returns the span of a path from `start`.
pub(super) fn span(path: &Path, start: i64) -> Span {
    unbiased(start, path, path)
}

/// Returns the span of the positions after firing ticks on a path from `start`. One of the ticks must fire.
pub(super) fn fire_span(ticks: &[u8; BLOCK_TICKS], path: &Path, start: i64) -> Span {
    let others = ticks.map(|tick| if tick & (POWER | FIRE) == FIRE { 0 } else { u8::MAX });
    // Others are neither the least nor the greatest.
    unbiased(start, &std::array::from_fn(|i| path[i] | others[i]), &std::array::from_fn(|i| path[i] & !others[i]))
}

/// Returns the span from the least to the greatest of positions within a block.
fn unbiased(start: i64, least: &Path, greatest: &Path) -> Span {
    let start = start - i64::from(BIAS);
    let min = least.iter().fold(u8::MAX, |min, &at| min.min(at));
    let max = greatest.iter().fold(0, |max, &at| max.max(at));
    Span { min: start + i64::from(min), max: start + i64::from(max) }
}

/// Returns the path of an axis in a block. Eight ticks at a time: a product with [`ONES`] has the sums of a word's first
/// bytes.
pub(super) fn path(ticks: &[u8; BLOCK_TICKS], axis: Axis) -> Path {
    let mut path = [0; BLOCK_TICKS];
    let mut last = u64::from(BIAS);
    for (path, word) in path.as_chunks_mut().0.iter_mut().zip(ticks.as_chunks().0) {
        let word = u64::from_le_bytes(*word);
        let bits = |bit: u8| word >> bit.trailing_zeros() & ONES;
        let steps = bits(axis.step) & !bits(POWER);
        let backward = steps & if axis.is_negative { bits(axis.direction) } else { !bits(axis.direction) };
        // From -1, 0 and 1 to 0, 1 and 2.
        let sums = (ONES + steps - 2 * backward).wrapping_mul(ONES);
        let word = last * ONES + sums - RAMP;
        last = word >> 56;
        *path = word.to_le_bytes();
    }
    path
}
