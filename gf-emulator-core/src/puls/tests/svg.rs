//! SVG files as drawings.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "small pictures, rounded sizes"
)]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{GrayImage, ImageFormat};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::Tree;

use super::super::svg::{self, Drawing, Scale, Settings};
use super::super::svg_options::svg_options;
use super::super::*;
use super::gzip;

/// Pixels of 0.05 mm, in which resvg draws. A line is 0.1 mm wide.
const PX_PER_MM: f64 = 20.0;

pub(super) fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/puls/tests/svg");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(super) fn read(text: &str) -> Result<Drawing> {
    svg::read(text.as_bytes(), &Settings::default())
}

/// Puts elements on a page of 100 x 100 mm, with mm as units.
pub(super) fn page(elements: &str) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='100mm' height='100mm' viewBox='0 0 100 100'>{elements}</svg>"
    )
}

fn problem(text: &str) -> String {
    read(text).expect_err("a broken drawing").to_string()
}

/// Which squares of 0.1 mm have ink.
struct Ink {
    width: usize,
    cells: Vec<bool>,
}

/// What resvg draws.
fn rendered(text: &str) -> Ink {
    let tree = Tree::from_str(text, &svg_options()).unwrap();
    let scale = (PX_PER_MM * 25.4 / 96.0) as f32;
    let [width, height] = [tree.size().width(), tree.size().height()].map(|px| (px * scale / 2.0).ceil() as usize);
    let mut pixmap = Pixmap::new(2 * width as u32, 2 * height as u32).unwrap();
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    let is_inked = |x: usize, y: usize| pixmap.pixel(x as u32, y as u32).unwrap().alpha() > 110;
    let cells = (0..width * height)
        .map(|cell| [2 * (cell % width), 2 * (cell / width)])
        .map(|[x, y]| [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().any(|(right, down)| is_inked(x + right, y + down)));
    Ink { width, cells: cells.collect() }
}

/// Where the job that is made of a drawing fires, as it is drawn by default. White is drawn as well.
fn fired(drawing: &Drawing, like: &Ink) -> Ink {
    let mut layers = Layers::default();
    (layers.base.density, layers.base.dpi, layers.base.speed_mm_s) = (Some(1.0), Some(254.0), Some(150.0));
    if drawing.layer("white").is_some() {
        layers.set("white=density=1").unwrap();
    }
    let mut job = Builder::new();
    layers.draw(&mut job, drawing, Placement::default()).unwrap();
    let mut ticks = vec![0; like.cells.len()];
    let mut at = Position::default();
    for &byte in job.body() {
        let fires = at.advance(byte);
        let [x, y] = [at.x, at.y].map(|steps| usize::try_from(steps * 3 / 16).unwrap_or(usize::MAX));
        if fires && x < like.width && y < like.cells.len() / like.width {
            ticks[y * like.width + x] += 1;
        }
    }
    // At 150 mm/s, black has six or seven ticks in 0.1 mm.
    Ink { width: like.width, cells: ticks.into_iter().map(|ticks| ticks >= 3).collect() }
}

/// Returns the share of the inked squares that have ink in the other picture, there or in a square beside it.
fn overlap(one: &Ink, other: &Ink) -> f64 {
    let (width, height) = (one.width, one.cells.len() / one.width);
    let is_near = |cell: usize| {
        let (x, y) = (cell % width, cell / width);
        let mut near = (y.saturating_sub(1)..(y + 2).min(height))
            .flat_map(|y| (x.saturating_sub(1)..(x + 2).min(width)).map(move |x| y * width + x));
        near.any(|cell| other.cells[cell])
    };
    let inked: Vec<usize> = (0..one.cells.len()).filter(|&cell| one.cells[cell]).collect();
    assert!(inked.len() > 100, "an empty picture");
    inked.iter().filter(|&&cell| is_near(cell)).count() as f64 / inked.len() as f64
}

/// Writes ink as a picture, to look at.
fn save(ink: &Ink, path: &Path) {
    let pixels = ink.cells.iter().map(|&inked| if inked { 0 } else { 255 }).collect();
    let height = ink.cells.len() / ink.width;
    image::GrayImage::from_raw(ink.width as u32, height as u32, pixels).unwrap().save(path).unwrap();
}

#[test]
fn draws_what_resvg_draws() {
    let files = corpus();
    assert!(files.len() >= 20);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let drawing = read(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let expected = rendered(&text);
        let made = fired(&drawing, &expected);
        let overlaps = [overlap(&made, &expected), overlap(&expected, &made)];
        if let Some(folder) = std::env::var_os("GF_SVG_PICTURES") {
            let name = Path::new(&folder).join(file.file_stem().unwrap());
            save(&made, &name.with_extension("ours.png"));
            save(&expected, &name.with_extension("resvg.png"));
            eprintln!("{}: {overlaps:.4?} {:?}", file.display(), drawing.remarks);
            continue;
        }
        assert!(overlaps.iter().all(|&overlap| overlap > 0.98), "{}: {overlaps:?}", file.display());
    }
}

#[test]
fn sizes_follow_the_units() {
    let size = |attributes: &str, scale: Scale| {
        let text = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' {attributes}><rect x='10' y='10' width='20' height='10'/></svg>"
        );
        let drawing = svg::read(text.as_bytes(), &Settings::scaled(scale)).unwrap();
        let fill = &drawing.layers[0].fills[0].contours[0];
        [drawing.width_mm, drawing.height_mm, fill.points[0][0]].map(|mm| (mm * 1000.0).round() / 1000.0)
    };
    assert_eq!(size("width='96' height='48'", Scale::Units), [25.4, 12.7, 2.646]);
    assert_eq!(size("width='96px' height='48px'", Scale::Units), [25.4, 12.7, 2.646]);
    assert_eq!(size("width='2in' height='1in' viewBox='0 0 200 100'", Scale::Units), [50.8, 25.4, 2.54]);
    assert_eq!(size("width='10cm' height='50mm' viewBox='0 0 100 50'", Scale::Units), [100.0, 50.0, 10.0]);
    assert_eq!(size("width='72pt' height='6pc'", Scale::Units), [25.4, 25.4, 2.646]);
    assert_eq!(size("viewBox='0 0 96 48'", Scale::Units), [25.4, 12.7, 2.646]);
    assert_eq!(size("width='72' height='36'", Scale::Factor(96.0 / 72.0)), [25.4, 12.7, 3.528]);
    assert_eq!(size("width='100' height='50'", Scale::WidthMm(200.0)), [200.0, 100.0, 20.0]);
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for scale in [Scale::Factor(scale), Scale::WidthMm(scale)] {
            assert!(svg::read(page("<rect width='1' height='1'/>").as_bytes(), &Settings::scaled(scale)).is_err());
        }
    }
}

