//! Plots: where they have ink and where they do not.

use proptest::prelude::*;
use resvg::tiny_skia::{Pixmap, PremultipliedColorU8};

use super::super::{Builder, WORK_AREA_MM, tick};
use super::*;

const LIT: u8 = tick::X_STEP | tick::FIRE;

fn plot(body: &[u8]) -> Plot {
    let mut file = Builder::new().to_bytes();
    file.push(tick::POWER | 127);
    file.extend_from_slice(body);
    Plot::from_job(Job::open(&file[..]).unwrap()).unwrap()
}

fn made(make: impl FnOnce(&mut Builder) -> Result<()>) -> Plot {
    let mut job = Builder::new();
    make(&mut job).unwrap();
    Plot::from_job(Job::open(&job.to_gzip()[..]).unwrap()).unwrap()
}

fn square(job: &mut Builder) -> Result<()> {
    job.move_to(100.0, 50.0)?;
    for (x_mm, y_mm) in [(200.0, 50.0), (200.0, 150.0), (100.0, 150.0), (100.0, 50.0)] {
        job.cut_to(x_mm, y_mm, 180.0, 3.0 / 7.0)?;
    }
    Ok(())
}

/// Sweeps from left to right and back: lines of `lit` steps between 100 steps without laser at both ends, `pitch` steps
/// apart.
fn engraving(lines: usize, lit: usize, pitch: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for line in 0..lines {
        if line > 0 {
            body.extend(vec![tick::Y_STEP | tick::Y_POSITIVE; pitch]);
        }
        let back = if line % 2 == 0 { 0 } else { tick::X_NEGATIVE };
        body.extend([tick::X_STEP | back; 100]);
        body.extend(vec![LIT | back; lit]);
        body.extend([tick::X_STEP | back; 100]);
    }
    body
}

/// A rendered plot and the place of the bed in it.
struct Rendered {
    pixels: Pixmap,
    /// The top left corner of the bed, in pixels.
    left: f64,
    top: f64,
    px_per_mm: f64,
}

impl Rendered {
    /// Renders the whole bed.
    fn of(plot: &Plot, width_px: u32) -> Self {
        let mut options = PlotOptions::new("a job");
        options.width_px = width_px;
        let rendered = Self::of_svg(&plot.to_svg(&options));
        assert_eq!(rendered.pixels.width(), width_px);
        rendered
    }

    fn of_svg(svg: &str) -> Self {
        let window = &svg[svg[1..].find("<svg ").unwrap() + 1..];
        let number = |name: &str| -> f64 {
            let from = window.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
            window[from..].split('"').next().unwrap().parse().unwrap()
        };
        let pixels = Pixmap::decode_png(&render(svg, BAND_PIXELS).unwrap()).unwrap();
        Self { pixels, left: number("x"), top: number("y"), px_per_mm: number("width") / WORK_AREA_MM.0 }
    }

    fn pixel(&self, x_mm: f64, y_mm: f64) -> PremultipliedColorU8 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the position is in the plot")]
        let at = |from: f64, mm: f64| (from + mm * self.px_per_mm) as u32;
        self.pixels.pixel(at(self.left, x_mm), at(self.top, y_mm)).unwrap()
    }

    /// Returns how dark the bed is at a position: 0 for empty, 1 for black.
    fn ink(&self, x_mm: f64, y_mm: f64) -> f64 {
        let pixel = self.pixel(x_mm, y_mm);
        1.0 - f64::from(pixel.red().min(pixel.green()).min(pixel.blue())) / 249.0
    }

    #[track_caller]
    fn expect(&self, x_mm: f64, y_mm: f64, colour: &str) {
        let pixel = self.pixel(x_mm, y_mm);
        let found = format!("#{:02x}{:02x}{:02x}", pixel.red(), pixel.green(), pixel.blue());
        assert_eq!(found, colour, "at {x_mm}, {y_mm}");
    }
}

#[test]
fn square_has_ink_on_its_sides() {
    let picture = Rendered::of(&made(square), 2400);
    for (x, y) in [(130.0, 50.0), (200.0, 81.0), (170.0, 150.0), (100.0, 130.0)] {
        picture.expect(x, y, colour::CUTS[3]);
    }
    for (x, y) in [(131.0, 101.0), (213.0, 81.0), (131.0, 163.0), (140.0, 52.0)] {
        picture.expect(x, y, colour::BED);
    }
    // The travel, and the markers at both ends.
    assert!(picture.ink(60.0, 30.0) > 0.1);
    picture.expect(100.0, 50.0, colour::INK);
    assert!(picture.ink(3.55, 0.2) > 0.5, "the start's ring");
}

