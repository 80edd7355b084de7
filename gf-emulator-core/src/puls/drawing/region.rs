//! Regions: what is inside closed contours, and the parts of lines that are inside.

use std::sync::Arc;

use rstar::primitives::Line;
use rstar::{AABB, PointDistance as _, RTree};

use super::contour::{Contour, distance};

/// As many lines are looked at in the time in which a region is found to have none nearby.
const PART_COST: usize = 8;
/// A point closer to a border than this, in mm, is inside.
const BORDER_MM: f64 = 1e-3;

/// Which points are inside contours that cross or contain each other, as in SVG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FillRule {
    /// Points whose winding number is not 0 (`nonzero`): clockwise turns around them count as 1, others as -1.
    #[default]
    NonZero,
    /// Points that an odd number of contours go around (`evenodd`).
    EvenOdd,
}

/// The number of lines that may still be looked at, which bounds the time that a drawing takes.
pub(super) struct Budget(pub(super) u64);

impl Budget {
    /// Takes some lines. Returns `None` if too few are left.
    pub(super) fn take(&mut self, lines: usize) -> Option<()> {
        self.0 = self.0.checked_sub(lines as u64)?;
        Some(())
    }
}

/// The inside of closed contours, with an index of their lines.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) rule: FillRule,
    edges: RTree<Line<[f64; 2]>>,
    max_x: f64,
}

impl Region {
    pub(super) fn new<'a>(contours: impl IntoIterator<Item = &'a Contour>, rule: FillRule) -> Self {
        let edges: Vec<_> = contours
            .into_iter()
            .flat_map(|contour| {
                let next = contour.points.iter().cycle().skip(1);
                contour.points.iter().zip(next).map(|(&from, &to)| Line::new(from, to))
            })
            .collect();
        let max_x = edges.iter().map(|edge| edge.from[0]).fold(f64::NEG_INFINITY, f64::max);
        Self { rule, edges: RTree::bulk_load(edges), max_x }
    }

    /// Returns whether a point is inside, from the lines to its right. `None` if the budget is spent.
    pub(super) fn contains(&self, [x, y]: [f64; 2], budget: &mut Budget) -> Option<bool> {
        if x > self.max_x {
            return Some(false);
        }
        let (mut winding, mut visited) = (0_i64, 1);
        for edge in self.edges.locate_in_envelope_intersecting(&AABB::from_corners([x, y], [self.max_x, y])) {
            visited += 1;
            let ([ax, ay], [bx, by]) = (edge.from, edge.to);
            if (ay <= y) != (by <= y) && ax + (y - ay) / (by - ay) * (bx - ax) > x {
                winding += if ay <= y { 1 } else { -1 };
            }
        }
        budget.take(visited)?;
        Some(match self.rule {
            FillRule::NonZero => winding != 0,
            FillRule::EvenOdd => winding % 2 != 0,
        })
    }

    /// Returns whether a point is on the border. `None` if the budget is spent.
    fn is_border(&self, point: [f64; 2], budget: &mut Budget) -> Option<bool> {
        let [x, y] = point;
        let near = AABB::from_corners([x - BORDER_MM, y - BORDER_MM], [x + BORDER_MM, y + BORDER_MM]);
        for edge in self.edges.locate_in_envelope_intersecting(&near) {
            budget.take(1)?;
            if edge.distance_2(&point) < BORDER_MM * BORDER_MM {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Adds where a line crosses the border, as parts of its length.
    fn cross(&self, [a, b]: [[f64; 2]; 2], parts: &mut Vec<f64>, budget: &mut Budget) -> Option<()> {
        let envelope = AABB::from_corners(a, b);
        let [dx, dy] = [b[0] - a[0], b[1] - a[1]];
        let length_2 = dx * dx + dy * dy;
        let mut visited = 0;
        for edge in self.edges.locate_in_envelope_intersecting(&envelope) {
            visited += 1;
            let [ex, ey] = [edge.to[0] - edge.from[0], edge.to[1] - edge.from[1]];
            let [fx, fy] = [edge.from[0] - a[0], edge.from[1] - a[1]];
            let cross = dx * ey - dy * ex;
            if cross == 0.0 {
                // Parallel: the ends of the edge, if on the line.
                for [px, py] in [edge.from, edge.to] {
                    parts.push(((px - a[0]) * dx + (py - a[1]) * dy) / length_2);
                }
            } else if (-1e-9..=1.0 + 1e-9).contains(&((fx * dy - fy * dx) / cross)) {
                parts.push((fx * ey - fy * ex) / cross);
            }
        }
        budget.take(visited)
    }
}

/// What a clip path shows: the union of regions, each of which may be clipped itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Area {
    pub(super) parts: Vec<AreaPart>,
}

/// A region within other areas.
#[derive(Debug, Clone)]
pub(super) struct AreaPart {
    pub(super) contours: Vec<Contour>,
    pub(super) region: Region,
    pub(super) within: Vec<Arc<Area>>,
}

impl Area {
    fn contains(&self, point: [f64; 2], budget: &mut Budget) -> Option<bool> {
        for part in &self.parts {
            budget.take(PART_COST)?;
            let mut is_inside = part.region.contains(point, budget)? || part.region.is_border(point, budget)?;
            for area in &part.within {
                is_inside = is_inside && area.contains(point, budget)?;
            }
            if is_inside {
                return Some(true);
            }
        }
        Some(false)
    }

    fn cross(&self, piece: [[f64; 2]; 2], parts: &mut Vec<f64>, budget: &mut Budget) -> Option<()> {
        for part in &self.parts {
            budget.take(PART_COST)?;
            part.region.cross(piece, parts, budget)?;
            for area in &part.within {
                area.cross(piece, parts, budget)?;
            }
        }
        Some(())
    }

    /// Adds the outlines of all regions, which the border of the area is made of.
    fn add_outlines<'a>(&'a self, outlines: &mut Vec<&'a Contour>) {
        for part in &self.parts {
            outlines.extend(&part.contours);
            part.within.iter().for_each(|area| area.add_outlines(outlines));
        }
    }
}