#[test]
fn layers_are_colours() {
    let drawing = read(&page(
        "<path d='M10 10H20' stroke='red'/><rect width='5' height='5' fill='#00F' stroke='rgb(255,0,0)'/>
         <circle r='3' cx='50' cy='50' fill='blue' fill-opacity='.5'/><path d='M1 1H3' stroke='url(#none)'/>",
    ))
    .unwrap();
    let layers = drawing.layers.iter().map(|layer| (layer.name(), layer.strokes.len(), layer.fills.len()));
    assert_eq!(layers.collect::<Vec<_>>(), [("#ff0000".to_owned(), 2, 0), ("#0000ff".to_owned(), 0, 2)]);
    let blue = drawing.layer(" Blue ").unwrap();
    assert!(blue.is_named("#00f") && blue.is_named("rgb(0 0 255)") && !blue.is_named("navy") && !blue.is_named("?"));
    assert!((blue.fills[1].opacity - 0.5).abs() < 0.01);
    let raster = blue.raster(254.0).unwrap().unwrap();
    assert_eq!((raster.width, raster.pixels.len() / raster.width), (530, 530));
    assert_eq!([raster.pixels[0], raster.pixels[100]], [255, 0]);
    assert!((127..=128).contains(&raster.pixels[500 * 530 + 500]));
    assert!(drawing.layers[0].raster(254.0).unwrap().is_none());
    assert!(blue.raster(0.5).is_err() && blue.raster(f64::NAN).is_err());
}

