//! `check`: checks the configuration without connecting.

use std::path::{Path, PathBuf};

use gf_emulator_core::config::Service;
use gf_emulator_core::machine::CannedMachine;
use gf_emulator_core::storage::unwritable;
use gf_emulator_core::words::count;
use gf_emulator_core::{Emulator, Error, Tls};
use serde_json::{Value, json};

use crate::configuration::{self, ConfigArgument, Loaded, Place};
use crate::error::CliError;
use crate::output::print;

const WITHOUT_PICTURES: &str = "\nWithout a picture, actions that need it fail; `run` starts all the same. The pictures are \
                                photographs taken by your machine: see docs/real-service.md.";

/// Check the configuration without connecting to anything
///
/// Says which file was taken, and reports every problem with its line, then every file that cannot be used: certificates,
/// the actions table, pictures, folders that cannot be written to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator check
  gf-machine-emulator check --config my.cfg
  gf-machine-emulator check --json | jq .findings

--json prints one object: `file` (null if there is none), `origin` (why this
file was taken), `good`, `findings` (each with `severity`, error or remark,
`line`, a number or null, and `message`), `settings` (null if the file cannot be
used), and `error` (null, or why the file could not be read).

Exit codes: 0 no problem; 2 something is wrong or missing, including pictures
(an action that needs a missing picture fails).")]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let place = arguments.config.find().inspect_err(|error| {
        if arguments.json {
            print_json(None, &[], None, Some(&error.to_string()));
        }
    })?;
    let loaded = configuration::try_load(&place).map_err(|error| {
        if arguments.json {
            print_unusable(&place, &error);
        }
        explain(&place, error)
    })?;
    let findings = loaded.warnings.iter().map(|warning| finding("remark", Some(warning.line), &warning.what));
    let mut findings: Vec<_> = findings.collect();
    let remarks: Vec<_> = loaded.remarks().collect();
    let Examined { settings, problems, has_pictures } = examine(loaded, &place.path);
    if arguments.json {
        findings.extend(problems.iter().map(|problem| finding("error", None, problem)));
        print_json(Some(&place), &findings, Some(&settings), None);
    } else {
        for remark in remarks {
            print(format_args!("remark: {remark}"));
        }
        print(format_args!("{:<12}{} ({})", "file", place.path.display(), place.reason()));
        for (name, values) in &settings {
            print(format_args!("{name:<12}{}", values.join("\n            ")));
        }
    }
    let name = place.path.display();
    if !problems.is_empty() {
        let error = CliError::usage(format_args!("{name} is incomplete:\n{}", problems.join("\n")));
        return Err(if has_pictures { error } else { error.and(WITHOUT_PICTURES) });
    }
    if !arguments.json {
        print(format_args!("{name} is good"));
    }
    Ok(())
}

/// Adds what the error of a file leaves open.
fn explain(place: &Place, error: Error) -> CliError {
    let error = configuration::explain(place, error);
    if place.path.exists() {
        return error
            .and("\nCertificates, actions table, pictures and folders are checked once these problems are fixed.");
    }
    error
}

/// The settings that matter most: each has a name and one or more values.
type Settings = Vec<(&'static str, Vec<String>)>;

/// What a check finds out.
struct Examined {
    settings: Settings,
    problems: Vec<String>,
    has_pictures: bool,
}

/// Tries everything that a session needs.
fn examine(loaded: Loaded, path: &Path) -> Examined {
    let mut config = loaded.config;
    let mut problems = unwritable(&config, path);
    let missing = CannedMachine::new(&config).missing_pictures();
    if !missing.is_empty() {
        let name = |picture: &PathBuf| picture.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names: Vec<_> = missing.iter().map(name).collect();
        let dir = config.emulator.image_dir.display();
        problems.push(format!("image_dir {dir}: these pictures are missing or too large: {}", names.join(", ")));
    }
    // A check creates no recording.
    config.logging.record_dir = None;
    let mut settings = vec![
        ("generation", vec![format!("{} (firmware {})", config.generation(), config.machine.firmware)]),
        ("service", routes(&config.service).to_vec()),
        ("jobs", vec![config.motion.dir.display().to_string()]),
        ("pictures", vec![config.emulator.image_dir.display().to_string()]),
    ];
    // `Emulator::new` reports a file that cannot be read.
    if let Some(ca_file) = &config.service.ca_file
        && let Ok(tls) = Tls::new(Some(ca_file))
    {
        let certificates = count(tls.extra_certificates(), "certificate");
        settings.insert(2, ("trusted", vec![format!("{certificates} in {}, and the system's", ca_file.display())]));
    }
    if let Err(e) = Emulator::new(config) {
        problems.insert(0, e.to_string());
    }
    Examined { settings, problems, has_pictures: missing.is_empty() }
}

/// Describes how the two addresses of the service are reached.
fn routes(service: &Service) -> [String; 2] {
    [&service.server_url, &service.status_service_url].map(|url| match service.proxy_for(url) {
        Some(proxy) => format!("{url}, through the proxy {proxy}"),
        None => format!("{url}, direct"),
    })
}

fn finding(severity: &str, line: Option<usize>, message: &str) -> Value {
    json!({"severity": severity, "line": line, "message": message})
}

/// Prints the object for a file that has problems or cannot be read.
fn print_unusable(place: &Place, error: &Error) {
    let Error::Config(problems) = error else {
        return print_json(Some(place), &[], None, Some(&error.to_string()));
    };
    let errors = problems.list.iter().map(|problem| finding("error", problem.line, &problem.what));
    let remarks = problems.warnings.iter().map(|warning| finding("remark", Some(warning.line), &warning.what));
    print_json(Some(place), &errors.chain(remarks).collect::<Vec<_>>(), None, None);
}

fn print_json(place: Option<&Place>, findings: &[Value], settings: Option<&Settings>, error: Option<&str>) {
    let settings = settings.map(|settings| {
        let values = settings.iter().map(|(name, values)| match &values[..] {
            [value] => ((*name).to_owned(), json!(value)),
            values => ((*name).to_owned(), json!(values)),
        });
        values.collect::<serde_json::Map<_, _>>()
    });
    print(json!({
        "file": place.map(|place| place.path.display().to_string()),
        "origin": place.map(Place::reason),
        "good": error.is_none() && settings.is_some() && findings.iter().all(|finding| finding["severity"] != "error"),
        "findings": findings,
        "settings": settings,
        "error": error,
    }));
}
