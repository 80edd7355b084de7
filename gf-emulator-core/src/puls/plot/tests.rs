//! Pictures: what is in them, where there is ink and where not.

use proptest::prelude::*;
use resvg::tiny_skia::{Pixmap, PremultipliedColorU8};

use super::super::{Builder, tick};
use super::*;

const LIT: u8 = tick::X_STEP | tick::FIRE;

fn plot(body: &[u8]) -> Plot {
    let mut file = Builder::new().header().encode();
    file.extend_from_slice(body);
    Plot::of(Job::open(&file[..]).unwrap()).unwrap()
}

fn made(make: impl FnOnce(&mut Builder) -> Result<()>) -> Plot {
    let mut job = Builder::new();
    make(&mut job).unwrap();
    Plot::of(Job::open(&job.to_gzip()[..]).unwrap()).unwrap()
}

fn square(job: &mut Builder) -> Result<()> {
    job.move_to(100.0, 50.0)?;
    for (x_mm, y_mm) in [(200.0, 50.0), (200.0, 150.0), (100.0, 150.0), (100.0, 50.0)] {
        job.cut_to(x_mm, y_mm, 180.0, 3.0 / 7.0)?;
    }
    Ok(())
}

/// Sweeps from left to right and back, 100 steps without laser at both ends, so many lines of so many lit steps, each
/// `pitch` steps behind the one before.
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

/// A rendered picture that knows where the bed is in it.
struct Rendered {
    pixels: Pixmap,
    /// Where the bed's window is, and what of the bed it shows: from the left, from the back, pixels to a mm.
    left: f64,
    top: f64,
    px_per_mm: f64,
}

impl Rendered {
    /// Of the whole bed.
    fn of(plot: &Plot, width_px: u32) -> Self {
        let mut sheet = Sheet::new("a job");
        sheet.width_px = width_px;
        let svg = plot.to_svg(&sheet);
        let window = &svg[svg[1..].find("<svg ").unwrap() + 1..];
        let number = |name: &str| -> f64 {
            let from = window.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
            window[from..].split('"').next().unwrap().parse().unwrap()
        };
        let pixels = Pixmap::decode_png(&plot.to_png(&sheet).unwrap()).unwrap();
        assert_eq!(pixels.width(), width_px);
        Self { pixels, left: number("x"), top: number("y"), px_per_mm: number("width") / WORK_AREA_MM.0 }
    }

    fn pixel(&self, x_mm: f64, y_mm: f64) -> PremultipliedColorU8 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the place is in the picture")]
        let at = |from: f64, mm: f64| (from + mm * self.px_per_mm) as u32;
        self.pixels.pixel(at(self.left, x_mm), at(self.top, y_mm)).unwrap()
    }

    /// How dark the bed is there: 0 for the bed itself, 1 for black.
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
fn a_squares_ink_is_on_its_sides() {
    let picture = Rendered::of(&made(square), 2400);
    for (x, y) in [(130.0, 50.0), (200.0, 81.0), (170.0, 150.0), (100.0, 130.0)] {
        picture.expect(x, y, colour::CUTS[3]);
    }
    for (x, y) in [(131.0, 101.0), (213.0, 81.0), (131.0, 163.0), (140.0, 52.0)] {
        picture.expect(x, y, colour::BED);
    }
    // The way there, and the marks at both ends.
    assert!(picture.ink(60.0, 30.0) > 0.1);
    picture.expect(100.0, 50.0, colour::INK);
    assert!(picture.ink(3.55, 0.2) > 0.5, "the start's ring");
}

