//! How SVG is read.

use std::sync::Arc;

use resvg::usvg::{ImageHrefResolver, Options, fontdb};

/// Uses the embedded fonts, so that text looks the same everywhere, and resolves no file references.
pub(super) fn svg_options() -> Options<'static> {
    const FAMILY: &str = "DejaVu Sans";
    let mut options = Options { font_family: FAMILY.to_owned(), ..Options::default() };
    let fonts = options.fontdb_mut();
    for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
    }
    fonts.set_sans_serif_family(FAMILY);
    // Where the font that a file asks for is missing, usvg takes this one.
    fonts.set_serif_family(FAMILY);
    fonts.set_monospace_family(FAMILY);
    fonts.set_cursive_family(FAMILY);
    fonts.set_fantasy_family(FAMILY);
    options.image_href_resolver =
        ImageHrefResolver { resolve_string: Box::new(|_, _| None), ..ImageHrefResolver::default() };
    options
}
