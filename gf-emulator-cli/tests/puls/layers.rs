//! `puls make` from SVG files and pictures.

use std::fs;

use serde_json::Value;

use super::*;

/// Two squares, one in the other, a line, a disc and a white background.
const DRAWING: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="80mm" height="60mm" viewBox="0 0 80 60" fill="none">
<rect width="80" height="60" fill="white"/>
<rect x="10" y="10" width="40" height="40" stroke="#ff0000"/>
<rect x="20" y="20" width="10" height="10" stroke="#ff0000"/>
<path d="M55 10H75" stroke="blue"/>
<circle cx="65" cy="40" r="5" fill="#000"/>
</svg>"##;

fn svg(folder: &TempDir, arguments: &str) -> (Value, String) {
    fs::write(folder.path().join("box.svg"), DRAWING).unwrap();
    let arguments: Vec<_> = ["puls", "make", "--from", "box.svg", "-o", "box.puls"]
        .into_iter()
        .chain(arguments.split_whitespace())
        .collect();
    let made = run(folder, &arguments);
    made.expect(0);
    run(folder, &["puls", "check", "box.puls", "--start", "0,0"]).expect(0);
    let info = run(folder, &["puls", "info", "--json", "box.puls"]);
    info.expect(0);
    (serde_json::from_str(&info.stdout).unwrap(), made.stderr)
}

#[track_caller]
fn about(value: &Value, expected: f64, within: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() <= within, "{value} is not {expected}");
}

#[test]
fn every_colour_of_an_svg_file_is_a_layer() {
    let folder = folder();
    let (info, said) = svg(&folder, "");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[1..],
        [
            "box.svg: remark: layer #ffffff has no settings: 1 shape left out, as the page is white",
            "box.svg: remark: layer #ff0000 has no settings: 2 lines cut (power 40, 50 mm/s)",
            "box.svg: remark: layer #0000ff has no settings: 1 line cut (power 40, 50 mm/s)",
            "box.svg: remark: layer #000000 has no settings: 1 shape engraved (power 20, 150 mm/s, 270 dpi)",
        ]
    );
    assert_eq!((&info["stats"]["XEND"], &info["stats"]["YEND"]), (&0.into(), &0.into()));
    about(&info["fire_box"]["x_mm"][0], 10.0, 0.05);
    about(&info["fire_box"]["x_mm"][1], 75.0, 0.05);

    let (info, said) =
        svg(&folder, "--layer red=cut,power=full,speed=20 --layer #00f=score --layer black=skip --layer white=skip");
    assert!(!said.contains("remark"), "{said}");
    about(&info["distance"]["cut"], 220.0, 0.5);
    let (info, _) = svg(&folder, "--layer red=skip --layer #00f=skip --layer black=cut --layer white=skip --scale 0.5");
    about(&info["distance"]["cut"], std::f64::consts::PI * 5.0, 0.1);
    let (info, _) = svg(&folder, "--layer red=cut --layer #00f=skip --layer black=skip --layer white=skip --width 160");
    about(&info["distance"]["cut"], 400.0, 0.5);
}

#[test]
fn layers_may_come_from_a_file() {
    let folder = folder();
    let toml = "[red]\ndo = \"cut\"\npower = \"full\"\nspeed = 20\n[blue]\ndo = \"skip\"\n[black]\ndo = \"engrave\"\ndpi = 100\n\
                shading = \"ordered\"\n[white]\ndo = \"skip\"\n";
    fs::write(folder.path().join("layers.toml"), toml).unwrap();
    let (_, said) = svg(&folder, "--layers layers.toml");
    assert!(!said.contains("remark"), "{said}");
    let (info, _) = svg(&folder, "--layers layers.toml --layer black=skip");
    about(&info["distance"]["cut"], 200.0, 0.5);
}