#[test]
fn what_comes_after_a_moment_is_faint() {
    let mut job = Builder::new();
    square(&mut job).unwrap();
    let at = |tick: u64| Plot::from_job_at(Job::open(&job.to_bytes()[..]).unwrap(), tick).unwrap();
    let ticks: Vec<_> = Job::open(&job.to_bytes()[..]).unwrap().ticks().collect::<Result<_>>().unwrap();
    // Half-way along the second side, 50 mm of it.
    let is_there = |tick: &&super::super::Tick| tick.position.x == 10_667 && tick.position.y == 5333;
    let moment = ticks.iter().find(is_there).expect("the head passes there").index + 1;
    let plot = at(moment);
    let picture = Rendered::of(&plot, 2400);
    for (x, y) in [(130.0, 50.0), (200.0, 81.0)] {
        picture.expect(x, y, colour::CUTS[3]);
    }
    for (x, y) in [(200.0, 120.0), (170.0, 150.0), (100.0, 130.0)] {
        assert!((0.05..0.4).contains(&picture.ink(x, y)), "{x}, {y}: {}", picture.ink(x, y));
    }
    // The ring of the head.
    picture.expect(200.0 - 0.7 * 32.0 / picture.px_per_mm, 100.0, colour::LASER);
    let svg = plot.to_svg(&PlotOptions::new(""));
    assert!(svg.contains("the head is at X 200.0, Y 100.0 mm") && svg.contains("the laser is on"), "{svg}");
    let fired = ticks[..usize::try_from(moment).unwrap()].iter().filter(|tick| tick.fires).count();
    assert_eq!(plot.moment.as_ref().unwrap().fire_ticks, fired as u64);
    // All of it, and nothing.
    let [all, none] = [at(u64::MAX), at(0)];
    assert_eq!((lines(&all), all.rest.as_ref().unwrap().cuts.len()), ((1, 1, false), 0));
    assert_eq!((lines(&none), none.rest.as_ref().unwrap().cuts.len()), ((0, 0, false), 1));
    assert!(all.to_svg(&PlotOptions::new("")).contains("the job is over"));
}

#[test]
fn a_moment_divides_an_engraving_without_losing_fire() {
    let body = engraving(20, 400, 8);
    let whole: Vec<u8> = [Builder::new().to_bytes(), vec![tick::POWER | 127], body].concat();
    let sum = |layers: &Layers| {
        let image = layers.dose.image([i64::MIN / 4, i64::MAX / 4], [i64::MIN / 4, i64::MAX / 4], 1000);
        image.map_or(0.0, |image| image.fire_ticks.iter().map(|&ticks| f64::from(ticks)).sum())
    };
    // In the middle of the sixth sweep, to the left.
    let plot = Plot::from_job_at(Job::open(&whole[..]).unwrap(), 1 + 5 * 608 + 300).unwrap();
    let (before, after) = (sum(&plot.layers), sum(plot.rest.as_ref().unwrap()));
    assert!((before + after - 8000.0).abs() < 0.1 && (before - 2200.0).abs() < 4.0, "{before} and {after}");
}

#[test]
fn a_difference_has_the_colours_of_its_jobs() {
    let (mut a, mut b) = (Builder::new(), Builder::new());
    square(&mut a).unwrap();
    // The first two sides, then a line that A does not have.
    b.move_to(100.0, 50.0).unwrap();
    for (x_mm, y_mm) in [(200.0, 50.0), (200.0, 150.0), (300.0, 150.0)] {
        b.cut_to(x_mm, y_mm, 180.0, 3.0 / 7.0).unwrap();
    }
    let (a, b) = (a.to_bytes(), b.to_bytes());
    let read = |file| Job::open(file).unwrap();
    let found = super::super::Difference::read(read(&a[..]), read(&b[..])).unwrap();
    let mut options = PlotOptions::new("A and B");
    options.width_px = 2400;
    let picture = Rendered::of_svg(&found.to_svg(&options));
    for (x, y, colour) in [
        (150.0, 50.0, colour::TRAVEL),
        (200.0, 100.0, colour::TRAVEL),
        (150.0, 150.0, colour::LASER),
        (100.0, 100.0, colour::LASER),
        (250.0, 150.0, colour::ONLY_B),
    ] {
        // The middle of the line, as its edges are blurred.
        let near = (-4..=4).map(|tenths| f64::from(tenths) / 10.0);
        let (x, y) = near
            .map(|mm| (x + mm, y + mm))
            .max_by(|a, b| picture.ink(a.0, a.1).total_cmp(&picture.ink(b.0, b.1)))
            .unwrap();
        let pixel = picture.pixel(x, y);
        let found = [pixel.red(), pixel.green(), pixel.blue()];
        let expected = [1, 3, 5].map(|at| u8::from_str_radix(&colour[at..at + 2], 16).unwrap());
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 60), "{x}, {y}: {found:?}, not {expected:?}");
    }
    for (x, y) in [(131.0, 101.0), (250.0, 155.0), (60.0, 30.0)] {
        assert!(picture.ink(x, y) < 0.1, "{x}, {y}");
    }
}

