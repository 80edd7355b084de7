//! The demo's pictures: what the cameras of a machine could see.
//!
//! Drawn by distance: a shape is how far a point is from its edge, inside negative, and the pixels at the edge are
//! blended. No picture is a photograph of anything.

use std::io;
use std::path::Path;

use gf_emulator_core::storage::AtomicFile;
use image::codecs::jpeg::JpegEncoder;

use crate::failure::Failure;
use crate::signals::Temporary;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 360;
const QUALITY: u8 = 80;
/// Where the head is in `HOME_1` to `HOME_4`: on its way to the middle, under the lid's camera.
const HOMING: [(f64, f64); 4] = [(520.0, 268.0), (450.0, 236.0), (378.0, 202.0), (320.0, 180.0)];
/// Where it rests: back left.
const PARKED: (f64, f64) = (92.0, 64.0);

type Colour = [f64; 3];

/// Makes those that are not there yet.
pub(super) fn make(folder: &Path, thickness: &str) -> Result<(), Failure> {
    let bed = bed();
    let homing = HOMING.iter().enumerate().map(|(n, at)| (format!("HOME_{}.jpg", n + 1), Scene::Homing(*at)));
    let others = [
        ("LID_IMAGE.jpg".to_owned(), Scene::Material),
        (format!("HEAD_LASER_{thickness}.jpg"), Scene::CloseUp { laser: true }),
        (format!("HEAD_NO_LASER_{thickness}.jpg"), Scene::CloseUp { laser: false }),
    ];
    for (name, scene) in homing.chain(others) {
        let path = folder.join(&name);
        if !path.exists() {
            let jpeg =
                scene.draw(&bed).to_jpeg().map_err(|e| Failure::failed(format_args!("cannot draw {name}: {e}")))?;
            // Whole or not there: a picture that is there is used as it is the next time.
            let landing =
                Temporary::made(|| AtomicFile::with_contents(&path, &jpeg), |landing| landing.temp_path().into())?;
            landing.0.persist()?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Scene {
    /// The bare bed, with the head there.
    Homing((f64, f64)),
    /// The bed with a sheet of wood on it.
    Material,
    /// The wood from the head's camera.
    CloseUp { laser: bool },
}

impl Scene {
    fn draw(self, bed: &Canvas) -> Canvas {
        match self {
            Self::Homing(at) => {
                let mut canvas = bed.clone();
                draw_head(&mut canvas, at);
                canvas
            }
            Self::Material => {
                let mut canvas = bed.clone();
                let sheet = |x, y| rounded((x, y), (360.0, 196.0), (170.0, 104.0), 2.0);
                canvas.shade(7.0, |x, y| sheet(x - 4.0, y - 6.0));
                canvas.paint(sheet, |x, y| wood(x, y, 1.0));
                draw_head(&mut canvas, PARKED);
                canvas
            }
            Self::CloseUp { laser } => {
                let mut canvas = Canvas::new(|x, y| wood(x, y, 0.22));
                if laser {
                    draw_dot(&mut canvas);
                }
                canvas.darken_corners();
                canvas
            }
        }
    }
}

/// A picture in the making: 0 to 255 a channel.
#[derive(Clone)]
struct Canvas(Vec<Colour>);

impl Canvas {
    fn new(colour: impl Fn(f64, f64) -> Colour) -> Self {
        Self(points().map(|(x, y)| colour(x, y)).collect())
    }

    /// Covers a shape.
    fn paint(&mut self, shape: impl Fn(f64, f64) -> f64, colour: impl Fn(f64, f64) -> Colour) {
        for ((x, y), pixel) in points().zip(&mut self.0) {
            let cover = (0.5 - shape(x, y)).clamp(0.0, 1.0);
            if cover > 0.0 {
                *pixel = mix(*pixel, colour(x, y), cover);
            }
        }
    }

    /// Lets a shape's shadow fall, with an edge so many pixels wide.
    fn shade(&mut self, soft: f64, shape: impl Fn(f64, f64) -> f64) {
        for ((x, y), pixel) in points().zip(&mut self.0) {
            let cover = (0.5 - shape(x, y) / soft).clamp(0.0, 1.0);
            *pixel = mix(*pixel, [8.0, 7.0, 7.0], cover * 0.6);
        }
    }

    /// As a small lens does.
    fn darken_corners(&mut self) {
        for ((x, y), pixel) in points().zip(&mut self.0) {
            let away = ((x - 320.0) / 320.0).hypot((y - 180.0) / 180.0);
            *pixel = mix(*pixel, [0.0; 3], (away - 0.55).clamp(0.0, 1.0) * 0.55);
        }
    }

    fn to_jpeg(&self) -> io::Result<Vec<u8>> {
        let bytes: Vec<u8> = self.0.iter().flatten().map(|&channel| byte(channel)).collect();
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .encode(&bytes, WIDTH, HEIGHT, image::ExtendedColorType::Rgb8)
            .map_err(io::Error::other)?;
        Ok(jpeg)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a byte holds")]
fn byte(channel: f64) -> u8 {
    channel.round().clamp(0.0, 255.0) as u8
}

/// The middles of all pixels, row by row.
fn points() -> impl Iterator<Item = (f64, f64)> {
    (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (f64::from(x) + 0.5, f64::from(y) + 0.5)))
}

/// The empty bed from above: a honeycomb in a frame, bent by a wide lens.
fn bed() -> Canvas {
    let mut canvas = Canvas::new(|x, y| {
        let (x, y) = straightened(x, y);
        let light = 0.75 + 0.35 * soft_noise(x * 0.006, y * 0.009);
        let wall = (honeycomb_edge(x, y, 13.0) / 1.3).clamp(0.0, 1.0);
        mix([126.0, 124.0, 120.0], [34.0, 32.0, 31.0], wall).map(|channel| channel * light)
    });
    // The frame: whatever is outside of the tray.
    canvas.paint(
        |x, y| {
            let (x, y) = straightened(x, y);
            -rounded((x, y), (320.0, 180.0), (338.0, 190.0), 6.0)
        },
        |_, y| [52.0 - y * 0.03, 53.0 - y * 0.03, 56.0 - y * 0.03],
    );
    canvas.darken_corners();
    canvas
}

/// Where a point of a wide lens's picture would be without the lens.
fn straightened(x: f64, y: f64) -> (f64, f64) {
    let (dx, dy) = (x - 320.0, y - 180.0);
    let stretch = 1.0 + (dx * dx + dy * dy) * 1.1e-6;
    (320.0 + dx * stretch, 180.0 + dy * stretch)
}

/// How far a point is from the nearest wall between hexagons that are `pitch` apart.
fn honeycomb_edge(x: f64, y: f64, pitch: f64) -> f64 {
    let row = pitch * 3.0_f64.sqrt();
    // Two lattices of rectangles, one half a cell on: the nearer middle is the cell's.
    let to_middle = |offset: f64| {
        let across = (x - offset * pitch).rem_euclid(pitch) - pitch / 2.0;
        let down = (y - offset * row).rem_euclid(row) - row / 2.0;
        (across.abs(), down.abs())
    };
    let (one, other) = (to_middle(0.0), to_middle(0.5));
    let (across, down) = if one.0.hypot(one.1) < other.0.hypot(other.1) { one } else { other };
    pitch / 2.0 - across.max(across * 0.5 + down * 0.75_f64.sqrt())
}

/// The head on its gantry, with shadows.
fn draw_head(canvas: &mut Canvas, (at_x, at_y): (f64, f64)) {
    let gantry = |x, y| rounded((x, y), (320.0, at_y), (330.0, 15.0), 2.0);
    let head = |x, y| rounded((x, y), (at_x, at_y + 4.0), (44.0, 38.0), 9.0);
    canvas.shade(9.0, |x, y| gantry(x, y - 8.0));
    canvas.paint(gantry, |_, y| {
        let tone = 96.0 + 70.0 * (-((y - at_y + 6.0) / 6.0).powi(2)).exp();
        [tone, tone, tone + 4.0]
    });
    // The belt.
    canvas.paint(|_, y| (y - at_y - 8.0).abs() - 1.5, |_, _| [24.0; 3]);
    canvas.shade(12.0, |x, y| head(x - 5.0, y - 9.0));
    canvas.paint(head, |_, y| [30.0, 31.0, 34.0].map(|tone| tone + (at_y + 42.0 - y) * 0.35));
    canvas.paint(|x, y| rounded((x, y), (at_x, at_y + 4.0), (36.0, 30.0), 5.0), |_, _| [215.0, 217.0, 220.0]);
    // The fan, with its blades, and the light beside it.
    let fan = |x: f64, y: f64| (x - at_x + 12.0).hypot(y - at_y - 4.0);
    canvas.paint(
        |x, y| fan(x, y) - 19.0,
        |x, y| {
            let blade = ((y - at_y - 4.0).atan2(x - at_x + 12.0) * 7.0 + fan(x, y) * 0.12).sin();
            let tone = if fan(x, y) < 6.0 { 70.0 } else { 36.0 + 18.0 * blade };
            [tone, tone, tone + 3.0]
        },
    );
    canvas.paint(|x, y| (x - at_x - 20.0).hypot(y - at_y + 8.0) - 6.0, |_, _| [22.0, 40.0, 66.0]);
    canvas.paint(|x, y| (x - at_x - 18.5).hypot(y - at_y + 9.5) - 1.8, |_, _| [235.0, 243.0, 255.0]);
    canvas.paint(|x, y| rounded((x, y), (at_x + 20.0, at_y + 18.0), (9.0, 3.0), 3.0), |_, _| [60.0, 190.0, 200.0]);
}

/// The measure laser's dot: white in the middle, red around, a glow on the wood.
fn draw_dot(canvas: &mut Canvas) {
    for ((x, y), pixel) in points().zip(&mut canvas.0) {
        let away = (x - 352.0).hypot((y - 171.0) * 1.15);
        let (core, glow) = ((-(away / 4.5).powi(2)).exp(), (-(away / 17.0).powi(2)).exp());
        let halo = 1.0 / (1.0 + (away / 22.0).powi(3));
        *pixel = mix(*pixel, [255.0, 40.0, 30.0], (glow * 0.95 + halo * 0.25).min(1.0));
        *pixel = mix(*pixel, [255.0, 235.0, 225.0], core);
    }
}

/// Wood, `scale` of it to a pixel: fibres along X, and the darker bands of its years.
fn wood(x: f64, y: f64, scale: f64) -> Colour {
    let (x, y) = (x * scale, y * scale);
    let bend = soft_noise(x * 0.008, y * 0.03) * 7.0;
    let years = ((y * 0.30 + bend).sin() * 0.5 + 0.5).powi(2);
    let fibres = soft_noise(x * 0.07, y * 2.3) * 0.6 + soft_noise(x * 0.3, y * 6.0) * 0.4;
    mix([222.0, 186.0, 136.0], [166.0, 118.0, 70.0], years * 0.45 + fibres * 0.35)
}

/// 0 to 1, smooth, the same for the same place.
fn soft_noise(x: f64, y: f64) -> f64 {
    let ease = |part: f64| part * part * (3.0 - 2.0 * part);
    let (left, top) = (x.floor(), y.floor());
    let (along, down) = (ease(x - left), ease(y - top));
    let row = |y: f64| grain(left, y) * (1.0 - along) + grain(left + 1.0, y) * along;
    row(top) * (1.0 - down) + row(top + 1.0) * down
}

/// A number from 0 to 1 for each crossing of a grid.
fn grain(x: f64, y: f64) -> f64 {
    ((x * 127.1 + y * 311.7).sin() * 43_758.545).rem_euclid(1.0)
}

/// How far a point is from a rectangle with round corners.
fn rounded((x, y): (f64, f64), middle: (f64, f64), half: (f64, f64), radius: f64) -> f64 {
    let (across, down) = ((x - middle.0).abs() - half.0 + radius, (y - middle.1).abs() - half.1 + radius);
    across.max(0.0).hypot(down.max(0.0)) + across.max(down).min(0.0) - radius
}

fn mix(from: Colour, to: Colour, part: f64) -> Colour {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * part)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The middle of a pixel's neighbourhood, so that fine grain does not count.
    fn mean(canvas: &Canvas, (at_x, at_y): (f64, f64), radius: f64) -> Colour {
        let near: Vec<_> = points()
            .zip(&canvas.0)
            .filter(|((x, y), _)| (x - at_x).hypot(y - at_y) < radius)
            .map(|(_, pixel)| *pixel)
            .collect();
        std::array::from_fn(|channel| near.iter().map(|pixel| pixel[channel]).sum::<f64>() / near.len() as f64)
    }

    #[test]
    fn the_pictures_differ_in_what_tells_them_apart() {
        let bed = bed();
        for at in HOMING {
            let (with, without) = (mean(&Scene::Homing(at).draw(&bed), at, 30.0), mean(&bed, at, 30.0));
            assert!((with[0] - without[0]).abs() > 20.0, "no head at {at:?}: {with:?}, {without:?}");
        }
        let [sheet, bare] = [mean(&Scene::Material.draw(&bed), (360.0, 196.0), 50.0), mean(&bed, (360.0, 196.0), 50.0)];
        assert!(sheet[0] - sheet[2] > 50.0 && bare[0] - bare[2] < 20.0, "wood is warm, metal is not");
        let [lit, unlit] = [true, false].map(|laser| mean(&Scene::CloseUp { laser }.draw(&bed), (352.0, 171.0), 12.0));
        assert!(lit[0] - lit[1] > unlit[0] - unlit[1] + 60.0, "{lit:?} is not redder than {unlit:?}");
    }

    #[test]
    fn what_is_there_already_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("LID_IMAGE.jpg"), b"somebody's own").unwrap();
        make(folder.path(), ".230").unwrap();
        assert_eq!(fs::read(folder.path().join("LID_IMAGE.jpg")).unwrap(), b"somebody's own");
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "HEAD_LASER_.230.jpg",
                "HEAD_NO_LASER_.230.jpg",
                "HOME_1.jpg",
                "HOME_2.jpg",
                "HOME_3.jpg",
                "HOME_4.jpg",
                "LID_IMAGE.jpg"
            ]
        );
        let jpeg = fs::read(folder.path().join("HOME_1.jpg")).unwrap();
        assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]) && jpeg.len() < 200_000);
    }
}
