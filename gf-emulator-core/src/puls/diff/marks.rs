//! Where two lasers fire, on a sparse grid.

use std::collections::HashMap;

const PITCH_MM: f64 = 0.1;
/// The width and height of a tile, in cells.
const TILE: i32 = 64;
/// The maximum number of tiles (16 MiB). For more, the resolution is halved.
const MAX_TILES: usize = 16_384;

/// A job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    A,
    B,
}

/// Which lasers fire in a cell, or in one of the cells around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    OnlyA,
    OnlyB,
    Both,
}

/// For each job, a word for each row of a tile.
type Tile = Box<[[u64; TILE as usize]; 2]>;

/// The cells in which each laser fires.
#[derive(Debug)]
pub(in super::super) struct Marks {
    pitch_mm: f64,
    tiles: HashMap<(i32, i32), Tile>,
    max_tiles: usize,
    /// The last cell of each job, which is often the next as well.
    last: [Option<(i32, i32)>; 2],
}

impl Default for Marks {
    fn default() -> Self {
        Self { pitch_mm: PITCH_MM, tiles: HashMap::new(), max_tiles: MAX_TILES, last: [None; 2] }
    }
}

impl Marks {
    /// Marks a position in mm from the start of the job.
    pub(super) fn add(&mut self, mark: Mark, (x_mm, y_mm): (f64, f64)) {
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let cell = |mm: f64| (mm / self.pitch_mm).floor().clamp(-1e9, 1e9) as i32;
        let at = (cell(x_mm), cell(y_mm));
        if self.last[mark as usize] == Some(at) {
            return;
        }
        if self.tiles.len() == self.max_tiles && !self.tiles.contains_key(&tile_of(at)) {
            self.coarsen();
            return self.add(mark, (x_mm, y_mm));
        }
        self.last[mark as usize] = Some(at);
        self.set(mark as usize, at);
    }

    fn set(&mut self, mark: usize, at: (i32, i32)) {
        let tile = self.tiles.entry(tile_of(at)).or_insert_with(|| Box::new([[0; TILE as usize]; 2]));
        tile[mark][at.1.rem_euclid(TILE).unsigned_abs() as usize] |= 1 << at.0.rem_euclid(TILE);
    }

    /// Halves the resolution.
    fn coarsen(&mut self) {
        self.pitch_mm *= 2.0;
        self.last = [None; 2];
        for (key, tile) in std::mem::take(&mut self.tiles) {
            for (column, row, fires) in cells(key, &tile) {
                for mark in (0..2).filter(|&mark| fires[mark]) {
                    self.set(mark, (column.div_euclid(2), row.div_euclid(2)));
                }
            }
        }
    }

    /// Returns the width and height of a cell.
    pub(in super::super) fn pitch_mm(&self) -> f64 {
        self.pitch_mm
    }

    /// Returns the column, the row and the kind of each cell in which a laser fires.
    pub(in super::super) fn kinds(&self) -> impl Iterator<Item = (i32, i32, Kind)> {
        self.tiles.iter().flat_map(|(&key, tile)| cells(key, tile)).map(|(column, row, fires)| {
            let kind = match fires {
                [true, false] if !self.is_near(1, (column, row)) => Kind::OnlyA,
                [false, true] if !self.is_near(0, (column, row)) => Kind::OnlyB,
                _ => Kind::Both,
            };
            (column, row, kind)
        })
    }

    /// Returns whether a laser fires in one of the cells around a cell.
    fn is_near(&self, mark: usize, (column, row): (i32, i32)) -> bool {
        (-1..=1).flat_map(|x| (-1..=1).map(move |y| (column + x, row + y))).any(|at| {
            let row = at.1.rem_euclid(TILE).unsigned_abs() as usize;
            self.tiles.get(&tile_of(at)).is_some_and(|tile| tile[mark][row] >> at.0.rem_euclid(TILE) & 1 == 1)
        })
    }
}

fn tile_of(at: (i32, i32)) -> (i32, i32) {
    (at.0.div_euclid(TILE), at.1.div_euclid(TILE))
}

/// Returns the column, the row and the lasers of each cell of a tile in which one fires.
fn cells((tile_x, tile_y): (i32, i32), tile: &Tile) -> impl Iterator<Item = (i32, i32, [bool; 2])> + '_ {
    (0..TILE).flat_map(move |row| {
        let words = tile.each_ref().map(|rows| rows[row.unsigned_abs() as usize]);
        let lit = (0..TILE).filter(move |&column| (words[0] | words[1]) >> column & 1 == 1);
        lit.map(move |column| (tile_x * TILE + column, tile_y * TILE + row, words.map(|word| word >> column & 1 == 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_cells_are_no_difference() {
        let mut marks = Marks::default();
        // The last two are two cells apart, across a border of tiles.
        for (mark, x_mm) in [(Mark::A, 1.01), (Mark::B, 1.11), (Mark::A, 6.35), (Mark::B, 6.55)] {
            marks.add(mark, (x_mm, -0.05));
        }
        let mut found: Vec<_> = marks.kinds().collect();
        found.sort_by_key(|cell| cell.0);
        assert_eq!(found, [(10, -1, Kind::Both), (11, -1, Kind::Both), (63, -1, Kind::OnlyA), (65, -1, Kind::OnlyB)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut marks = Marks { max_tiles: 16, ..Marks::default() };
        for i in 0..1000 {
            marks.add(if i % 2 == 0 { Mark::A } else { Mark::B }, (f64::from(i), -f64::from(i * i)));
        }
        marks.add(Mark::A, (f64::MAX, f64::MIN));
        assert!(marks.tiles.len() <= 16 && marks.pitch_mm > 1.0, "{}", marks.pitch_mm);
        assert!(marks.kinds().count() > 10);
    }
}
