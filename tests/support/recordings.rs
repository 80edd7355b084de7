//! Generated recordings: a long one and a malicious one.

use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use gf_emulator_core::puls::{Builder, Laser, Move};
use gf_emulator_core::record::SESSION_FILE;
use serde_json::{Value, json};

/// Returns one of seven different pictures.
#[must_use]
pub fn jpeg(n: usize) -> &'static [u8] {
    const PICTURES: [&[u8]; 7] = [
        include_bytes!("../../gf-emulator-cli/src/demo/HOME_1.jpg"),
        include_bytes!("../../gf-emulator-cli/src/demo/HOME_2.jpg"),
        include_bytes!("../../gf-emulator-cli/src/demo/HOME_3.jpg"),
        include_bytes!("../../gf-emulator-cli/src/demo/HOME_4.jpg"),
        include_bytes!("../../gf-emulator-cli/src/demo/LID_IMAGE.jpg"),
        include_bytes!("../../gf-emulator-cli/src/demo/HEAD_LASER.jpg"),
        include_bytes!("../../gf-emulator-cli/src/demo/HEAD_NO_LASER.jpg"),
    ];
    PICTURES[n % PICTURES.len()]
}

/// Returns a job of a few seconds that cuts a flower.
///
/// # Panics
///
/// If it does not fit on the bed.
#[must_use]
pub fn flower(petals: u32) -> Vec<u8> {
    let mut job = Builder::new();
    let corner = |step: u32| {
        let angle = TAU * f64::from(step) / 180.0;
        let radius_mm = 25.0 + 10.0 * (angle * f64::from(petals)).sin();
        (60.0 + radius_mm * angle.cos(), 60.0 + radius_mm * angle.sin())
    };
    let legs: Vec<_> = (1..=180)
        .map(|step| {
            let (x_mm, y_mm) = corner(step);
            Move::new(x_mm, y_mm, 60.0, Laser::Constant(3.0 / 7.0))
        })
        .collect();
    let (x_mm, y_mm) = corner(0);
    let drawn = job.move_to(x_mm, y_mm).and_then(|job| job.path(&legs));
    drawn.and_then(|job| job.move_to(0.0, 0.0)).map(|job| job.to_bytes()).expect("it fits on the bed")
}

/// The entries of a recording, one a line.
struct Entries {
    text: String,
    n: u64,
    t: f64,
}

impl Entries {
    fn new(generation: &str) -> Self {
        let mut lines = Self { text: String::new(), n: 0, t: 0.0 };
        lines.add(
            "session",
            json!({
                "format": 1, "recorder": "gf-emulator-core 0.1.0", "side": "machine", "generation": generation,
                "firmware": "2.6.0-2228", "service": "https://app.example.com",
            }),
        );
        lines
    }

    /// Adds an entry, a little later than the last one.
    fn add(&mut self, kind: &str, fields: Value) -> u64 {
        let mut entry = json!({"n": self.n, "t": self.t, "at": "2026-11-24T08:00:00.000Z", "kind": kind});
        if let (Some(entry), Value::Object(fields)) = (entry.as_object_mut(), fields) {
            entry.extend(fields);
        }
        writeln!(self.text, "{entry}").expect("writing to a string cannot fail");
        self.n += 1;
        self.t = ((self.t + 0.0123) * 1e4).round() / 1e4;
        self.n - 1
    }

    fn message(&mut self, kind: &str, json: &Value) {
        self.add(kind, json!({"bytes": json.to_string().len() + 1, "json": json}));
    }

    fn event(&mut self, id: u64, name: &str, more: Value) {
        let mut event = json!({
            "id": 32 + self.n, "timestamp": 3900 + self.n, "type": "event", "version": 1, "action_id": id,
            "level": "INFO", "event": name,
        });
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        self.message("out", &event);
    }

    fn write(self, folder: &Path) {
        fs::write(folder.join(SESSION_FILE), self.text).expect("the file is written");
    }
}

