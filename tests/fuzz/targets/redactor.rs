//! Secrets: one that is hidden in text, plain or encoded, does not come out of the redactor or the logger.
//!
//! Input: the secret, a zero byte, the text before it, a zero byte, and the text after it; the last byte tells the encoding.

#![no_main]

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gf_emulator_core::{SafeLogger, Secret, Secrets};
use libfuzzer_sys::fuzz_target;
use log::{Level, Log, Metadata, Record};

/// Keeps what it gets.
struct Kept(Arc<Mutex<String>>);

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let _ = write!(self.0.lock().expect("no logger panics"), "{}", record.args());
    }

    fn flush(&self) {}
}

fn percent(text: &str, is_escaped: impl Fn(u8) -> bool) -> String {
    let escape = |byte: u8| if is_escaped(byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() };
    text.bytes().map(escape).collect()
}

fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("text is JSON");
    quoted[1..quoted.len() - 1].to_owned()
}

fn html(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Returns the text with the secret in it, and a part of that text that gives the secret away.
fn hide(encoding: u8, secret: &str, before: &str, after: &str) -> (String, String) {
    let needed = |byte: u8| !byte.is_ascii_alphanumeric() && !b"-_.~".contains(&byte);
    let encoded = match encoding % 11 {
        0 => secret.to_owned(),
        1 => percent(secret, |_| true),
        2 => percent(secret, needed),
        3 => percent(secret, needed).replace("%20", "+"),
        4 => json(secret),
        5 => secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
        6 => html(secret),
        7 => secret.chars().map(|c| format!("&#{};", u32::from(c))).collect(),
        8 => json(&json(secret)),
        n => {
            let text = format!("{before}{secret}{after}");
            let text = if n == 9 { STANDARD.encode(text) } else { URL_SAFE_NO_PAD.encode(text) };
            // The characters whose bits are all of the secret.
            let start = (before.len() * 8).div_ceil(6);
            let end = (before.len() + secret.len()) * 8 / 6;
            let part = text[start..end].to_owned();
            return (text, part);
        }
    };
    (format!("{before}{encoded}{after}"), encoded)
}

fuzz_target!(|input: &[u8]| {
    let Some((&encoding, text)) = input.split_last() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (secret, before, after) = (part(), part(), part());
    // Shorter values are not searched for, and the replacement must not be part of one.
    if secret.chars().count() < 6 || secret.chars().count() > 200 || secret.contains('*') {
        return;
    }
    // Runs of backslashes are not searched for.
    if secret.contains(r"\\\\") {
        return;
    }
    let (text, hidden) = hide(encoding, secret, before, after);
    let secrets = Secrets::default();
    secrets.add(&Secret::new(secret));
    let clean = secrets.redact(&text);
    assert!(!clean.contains(&hidden) && !clean.contains(secret), "{secret:?} in {text:?} -> {clean:?}");
    let kept = Arc::new(Mutex::new(String::new()));
    let logger = SafeLogger::new(vec![Box::new(Kept(Arc::clone(&kept)))], &["x"], secrets);
    logger.log(&Record::builder().level(Level::Info).target("x").args(format_args!("{text}")).build());
    let kept = kept.lock().expect("no logger panics");
    assert!(!kept.contains(&hidden) && !kept.contains(secret), "{secret:?} in {text:?} is logged as {kept:?}");
});