/// Returns the parts of a contour that are in all of the areas. `None` if the budget is spent.
pub(super) fn clip(contour: &Contour, areas: &[Arc<Area>], budget: &mut Budget) -> Option<Vec<Contour>> {
    let mut clipped: Vec<Contour> = Vec::new();
    let mut is_inside = None;
    let mut is_cut = false;
    let mut parts = Vec::new();
    for piece @ [from, to] in contour.pieces() {
        let length = distance(from, to);
        if length == 0.0 {
            continue;
        }
        parts.clear();
        for area in areas {
            area.cross(piece, &mut parts, budget)?;
        }
        // Without a crossing, the whole piece is where the one before it ended.
        let is_known = parts.is_empty();
        parts.retain(|&part| part * length > BORDER_MM / 2.0 && (1.0 - part) * length > BORDER_MM / 2.0);
        parts.push(1.0);
        parts.sort_by(f64::total_cmp);
        let at = |part: f64| [from[0] + part * (to[0] - from[0]), from[1] + part * (to[1] - from[1])];
        let mut start = 0.0;
        for &end in &parts {
            if (end - start) * length < BORDER_MM / 2.0 && end < 1.0 {
                continue;
            }
            let was_inside = is_inside == Some(true);
            if !is_known || is_inside.is_none() {
                let middle = at(f64::midpoint(start, end));
                let mut is_in_all = true;
                for area in areas {
                    is_in_all = is_in_all && area.contains(middle, budget)?;
                }
                is_inside = Some(is_in_all);
            }
            let to = if end < 1.0 { at(end) } else { to };
            match clipped.last_mut() {
                Some(last) if was_inside && is_inside == Some(true) => last.points.push(to),
                _ if is_inside == Some(true) => clipped.push(Contour::new(vec![at(start), to], false)),
                _ => is_cut = true,
            }
            start = end;
        }
    }
    if contour.is_closed {
        match &mut clipped[..] {
            [whole] if !is_cut => {
                whole.points.pop();
                whole.is_closed = true;
            }
            // The start is inside: the last part continues with the first one.
            [first, .., last] if is_inside == Some(true) && last.points.last() == first.points.first() => {
                last.points.extend_from_slice(&first.points[1..]);
                clipped.swap_remove(0);
            }
            _ => {}
        }
    }
    Some(clipped)
}

