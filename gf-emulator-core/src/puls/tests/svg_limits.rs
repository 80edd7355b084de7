//! SVG files that take too much time or memory, and files with faults.

#![expect(clippy::format_collect, reason = "small files")]

use std::fs;

use proptest::prelude::*;

use super::super::svg::{self, Settings};
use super::svg::{corpus, page, png_file, read};

/// Ten levels, each of which has ten of the one below.
fn tower(level: impl Fn(usize) -> String) -> String {
    page(&((0..10).map(level).collect::<String>() + "<use href='#l9'/><rect width='9' height='9'/>"))
}

#[test]
fn pictures_that_have_no_size_for_the_renderer_are_refused() {
    let file = png_file(1, 1000);
    let image = |attributes: &str| {
        read(&page(&format!("<rect width='9' height='9'/><image {attributes} href='data:image/png;base64,{file}'/>")))
    };
    for near in [
        "x='5' y='5' width='10' height='10'",
        "width='100%' height='50%'",
        "x='20mm' width='10mm'",
        "x='2000' y='3000'",
    ] {
        let drawing = image(near).unwrap_or_else(|error| panic!("{near}: {error}"));
        assert_eq!(
            (drawing.pictures.len(), drawing.remarks.iter().filter(|it| !it.contains("outside")).count()),
            (1, 0),
            "{near}"
        );
    }
    for far in [
        "x='1e8' width='10' height='10'",
        "x='50000000%' width='10' height='10'",
        "x='-9999' y='5' width='.001' height='1'",
        "y='1e7' width='10'",
        "width='1e-30' height='1e-30'",
        "x='99000000'",
        "width='10' height='1e9' preserveAspectRatio='xMaxYMax slice'",
    ] {
        let error = image(far).expect_err(far).to_string();
        assert!(error.starts_with("the SVG file has a picture that is very small, or very far away"), "{far}: {error}");
    }
    for nothing in ["width='0' height='10'", "width='-5' height='10'"] {
        assert_eq!(image(nothing).unwrap().pictures.len(), 0, "{nothing}");
    }
    let long = read(&page(&format!(
        "<rect width='9' height='9'/><image width='9' height='9' href='data:image/png;base64,{}'/>",
        png_file(1, 1001)
    )));
    assert!(long.unwrap().remarks[0].starts_with("pictures that are damaged"));
}

#[test]
fn what_takes_long_for_its_size_is_refused() {
    let clipped = |parts: usize, clips: &str, shapes: &str| {
        page(&format!("<clipPath id='c'>{}</clipPath>{}", clips.repeat(parts), shapes.repeat(parts)))
    };
    let long_line = format!("<path d='M0 0{}' stroke='red' clip-path='url(#c)'/>", "h1v1".repeat(100_000));
    for (file, limit) in [
        (page(&format!("<style>g{{{}}}</style>{}", "fill:red;".repeat(20_000), "<g/>".repeat(20_000))), "style sheets"),
        (
            page(&format!("<style>{}{{fill:red}}</style>{}", "[x]".repeat(60_000), "<g/>".repeat(30_000))),
            "style sheets",
        ),
        (clipped(1, &"<path d='M0 0h1v1z'/>".repeat(4_000), &long_line), "cross"),
    ] {
        let error = read(&file).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(limit), "{error}");
    }
}