#[test]
fn remarks_tell_what_is_not_drawn() {
    let remarks = |elements: &str| read(&page(&format!("<rect width='9' height='9'/>{elements}"))).unwrap().remarks;
    assert!(remarks("").is_empty());
    for (elements, expected) in [
        ("<filter id='f'><feGaussianBlur stdDeviation='2'/></filter><circle r='9' filter='url(#f)'/>", "filters"),
        (
            "<mask id='m'><rect width='5' height='5' fill='#fff'/></mask><rect width='9' height='9' mask='url(#m)'/>",
            "masks",
        ),
        ("<text y='20' font-family='Arial'>text</text>", "DejaVu Sans"),
        ("<image width='9' height='9' href='/etc/hostname'/>", "in files of their own"),
        ("<image width='9' height='9' href='https://example.org/a.png'/>", "in files of their own"),
        ("<image width='9' height='9' href='data:image/svg+xml,&lt;svg/>'/>", "in files of their own"),
        (
            "<linearGradient id='g'><stop/></linearGradient><rect width='9' height='9' fill='url(#g)'/><rect x='200' width='9' height='9'/>",
            "outside its page",
        ),
        (
            "<linearGradient id='g'><stop/><stop offset='1' stop-color='red'/></linearGradient><path d='M1 1L9 9' stroke='url(#g)'/>",
            "first colour",
        ),
    ] {
        let remarks = remarks(elements);
        assert!(remarks.iter().any(|remark| remark.contains(expected)), "{elements}: {remarks:?}");
    }
    // A picture is drawn as a whole or not at all.
    let image = |kind: &str, file: &[u8]| {
        remarks(&format!("<image width='9' height='9' href='data:image/{kind};base64,{}'/>", STANDARD.encode(file)))
    };
    for (kind, format) in [("png", ImageFormat::Png), ("jpeg", ImageFormat::Jpeg)] {
        let file = picture_file(9, 9, format);
        assert!(image(kind, &file).is_empty());
        // The checksum of the last chunk of a PNG does not matter.
        for length in 0..file.len() - 4 {
            let remarks = image(kind, &file[..length]);
            assert!(
                remarks.iter().any(|remark| remark.contains("pictures that are damaged")),
                "{kind} {length}: {remarks:?}"
            );
        }
    }
}

#[test]
fn only_what_is_drawn_can_be_outside_the_page() {
    let picture =
        format!("<image x='-50' y='-50' width='200' height='200' href='data:image/png;base64,{}'/>", png_file(2, 2));
    let shapes = [
        "<rect x='-50' y='-50' width='200' height='200'/>",
        "<path d='M-50 50H150' stroke='red'/>",
        "<linearGradient id='g'><stop/></linearGradient><rect x='-50' y='-50' width='200' height='200' fill='url(#g)'/>",
        &picture,
    ];
    for shape in shapes {
        for (clip, is_outside) in [
            ("<rect width='100' height='100'/>", false),
            ("<rect x='10' y='10' width='80' height='80'/>", false),
            ("<rect x='-10' y='10' width='80' height='80'/>", true),
            ("<rect x='-10' y='10' width='80' height='80' clip-path='url(#inner)'/>", false),
            ("<rect x='-99' y='-99' width='300' height='300'/>", true),
        ] {
            let elements = format!(
                "<clipPath id='inner'><rect width='90' height='90'/></clipPath><clipPath id='c'>{clip}</clipPath>
                 <rect width='9' height='9'/><g clip-path='url(#c)'>{shape}</g>"
            );
            let remarks = read(&page(&elements)).unwrap().remarks;
            let found = remarks.iter().any(|remark| remark.contains("outside its page"));
            assert_eq!(found, is_outside, "{clip} {shape}");
        }
    }
}

#[test]
fn a_size_without_a_unit_is_remarked_on() {
    for (size, scale, is_remarked) in [
        ("width='90' height='50'", Scale::Units, true),
        ("width='90px' height='50px'", Scale::Units, true),
        ("width='100%' height='100%' viewBox='0 0 90 50'", Scale::Units, true),
        ("viewBox='0 0 90 50'", Scale::Units, true),
        ("width='90mm' viewBox='0 0 90 50'", Scale::Units, false),
        ("width='9cm' height='5in'", Scale::Units, false),
        ("width='90' height='50'", Scale::Factor(2.0), false),
        ("width='90' height='50'", Scale::WidthMm(90.0), false),
    ] {
        let text = format!("<svg xmlns='http://www.w3.org/2000/svg' {size}><rect width='9' height='9'/></svg>");
        let drawing = svg::read(text.as_bytes(), &Settings::scaled(scale)).unwrap();
        let expected = "the file gives no size in mm, inch or the like: a pixel is taken as 1/96 inch";
        let found = drawing.remarks.iter().filter(|remark| remark.starts_with(expected)).count();
        assert_eq!((drawing.remarks.len(), found), (is_remarked.into(), is_remarked.into()), "{size}");
    }
}

#[test]
fn dashes_are_cut_or_named() {
    let line = |dashes: &str| {
        read(&page(&format!(
            "<rect width='9' height='9'/><path d='M0 50H99' stroke='red' stroke-dasharray='{dashes}'/>"
        )))
    };
    let cut = |dashes: &str| {
        let drawing = line(dashes).unwrap();
        (drawing.layer("red").map_or(0, |layer| layer.strokes.len()), drawing.remarks.len())
    };
    assert_eq!(cut("9 1"), (10, 0));
    assert_eq!(cut("0 1"), (0, 1), "dots");
    assert_eq!(cut("0.01 0.01"), (0, 1));
    assert_eq!(cut("0.01 1 1 1"), (33, 1));
    assert_eq!(cut("1 999"), (1, 0));
    let gap =
        "<rect width='9' height='9'/><path d='M0 50H99' stroke='red' stroke-dasharray='1 999' stroke-dashoffset='2'/>";
    assert_eq!(read(&page(gap)).unwrap().layers.len(), 1);
    let problem =
        problem(&page("<rect width='9' height='9'/><path d='M0 50H90000' stroke='red' stroke-dasharray='.02 .02'/>"));
    assert!(problem.contains("a line with more than 1000000 dashes"), "{problem}");
}

