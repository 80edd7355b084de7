//! Percent-encoded text.

/// Decodes percent-encoded text. Returns `None` if a `%` is not followed by two hex digits, or the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let starts_with_hex = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(starts_with_hex) {
        return None;
    }
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Into::into)
}
