//! Pictures as engravings: dose by shade, rows, sizes. The dose is counted byte by byte.

use std::io::Cursor;

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, LumaA};
use proptest::prelude::*;

use super::super::*;

/// Firing ticks by position in microsteps: (x, y) of each.
fn fired(body: &[u8]) -> Vec<(i64, i64)> {
    let (mut x, mut y) = (0, 0);
    let mut fired = Vec::new();
    for &byte in body.iter().filter(|byte| **byte < 0x80) {
        if byte & 1 != 0 {
            x += if byte & 2 != 0 { -1 } else { 1 };
        }
        if byte & 4 != 0 {
            y += if byte & 8 != 0 { 1 } else { -1 };
        }
        if byte & 16 != 0 {
            fired.push((x, y));
        }
    }
    fired
}

fn engraved(raster: &Raster, engraving: &Engraving) -> Builder {
    let mut job = Builder::new();
    raster.engrave(&mut job, engraving).unwrap();
    job.home().unwrap();
    job
}

fn placed(x_mm: f64, y_mm: f64, speed_mm_s: f64, density: f64) -> Engraving {
    let mut engraving = Engraving::new(speed_mm_s, density);
    engraving.placement = Placement::at(x_mm, y_mm);
    engraving
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.into().write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// 16 patches of 10 x 10 pixels in a row, from white to black.
fn patches() -> GrayImage {
    GrayImage::from_fn(160, 10, |x, _| image::Luma([u8::try_from(255 - x / 10 * 17).unwrap()]))
}

#[test]
fn the_dose_of_16_patches_follows_their_grey() {
    let picture = Picture::decode(&png(patches())).unwrap();
    for (shading, dpi, tolerance) in [
        (Shading::Density, 270.0, 0.03),
        (Shading::Density, 100.0, 0.03),
        (Shading::Diffusion, 270.0, 0.03),
        (Shading::Ordered, 254.0, 0.03),
    ] {
        let raster = picture.raster(Some(160.0), dpi).unwrap();
        for speed in [40.0, 150.0] {
            let mut engraving = placed(30.0, 20.0, speed, Power::Full.density());
            engraving.shading = shading;
            let job = engraved(&raster, &engraving);
            let xs: Vec<_> = fired(job.body()).iter().map(|&(x, _)| x as f64 * 0.018_75 - 30.0).collect();
            // Without the edges, which are resampled.
            let doses = (0..16)
                .map(|patch| f64::from(patch) * 10.0)
                .map(|left| xs.iter().filter(|x| (left + 1.0..left + 9.0).contains(x)).count() as f64);
            let rows = raster.height() as f64;
            for (patch, dose) in (0_u8..).zip(doses) {
                let darkness = f64::from(patch) * 17.0 / 255.0;
                // 8 mm at that speed, in ticks.
                let black = 8.0 / speed * 10_000.0 * Power::Full.density() * rows;
                let found = dose / black;
                assert!((found - darkness).abs() <= tolerance, "{shading:?} {dpi} {speed} {patch}: {found} {darkness}");
            }
        }
    }
}

#[test]
fn rows_run_to_and_fro_over_the_same_pixels() {
    // A black bar of 2 mm in each of ten rows, white elsewhere.
    let row = [vec![0; 40], vec![255; 20], vec![0; 40]].concat();
    let raster = Raster::new(100, row.repeat(10), 0.1).unwrap();
    let job = engraved(&raster, &placed(50.0, 5.0, 100.0, 1.0));
    let mut rows = std::collections::BTreeMap::<i64, (i64, i64)>::new();
    for (x, y) in fired(job.body()) {
        let ends = rows.entry(y).or_insert((x, x));
        *ends = (ends.0.min(x), ends.1.max(x));
    }
    assert_eq!(rows.len(), 10);
    for (n, (y, (min, max))) in (0_u32..).zip(rows) {
        let y_mm = 5.05 + 0.1 * f64::from(n);
        assert!((y as f64 * 0.018_75 - y_mm).abs() < 0.02, "{y} {y_mm}");
        // To one step and one period of 7 ticks at 100 mm/s.
        let (min, max) = (min as f64 * 0.018_75, max as f64 * 0.018_75);
        assert!((min - 54.0).abs() < 0.1 && (max - 56.0).abs() < 0.1, "{n}: {min} {max}");
    }
    // A pass and its overscan, not the whole width of the picture.
    let measured = measure(&job.to_bytes()[..], Limits::default()).unwrap();
    assert!(measured.extents.x.max as f64 * 0.018_75 < 56.0 + 100.0 * 100.0 / 1400.0 + 1.0);
}

#[test]
fn thin_grey_lines_have_their_dose() {
    // One and two pixels wide, 40 % dark, at a density that fires less than once in a pixel.
    for width in [1, 2] {
        let row = [vec![0; 20], vec![102; width], vec![0; 20]].concat();
        let raster = Raster::new(row.len(), row.repeat(200), 25.4 / 270.0).unwrap();
        let density = Power::Setting(20.0).density();
        let job = engraved(&raster, &placed(50.0, 5.0, 150.0, density));
        let expected = width as f64 * 200.0 * 25.4 / 270.0 / 150.0 * 10_000.0 * density * 0.4;
        let found = fired(job.body()).len() as f64;
        assert!((found / expected - 1.0).abs() < 0.03, "{width}: {found} {expected}");
    }
}

#[test]
fn white_rows_are_skipped_and_a_white_picture_does_nothing() {
    let white = Raster::new(10, vec![0; 100], 1.0).unwrap();
    let mut job = Builder::new();
    white.engrave(&mut job, &Engraving::new(100.0, 1.0)).unwrap();
    assert!(job.body().is_empty());
    let far = Raster::new(1, [vec![255], vec![0; 98], vec![255]].concat(), 1.0).unwrap();
    let job = engraved(&far, &placed(50.0, 0.0, 50.0, 1.0));
    assert!(measure(&job.to_bytes()[..], Limits::default()).unwrap().run_time_s.unwrap() < 6.0);
}

#[test]
fn the_head_stays_on_the_bed_beside_a_picture_at_its_edge() {
    let raster = Raster::new(20, vec![128; 100], 0.5).unwrap();
    for (x_mm, shows) in [(0.0, "left"), (485.0, "right")] {
        let job = engraved(&raster, &placed(x_mm, 0.0, 150.0, 1.0));
        let options = CheckOptions { start_mm: Some([0.0, 0.0]), ..CheckOptions::default() };
        let found = check(Job::open(&job.to_bytes()[..]).unwrap(), &options).unwrap();
        assert_eq!(found.findings, [], "{shows}");
        // The dose is the same as away from the edge, although the head is slower.
        let middle = engraved(&raster, &placed(200.0, 0.0, 150.0, 1.0));
        let (here, there) = (fired(job.body()).len() as f64, fired(middle.body()).len() as f64);
        assert!((here / there - 1.0).abs() < 0.02, "{shows}: {here} {there}");
    }
}

#[test]
fn pictures_are_decoded_on_white_and_resampled() {
    let transparent = GrayAlphaImage::from_fn(4, 2, |x, _| LumaA([0, if x < 2 { 0 } else { 128 }]));
    let raster = Picture::decode(&png(transparent)).unwrap().raster(None, 96.0).unwrap();
    assert_eq!((raster.width, raster.height()), (4, 2));
    assert_eq!(raster.pixels[..4], [0, 0, 128, 128]);
    let mut jpeg = Cursor::new(Vec::new());
    DynamicImage::from(patches()).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    let raster = Picture::decode(&jpeg).unwrap().raster(Some(25.4), 320.0).unwrap();
    assert_eq!((raster.width, raster.height()), (320, 20));
    // Whatever is missing, it is no picture, also if it has a whole thumbnail. What follows the end does not matter.
    let comment =
        [&[0xff, 0xd8, 0xff, 0xfe][..], &(u16::try_from(jpeg.len()).unwrap() + 2).to_be_bytes(), &jpeg, &jpeg[2..]]
            .concat();
    for whole in [&jpeg, &comment] {
        Picture::decode(whole).unwrap();
        Picture::decode(&[&whole[..], &[0xff, 0xda, 0]].concat()).unwrap();
        for length in 0..whole.len() {
            assert!(Picture::decode(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
    }
    for (bytes, message) in [
        (&b""[..], "cannot draw the picture: it is neither PNG nor JPEG"),
        (b"<html>", "cannot draw the picture: it is neither PNG nor JPEG"),
        (b"GIF89a....", "cannot draw the picture: it is neither PNG nor JPEG"),
        (b"RIFF....WEBP", "cannot draw the picture: it is neither PNG nor JPEG"),
        (b"\x89PNG\r\n\x1a\n", "cannot draw the picture: "),
        (&png(patches())[..150], "cannot draw the picture: "),
    ] {
        let error = Picture::decode(bytes).expect_err(message).to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let picture = Picture::decode(&png(patches())).unwrap();
    for (width, dpi) in [(Some(0.0), 100.0), (Some(f64::NAN), 100.0), (Some(1e9), 100.0), (None, 9.0), (None, f64::NAN)]
    {
        assert!(picture.raster(width, dpi).is_err(), "{width:?} {dpi}");
    }
    for (width, pixels, px_mm) in [(0, 0, 1.0), (3, 4, 1.0), (2, 4, 0.01), (2, 4, f64::NAN)] {
        assert!(Raster::new(width, vec![0; pixels], px_mm).is_err(), "{width} {pixels} {px_mm}");
    }
}

/// A PNG file of a size, without its pixels.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let header = [&b"IHDR"[..], &width.to_be_bytes(), &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    [
        &b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..],
        &header,
        &crc.sum().to_be_bytes(),
        b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xaeB`\x82",
    ]
    .concat()
}

#[test]
fn pictures_of_a_hostile_size_are_refused_before_they_are_decoded() {
    for (width, height, message) in [
        (60_000, 60_000, "it has 60000 x 60000 pixels, at most 100000000 are expected: make it smaller"),
        (2_147_483_647, 1, ""),
        (0, 0, ""),
        (0, 5, ""),
        (9, 9, ""),
    ] {
        let error = Picture::decode(&png_of_size(width, height)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot draw the picture: {message}")), "{error}");
    }
    let long = Picture::decode(&png(GrayImage::new(1, 100_000))).unwrap();
    assert!(long.raster(Some(2000.0), 1354.0).is_err());
    assert_eq!(long.raster(Some(0.1), 254.0).unwrap().height(), 100_000);
}

#[test]
fn deep_colours_with_alpha_are_grey_on_white() {
    let deep = image::ImageBuffer::from_fn(2, 1, |x, _| image::Rgba([0, 0, 0, if x == 0 { 0 } else { u16::MAX / 2 }]));
    let raster = Picture::decode(&png(DynamicImage::ImageRgba16(deep))).unwrap().raster(None, 96.0).unwrap();
    assert_eq!(raster.pixels[0], 0);
    assert!(raster.pixels[1].abs_diff(128) <= 1, "{:?}", raster.pixels);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_bytes_are_a_picture_or_an_error(start in prop::sample::select(vec![png(patches()), Vec::new()]), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20)) {
        let mut file = [start, vec![0; 8]].concat();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(picture) = Picture::decode(&file) {
            prop_assert!(picture.size_px().0 > 0);
        }
    }

    #[test]
    fn any_raster_keeps_its_mean_dose(pixels in prop::collection::vec(any::<u8>(), 100..400), width in 5..20_usize, shading in 0..3_usize) {
        let rows = pixels.len() / width;
        let raster = Raster::new(width, pixels[..rows * width].to_vec(), 0.5).unwrap();
        let mut engraving = placed(40.0, 10.0, 60.0, 1.0);
        engraving.shading = [Shading::Density, Shading::Diffusion, Shading::Ordered][shading];
        let job = engraved(&raster, &engraving);
        let dose = fired(job.body()).len() as f64 / (0.5 / 60.0 * 10_000.0);
        let darkness: f64 = raster.pixels.iter().map(|&pixel| f64::from(pixel) / 255.0).sum();
        // Error that leaves at the edges is lost, and a pattern of thresholds follows the mean over 64 pixels.
        let tolerance = [0.02 * darkness + 1.0, width as f64 * 0.5 + rows as f64 * 0.25 + 1.0, darkness * 0.2 + 8.0][shading];
        prop_assert!((dose - darkness).abs() <= tolerance, "{dose} {darkness}");
    }
}