#[test]
fn text_in_any_font_has_outlines() {
    for font in ["Arial", "serif", "monospace", "No Such Font, cursive", "'Times New Roman'"] {
        let drawing = read(&page(&format!("<text y='20' font-size='10' font-family=\"{font}\">ii</text>"))).unwrap();
        let contours: usize = drawing.layers[0].fills.iter().map(|fill| fill.contours.len()).sum();
        assert_eq!(contours, 4, "{font}: two dots and two stems");
    }
}

#[test]
fn pictures_have_a_place_and_a_grey() {
    let drawing = read(&page(
        "<linearGradient id='g'><stop stop-color='#fff'/><stop offset='1' stop-color='#000'/></linearGradient>
         <rect x='10' y='20' width='40' height='5' fill='url(#g)' stroke='red' stroke-width='4'/>",
    ))
    .unwrap();
    let picture = &drawing.pictures[0];
    assert_eq!([picture.position_mm, picture.size_mm].map(|pair| pair.map(f64::round)), [[10.0, 20.0], [40.0, 5.0]]);
    let raster = picture.raster(254.0).unwrap();
    assert_eq!(raster.width, 400);
    let row = &raster.pixels[25 * 400..26 * 400];
    assert!(row[2] < 3 && row[397] > 252 && row.is_sorted(), "{row:?}");
    assert!((i16::from(row[200]) - 128).abs() < 3, "the stroke is not in the picture");
    assert_eq!(drawing.layer("red").unwrap().strokes.len(), 1);
}

#[test]
fn errors_name_the_place_or_the_reason() {
    for (text, expected) in [
        ("", "line 1, column 1: the document"),
        ("<svg xmlns='http://www.w3.org/2000/svg'>\n <g></svg>", "line 2, column 5: expected 'g' tag, not 'svg'"),
        ("<svg>&what;</svg>", "line 1, column 6: "),
        ("<html/>", "the SVG file has no <svg> as its first element"),
        ("G0 X10", "line 1, column 1: "),
        (&page(""), "the SVG file has nothing to draw, expected a visible line"),
        (&page("<rect width='9' height='9' fill='none'/>"), "nothing to draw"),
        (&page("<path d='M10 10h10' stroke='none'/>"), "nothing to draw"),
        (
            &page("<image width='9' height='9' href='a.png'/>"),
            "nothing to draw; pictures that are damaged, in files of their own",
        ),
        (&page("<path d='M0 0L9e8 0' stroke='red'/>"), "coordinate in mm"),
        ("<svg xmlns='http://www.w3.org/2000/svg' width='0' height='5'/>", "no size"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{text}: {problem}");
    }
    assert!(
        svg::read(b"<svg>\xff</svg>", &Settings::default()).unwrap_err().to_string().starts_with("line 1, column 6: ")
    );
    let long = vec![b' '; MAX_DRAWING_BYTES + 1];
    assert!(matches!(svg::read(&long, &Settings::default()), Err(Error::Make { .. })));
    assert!(matches!(svg::read(&gzip(&long), &Settings::default()), Err(Error::Make { .. })));
    let file = gzip(page("<rect width='9' height='9'/>").as_bytes());
    assert_eq!(svg::read(&file, &Settings::default()).unwrap().layers.len(), 1);
    assert!(matches!(svg::read(&file[..file.len() - 12], &Settings::default()), Err(Error::GzipCut { .. })));
}

fn picture_file(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    GrayImage::new(width, height).write_to(&mut file, format).unwrap();
    file.into_inner()
}

pub(super) fn png_file(width: u32, height: u32) -> String {
    STANDARD.encode(picture_file(width, height, ImageFormat::Png))
}

#[test]
fn lines_without_an_inside_are_lines() {
    for lines in
        ["<line x2='5' y2='5'/>", "<path d='M0 0L5 5'/>", "<path d='M0 0L5 5M5 6H9'/>", "<path d='M0 0L2 2 5 5'/>"]
    {
        let drawing = read(&page(lines)).unwrap();
        assert!(drawing.remarks.iter().any(|remark| remark.contains("as if they had a black stroke")), "{lines}");
        assert!(drawing.layers.len() == 1 && drawing.layers[0].fills.is_empty(), "{lines}");
    }
}
