//! Which contours lie inside others.

use std::cell::OnceCell;

use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, Envelope as _, RTree, RTreeObject as _};

use super::contour::Contour;
use super::region::{Budget, FillRule, Region};

/// A contour is inside another one if this many points of it are.
const SAMPLES: usize = 8;
/// The number of lines and boxes that are looked at, which bounds the time.
const BUDGET: u64 = 1 << 25;

/// For each contour, by its index, those that have to wait for it, or that it waits for.
#[derive(Debug, Clone, Default)]
pub(super) struct Nesting {
    /// The contours around it, without those that are around one of these.
    pub(super) outer: Vec<Vec<usize>>,
    /// The contours inside it, without those that are inside one of these.
    pub(super) inner: Vec<Vec<usize>>,
}

impl Nesting {
    /// Finds what lies inside what. Where that would take too long, it goes by size: each contour waits for all
    /// that are smaller.
    pub(super) fn of(contours: &[Contour]) -> Self {
        let outer = outer(contours, &mut Budget(BUDGET)).unwrap_or_else(|| by_size(contours));
        let mut inner = vec![Vec::new(); contours.len()];
        for (contour, outer) in outer.iter().enumerate() {
            for &outer in outer {
                inner[outer].push(contour);
            }
        }
        Self { outer, inner }
    }
}

fn envelope(contour: &Contour) -> AABB<[f64; 2]> {
    AABB::from_points(&contour.points)
}

/// Width plus height: that of a box is larger than that of each box in it.
fn size(envelope: &AABB<[f64; 2]>) -> f64 {
    envelope.upper()[0] - envelope.lower()[0] + (envelope.upper()[1] - envelope.lower()[1])
}

/// Returns the indexes of the contours, the largest first.
fn largest_first(sizes: &[f64]) -> Vec<usize> {
    let mut indexes: Vec<usize> = (0..sizes.len()).collect();
    indexes.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]).then(a.cmp(&b)));
    indexes
}

fn by_size(contours: &[Contour]) -> Vec<Vec<usize>> {
    let sizes: Vec<f64> = contours.iter().map(|contour| size(&envelope(contour))).collect();
    let mut outer = vec![Vec::new(); contours.len()];
    for pair in largest_first(&sizes).windows(2) {
        outer[pair[1]].push(pair[0]);
    }
    outer
}

/// Returns `None` if the budget is spent.
fn outer(contours: &[Contour], budget: &mut Budget) -> Option<Vec<Vec<usize>>> {
    let envelopes: Vec<_> = contours.iter().map(envelope).collect();
    let sizes: Vec<f64> = envelopes.iter().map(size).collect();
    let closed = contours.iter().enumerate().filter(|(_, contour)| contour.is_closed && contour.points.len() > 2);
    let boxes: RTree<_> = RTree::bulk_load(
        closed.map(|(index, _)| GeomWithData::new(Rectangle::from_aabb(envelopes[index]), index)).collect(),
    );
    let regions: Vec<OnceCell<Region>> = vec![OnceCell::new(); contours.len()];
    let mut outer: Vec<Vec<usize>> = vec![Vec::new(); contours.len()];
    // The last contour for which this one was found to be around it.
    let mut is_around = vec![usize::MAX; contours.len()];
    for index in largest_first(&sizes) {
        let found = boxes.locate_in_envelope_intersecting(&AABB::from_point(contours[index].points[0]));
        let mut visited = 0;
        let mut candidates: Vec<usize> = found
            .inspect(|_| visited += 1)
            .filter(|found| found.envelope().contains_envelope(&envelopes[index]) && sizes[found.data] > sizes[index])
            .map(|found| found.data)
            .collect();
        budget.take(visited)?;
        candidates.sort_by(|&a, &b| sizes[a].total_cmp(&sizes[b]).then(a.cmp(&b)));
        for candidate in candidates {
            if is_around[candidate] == index {
                continue;
            }
            let region = regions[candidate].get_or_init(|| Region::new([&contours[candidate]], FillRule::EvenOdd));
            if !is_inside(&contours[index], region, budget)? {
                continue;
            }
            outer[index].push(candidate);
            let mut around = vec![candidate];
            while let Some(next) = around.pop() {
                if is_around[next] != index {
                    is_around[next] = index;
                    around.extend(&outer[next]);
                    budget.take(1 + outer[next].len())?;
                }
            }
        }
    }
    Some(outer)
}

fn is_inside(contour: &Contour, region: &Region, budget: &mut Budget) -> Option<bool> {
    let step = contour.points.len().div_ceil(SAMPLES);
    let middles = contour.pieces().map(|[[ax, ay], [bx, by]]| [f64::midpoint(ax, bx), f64::midpoint(ay, by)]);
    // A contour of one point has no pieces.
    for point in
        contour.points.first().copied().filter(|_| contour.points.len() == 1).into_iter().chain(middles.step_by(step))
    {
        if !region.contains(point, budget)? {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, y: f64, side: f64) -> Contour {
        Contour::new(vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]], true)
    }

    #[test]
    fn finds_the_nearest_contours_around() {
        let mut u = square(0.0, 0.0, 20.0);
        // Open at the top: what is in the gap is not inside.
        u.points.splice(2..2, [[20.0, 20.0], [15.0, 20.0], [15.0, 5.0], [5.0, 5.0], [5.0, 20.0]]);
        u.points.remove(7);
        let contours = [
            square(0.0, 0.0, 100.0),
            square(10.0, 10.0, 50.0),
            square(20.0, 20.0, 5.0),
            square(21.0, 21.0, 1.0),
            Contour::new(vec![[30.0, 30.0], [40.0, 40.0]], false),
            Contour::new(vec![[30.0, 30.0], [400.0, 40.0]], false),
            square(0.0, 0.0, 100.0),
        ];
        let nesting = Nesting::of(&contours);
        assert_eq!(nesting.outer, [vec![], vec![0, 6], vec![1], vec![2], vec![1], vec![], vec![]]);
        assert_eq!(nesting.inner, [vec![1], vec![2, 4], vec![3], vec![], vec![], vec![], vec![1]]);
        assert!(Nesting::of(&[u.clone(), square(8.0, 10.0, 2.0)]).outer[1].is_empty());
        assert_eq!(Nesting::of(&[u, square(1.0, 1.0, 2.0)]).outer[1], [0]);
    }

    #[test]
    fn goes_by_size_when_the_budget_is_spent() {
        let contours = [square(0.0, 0.0, 2.0), square(0.0, 0.0, 3.0), square(0.0, 0.0, 1.0)];
        assert!(outer(&contours, &mut Budget(4)).is_none());
        assert_eq!(by_size(&contours), [vec![1], vec![], vec![0]]);
    }
}
