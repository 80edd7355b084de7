//! A sparse raster of firing ticks. It covers any area, with a resolution that fits bounded memory.

use std::collections::HashMap;

use super::fire_spots::{CELL_STEPS, FireSpot};

/// The width and height of a tile, in pixels.
const TILE: i32 = 64;
/// The maximum number of tiles (16 MiB). For more, the resolution is halved.
const MAX_TILES: usize = 1024;
/// A firing tick is divided between the two nearest rows in this many parts.
const PARTS: u32 = 16;

type Tile = Box<[u32; (TILE * TILE) as usize]>;

/// Firing ticks by position.
#[derive(Debug)]
pub(super) struct DoseRaster {
    /// Microsteps per pixel, a power of two.
    pitch: i32,
    tiles: HashMap<(i32, i32), Tile>,
    max_tiles: usize,
}

impl Default for DoseRaster {
    fn default() -> Self {
        Self::with_max_tiles(MAX_TILES)
    }
}

/// A part of a [`DoseRaster`].
#[derive(Debug, PartialEq)]
pub(super) struct DoseImage {
    /// The left and back edge, in microsteps.
    pub(super) x: i64,
    pub(super) y: i64,
    /// Microsteps per pixel.
    pub(super) pitch: i64,
    pub(super) width: u32,
    pub(super) height: u32,
    /// The firing ticks of each pixel, in rows from the back.
    pub(super) fire_ticks: Vec<f32>,
}

impl DoseRaster {
    fn with_max_tiles(max_tiles: usize) -> Self {
        Self { pitch: CELL_STEPS, tiles: HashMap::new(), max_tiles }
    }

    pub(super) fn add(&mut self, spot: &FireSpot) {
        let column = spot.x.div_euclid(self.pitch);
        // Rows are centred on multiples of the pitch. If each line belonged to one row, lines a bit closer than the
        // pitch would sometimes share one, which shows as bands.
        let row = spot.y.div_euclid(self.pitch);
        let beyond = spot.y.rem_euclid(self.pitch).unsigned_abs() * PARTS / self.pitch.unsigned_abs();
        for (row, parts) in [(row, PARTS - beyond), (row + 1, beyond)] {
            if parts > 0 {
                self.add_to(column, row, spot.fire_ticks.saturating_mul(parts));
            }
        }
    }

    fn add_to(&mut self, column: i32, row: i32, parts: u32) {
        let key = (column.div_euclid(TILE), row.div_euclid(TILE));
        if self.tiles.len() == self.max_tiles && !self.tiles.contains_key(&key) {
            self.coarsen();
            return self.add_to(column.div_euclid(2), row.div_euclid(2), parts);
        }
        let tile = self.tiles.entry(key).or_insert_with(empty);
        let pixel = &mut tile[index(column, row)];
        *pixel = pixel.saturating_add(parts);
    }

    /// Halves the resolution.
    fn coarsen(&mut self) {
        self.pitch *= 2;
        for (key, tile) in std::mem::take(&mut self.tiles) {
            let target = self.tiles.entry((key.0.div_euclid(2), key.1.div_euclid(2))).or_insert_with(empty);
            for (column, row, parts) in pixels(key, &tile) {
                let pixel = &mut target[index(column.div_euclid(2), row.div_euclid(2))];
                *pixel = pixel.saturating_add(parts);
            }
        }
    }

    /// Returns the part within bounds (in microsteps, inclusive), at most `max_pixels` wide and one row more high.
    pub(super) fn image(&self, x: [i64; 2], y: [i64; 2], max_pixels: u32) -> Option<DoseImage> {
        let pitch = i64::from(self.pitch);
        let within = |column: i32, row: i32| {
            let (left, back) = (i64::from(column) * pitch, i64::from(row) * pitch);
            left + pitch > x[0] && left <= x[1] && back + pitch > y[0] && back <= y[1]
        };
        let lit = || {
            self.tiles
                .iter()
                .flat_map(|(key, tile)| pixels(*key, tile))
                .filter(|&(column, row, parts)| parts > 0 && within(column, row))
        };
        let mut ends: Option<[i32; 4]> = None;
        for (column, row, _) in lit() {
            let [left, right, back, front] = ends.unwrap_or([column, column, row, row]);
            ends = Some([left.min(column), right.max(column), back.min(row), front.max(row)]);
        }
        let [left, right, back, front] = ends?;
        let count = |from: i32, to: i32| i64::from(to) - i64::from(from) + 1;
        let (columns, rows) = (count(left, right), count(back, front));
        let max = i64::from(max_pixels.max(1));
        let factor = (columns.max(rows) + max - 1) / max;
        let scaled = |count: i64| u32::try_from((count + factor - 1) / factor).unwrap_or(max_pixels);
        // One more row, because merged rows are divided between the nearest two as well.
        let (width, height) = (scaled(columns), scaled(rows) + u32::from(factor > 1));
        let mut fire_ticks = vec![0.0; width as usize * height as usize];
        for (column, row, parts) in lit() {
            let (across, down) = (i64::from(column) - i64::from(left), i64::from(row) - i64::from(back));
            let beyond = (down % factor) as f32 / factor as f32;
            for (row, part) in [(down / factor, 1.0 - beyond), (down / factor + 1, beyond)] {
                let i = row * i64::from(width) + across / factor;
                // Always in the image, which was sized for it.
                if let Some(pixel) = usize::try_from(i).ok().and_then(|i| fire_ticks.get_mut(i)) {
                    *pixel += part * parts as f32 / PARTS as f32;
                }
            }
        }
        Some(DoseImage {
            x: i64::from(left) * pitch,
            // Rows are centred on multiples of the pitch.
            y: i64::from(back) * pitch - pitch * factor / 2,
            pitch: pitch * factor,
            width,
            height,
            fire_ticks,
        })
    }
}

