//! Resamples pictures, with one row of sums in memory.

/// Returns a picture in another size. Each new pixel is a mean of the old ones around its place, weighted by a triangle,
/// so that the mean of the picture stays the same.
pub(super) fn resample(pixels: &[u8], width: usize, [new_width, new_height]: [usize; 2]) -> Vec<u8> {
    let columns: Vec<Weights> = (0..new_width).map(|column| Weights::new(column, width, new_width)).collect();
    let height = pixels.len() / width;
    let mut sums = vec![0.0_f32; width];
    let mut resampled = Vec::with_capacity(new_width * new_height);
    for row in 0..new_height {
        let rows = Weights::new(row, height, new_height);
        sums.fill(0.0);
        for (row, weight) in pixels.chunks_exact(width).skip(rows.first).zip(&rows.weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &pixel)| *sum += weight * f32::from(pixel));
        }
        resampled.extend(columns.iter().map(|column| {
            let weighted = sums[column.first..].iter().zip(&column.weights).map(|(sum, weight)| sum * weight);
            to_byte(weighted.sum())
        }));
    }
    resampled
}

/// The old pixels that a new one is made of, in one direction.
struct Weights {
    first: usize,
    /// They add up to 1.
    weights: Vec<f32>,
}

impl Weights {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places in the picture; shares")]
    fn new(pixel: usize, old: usize, new: usize) -> Self {
        let ratio = old as f64 / new as f64;
        let (centre, reach) = ((pixel as f64 + 0.5) * ratio, ratio.max(1.0));
        let first = (centre - reach).max(0.0) as usize;
        let end = ((centre + reach).ceil() as usize).min(old);
        let weight = |n: usize| (1.0 - (n as f64 + 0.5 - centre).abs() / reach).max(0.0);
        let sum: f64 = (first..end).map(weight).sum();
        Self { first, weights: (first..end).map(|n| (weight(n) / sum) as f32).collect() }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(super) fn to_byte(value: f32) -> u8 {
    value.round() as u8
}

#[cfg(test)]
mod tests {
    use image::imageops::{self, FilterType};
    use image::{GrayImage, Luma};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_image_crate(
            [width, height] in prop::array::uniform2(1..30_u32),
            [new_width, new_height] in prop::array::uniform2(1..60_u32),
            seed: u32,
        ) {
            let old = GrayImage::from_fn(width, height, |x, y| {
                Luma([seed.wrapping_add(x * 31 + y * 7).wrapping_mul(2_654_435_761).to_be_bytes()[0]])
            });
            let expected = imageops::resize(&old, new_width, new_height, FilterType::Triangle).into_raw();
            let found = resample(old.as_raw(), width as usize, [new_width as usize, new_height as usize]);
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.into_iter().zip(expected) {
                prop_assert!(found.abs_diff(expected) <= 2, "{} {}", found, expected);
            }
        }
    }
}
