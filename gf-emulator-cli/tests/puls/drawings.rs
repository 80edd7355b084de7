//! `puls make --from`: kinds of drawings, and remarks on them.

use std::fs;

use gf_emulator_core::puls::Builder;

use super::make::run_with;
use crate::{folder, run};

/// A program, gzip-compressed.
const PACKED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03s72Tp\xb74\xe0\xf25Q\x08650\xe0r7T\x8804Pp3\x03\xb2\x01\xd7>8\xd2\x1c\x00\x00\x00";

#[test]
fn the_kind_of_a_drawing_is_told_by_its_name_or_its_content() {
    let folder = folder();
    let (gcode, path): (&[u8], &[u8]) = (b"M4 S500 F600\nG1 X10", b"M0 0 H10");
    for (name, content) in [
        ("a.gc", gcode),
        ("a.G", gcode),
        ("a.gco", gcode),
        ("a.tap", gcode),
        ("a.cnc", gcode),
        ("a.gcode.gz", PACKED),
        ("b.gcode", PACKED),
        ("c.txt", gcode),
        ("c", path),
        ("d.svgpath.gz", path),
        ("e.gz", PACKED),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
        let ended = run(&folder, &["puls", "make", "--from", name, "-o", "job.puls"]);
        ended.expect(0);
        assert!(!ended.stderr.contains("remark"), "{name}: {ended:?}");
    }
    for text in ["M4 S500 F600\nG1 X10", "M0 0 H10"] {
        run_with(&folder, &["puls", "make", "--from", "-", "-o", "job.puls"], text).expect(0);
    }
}

#[test]
fn other_kinds_are_refused_by_name() {
    let folder = folder();
    let make = ["puls", "make", "--from", "-", "-o", "job.puls"];
    for (text, message) in [
        ("Dear reader", "standard input: unknown kind of drawing: use --kind gcode, svg, svgpath or picture"),
        ("", "standard input: unknown kind of drawing"),
    ] {
        let ended = run_with(&folder, &make, text);
        ended.expect(2);
        assert!(ended.stderr.contains(message), "{ended:?}");
    }
    fs::write(folder.path().join("a.txt"), b"\x89PNG\r\n\x1a\n").unwrap();
    fs::write(folder.path().join("a.nc"), b"\xff\xfeG\x000\0").unwrap();
    fs::write(folder.path().join("b.nc"), &PACKED[..15]).unwrap();
    fs::write(folder.path().join("c.nc"), "Dear reader").unwrap();
    fs::write(folder.path().join("d.svgpath"), "\n <svg xmlns=''><path d='M0 0H9'/></svg>").unwrap();
    fs::write(folder.path().join("job"), Builder::new().to_gzip()).unwrap();
    for (name, code, message) in [
        ("a.txt", 1, "a.txt: cannot draw the picture: "),
        ("a.png", 2, "cannot read a.png: "),
        ("a.svgz", 2, "cannot read a.svgz: "),
        ("a.svg.gz", 2, "cannot read a.svg.gz: "),
        ("a.dxf", 2, "a.dxf: unknown kind of drawing"),
        ("a.puls", 2, "a.puls: a pulse file, not a drawing: "),
        ("a.puls.gz", 2, "a.puls.gz: a pulse file, not a drawing: "),
        ("job", 2, "job: a pulse file, not a drawing: "),
        ("a.nc", 1, "a.nc: line 1, column 1: text in UTF-16, expected UTF-8: save it as that"),
        ("d.svgpath", 1, " (its start looks like another kind of drawing: use --kind svg)\n"),
        ("c.nc", 1, " (its start does not look like gcode: is this the right file?)\n"),
        ("b.nc", 1, "b.nc: the compressed file ends at byte 15"),
    ] {
        let ended = run(&folder, &["puls", "make", "--from", name, "-o", "job.puls"]);
        ended.expect(code);
        assert!(ended.stderr.contains(message), "{ended:?}");
    }
    assert!(run(&folder, &["puls", "make", "--help"]).stdout.contains("may be gzip-compressed"));
}

#[test]
fn remarks_on_a_drawing_follow_the_result_and_name_the_drawing() {
    let folder = folder();
    let make = ["puls", "make", "--from", "a.nc", "-o", "job.puls"];
    fs::write(folder.path().join("a.nc"), "M0\nM4 S255 F600\nM1\nG1 Y10").unwrap();
    let ended = run(&folder, &make);
    ended.expect(0);
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].starts_with("job.puls: ") && lines[0].ends_with(" kB"), "{lines:?}");
    assert!(lines[1].starts_with("a.nc: remark: line 1: M0, M1 and M6 wait"), "{lines:?}");
    assert_eq!(lines[2], "a.nc: remark: the largest S is 255 of 1000: is --s-max 255 meant?");
    assert!(lines[3].ends_with("if this comes out mirrored, use --flip-y --at 0,10"), "{lines:?}");
    let ended = run(&folder, &[&make[..], &["--s-max", "255", "--flip-y", "--at", "0,10"]].concat());
    assert_eq!(ended.stderr.lines().count(), 2, "{ended:?}");
}