fn empty() -> Tile {
    Box::new([0; (TILE * TILE) as usize])
}

fn index(column: i32, row: i32) -> usize {
    (row.rem_euclid(TILE) * TILE + column.rem_euclid(TILE)).unsigned_abs() as usize
}

/// Returns the column, row and value of each pixel of a tile.
fn pixels((tile_x, tile_y): (i32, i32), tile: &Tile) -> impl Iterator<Item = (i32, i32, u32)> + '_ {
    (0..TILE).flat_map(move |row| {
        (0..TILE).map(move |column| (tile_x * TILE + column, tile_y * TILE + row, tile[index(column, row)]))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVERYWHERE: [i64; 2] = [i64::MIN / 2, i64::MAX / 2];

    fn spot(x: i32, y: i32, fire_ticks: u32) -> FireSpot {
        FireSpot { tick: 0, x, y, fire_ticks }
    }

    fn of(spots: &[FireSpot]) -> DoseRaster {
        let mut dose = DoseRaster::default();
        for spot in spots {
            dose.add(spot);
        }
        dose
    }

    #[test]
    fn divides_a_spot_between_two_rows() {
        let image = of(&[spot(8, 1, 4), spot(12, 0, 2)]).image(EVERYWHERE, EVERYWHERE, 100).unwrap();
        assert_eq!(
            image,
            DoseImage { x: 8, y: -2, pitch: 4, width: 2, height: 2, fire_ticks: vec![3.0, 2.0, 1.0, 0.0] }
        );
    }

    #[test]
    fn image_is_limited_to_its_bounds() {
        let dose = of(&[spot(0, 0, 1), spot(4000, 0, 1)]);
        assert_eq!(dose.image([0, 100], EVERYWHERE, 100).unwrap().width, 1);
        assert_eq!(dose.image([10, 100], EVERYWHERE, 100), None);
    }

    #[test]
    fn dense_lines_make_no_bands() {
        for spacing in 2..=8 {
            let spots: Vec<_> = (0..200).map(|line| spot(0, line * spacing, 100)).collect();
            let image = of(&spots).image(EVERYWHERE, EVERYWHERE, 1000).unwrap();
            let inner = &image.fire_ticks[4..image.fire_ticks.len() - 4];
            // Lines farther apart leave empty rows between them.
            if spacing <= 4 {
                let (least, most) = inner.iter().fold((f32::MAX, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
                assert!(most <= 1.4 * least, "{spacing}: {least} to {most}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn keeps_all_fire_in_bounded_memory(
            spots in prop::collection::vec((any::<i32>(), any::<i32>(), 1..1000_u32), 0..300)
        ) {
            let spots: Vec<_> = spots.iter().map(|&(x, y, fire_ticks)| spot(x, y, fire_ticks)).collect();
            let mut dose = DoseRaster::with_max_tiles(16);
            for spot in &spots {
                dose.add(spot);
            }
            prop_assert!(dose.tiles.len() <= 16);
            let image = dose.image(EVERYWHERE, EVERYWHERE, 200);
            prop_assert_eq!(image.is_none(), spots.is_empty());
            if let Some(image) = image {
                prop_assert!(image.width <= 200 && image.height <= 201);
                let sum: f64 = image.fire_ticks.iter().map(|&ticks| f64::from(ticks)).sum();
                let expected: f64 = spots.iter().map(|spot| f64::from(spot.fire_ticks)).sum();
                prop_assert!((sum - expected).abs() < expected * 1e-3, "{} of {}", sum, expected);
            }
        }
    }
}