/// Returns the outline of what is inside closed contours and in all of the areas. `None` if the budget is spent.
pub(super) fn visible_outline(
    contours: &[Contour],
    rule: FillRule,
    areas: &[Arc<Area>],
    budget: &mut Budget,
) -> Option<Vec<Contour>> {
    if areas.is_empty() {
        return Some(contours.to_vec());
    }
    budget.take(contours.iter().map(|contour| contour.points.len()).sum())?;
    let shape = AreaPart { contours: contours.to_vec(), region: Region::new(contours, rule), within: areas.to_vec() };
    let shape = Arc::new(Area { parts: vec![shape] });
    let mut outlines = Vec::new();
    shape.add_outlines(&mut outlines);
    let mut visible = Vec::new();
    for outline in outlines {
        visible.extend(clip(outline, std::slice::from_ref(&shape), budget)?);
    }
    Some(visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, y: f64, side: f64) -> Contour {
        Contour::new(vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]], true)
    }

    fn area(contours: Vec<Contour>, rule: FillRule) -> Arc<Area> {
        let region = Region::new(&contours, rule);
        Arc::new(Area { parts: vec![AreaPart { contours, region, within: Vec::new() }] })
    }

    fn clipped(contour: &Contour, areas: &[Arc<Area>]) -> Vec<Contour> {
        clip(contour, areas, &mut Budget(1 << 20)).expect("a small drawing")
    }

    #[test]
    fn keeps_what_is_inside() {
        let ring = area(vec![square(0.0, 0.0, 10.0), square(4.0, 4.0, 2.0)], FillRule::EvenOdd);
        let line = Contour::new(vec![[-5.0, 5.0], [15.0, 5.0]], false);
        assert_eq!(
            clipped(&line, std::slice::from_ref(&ring)),
            [Contour::new(vec![[0.0, 5.0], [4.0, 5.0]], false), Contour::new(vec![[6.0, 5.0], [10.0, 5.0]], false)]
        );
        let half = area(vec![square(5.0, 0.0, 10.0)], FillRule::NonZero);
        assert_eq!(clipped(&line, &[ring, half]), [Contour::new(vec![[6.0, 5.0], [10.0, 5.0]], false)]);
    }

    #[test]
    fn a_contour_stays_closed_if_it_is_not_cut() {
        let inner = square(2.0, 2.0, 3.0);
        let page = area(vec![square(0.0, 0.0, 10.0)], FillRule::NonZero);
        assert_eq!(clipped(&inner, std::slice::from_ref(&page)), std::slice::from_ref(&inner));
        assert_eq!(clipped(&square(0.0, 0.0, 10.0), std::slice::from_ref(&page)), [square(0.0, 0.0, 10.0)]);
        assert_eq!(clipped(&square(20.0, 2.0, 3.0), std::slice::from_ref(&page)), []);
        // It starts inside: one open part with the start in its middle.
        let parts = clipped(&square(8.0, 8.0, 4.0), &[page]);
        assert_eq!(parts, [Contour::new(vec![[8.0, 10.0], [8.0, 8.0], [10.0, 8.0]], false)]);
    }

    #[test]
    fn the_visible_outline_is_made_of_both_outlines() {
        let corner = area(vec![square(5.0, 5.0, 10.0)], FillRule::NonZero);
        let visible = |areas: &[Arc<Area>]| {
            let outlines = visible_outline(&[square(0.0, 0.0, 10.0)], FillRule::NonZero, areas, &mut Budget(1 << 20));
            let points: Vec<_> = outlines.unwrap().iter().flat_map(|outline| outline.points.clone()).collect();
            let of = |axis: usize| points.iter().map(move |point| point[axis]);
            (0..2).map(|axis| (of(axis).fold(99.0, f64::min), of(axis).fold(-99.0, f64::max))).collect::<Vec<_>>()
        };
        assert_eq!(visible(&[]), [(0.0, 10.0), (0.0, 10.0)]);
        assert_eq!(visible(std::slice::from_ref(&corner)), [(5.0, 10.0), (5.0, 10.0)]);
        // The hole of a ring shows nothing, and what is around all of the shape shows all of it.
        let around = area(vec![square(-5.0, -5.0, 30.0)], FillRule::NonZero);
        assert_eq!(visible(&[around, corner.clone()]), [(5.0, 10.0), (5.0, 10.0)]);
        let elsewhere = area(vec![square(20.0, 0.0, 10.0)], FillRule::NonZero);
        assert_eq!(visible(&[elsewhere, corner]), [(99.0, -99.0), (99.0, -99.0)]);
        assert!(
            visible_outline(&[square(0.0, 0.0, 1.0)], FillRule::NonZero, &[Arc::default()], &mut Budget(3)).is_none()
        );
    }

    #[test]
    fn stops_when_the_budget_is_spent() {
        let page = area(vec![square(0.0, 0.0, 10.0)], FillRule::NonZero);
        assert!(clip(&square(8.0, 8.0, 4.0), &[page], &mut Budget(3)).is_none());
    }
}