#[test]
fn wrong_layers_say_what_is_expected() {
    let folder = folder();
    fs::write(folder.path().join("box.svg"), DRAWING).unwrap();
    fs::write(folder.path().join("bad.toml"), "[red]\npwr = 5\n").unwrap();
    for (arguments, code, message) in [
        (
            "--layer red",
            2,
            "the settings of layer red: expected COLOUR=DO,KEY=VALUE.. such as 'red=cut,power=full,speed=10'",
        ),
        ("--layer red=melt", 2, "the settings of layer red: unknown value `melt`, expected one of `cut`, `score`"),
        ("--layer red=cut,power=101", 2, "the settings of layer red: power: expected a number from 1 to 100, or full"),
        ("--layer red=cut,pwr=5", 2, "the settings of layer red: unknown setting `pwr`, expected one of `do`, `power`"),
        ("--layer red=cut,speed=0", 2, "the settings of layer red: speed 0, expected 0.1 to 10000 mm/s"),
        ("--layer red=cut,power=5,density=0.5", 2, "the settings of layer red: power and density replace each other"),
        ("--layer red=cut --layer #f00=skip", 2, "the settings of layer #f00: it is set twice"),
        ("--layer red=skip --layer blue=skip --layer black=skip", 1, "nothing to draw: every layer is skipped"),
        ("--layer green=cut", 1, "the settings of layer green: the drawing has no such layer; it has #ffffff, #ff0000"),
        ("--layers bad.toml", 2, "bad.toml: line 2, column 1: unknown setting `pwr`, expected one of `do`"),
        ("--layers none.toml", 2, "cannot read none.toml: "),
        ("--s-max 5", 2, "only G-code has S"),
        ("--dpi 5", 2, "expected a number from 10 to 1354"),
        ("--scale 2 --width 5", 2, "cannot be used with"),
    ] {
        let arguments: Vec<_> = ["puls", "make", "--from", "box.svg", "-o", "box.puls"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect();
        let ended = run(&folder, &arguments);
        ended.expect(code);
        assert!(ended.stderr.contains(message), "{arguments:?}: {ended:?}");
    }
    for (arguments, message) in [
        ("--from a.nc --layer red=cut", "--scale, --layer and --layers are for SVG files"),
        ("--from a.nc --width 5", "--width, --dpi and --shading are for SVG files and pictures"),
        ("--from a.nc --keep-order", "--keep-order is for SVG files and path data"),
        ("--square 5 --layer red=cut", "cannot be used with"),
    ] {
        let arguments: Vec<_> =
            ["puls", "make", "-o", "a.puls"].into_iter().chain(arguments.split_whitespace()).collect();
        let ended = run(&folder, &arguments);
        ended.expect(2);
        assert!(ended.stderr.contains(message), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_picture_is_engraved_with_its_width() {
    let folder = folder();
    run(&folder, &["puls", "make", "--circle", "30", "-o", "circle.puls"]).expect(0);
    run(&folder, &["puls", "plot", "circle.puls", "-o", "plot.png", "--size", "240"]).expect(0);
    let arguments = "puls make --from plot.png --width 40 --dpi 50 --at 30,20 --shading diffusion -o plot.puls";
    let made = run(&folder, &arguments.split(' ').collect::<Vec<_>>());
    made.expect(0);
    assert_eq!(made.stderr.lines().count(), 1, "{made:?}");
    run(&folder, &["puls", "check", "plot.puls", "--start", "0,0"]).expect(0);
    let info = run(&folder, &["puls", "info", "--json", "plot.puls"]);
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    let fired = |axis: &str, end: usize| info["fire_box"][axis][end].as_f64().unwrap();
    assert!(fired("x_mm", 0) >= 29.9 && fired("x_mm", 1) <= 70.1 && fired("y_mm", 0) >= 19.9, "{info}");
    assert!(fired("x_mm", 1) - fired("x_mm", 0) > 20.0, "{info}");
}

#[test]
fn a_line_without_a_stroke_is_cut_if_nothing_else_is_visible() {
    let folder = folder();
    fs::write(folder.path().join("svg-file.svg"), include_str!("svg-file.svg")).unwrap();
    let made = run(&folder, &["puls", "make", "--from", "svg-file.svg", "-o", "a.puls"]);
    made.expect(0);
    assert!(made.stderr.contains("remark: nothing in the file is visible: its lines are cut"), "{made:?}");
    let info = run(&folder, &["puls", "info", "--json", "a.puls"]);
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    // 10 of the page's 24 units, which is 100 % of the default width of 100 pixels.
    assert!(info["distance"]["cut"].as_f64().unwrap() > 1.0, "{info}");
}