#[test]
fn circle_has_ink_on_its_circumference() {
    let at = |degrees: f64, radius: f64| {
        let angle = degrees.to_radians();
        (250.0 + radius * angle.cos(), 140.0 + radius * angle.sin())
    };
    let circle = made(|job| {
        job.move_to(310.0, 140.0)?;
        for chord in 1..=72 {
            let (x, y) = at(f64::from(chord) * 5.0, 60.0);
            job.cut_to(x, y, 100.0, 1.0)?;
        }
        Ok(())
    });
    let picture = Rendered::of(&circle, 2400);
    for chord in 0..72 {
        let angle = 2.5 + f64::from(chord) * 5.0;
        let [on, inside, outside] = [60.0 * 2.5_f64.to_radians().cos(), 58.0, 62.0].map(|radius| at(angle, radius));
        assert!(picture.ink(on.0, on.1) > 0.7, "{angle}");
        assert!(picture.ink(inside.0, inside.1) < 0.2 && picture.ink(outside.0, outside.1) < 0.2, "{angle}");
    }
}

#[test]
fn engraving_has_ink_where_the_laser_fires() {
    // 60 mm by 30 mm of ink from 5.625 mm on, every 0.15 mm.
    let picture = Rendered::of(&plot(&engraving(200, 3200, 8)), 2400);
    for (x, y) in [(3.0, 4.0), (31.0, 13.0), (60.0, 29.0)] {
        assert!(picture.ink(x, y) > 0.5, "{x}, {y}: {}", picture.ink(x, y));
    }
    for (x, y) in [(0.9, 13.0), (62.8, 13.0), (31.0, 31.5)] {
        assert!(picture.ink(x, y) < 0.1, "{x}, {y}: {}", picture.ink(x, y));
    }
    // No bands from lines and pixels.
    let shades: Vec<_> = (20..280).map(|tenths| picture.ink(31.0, f64::from(tenths) / 10.0)).collect();
    let (least, most) = shades.iter().fold((1.0_f64, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
    assert!(most - least < 0.12, "{least} to {most}");
}

#[test]
fn darkness_is_proportional_to_dose() {
    let mut body = engraving(100, 2000, 8);
    // The right half fires in every other tick.
    let mut x = 0_i64;
    for (i, byte) in body.iter_mut().enumerate() {
        x += match *byte & 3 {
            1 => 1,
            3 => -1,
            _ => 0,
        };
        if x > 1100 && i % 2 == 0 {
            *byte &= !tick::FIRE;
        }
    }
    let picture = Rendered::of(&plot(&body), 2400);
    let (full, half) = (picture.ink(12.0, 7.0), picture.ink(30.0, 7.0));
    assert!((0.35..0.65).contains(&(half / full)), "{half} and {full}");
}

fn lines(plot: &Plot) -> (usize, usize, bool) {
    (plot.layers.travel.len(), plot.layers.cuts.len(), bed::max_dose_per_mm2(plot).is_some())
}

#[test]
fn tells_engravings_from_cuts() {
    // Turns and ends without laser are no travel.
    assert_eq!(lines(&plot(&engraving(50, 300, 10))), (0, 0, true));
    assert_eq!(lines(&plot(&engraving(2, 300, 10))), (0, 0, true));
    // Too far apart, or single: cuts along X.
    assert_eq!(lines(&plot(&engraving(2, 300, 40))), (3, 2, false));
    assert_eq!(lines(&plot(&engraving(1, 300, 10))), (2, 1, false));
    assert_eq!(lines(&made(square)), (1, 1, false));
    // A box as flat as the distance of sweeps: its second side starts with the laser on.
    let sides: [(u8, usize); 4] = [
        (LIT, 400),
        (tick::Y_STEP | tick::Y_POSITIVE | tick::FIRE, 20),
        (LIT | tick::X_NEGATIVE, 400),
        (tick::Y_STEP | tick::FIRE, 20),
    ];
    let flat: Vec<u8> = sides.iter().flat_map(|&(byte, times)| vec![byte; times]).collect();
    assert_eq!(lines(&plot(&flat)), (0, 1, false));
}

#[test]
fn fire_at_rest_is_a_dot() {
    let picture = plot(&[&[LIT ^ tick::FIRE; 5000][..], &[tick::FIRE; 3000]].concat());
    assert_eq!(picture.layers.cuts.iter().map(|line| line.points.clone()).collect::<Vec<_>>(), [[(5000, 0)]]);
    assert!(picture.to_svg(&PlotOptions::new("")).contains("h1\""));
}

#[test]
fn rendering_in_bands_gives_the_same_image() {
    let mut both = engraving(60, 800, 8);
    both.extend(Builder::new().cut_to(60.0, 90.0, 50.0, 0.5).unwrap().body());
    let mut options = PlotOptions::new("bands");
    (options.width_px, options.view) = (600, View::Job);
    let svg = plot(&both).to_svg(&options);
    let [whole, bands] = [u32::MAX, 600 * 37].map(|most| Pixmap::decode_png(&render(&svg, most).unwrap()).unwrap());
    assert_eq!((whole.width(), whole.height()), (bands.width(), bands.height()));
    assert!(whole.height() > 8 * 37, "{}", whole.height());
    // Where a band divides a letter, its edges may differ by rounding, by 1/16 of a pixel.
    let most = whole.data().iter().zip(bands.data()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(most <= Some(32), "{most:?}");
}

#[test]
fn svg_matches_its_snapshot() {
    let mut body = made(square).to_svg(&PlotOptions::new("square.puls"));
    insta::assert_snapshot!("square", body);
    let mut options = PlotOptions::new("engraving.puls");
    (options.width_px, options.view, options.start_mm) = (360, View::Job, [100.0, 100.0]);
    body = plot(&engraving(20, 60, 8)).to_svg(&options);
    insta::assert_snapshot!("engraving_on_a_phone", body);
}

#[test]
fn bed_view_includes_what_is_outside() {
    let beside = made(|job| job.cut_to(-50.0, 300.0, 180.0, 0.5).map(drop));
    let svg = beside.to_svg(&PlotOptions::new(""));
    assert!(svg.contains(">-50</text>") && svg.contains(">300</text>"), "{svg}");
    // At any distance, sizes stay bounded.
    let far = plot(&vec![tick::X_STEP; 3_000_000]);
    let tree = usvg::Tree::from_str(&far.to_svg(&PlotOptions::new("")), &svg_options()).unwrap();
    assert!(tree.size().height() < 2000.0, "{:?}", tree.size());
}

#[test]
fn long_engraving_makes_a_small_svg() {
    let long = plot(&engraving(1000, 4000, 10));
    let svg = long.to_svg(&PlotOptions::new(""));
    assert!(svg.len() < 60_000, "{} bytes of SVG for {} ticks", svg.len(), long.measured.ticks);
}

#[test]
fn remarks_on_too_many_lines() {
    // Corners 8 steps apart, lit.
    let corner = [[LIT; 8], [tick::Y_STEP | tick::Y_POSITIVE | tick::FIRE; 8]].concat();
    let many = plot(&corner.repeat(110_000));
    assert!(many.layers.cuts_in_dose);
    assert!(many.to_svg(&PlotOptions::new("")).contains("too many cuts for lines"));
    let corner = [[tick::X_STEP; 8], [tick::Y_STEP | tick::Y_POSITIVE; 8]].concat();
    let many = plot(&corner.repeat(60_000));
    assert!(many.layers.travel_dropped);
    assert!(many.to_svg(&PlotOptions::new("")).contains("too much travel for lines"));
}

#[cfg(feature = "drawing")]
#[test]
fn dots_are_part_of_an_engraving() {
    // Every row has a line, and a dot of one or two ticks.
    let row: Vec<u8> = (0..100).map(|pixel| if pixel < 60 { 255 } else { u8::from(pixel == 80) * 30 }).collect();
    let raster = super::super::Raster::new(100, row.repeat(20), 0.1).unwrap();
    let plot = made(|job| {
        let mut engraving = super::super::Engraving::new(150.0, 0.3);
        engraving.placement = super::super::Placement::at(30.0, 10.0);
        raster.engrave(job, &engraving)
    });
    assert!(plot.layers.cuts.is_empty(), "{:?}", plot.layers.cuts);
}

#[test]
fn rows_with_a_dot_at_either_end_are_part_of_an_engraving() {
    let mut body = Vec::new();
    for line in 0..40 {
        let back = if line % 2 == 0 { 0 } else { tick::X_NEGATIVE };
        if line > 0 {
            body.extend([tick::Y_STEP | tick::Y_POSITIVE; 8]);
        }
        let mut row = vec![tick::X_STEP | back; 2000];
        row[100..107].fill(LIT | back);
        body.extend(row);
    }
    assert_eq!(lines(&plot(&body)), (0, 0, true));
}

#[test]
fn a_lens_that_moves_has_a_chart() {
    let svg = |make: fn(&mut Builder) -> Result<()>| made(make).to_svg(&PlotOptions::new(""));
    assert!(!svg(square).contains("lens above its start"));
    let up_and_down = svg(|job| job.lens_to(5.472)?.lens_to(-2.736).map(|_| ()));
    for label in [">lens above its start, mm<", ">5.5<", ">-2.7<"] {
        assert!(up_and_down.contains(label), "{label}: {up_and_down}");
    }
    // One third up at the start, then at the upper edge, and near the lower one at the end.
    let mut paths = up_and_down.split("<path ").filter_map(|rest| rest.split('>').next());
    let chart = paths.find(|path| path.contains(colour::LENS)).unwrap();
    let d = chart.split("d=\"").nth(1).and_then(|d| d.split('Z').next()).unwrap();
    let heights: Vec<f64> = d.split('V').skip(1).map(|at| at.split('H').next().unwrap().parse().unwrap()).collect();
    let bottom = *heights.last().unwrap();
    let top = heights.iter().copied().fold(bottom, f64::min);
    let part = |height: f64| (bottom - height) / (bottom - top);
    assert!((0.33..0.4).contains(&part(heights[0])), "{heights:?}");
    assert!((bottom - top - 4.6 * 16.0).abs() < 1.0 && part(heights[heights.len() - 2]) < 0.1, "{heights:?}");
}

#[test]
fn remarks_on_a_job_that_machines_refuse() {
    let refused = [Builder::new().header().encode(), vec![LIT; 100]].concat();
    let svg = Plot::from_job(Job::open(&refused[..]).unwrap()).unwrap().to_svg(&PlotOptions::new(""));
    assert!(svg.contains("A machine would refuse it: the laser fires at byte 1080 (tick 0)"), "{svg}");
    assert!(!plot(&[LIT; 100]).to_svg(&PlotOptions::new("")).contains("refuse"));
}

#[test]
fn escapes_titles() {
    let title = "</text><script>alert(1)</script>&amp;\"'\u{0}\u{1b}\u{202e}\u{ffff}\n";
    for width_px in [0, 240, 1200, u32::MAX] {
        let mut options = PlotOptions::new(title.repeat(30));
        (options.width_px, options.start_mm) = (width_px, [f64::NAN, f64::INFINITY]);
        let svg = made(square).to_svg(&options);
        assert!(!svg.contains("<script") && !svg.contains('\u{202e}'), "{svg}");
        let tree = usvg::Tree::from_str(&svg, &svg_options()).unwrap();
        assert!((240.0..=10_000.0).contains(&tree.size().width()));
    }
}

#[test]
#[ignore = "needs real pulse files: GF_PULS_DIR"]
fn draws_real_files() {
    let folder = std::env::var_os("GF_PULS_DIR").expect("GF_PULS_DIR is set");
    for (name, travel) in [("hunt", 0), ("motion", 1)] {
        let file = std::fs::File::open(std::path::Path::new(&folder).join(format!("{name}.puls"))).unwrap();
        let plot = Plot::from_job(Job::open(file).unwrap()).unwrap();
        assert_eq!(lines(&plot), (travel, 0, false), "{name}");
        assert!(plot.to_png(&PlotOptions::new(name)).is_ok(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn draws_any_job(
        runs in prop::collection::vec((any::<u8>(), 0..400_usize), 0..60),
        width_px in 240..1500_u32,
        job in any::<bool>(),
        start in [-600.0..600.0_f64, -600.0..600.0_f64],
    ) {
        let body: Vec<u8> = runs.iter().flat_map(|&(byte, times)| vec![byte; times]).collect();
        let plot = plot(&body);
        let mut options = PlotOptions::new("any");
        (options.width_px, options.start_mm) = (width_px, start);
        options.view = if job { View::Job } else { View::Bed };
        let svg = plot.to_svg(&options);
        prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
        prop_assert!(usvg::Tree::from_str(&svg, &svg_options()).is_ok());
    }
}
