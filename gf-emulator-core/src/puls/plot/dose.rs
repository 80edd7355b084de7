//! How often the laser fires where: a raster that is as fine as fits, over whatever places there are.

use std::collections::HashMap;

use super::marks::{CELL_STEPS, Mark};

/// Pixels to a tile's side.
const TILE: i32 = 64;
/// How many tiles there are at most: 16 MiB. Before there are more, pixels become twice as large.
const MOST_TILES: usize = 1024;
/// A mark is shared out between the two rows nearest to it, in so many parts.
const PARTS: u32 = 16;

type Tile = Box<[u32; (TILE * TILE) as usize]>;

/// Fire ticks by place.
#[derive(Debug)]
pub(super) struct Dose {
    /// Microsteps to a pixel, a power of two.
    pitch: i32,
    tiles: HashMap<(i32, i32), Tile>,
    most_tiles: usize,
}

impl Default for Dose {
    fn default() -> Self {
        Self::with_most_tiles(MOST_TILES)
    }
}

/// Part of a dose as a picture.
#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    /// The left and the back edge, in microsteps.
    pub(super) x: i64,
    pub(super) y: i64,
    /// Microsteps to a pixel.
    pub(super) pitch: i64,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Fire ticks in each pixel, row by row from the back.
    pub(super) fire_ticks: Vec<f32>,
}

impl Dose {
    fn with_most_tiles(most_tiles: usize) -> Self {
        Self { pitch: CELL_STEPS, tiles: HashMap::new(), most_tiles }
    }

    pub(super) fn add(&mut self, mark: &Mark) {
        let column = mark.x.div_euclid(self.pitch);
        // Rows are centred on multiples of the pitch: lines that are a bit closer or farther apart than rows would
        // otherwise fall two into one row and none into another, which shows as bands.
        let row = mark.y.div_euclid(self.pitch);
        let beyond = mark.y.rem_euclid(self.pitch).unsigned_abs() * PARTS / self.pitch.unsigned_abs();
        for (row, parts) in [(row, PARTS - beyond), (row + 1, beyond)] {
            if parts > 0 {
                self.add_to(column, row, mark.fire_ticks.saturating_mul(parts));
            }
        }
    }

    fn add_to(&mut self, column: i32, row: i32, parts: u32) {
        let key = (column.div_euclid(TILE), row.div_euclid(TILE));
        if self.tiles.len() == self.most_tiles && !self.tiles.contains_key(&key) {
            self.coarsen();
            return self.add_to(column.div_euclid(2), row.div_euclid(2), parts);
        }
        let tile = self.tiles.entry(key).or_insert_with(empty);
        let pixel = &mut tile[index(column, row)];
        *pixel = pixel.saturating_add(parts);
    }

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

    /// What lies within these bounds (in microsteps, ends included), with at most so many pixels on either side (and one row more).
    pub(super) fn picture(&self, x: [i64; 2], y: [i64; 2], most_pixels: u32) -> Option<Picture> {
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
        let most = i64::from(most_pixels.max(1));
        let factor = (columns.max(rows) + most - 1) / most;
        let scaled = |count: i64| u32::try_from((count + factor - 1) / factor).unwrap_or(most_pixels);
        // A row more: rows that become one are shared out, too, between the nearest two.
        let (width, height) = (scaled(columns), scaled(rows) + u32::from(factor > 1));
        let mut fire_ticks = vec![0.0; width as usize * height as usize];
        for (column, row, parts) in lit() {
            let (across, down) = (i64::from(column) - i64::from(left), i64::from(row) - i64::from(back));
            let beyond = (down % factor) as f32 / factor as f32;
            for (row, part) in [(down / factor, 1.0 - beyond), (down / factor + 1, beyond)] {
                let i = row * i64::from(width) + across / factor;
                // Within the picture, which has just been made to fit.
                if let Some(pixel) = usize::try_from(i).ok().and_then(|i| fire_ticks.get_mut(i)) {
                    *pixel += part * parts as f32 / PARTS as f32;
                }
            }
        }
        Some(Picture {
            x: i64::from(left) * pitch,
            // The rows' centres are where their multiples of the pitch are.
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
    // Both remainders are from 0 to 63.
    (row.rem_euclid(TILE) * TILE + column.rem_euclid(TILE)).unsigned_abs() as usize
}

/// The pixels of a tile, each with its column and row.
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

    fn mark(x: i32, y: i32, fire_ticks: u32) -> Mark {
        Mark { tick: 0, x, y, fire_ticks }
    }

    fn of(marks: &[Mark]) -> Dose {
        let mut dose = Dose::default();
        for mark in marks {
            dose.add(mark);
        }
        dose
    }

    #[test]
    fn a_mark_between_rows_belongs_to_both() {
        let picture = of(&[mark(8, 1, 4), mark(12, 0, 2)]).picture(EVERYWHERE, EVERYWHERE, 100).unwrap();
        assert_eq!(
            picture,
            Picture { x: 8, y: -2, pitch: 4, width: 2, height: 2, fire_ticks: vec![3.0, 2.0, 1.0, 0.0] }
        );
    }

    #[test]
    fn what_lies_outside_is_not_in_the_picture() {
        let dose = of(&[mark(0, 0, 1), mark(4000, 0, 1)]);
        assert_eq!(dose.picture([0, 100], EVERYWHERE, 100).unwrap().width, 1);
        assert_eq!(dose.picture([10, 100], EVERYWHERE, 100), None);
    }

    #[test]
    fn lines_of_any_spacing_make_an_even_picture() {
        for spacing in 2..=8 {
            let marks: Vec<_> = (0..200).map(|line| mark(0, line * spacing, 100)).collect();
            let picture = of(&marks).picture(EVERYWHERE, EVERYWHERE, 1000).unwrap();
            let inner = &picture.fire_ticks[4..picture.fire_ticks.len() - 4];
            // Wider lines leave rows between them, closer ones are even.
            if spacing <= 4 {
                let (least, most) = inner.iter().fold((f32::MAX, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
                assert!(most <= 1.4 * least, "{spacing}: {least} to {most}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn no_fire_is_lost_and_memory_stays_small(
            marks in prop::collection::vec((any::<i32>(), any::<i32>(), 1..1000_u32), 0..300)
        ) {
            let marks: Vec<_> = marks.iter().map(|&(x, y, fire_ticks)| mark(x, y, fire_ticks)).collect();
            let mut dose = Dose::with_most_tiles(16);
            for mark in &marks {
            dose.add(mark);
        }
            prop_assert!(dose.tiles.len() <= 16);
            let picture = dose.picture(EVERYWHERE, EVERYWHERE, 200);
            prop_assert_eq!(picture.is_none(), marks.is_empty());
            if let Some(picture) = picture {
                prop_assert!(picture.width <= 200 && picture.height <= 201);
                let sum: f64 = picture.fire_ticks.iter().map(|&ticks| f64::from(ticks)).sum();
                let expected: f64 = marks.iter().map(|mark| f64::from(mark.fire_ticks)).sum();
                prop_assert!((sum - expected).abs() < expected * 1e-3, "{} of {}", sum, expected);
            }
        }
    }
}
