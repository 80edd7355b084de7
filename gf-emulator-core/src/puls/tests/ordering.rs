//! The order of contours.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::*;

/// Numbers from 0 to 1, the same ones everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1_u64 << 24) as f64
    }
}

fn lines(count: usize) -> Vec<Contour> {
    let mut numbers = Numbers(1);
    let mut line = || {
        let [x, y] = [numbers.next() * 400.0, numbers.next() * 250.0];
        Contour::new(vec![[x, y], [x + numbers.next() * 10.0 - 5.0, y + numbers.next() * 10.0 - 5.0]], false)
    };
    (0..count).map(|_| line()).collect()
}

fn polygon([x, y]: [f64; 2], radius: f64, corners: u32) -> Contour {
    let corner = |n: u32| (f64::from(n) / f64::from(corners) * std::f64::consts::TAU).sin_cos();
    Contour::new((0..corners).map(corner).map(|(sin, cos)| [x + radius * cos, y + radius * sin]).collect(), true)
}

/// Squares of 2 mm, which do not lie in each other.
fn squares(count: usize) -> Vec<Contour> {
    let mut numbers = Numbers(2);
    (0..count).map(|_| polygon([numbers.next() * 400.0, numbers.next() * 250.0], 1.414, 4)).collect()
}

/// Lines between the points of a grid, as of a hatching: many have an end in common.
fn grid(columns: usize, rows: usize) -> Vec<Contour> {
    let point = |column: usize, row: usize| [column as f64 * 5.0, row as f64 * 5.0];
    (0..columns * rows)
        .flat_map(|index| {
            let (column, row) = (index % columns, index / columns);
            [
                Contour::new(vec![point(column, row), point(column + 1, row)], false),
                Contour::new(vec![point(column, row), point(column, row + 1)], false),
            ]
        })
        .collect()
}

/// Returns the contours in a form that does not depend on where they start.
fn content(contours: &[Contour]) -> Vec<Vec<[u64; 2]>> {
    let bits = |point: &[f64; 2]| point.map(f64::to_bits);
    let mut content: Vec<Vec<_>> = contours.iter().map(|contour| contour.points.iter().map(bits).collect()).collect();
    for points in &mut content {
        points.sort_unstable();
        // The first point of a closed contour may be there again as its last.
        points.dedup();
    }
    content.sort_unstable();
    content
}

#[test]
fn travel_is_as_short_as_that_of_vpype() {
    // vpype 1.15.0: `linesort --two-opt` of these contours, from 0, 0. Without that option, it is a fifth longer.
    for (name, contours, vpype_mm) in VPYPE {
        let contours = contours();
        let ordered = order(contours.clone(), [0.0, 0.0]);
        assert_eq!(content(&ordered), content(&contours), "{name}");
        let ours_mm = travel_mm(&ordered, [0.0, 0.0]);
        assert!(ours_mm <= 1.05 * vpype_mm, "{name}: {ours_mm} mm, vpype {vpype_mm} mm");
    }
}