/// Writes a recording of at least `messages` messages, with `jobs` prints of different jobs.
///
/// # Panics
///
/// If the folder cannot be written to.
pub fn long(folder: &Path, messages: u64, jobs: u64) {
    let mut lines = Entries::new("2.6");
    lines.add("opened", json!({"url": "wss://status.example.com"}));
    let (mut sent, mut action, mut prints) = (0, 1000, 0);
    while sent < messages {
        action += 1;
        let request =
            |kind: &str, key: &str, url: &str| json!({"id": action, "action_type": kind, "status": "ready", key: url});
        if prints < jobs && sent >= prints * messages / jobs {
            let url = format!("https://storage.example.com/dl/{action}.puls");
            lines.message("in", &request("print", "motion_url", &format!("{url}?***")));
            lines.event(action, "print:starting", json!({}));
            let name = format!("{:06}_response.puls", lines.n);
            let job = flower(u32::try_from(prints % 40 + 3).unwrap_or(3));
            lines.add(
                "http",
                json!({
                    "method": "GET", "url": url, "has_query": true, "status": 200, "duration_s": 0.04,
                    "request": {"bytes": 0}, "response": {"bytes": job.len(), "file": name},
                }),
            );
            fs::write(folder.join(name), job).expect("the file is written");
            for event in ["download:completed", "warmup:starting", "running", "return_to_home:succeeded", "completed"] {
                lines.event(action, &format!("print:{event}"), json!({}));
            }
            prints += 1;
            sent += 7;
        } else if action % 10 == 0 {
            lines.message("in", &request("settings", "note", "none"));
            let setting = |n: u64| {
                let letter = |of: u64| char::from(b'A' + u8::try_from(of % 26).unwrap_or(0));
                let code = format!("{}{}{}{}", letter(n / 20), letter(n / 7), letter(n / 3), n % 10);
                (code, json!(if n == action % 500 { action } else { n }))
            };
            let report: Value = (0..500).map(setting).collect();
            lines.event(action, "settings:completed", json!({"settings": report}));
            sent += 2;
        } else {
            let url = format!("https://storage.example.com/up/{action}");
            lines.message("in", &request("lid_image", "endpoint", &format!("{url}?***")));
            for event in ["starting", "capture:starting", "capture:completed", "upload:starting"] {
                lines.event(action, &format!("lid_image:{event}"), json!({}));
            }
            let which = usize::try_from(action % 7).unwrap_or(0);
            let name = format!("{which:06}_request.jpg");
            fs::write(folder.join(&name), jpeg(which)).expect("the file is written");
            lines.add(
                "http",
                json!({
                    "method": "PUT", "url": url, "has_query": true, "status": 200, "duration_s": 0.04,
                    "request": {"bytes": jpeg(which).len(), "file": name}, "response": {"bytes": 0},
                }),
            );
            let ending = if action % 97 == 0 { "failed" } else { "completed" };
            lines.event(action, &format!("lid_image:upload:{ending}"), json!({}));
            lines.event(action, &format!("lid_image:{ending}"), json!({}));
            sent += 7;
        }
    }
    lines.add("closed", json!({"reason": "the machine has stopped"}));
    lines.add("state", json!({"state": "stopped"}));
    lines.write(folder);
}

/// Attacks on a page through recorded text: each sets `window.owned`, loads something or hides content.
pub const HOSTILE: [&str; 14] = [
    "<script>window.owned=1</script>",
    "\"><img src=x onerror=\"window.owned=2\">",
    "'><svg onload=window.owned=3>",
    "</script><script>window.owned=4</script>",
    "</style><script>window.owned=5</script>",
    "</pre></details></summary></article></main><iframe src=\"https://evil.example/\"></iframe>",
    "javascript:window.owned=6",
    "data:text/html,<script>window.owned=7</script>",
    "--><!--<script>window.owned=8</script>",
    "<meta http-equiv=refresh content=\"0;url=https://evil.example/\"><base href=\"https://evil.example/\">",
    "\u{0}\u{1}\u{8}\u{1b}[31m\u{202e}gnp.exe\u{2066}\u{200b}\u{feff}\r\n",
    "&lt;script&gt;&#60;&amp;",
    "<form id=filter><input name=words></form><a id=e1 name=form>{{7*7}}${7*7}",
    "<link rel=stylesheet href=https://evil.example/x.css><style>*{display:none}</style>",
];

