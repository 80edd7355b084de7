//! Detects JPEG and PNG files and reads their size.

/// Assumed if a picture's size cannot be read.
pub(super) const DEFAULT_SIZE_PX: (u32, u32) = (640, 480);

/// Returns the MIME subtype of a picture that starts with these bytes.
pub(super) fn kind(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(b"\xff\xd8\xff") {
        Some("jpeg")
    } else if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("png")
    } else {
        None
    }
}

/// Reads width and height from a JPEG or PNG header.
pub(super) fn size_px(bytes: &[u8]) -> Option<(u32, u32)> {
    let be16 = |at: usize| Some(u32::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let be32 = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (width, height) = if bytes.starts_with(b"\x89PNG") {
        (be32(16)?, be32(20)?)
    } else {
        // Skips JPEG segments up to the first start-of-frame marker (SOF).
        let mut at = 2;
        loop {
            let marker = *bytes.get(at + 1)?;
            let is_frame = (0xc0..=0xcf).contains(&marker) && ![0xc4, 0xc8, 0xcc].contains(&marker);
            match (*bytes.get(at)?, marker) {
                (0xff, 0xff) => at += 1,
                (0xff, _) if is_frame => break (be16(at + 7)?, be16(at + 5)?),
                (0xff, _) => at += 2 + usize::try_from(be16(at + 2)?).ok()?,
                _ => return None,
            }
        }
    };
    let plausible = 1..=65_535;
    (plausible.contains(&width) && plausible.contains(&height)).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_size_of_jpeg_and_png() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc0\0\x11\x08\x01\0\x02\0rest";
        assert_eq!(size_px(jpeg), Some((512, 256)));
        for end in 0..18 {
            assert_eq!(size_px(&jpeg[..end]), None, "{end} bytes");
        }
        assert_eq!(size_px(b"\xff\xd8\xff\xe0\0\0\xff\xe0\0\0"), None);
        assert_eq!(size_px(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x05\0\0\0\x06"), Some((5, 6)));
        assert_eq!(size_px(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\0\0\x05\0\0\0\x06"), None);
    }
}
