//! The [`Status`] in the text form of `OpenMetrics` 1.0.

use std::fmt::{Display, Write};

use super::status::{MachineState, Status};

/// The media type of [`text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The upper bounds of the buckets of times: from 256 microseconds to 5 minutes, as powers of two of a microsecond.
const POWERS: std::ops::RangeInclusive<u32> = 8..=28;

/// Returns all metrics.
pub(super) fn text(status: &Status) -> String {
    let mut out = Text(String::new());
    out.family("machines", "gauge", "Machines by their state.");
    for state in MachineState::ALL {
        out.sample("machines", &format!("state=\"{}\"", state.name()), status.in_state(state));
    }
    out.family(
        "machines_not_connected",
        "gauge",
        "Machines that are not connected, or were not when the fleet was stopped.",
    );
    out.sample("machines_not_connected", "", status.not_connected);
    out.family("machines_without_thread", "gauge", "Machines whose thread could not be started, or has panicked.");
    out.sample("machines_without_thread", "", status.without_thread);
    out.family("failed_starts", "counter", "Attempts to sign in that failed while a machine was not connected.");
    out.sample("failed_starts_total", "", status.failed_starts);
    out.family("losses", "counter", "Connections that were lost.");
    out.sample("losses_total", "", status.losses);
    let actions = status.actions;
    out.family("actions_accepted", "counter", "Actions that were accepted.");
    out.sample("actions_accepted_total", "", actions.accepted);
    out.family("actions_ended", "counter", "Actions that have ended, by their ending.");
    let endings = [("completed", actions.completed), ("cancelled", actions.cancelled), ("failed", actions.failed)];
    for (ending, count) in endings {
        out.sample("actions_ended_total", &format!("ending=\"{ending}\""), count);
    }
    out.family("actions_running", "gauge", "Actions that were accepted and have not ended yet.");
    out.sample("actions_running", "", actions.running());
    out.family("actions_without_ending", "counter", "Actions that were accepted and can have no ending any more.");
    out.sample("actions_without_ending_total", "", actions.without_ending);
    out.family("surplus_endings", "counter", "Endings of actions that were not accepted or have ended before.");
    out.sample("surplus_endings_total", "", actions.surplus_endings);
    out.family("requests", "counter", "HTTP requests, by the status of the answer; none without an answer.");
    for (code, count) in &status.requests.by_status {
        out.sample("requests_total", &format!("status=\"{code}\""), count);
    }
    out.sample("requests_total", "status=\"none\"", status.requests.failed);
    let help = [
        "From the request of a sign-in to its answer.",
        "From any other request to its answer.",
        "From the arrival of an action to its ending.",
        "From the loss of a connection until the machine is connected again.",
    ];
    for ((name, times), help) in status.latencies.all().into_iter().zip(help) {
        let name = format!("{name}_seconds");
        out.family(&name, "histogram", help);
        for power in POWERS {
            let bound = (1_u64 << power) as f64 / 1e6;
            out.sample(&format!("{name}_bucket"), &format!("le=\"{bound:?}\""), times.count_up_to(power));
        }
        out.sample(&format!("{name}_bucket"), "le=\"+Inf\"", times.count());
        out.sample(&format!("{name}_count"), "", times.count());
        out.sample(&format!("{name}_sum"), "", times.sum().as_secs_f64());
    }
    let process = status.process;
    let bytes = process.resident_kib.map(|kib| kib * 1024);
    let figures = [
        ("resident_bytes", bytes, "Resident memory of the process."),
        ("threads", process.threads, "Threads of the process."),
        ("open_files", process.files, "Open files of the process, sockets included."),
    ];
    for (name, figure, help) in figures {
        if let Some(figure) = figure {
            out.family(name, "gauge", help);
            out.sample(name, "", figure);
        }
    }
    out.0.push_str("# EOF\n");
    out.0
}

/// The text so far. Each name begins with `gf_fleet_`.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# TYPE gf_fleet_{name} {kind}"));
        if let Some((_, unit @ ("seconds" | "bytes"))) = name.rsplit_once('_') {
            self.line(format_args!("# UNIT gf_fleet_{name} {unit}"));
        }
        self.line(format_args!("# HELP gf_fleet_{name} {help}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.line(format_args!("gf_fleet_{name} {value}"));
        } else {
            self.line(format_args!("gf_fleet_{name}{{{labels}}} {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::status::tests::example;
    use super::*;

    /// Every line is part of a family that was declared just before it, and nothing is there twice.
    #[test]
    fn the_text_is_well_formed() {
        let text = text(&example());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.last(), text.ends_with('\n')), (Some(&"# EOF"), true));
        let (mut family, mut kind, mut families, mut samples) = ("", "", BTreeSet::new(), BTreeSet::new());
        for line in &lines[..lines.len() - 1] {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                (family, kind) = declared.split_once(' ').unwrap();
                assert!(families.insert(family), "{family} twice");
            } else if let Some(rest) = line.strip_prefix("# UNIT ").or_else(|| line.strip_prefix("# HELP ")) {
                assert_eq!(rest.split(' ').next(), Some(family));
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
                assert!(samples.insert(sample), "{sample} twice");
                let suffix = sample.split('{').next().unwrap().strip_prefix(family).unwrap();
                let allowed: &[&str] = match kind {
                    "counter" => &["_total"],
                    "histogram" => &["_bucket", "_count", "_sum"],
                    _ => &[""],
                };
                assert!(allowed.contains(&suffix), "{line}");
            }
        }
        assert!(families.len() > 10);
    }

    #[test]
    fn the_numbers_are_those_of_the_status_and_buckets_grow_up_to_the_count() {
        let mut status = example();
        (status.without_thread, status.actions.without_ending, status.actions.surplus_endings) = (7, 8, 9);
        let text = text(&status);
        let value = |sample: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{sample} in {text}"))
        };
        assert_eq!(value("gf_fleet_sign_in_seconds_bucket{le=\"0.001024\"}"), "0");
        assert_eq!(value("gf_fleet_sign_in_seconds_bucket{le=\"0.002048\"}"), "1");
        assert_eq!(value("gf_fleet_sign_in_seconds_bucket{le=\"+Inf\"}"), "1");
        assert_eq!(value("gf_fleet_sign_in_seconds_sum"), "0.0015");
        assert_eq!(value("gf_fleet_machines{state=\"connected\"}"), "20");
        assert_eq!(value("gf_fleet_requests_total{status=\"none\"}"), "6");
        assert_eq!(value("gf_fleet_machines_not_connected"), "4");
        assert_eq!(value("gf_fleet_machines_without_thread"), "7");
        assert_eq!(value("gf_fleet_actions_without_ending_total"), "8");
        assert_eq!(value("gf_fleet_surplus_endings_total"), "9");
    }
}