/// Writes a malicious recording: every text that a service, a machine or another program controls is an attack. Some
/// entries and files are invalid.
///
/// # Panics
///
/// If the folder cannot be written to.
pub fn hostile(folder: &Path) {
    let mut lines = Entries { text: String::new(), n: 0, t: 0.0 };
    let evil = HOSTILE.join(" ");
    lines.add(
        "session",
        json!({
            "format": 1, "recorder": evil, "side": "machine", "generation": evil, "firmware": evil, "service": evil,
        }),
    );
    for (id, evil) in (1..).zip(HOSTILE) {
        lines.add("opened", json!({"url": evil}));
        let action = json!({
            "id": id, "action_type": evil, "status": "ready", "motion_url": format!("https://{evil}"),
            "endpoint": evil, evil: {evil: [evil]},
        });
        lines.message("in", &action);
        lines.event(id, &format!("{evil}:starting"), json!({"log": evil, "level": evil, evil: evil}));
        for settings in [json!({evil: evil, "AAdc": evil, "HCil": [evil]}), json!({evil: {evil: evil}, "AAdc": 1})] {
            lines.event(id, &format!("{evil}:report"), json!({"settings": settings}));
        }
        lines.message("out", &json!({"progress": evil, "action_id": id, "current": 1, "total": 2, "units": evil}));
        lines.add(
            "http",
            json!({
                "method": evil, "url": format!("https://{evil}"), "has_query": true, "status": 200, "error": evil,
                "duration_s": 1e300, "request": {"bytes": u64::MAX, "headers": {evil: evil}, "file": evil},
                "response": {"bytes": 1, "json": {evil: evil}, "file": "../../../../etc/passwd"},
            }),
        );
        lines.event(id, &format!("{evil}:failed"), json!({}));
        lines.add("in", json!({"bytes": 1, "text": evil}));
        lines.add("out", json!({"bytes": 1, "text": evil}));
        lines.add("closed", json!({"reason": evil}));
        lines.add("state", json!({"state": evil, "detail": evil}));
    }
    // Files that are not what their names say, for a valid action.
    lines.message("in", &json!({"id": 99, "action_type": "print", "status": "ready", "motion_url": "https://h/99"}));
    let script_in_jpeg = [b"\xff\xd8\xff", HOSTILE[3].as_bytes(), b"\xff\xc0\0\x11\x08\xff\xff\0\0"].concat();
    let files: [(&str, &[u8]); 5] = [
        ("a.jpg", &script_in_jpeg),
        ("b.jpg", b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"window.owned=9\"/>"),
        ("c.puls", b"\x80GF1\xff\xff\xff\x7fnonsense"),
        ("d.puls", b"\x1f\x8bnonsense"),
        ("e.html", HOSTILE[0].as_bytes()),
    ];
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).expect("the file is written");
    }
    let places = ["..", ".", "", "/etc/passwd", "session.jsonl", "nowhere.jpg", "C:\\x", ".hidden", "folder"];
    fs::create_dir_all(folder.join("folder")).expect("the file is written");
    for name in files.map(|(name, _)| name).into_iter().chain(places) {
        lines.add(
            "http",
            json!({
                "method": "GET", "url": "https://h/99", "status": 200, "request": {"bytes": 0},
                "response": {"bytes": 1, "file": name},
            }),
        );
    }
    // Entries with values of the wrong type, and invalid entries.
    for (action_type, id, status) in [
        (json!(1), json!(1), json!("ready")),
        (json!("settings"), json!("1"), json!("ready")),
        (json!("settings"), json!(1e300), json!(["ready"])),
        (json!(null), json!(i64::MIN), json!({})),
        (json!("settings"), json!(i64::MAX), json!("ready")),
    ] {
        let action = json!({"id": id, "action_type": action_type, "status": status});
        lines.message("in", &action);
        lines.message("out", &json!({"event": action_type, "action_id": id, "settings": [action]}));
        lines.message("out", &json!([action]));
    }
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let deeper = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for (t, json) in [("1e308", &*deep), ("-1e308", "0"), ("0", &*deeper), ("1e999", "0"), ("\"1\"", "0")] {
        let line =
            format!(r#"{{"n":{},"t":{t},"at":"{}","kind":"in","bytes":1,"json":{json}}}"#, u64::MAX, "9".repeat(5000));
        lines.text.push_str(&line);
        lines.text.push('\n');
    }
    lines.text.push_str("<script>window.owned=10</script>\n{\"n\":1,\"kind\":\"<script>window.owned=11</script>\"}\n");
    lines.write(folder);
}
