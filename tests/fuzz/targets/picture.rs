//! PNG and JPEG pictures.

#![no_main]

use gf_emulator_core::puls::{Builder, Engraving, MADE_FREQUENCIES_HZ, Picture, Shading};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(picture) = Picture::decode(file) else { return };
    let (width, height) = picture.size_px();
    let Ok(raster) = picture.raster(Some(5.0), 100.0) else { return };
    assert!(width > 0 && height > 0);
    assert_eq!(raster.pixels.len(), raster.width * raster.height());
    for shading in [Shading::Density, Shading::Diffusion, Shading::Ordered] {
        let mut job = Builder::with_step_frequency(*MADE_FREQUENCIES_HZ.start()).expect("it is in the range");
        let mut engraving = Engraving::new(200.0, 1.0);
        engraving.shading = shading;
        let engraved = raster.engrave(&mut job, &engraving);
        assert!(engraved.is_ok() || job.body().is_empty(), "the job is changed after an error");
    }
});
