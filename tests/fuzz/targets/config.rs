//! Configurations: what is read is valid, and no message has the password.

#![no_main]

use gf_emulator_core::Config;
use gf_emulator_core::config::Proxy;
use gf_emulator_fuzz::PASSWORD;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let variable = |name: &str| (name == "GF_MACHINE_PASSWORD").then(|| PASSWORD.to_owned());
    let shown = match Config::from_cfg("x", text, &variable) {
        Ok((config, warnings)) => {
            config.check().expect("what is read is valid");
            let _ = (config.generation(), config.downloads_firmware(), config.user_agent());
            format!("{config:?} {warnings:?} {}", warnings.iter().map(ToString::to_string).collect::<String>())
        }
        Err(problems) => {
            assert!(!problems.list.is_empty());
            format!("{problems} {problems:?}")
        }
    };
    assert!(!shown.contains(PASSWORD), "the password is shown");
    if let Ok(proxy) = Proxy::parse(text) {
        let _ = (proxy.to_string(), proxy.is_used_for("app.example", 443));
    }
});