#[test]
fn bombs_are_refused() {
    let shape = "<path d='M0 0L1 1L2 0L3 1L4 0L5 1L6 0L7 1L8 0L9 1' stroke='red' ";
    let used = |n: usize| match n {
        0 => "<g id='l0'><rect width='1' height='1'/></g>".to_owned(),
        _ => format!("<g id='l{n}'>{}</g>", format!("<use href='#l{}'/>", n - 1).repeat(10)),
    };
    let marked = |n: usize| {
        format!(
            "<marker id='l{n}' markerWidth='9' markerHeight='9'>{shape} marker-mid='url(#l{})'/></marker>",
            n.wrapping_sub(1)
        )
    };
    let styled = |n: usize| {
        format!(
            "<style>.c{n} {{ marker: url( '#m{n}' ) }}</style><marker id='m{n}'>{shape} class='c{}'/></marker>",
            n.wrapping_sub(1)
        )
    };
    let patterned = |n: usize| {
        let filled = format!("<rect width='1' height='1' fill='url(#l{})'/>", n.wrapping_sub(1)).repeat(10);
        format!("<pattern id='l{n}' width='1' height='1'>{filled}</pattern>")
    };
    let laughs: String = (1..10).map(|n| format!("<!ENTITY l{n} '{}'>", format!("&l{};", n - 1).repeat(10))).collect();
    let bombs = [
        tower(used),
        page(&((0..10).map(styled).collect::<String>() + shape + "class='c9'/>")),
        page(&((0..10).map(marked).collect::<String>() + "<g marker-mid='url(#l9)'>" + shape + "/></g>")),
        page(&((0..10).map(patterned).collect::<String>() + "<rect width='9' height='9' style='fill:url(#l9)'/>")),
        page("<g id='a'><use href='#b'/></g><g id='b'><use href='#a'/></g>"),
        page(
            "<clipPath id='a' clip-path='url(#b)'><rect width='1' height='1'/></clipPath><clipPath id='b' clip-path='url(#a)'/><rect width='1' height='1' clip-path='url(#a)'/>",
        ),
        page(&("<g>".repeat(100_000) + &"</g>".repeat(100_000))),
        page(&("<g>".repeat(500_000) + &"</g>".repeat(500_000))),
        page(&format!("<rect {}/>", (0..50_000).map(|n| format!("a{n}='' ")).collect::<String>())),
        format!("<!DOCTYPE svg [<!ENTITY l0 'lol'>{laughs}]>{}", page("<text>&l9;</text>")),
        format!("<!DOCTYPE svg [<!ENTITY a '{}'>]>{}", "a".repeat(1 << 20), page(&"<text>&a;</text>".repeat(1000))),
        page(&format!("<path d='M0 0{}' stroke='red'/>", "c0 99 99 99 99 0 0-99-99-99-99 0".repeat(100_000))),
        page("<path d='M0 0H1e38V1e38' stroke='red' stroke-dasharray='1e-30'/>"),
        page("<path d='M0 0A1e37 1e38 0 1 0 9 9' stroke='red'/>"),
        page("<path d='M0 0A999999999999999999999 1 0 1 0 9 9' stroke='red'/>"),
        page("<rect width='9' height='9' rx='1em' style='font-size:1E+38px' stroke='red'/>"),
        page(&format!(
            "<path id='a' d='M0 0{}' stroke='red'/>{}",
            "h1v1".repeat(100_000),
            "<use href='#a'/>".repeat(1000)
        )),
    ];
    for (index, bomb) in bombs.iter().enumerate() {
        let error = read(bomb).err().unwrap_or_else(|| panic!("bomb {index} is drawn"));
        let error = error.to_string();
        let limits = [
            "too many",
            "more than 96 elements",
            "stand for a very long text",
            "entity reference loop",
            "the number ",
            "farther",
            "dashes",
        ];
        assert!(limits.iter().any(|limit| error.contains(limit)), "{index}: {error}");
    }
}

#[test]
fn the_deepest_drawing_needs_little_stack() {
    let deep = page(&("<g opacity='.99'>".repeat(90) + "<rect width='9' height='9'/>" + &"</g>".repeat(90)));
    let clones: String = (1..40).map(|n| format!("<g id='l{n}'><use href='#l{}' opacity='.9'/></g>", n - 1)).collect();
    let clones = page(&format!("<g id='l0'><rect width='9' height='9'/></g>{clones}<use href='#l39'/>"));
    // That of a main thread on Windows.
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        [&deep, &clones].map(|text| read(text).map(|drawing| drawing.layers.len()).map_err(|error| error.to_string()))
    });
    assert_eq!(thread.unwrap().join().unwrap(), [Ok(1), Ok(1)]);
}

/// Pieces that mean something in SVG.
const PIECES: [&str; 24] = [
    "<",
    ">",
    "/>",
    "'",
    "\"",
    "=",
    "&",
    ";",
    "#",
    "url(#a)",
    "1e38",
    "-1e-38",
    "NaN",
    "0",
    "%",
    "mm",
    "id='a'",
    "href='#a'",
    "transform='scale(0)'",
    "<use href='#a'/>",
    "<g>",
    "</g>",
    "style='marker:url(#m)'",
    "stroke-dasharray='0 1e-9 3'",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn no_text_panics(
        file in 0..corpus().len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, 0..PIECES.len() * 2), 1..6),
    ) {
        let mut text = fs::read(&corpus()[file]).unwrap();
        for (place, removed, piece) in changes {
            let start = place.index(text.len());
            let end = (start + removed).min(text.len());
            let piece = PIECES.get(piece).map_or(&[][..], |piece| piece.as_bytes());
            text.splice(start..end, piece.iter().copied());
        }
        if let Ok(drawing) = svg::read(&text, &Settings::default()) {
            prop_assert!(!drawing.layers.is_empty() || !drawing.pictures.is_empty());
            for layer in &drawing.layers {
                let _ = layer.raster(20.0);
            }
            for picture in &drawing.pictures {
                let _ = picture.raster(20.0);
            }
        }
    }

    #[test]
    fn numbers_of_any_size_are_drawn_or_refused(numbers in prop::collection::vec(any::<f32>(), 6), dash in any::<f32>()) {
        let [a, b, c, d, e, f] = numbers[..] else { unreachable!() };
        let _ = read(&page(&format!(
            "<g transform='matrix({a} {b} {c} {d} {e} {f})'><path d='M{a} {b}C{c} {d} {e} {f} {b} {a}A{a} {b} {c} 1 0 {d} {e}'
             stroke='red' stroke-width='{f}' stroke-dasharray='{dash} {a}'/><rect x='{a}' width='{b}' height='{c}' rx='{d}'/></g>"
        )));
    }
}
