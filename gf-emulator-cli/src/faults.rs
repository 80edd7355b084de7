//! The options of `serve` for faults on purpose.

use gf_emulator_core::ParseError;
use gf_emulator_core::local_service::{Builder, Fault, FaultProfile, LocalService, Script, ScriptStep};

use crate::numbers;

/// The list of faults in the help of `serve`.
pub(crate) const HELP: &str = "\
A fault is a list of FIELD=VALUE; {\"fault\": {...}} in a script has the same
fields. It has one failure:
  status=503 [retry_after_s=1]       answer a request with this status
  request=cut                        cut a connection in a request
  response=cut|short|stall|endless|hold
                                     break a response; hold: never send it
  tokens=expired                     the machine's tokens expire early
  delay_s=0.2                        delay responses and frames; 0.1..0.5 is
                                     uniform, lognormal:0.1,0.5 log-normal
                                     (median, standard deviation of the log)
  bytes_per_s=50000                  slow down bodies and frames
  frame=double|split|reorder|pack [parts=2] [wait_s=1]
                                     change frames to the machine
  cut=rst|fin|close [code=1000]      end the WebSocket in place of a frame, or:
    after_messages=5 | after_bytes=10000 | after_s=3600 | event=print:running
and limits:
  on=PUT:/up/ | on=/up/ | on=ws      these requests, or only frames
  machine=2 | machine=S12345         one machine: the second, or by its serial
  p=0.2                              with this probability, each time
  skip=3                             not the first 3 times
  times=2                            at most 2 times (for each machine)
Profiles (--fault-profile NAME or NAME:SCALE, which multiplies their times):
  flaky-wifi, hourly-cut, overloaded, expired-tokens
";

/// What goes wrong on purpose.
#[derive(Debug, clap::Args)]
pub(crate) struct FaultArguments {
    /// Make this go wrong (see below); may be given several times
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Add the faults of a profile (see below); may be given several times
    #[arg(long = "fault-profile", value_name = "NAME[:SCALE]", value_parser = profile)]
    profiles: Vec<Profile>,
    /// The seed of the faults: the same seed gives the same faults [default: a random one]
    #[arg(long, value_name = "N", value_parser = numbers::within(0..=u64::MAX, "a whole number"))]
    seed: Option<u64>,
}

/// The faults of a profile.
#[derive(Debug, Clone)]
struct Profile(Vec<Fault>);

fn profile(text: &str) -> Result<Profile, ParseError> {
    FaultProfile::faults(text).map(Profile)
}

impl FaultArguments {
    /// Gives the faults to the service.
    pub(crate) fn apply(&self, mut builder: Builder) -> Builder {
        let of_profiles = self.profiles.iter().flat_map(|profile| &profile.0);
        for fault in self.faults.iter().chain(of_profiles) {
            builder = builder.fault(fault.clone());
        }
        match self.seed {
            Some(seed) => builder.seed(seed),
            None => builder,
        }
    }

    /// Returns the seed if there are faults, also in the script.
    pub(crate) fn seed(&self, service: &LocalService, script: Option<&Script>) -> Option<u64> {
        let in_script = script.into_iter().flat_map(Script::steps).any(|step| matches!(step, ScriptStep::Fault(_)));
        let has_faults = in_script || self.seed.is_some() || !self.faults.is_empty() || !self.profiles.is_empty();
        has_faults.then(|| service.seed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_profile() {
        for profile in FaultProfile::all() {
            assert!(HELP.contains(&profile.name), "{}", profile.name);
        }
    }
}
