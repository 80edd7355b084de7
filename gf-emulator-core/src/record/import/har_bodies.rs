//! The bodies of a HAR file.

use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::files;
use crate::record::exchange::MAX_BODY_BYTES;
use crate::record::har::{MAX_STRING_BYTES, Text};
use crate::record::recording::file_beside;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the bodies of one entry.
pub(super) struct Bodies<'a> {
    /// The folder of the HAR file, where it may refer to files.
    pub(super) folder: &'a Path,
    /// Why bodies are missing.
    pub(super) lost: &'a mut Vec<String>,
}

impl Bodies<'_> {
    /// Returns the body with this text, or from this file. `size` is its length according to the HAR file.
    pub(super) fn read(
        &mut self,
        text: Option<Text>,
        encoding: Option<Text>,
        file: Option<Text>,
        size: Option<f64>,
    ) -> Vec<u8> {
        let text = text.unwrap_or_default().0;
        let body = match (file, encoding) {
            (Some(file), _) if text.is_empty() => self.read_file(&file.into_string()),
            _ if text.len() > MAX_STRING_BYTES => Err(format!("it has more than {MAX_STRING_BYTES} bytes")),
            (_, Some(encoding)) if encoding.0.eq_ignore_ascii_case(b"base64") => {
                BASE64.decode(text).map_err(|e| format!("it is not base64: {e}"))
            }
            _ => Ok(from_latin_1(&text, size).unwrap_or(text)),
        };
        body.unwrap_or_else(|reason| {
            self.lost.push(reason);
            Vec::new()
        })
    }

    fn read_file(&self, name: &str) -> Result<Vec<u8>, String> {
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { self.folder };
        // The file may have come from anywhere: it must not name others than those of a recording.
        let path = file_beside(folder, name).filter(|_| is_recorded_name(name));
        let path = path.ok_or("its file does not have the name of a recorded body")?;
        let mut body = Vec::new();
        // A symbolic link could lead elsewhere.
        if !path.symlink_metadata().map_err(|e| format!("{name}: {e}"))?.is_file() {
            return Err(format!("{name} is not a regular file"));
        }
        let file = files::open(&path).map_err(|e| e.to_string())?;
        file.take(MAX_BODY_BYTES + 1).read_to_end(&mut body).map_err(|e| format!("{name}: {e}"))?;
        if body.len() as u64 > MAX_BODY_BYTES {
            Err(format!("{name} has more than {MAX_BODY_BYTES} bytes"))
        } else {
            Ok(body)
        }
    }
}

/// Returns whether a file has a name such as `000023_request.jpg`.
fn is_recorded_name(name: &str) -> bool {
    let rest = name.trim_start_matches(|c: char| c.is_ascii_digit());
    name.len() - rest.len() >= 6 && (rest.starts_with("_request.") || rest.starts_with("_response."))
}

/// mitmproxy writes the body of a request as text even if it is a picture: each byte becomes the character with its
/// number. Returns these bytes, if `text` has characters above 127 and as many as the body has bytes.
fn from_latin_1(text: &[u8], size: Option<f64>) -> Option<Vec<u8>> {
    if text.is_ascii() || text.trim_ascii_start().starts_with(b"{") || text.trim_ascii_start().starts_with(b"[") {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?;
    (size == Some(bytes.len() as f64)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(
        folder: &Path,
        text: &str,
        encoding: Option<&str>,
        file: Option<&str>,
        size: f64,
    ) -> Result<Vec<u8>, String> {
        let text_of = |text: &str| Text(text.as_bytes().to_vec());
        let mut lost = Vec::new();
        let mut bodies = Bodies { folder, lost: &mut lost };
        let body = bodies.read(Some(text_of(text)), encoding.map(text_of), file.map(text_of), Some(size));
        lost.pop().map_or(Ok(body), Err)
    }

    #[test]
    fn reads_text_base64_and_latin_1() {
        let folder = Path::new("");
        assert_eq!(read(folder, "grün", None, None, 5.0).unwrap(), "grün".as_bytes());
        assert_eq!(read(folder, "ÿØÿÙ", None, None, 4.0).unwrap(), b"\xff\xd8\xff\xd9");
        assert_eq!(read(folder, "{\"a\":\"ü\"}", None, None, 9.0).unwrap(), "{\"a\":\"ü\"}".as_bytes());
        assert_eq!(read(folder, "€uro", None, None, 4.0).unwrap(), "€uro".as_bytes());
        for text in ["/9j/2Q==", "/9j/2Q"] {
            assert_eq!(read(folder, text, Some("base64"), None, 4.0).unwrap(), b"\xff\xd8\xff\xd9");
        }
        let error = read(folder, "!", Some("base64"), None, 4.0).unwrap_err();
        assert!(error.contains("not base64"), "{error}");
    }

    #[test]
    fn reads_only_files_of_recordings() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["000012_request.jpg", "secret.txt", "12_request.jpg"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let file = |name: &str| read(folder.path(), "", None, Some(name), 0.0);
        assert_eq!(file("000012_request.jpg").unwrap(), b"000012_request.jpg");
        for (name, reason) in [
            ("secret.txt", "does not have the name"),
            ("12_request.jpg", "does not have the name"),
            ("000012_request.jpg/../secret.txt", "does not have the name"),
            ("000013_request.jpg", "000013_request.jpg"),
        ] {
            let error = file(name).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("secret.txt"), folder.path().join("000014_request.bin"))
                .unwrap();
            assert!(file("000014_request.bin").unwrap_err().contains("not a regular file"));
        }
    }
}
