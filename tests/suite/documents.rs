//! The documents of the source tree: their links lead to files, and the sample is that of the library.

use std::fs;
use std::path::{Path, PathBuf};

use gf_emulator_core::Config;
use gf_emulator_core::config::SAMPLE;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_sample_is_that_of_the_library() {
    let text = fs::read_to_string(root().join("gf-machine-emulator.cfg.sample")).unwrap();
    assert_eq!(text, SAMPLE);
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut links = 0;
    for folder in [root(), root().join("docs")] {
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            let text = fs::read_to_string(&file).unwrap();
            for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
                let path = link.split('#').next().unwrap_or_default();
                if !link.contains("://") && !path.is_empty() {
                    assert!(folder.join(path).exists(), "{}: {link} leads nowhere", file.display());
                    links += 1;
                }
            }
        }
    }
    assert!(links > 50, "{links} links");
}

#[test]
fn every_configuration_is_valid() {
    let mut configurations = 0;
    for file in fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for block in text.split("```ini\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block) {
            // Others are parts of one.
            if !block.contains("[MACHINE]") {
                continue;
            }
            let (_, warnings) = Config::from_cfg(&file.display().to_string(), block, &|_| None).unwrap();
            assert_eq!(warnings, [], "{}", file.display());
            configurations += 1;
        }
    }
    assert!(configurations >= 2, "{configurations} configurations");
}