#[test]
fn a_circles_ink_is_on_its_circumference() {
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
fn an_engravings_ink_is_where_the_laser_fires() {
    // 60 mm by 30 mm of ink from 5.625 mm on, every 0.15 mm.
    let picture = Rendered::of(&plot(&engraving(200, 3200, 8)), 2400);
    for (x, y) in [(3.0, 4.0), (31.0, 13.0), (60.0, 29.0)] {
        assert!(picture.ink(x, y) > 0.5, "{x}, {y}: {}", picture.ink(x, y));
    }
    for (x, y) in [(0.9, 13.0), (62.8, 13.0), (31.0, 31.5)] {
        assert!(picture.ink(x, y) < 0.1, "{x}, {y}: {}", picture.ink(x, y));
    }
    // Even: lines and pixels do not make bands.
    let shades: Vec<_> = (20..280).map(|tenths| picture.ink(31.0, f64::from(tenths) / 10.0)).collect();
    let (least, most) = shades.iter().fold((1.0_f64, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
    assert!(most - least < 0.12, "{least} to {most}");
}

#[test]
fn half_the_dose_is_half_as_dark() {
    let mut body = engraving(100, 2000, 8);
    // The right half fires in every second tick.
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
    (plot.sketch.travel.len(), plot.sketch.cuts.len(), bed::darkness(plot).is_some())
}

#[test]
fn what_is_an_engraving_and_what_is_not() {
    // Its turns and its ends without laser are no travel.
    assert_eq!(lines(&plot(&engraving(50, 300, 10))), (0, 0, true));
    assert_eq!(lines(&plot(&engraving(2, 300, 10))), (0, 0, true));
    // Too far apart, or alone: cuts that happen to go along X.
    assert_eq!(lines(&plot(&engraving(2, 300, 40))), (3, 2, false));
    assert_eq!(lines(&plot(&engraving(1, 300, 10))), (2, 1, false));
    assert_eq!(lines(&made(square)), (1, 1, false));
    // A box as flat as sweeps are close: its second side begins lit.
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
fn burning_in_one_place_is_a_dot() {
    let picture = plot(&[&[LIT ^ tick::FIRE; 5000][..], &[tick::FIRE; 3000]].concat());
    assert_eq!(picture.sketch.cuts.iter().map(|line| line.points.clone()).collect::<Vec<_>>(), [[(5000, 0)]]);
    assert!(picture.to_svg(&Sheet::new("")).contains("h1\""));
}

#[test]
fn a_picture_rendered_in_bands_is_the_same() {
    let mut both = engraving(60, 800, 8);
    both.extend(Builder::new().cut_to(60.0, 90.0, 50.0, 0.5).unwrap().body());
    let mut sheet = Sheet::new("bands");
    (sheet.width_px, sheet.view) = (600, View::Job);
    let svg = plot(&both).to_svg(&sheet);
    let [whole, bands] = [u32::MAX, 600 * 37].map(|most| Pixmap::decode_png(&render(&svg, most).unwrap()).unwrap());
    assert_eq!((whole.width(), whole.height()), (bands.width(), bands.height()));
    assert!(whole.height() > 8 * 37, "{}", whole.height());
    // Where a band cuts a letter in two, its edges are rounded otherwise, by a 16th of a pixel.
    let most = whole.data().iter().zip(bands.data()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(most <= Some(32), "{most:?}");
}

#[test]
fn a_picture_as_it_is_written() {
    let mut body = made(square).to_svg(&Sheet::new("square.puls"));
    insta::assert_snapshot!("square", body);
    let mut sheet = Sheet::new("engraving.puls");
    (sheet.width_px, sheet.view, sheet.start_mm) = (360, View::Job, (100.0, 100.0));
    body = plot(&engraving(20, 60, 8)).to_svg(&sheet);
    insta::assert_snapshot!("engraving_on_a_phone", body);
}

#[test]
fn a_bed_is_shown_whole_with_what_is_beside_it() {
    let beside = made(|job| job.cut_to(-50.0, 300.0, 180.0, 0.5).map(drop));
    let svg = beside.to_svg(&Sheet::new(""));
    assert!(svg.contains(">-50</text>") && svg.contains(">300</text>"), "{svg}");
    // However far away: pixels stay numbers.
    let far = plot(&vec![tick::X_STEP; 3_000_000]);
    let tree = usvg::Tree::from_str(&far.to_svg(&Sheet::new("")), &options()).unwrap();
    assert!(tree.size().height() < 2000.0, "{:?}", tree.size());
}

#[test]
fn a_long_engraving_is_a_small_picture() {
    let long = plot(&engraving(1000, 4000, 10));
    let svg = long.to_svg(&Sheet::new(""));
    assert!(svg.len() < 60_000, "{} bytes of SVG for {} ticks", svg.len(), long.measured.ticks);
}

#[test]
fn what_is_too_much_for_lines_is_said() {
    // Corners 8 steps apart, lit.
    let corner = [[LIT; 8], [tick::Y_STEP | tick::Y_POSITIVE | tick::FIRE; 8]].concat();
    let many = plot(&corner.repeat(110_000));
    assert!(many.sketch.cuts_in_dose);
    assert!(many.to_svg(&Sheet::new("")).contains("too many cuts for lines"));
    let corner = [[tick::X_STEP; 8], [tick::Y_STEP | tick::Y_POSITIVE; 8]].concat();
    let many = plot(&corner.repeat(60_000));
    assert!(many.sketch.travel_left_out);
    assert!(many.to_svg(&Sheet::new("")).contains("too much travel for lines"));
}

#[test]
fn a_title_is_text_whatever_is_in_it() {
    let title = "</text><script>alert(1)</script>&amp;\"'\u{0}\u{1b}\u{202e}\u{ffff}\n";
    for width_px in [0, 240, 1200, u32::MAX] {
        let mut sheet = Sheet::new(title.repeat(30));
        (sheet.width_px, sheet.start_mm) = (width_px, (f64::NAN, f64::INFINITY));
        let svg = made(square).to_svg(&sheet);
        assert!(!svg.contains("<script") && !svg.contains('\u{202e}'), "{svg}");
        let tree = usvg::Tree::from_str(&svg, &options()).unwrap();
        assert!((240.0..=10_000.0).contains(&tree.size().width()));
    }
}

#[test]
#[ignore = "needs real pulse files: GF_PULS_DIR"]
fn real_files_are_drawn() {
    let folder = std::env::var_os("GF_PULS_DIR").expect("GF_PULS_DIR is set");
    for (name, travel) in [("hunt", 0), ("motion", 1)] {
        let file = std::fs::File::open(std::path::Path::new(&folder).join(format!("{name}.puls"))).unwrap();
        let plot = Plot::of(Job::open(file).unwrap()).unwrap();
        assert_eq!(lines(&plot), (travel, 0, false), "{name}");
        assert!(plot.to_png(&Sheet::new(name)).is_ok(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_job_makes_a_picture(
        runs in prop::collection::vec((any::<u8>(), 0..400_usize), 0..60),
        width_px in 240..1500_u32,
        job in any::<bool>(),
        start in (-600.0..600.0_f64, -600.0..600.0_f64),
    ) {
        let body: Vec<u8> = runs.iter().flat_map(|&(byte, times)| vec![byte; times]).collect();
        let plot = plot(&body);
        let mut sheet = Sheet::new("any");
        (sheet.width_px, sheet.start_mm) = (width_px, start);
        sheet.view = if job { View::Job } else { View::Bed };
        let svg = plot.to_svg(&sheet);
        prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
        prop_assert!(usvg::Tree::from_str(&svg, &options()).is_ok());
    }
}