type Case = (&'static str, fn() -> Vec<Contour>, f64);

const VPYPE: [Case; 5] = [
    ("300 lines", || lines(300), 3838.0),
    ("2000 lines", || lines(2000), 8432.6),
    ("300 squares", || squares(300), 4488.6),
    ("2000 squares", || squares(2000), 11042.0),
    ("a grid", || grid(20, 15), 320.1),
];

#[test]
#[ignore = "writes files for vpype: GF_ORDER_FOLDER"]
fn writes_contours_for_vpype() {
    let Some(folder) = std::env::var_os("GF_ORDER_FOLDER") else { return };
    for (index, (name, contours, _)) in VPYPE.iter().enumerate() {
        let mut svg =
            String::from("<svg xmlns='http://www.w3.org/2000/svg' width='500' height='300' viewBox='0 0 500 300'>");
        for contour in contours() {
            let points: Vec<String> = contour.points.iter().map(|[x, y]| format!("{x} {y}")).collect();
            let close = if contour.is_closed { "z" } else { "" };
            let _ = write!(svg, "<path fill='none' stroke='#000' d='M{}{close}'/>", points.join("L"));
        }
        std::fs::write(std::path::Path::new(&folder).join(format!("{index}.svg")), svg + "</svg>").unwrap();
        let before = std::time::Instant::now();
        let ours = travel_mm(&order(contours(), [0.0; 2]), [0.0; 2]);
        eprintln!("{index} {name}: ours {ours:.1} mm in {:?}", before.elapsed());
    }
    for contours in [lines(100_000), squares(100_000), concentric(100_000), star(100_000)] {
        let before = std::time::Instant::now();
        let ours = travel_mm(&order(contours, [0.0; 2]), [0.0; 2]);
        eprintln!("100000: ours {ours:.1} mm in {:?}", before.elapsed());
    }
}

fn concentric(count: u32) -> Vec<Contour> {
    (0..count).map(|n| polygon([250.0, 250.0], 0.002 * f64::from(n + 1), 6)).collect()
}

fn star(count: u32) -> Vec<Contour> {
    polygon([200.0, 200.0], 100.0, count)
        .points
        .into_iter()
        .map(|end| Contour::new(vec![[200.0, 200.0], end], false))
        .collect()
}

#[test]
fn the_inside_comes_first() {
    let mut numbers = Numbers(3);
    let mut contours = Vec::new();
    for _ in 0..300 {
        let centre = [numbers.next() * 400.0, numbers.next() * 250.0];
        // In a random order, 30 corners each.
        let mut radii = [2.0, 3.0, 4.0, 5.0].map(|radius| (numbers.next(), radius));
        radii.sort_by(|a, b| a.0.total_cmp(&b.0));
        contours.extend(radii.map(|(_, radius)| polygon(centre, radius, 30)));
    }
    let ordered = order(contours, [0.0, 0.0]);
    let circle = |contour: &Contour| {
        let sum = contour.points.iter().fold([0.0, 0.0], |sum, point| [sum[0] + point[0], sum[1] + point[1]]);
        let centre = sum.map(|sum| (sum / 30.0 * 1e6).round().to_bits());
        (centre, contour.length_mm())
    };
    let circles: Vec<_> = ordered.iter().map(circle).collect();
    for (index, (centre, length)) in circles.iter().enumerate() {
        let later = &circles[index + 1..];
        assert!(later.iter().all(|(other, inner)| other != centre || inner > length), "{centre:?}");
    }
}

#[test]
fn a_line_that_ends_at_its_start_is_closed() {
    for outline in ["M0 0H50V50H0V0", "M0 0H50V50H0V0.009", "M0 0H50V50H0V0Z", "M0 0H50V50H0Z"] {
        for hole in ["M10 10H20V20H10V10", "M10 10H20V20H10Z"] {
            let path = format!("{outline}{hole}");
            let contours = svgpath::contours(path.as_bytes(), Placement::default()).unwrap();
            let ordered = order(contours, [0.0, 0.0]);
            assert!(
                ordered.iter().all(|contour| contour.is_closed && contour.points.len() == 4),
                "{path}: {ordered:?}"
            );
            assert!(ordered[0].length_mm() < 41.0, "{path}: {ordered:?}");
        }
    }
    let open = Contour::new(vec![[0.0, 0.0], [50.0, 0.0], [50.0, 50.0], [0.0, 0.02]], false);
    assert_eq!(order(vec![open.clone()], [0.0, 0.0]), [open]);
}

#[test]
fn deep_nesting_is_ordered_from_the_inside() {
    let lengths: Vec<f64> = order(concentric(2_000), [0.0, 0.0]).iter().map(Contour::length_mm).collect();
    assert!(lengths.is_sorted());
}

#[test]
fn odd_contours_are_kept_or_dropped() {
    let nothing = Contour::new(vec![], true);
    let infinite = Contour::new(vec![[0.0, f64::INFINITY], [f64::NAN, 0.0]], false);
    let point = Contour::new(vec![[-0.0, 0.0]], false);
    assert_eq!(order(vec![nothing, infinite, point.clone()], [5.0, 5.0]), [point]);
    assert_eq!(order(vec![], [0.0, 0.0]), []);
}

fn contour() -> impl Strategy<Value = Contour> {
    // On a grid, so that points and lines coincide.
    let point = (0..12_u8, 0..12_u8).prop_map(|(x, y)| [f64::from(x), f64::from(y)]);
    (prop::collection::vec(point, 1..6), any::<bool>()).prop_map(|(points, is_closed)| Contour::new(points, is_closed))
}

proptest! {
    #[test]
    fn any_order_has_the_same_contours(contours in prop::collection::vec(contour(), 0..40)) {
        let ordered = order(contours.clone(), [3.0, 4.0]);
        prop_assert_eq!(content(&ordered), content(&contours));
        prop_assert_eq!(&ordered, &order(contours.clone(), [3.0, 4.0]));
        let length = |contours: &[Contour]| contours.iter().map(Contour::length_mm).sum::<f64>();
        prop_assert!((length(&ordered) - length(&contours)).abs() < 1e-9);
    }
}
