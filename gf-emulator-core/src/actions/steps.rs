//! Steps that need no running action: sending, the firmware check, and the `start` steps of a table.

use serde_json::json;

use super::messages::{MessageSender, milli_epoch};
use super::{Channel, Emit, Step, StepKind, Table, Values, Variable, printable};
use crate::service::{FirmwareOffer, Uplink, firmware};
use crate::{Config, Error, Secrets};

/// Runs the `start` steps of a table. Failures are logged: they must not keep the machine from going online.
pub(crate) fn run_start_steps(
    config: &Config,
    table: &Table,
    messages: &MessageSender,
    uplink: &dyn Uplink,
    secrets: &Secrets,
) -> Result<(), Error> {
    let mut values = Values::new();
    let mut offer = None;
    for step in &table.start {
        let outcome = match &step.kind {
            StepKind::Send(emit) => send(emit, &values, messages, uplink),
            StepKind::ProbeFirmware {} => probe_firmware(config, uplink, secrets).map(|found| {
                values.insert(Variable::AvailableFirmware, json!(found.version));
                offer = Some(found);
            }),
            StepKind::DownloadFirmware {} => match &offer {
                Some(offer) => download_firmware(config, uplink, offer),
                None => Ok(()),
            },
            _ => Ok(()),
        };
        match outcome {
            Ok(()) => {}
            Err(e @ (Error::Interrupted | Error::SignInRefused { .. })) => return Err(e),
            Err(e) => {
                log::warn!("firmware check: {e}");
                if !step.optional {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

pub(super) fn send(emit: &Emit, values: &Values, messages: &MessageSender, uplink: &dyn Uplink) -> crate::Result<()> {
    let body = || {
        let now = Values::from([(Variable::MilliEpoch, json!(milli_epoch()))]);
        emit.message.fill(&[&now, values, messages.machine_values()])
    };
    match emit.channel {
        Channel::Event | Channel::Progress => {
            messages.send(emit, values);
            Ok(())
        }
        Channel::Web => uplink.post_event(&body()),
        Channel::Status => uplink.put_status(&body()),
    }
}

pub(super) fn send_all(steps: &[Step], messages: &MessageSender, values: &Values) {
    for emit in steps.iter().filter_map(|step| step.kind.emit()) {
        messages.send(emit, values);
    }
}

/// Asks for the current firmware. The version is the service's word, and goes into logs, messages and file names: secrets in
/// it are masked.
pub(super) fn current_firmware(uplink: &dyn Uplink, secrets: &Secrets) -> crate::Result<FirmwareOffer> {
    let mut offer = uplink.firmware()?;
    offer.version = secrets.redact(&offer.version);
    Ok(offer)
}

/// Asks for the current firmware, logs whether it is the machine's, and writes the `status_file`, if any.
pub(super) fn probe_firmware(config: &Config, uplink: &dyn Uplink, secrets: &Secrets) -> crate::Result<FirmwareOffer> {
    let offer = current_firmware(uplink, secrets)?;
    log::info!("{}", compared(&config.machine.firmware, &offer.version));
    if let Err(e) = firmware::record_latest(config, &offer, milli_epoch() / 1000) {
        log::warn!("status_file: {e}");
    }
    Ok(offer)
}

/// Describes how the service's firmware differs from the machine's.
fn compared(ours: &str, current: &str) -> String {
    if current == ours {
        format!("firmware {ours} is current")
    } else {
        format!("firmware {} is available, {ours} is configured", printable(current))
    }
}

pub(super) fn download_firmware(config: &Config, uplink: &dyn Uplink, offer: &FirmwareOffer) -> crate::Result<()> {
    if offer.version == config.machine.firmware || !config.downloads_firmware() {
        return Ok(());
    }
    firmware::download(uplink, offer, &config.firmware.dir).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;
    use crate::service::Upload;
    use crate::storage::Download;

    /// Offers a version and has nothing else.
    struct Offers(&'static str);

    impl Uplink for Offers {
        fn upload(&self, _: &Upload<'_>) -> crate::Result<()> {
            Err(Error::Interrupted)
        }

        fn download(&self, _: &str) -> crate::Result<Download> {
            Err(Error::Interrupted)
        }

        fn firmware(&self) -> crate::Result<FirmwareOffer> {
            Ok(FirmwareOffer::new(self.0))
        }
    }

    /// Probes with this version on offer, and returns the one in the status file.
    fn recorded(version: &'static str, secrets: &Secrets) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.firmware.status_file = Some(folder.path().join("status.json"));
        let offer = probe_firmware(&config, &Offers(version), secrets).unwrap();
        let text = std::fs::read(folder.path().join("status.json")).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert!(status["checked_at"].as_u64().unwrap() > 1_700_000_000, "{status}");
        assert_eq!(status["latest_gf_version"], offer.version);
        offer.version
    }

    #[test]
    fn firmware_check_records_and_flags_newer() {
        assert_eq!(recorded("2.7.0-1", &Secrets::default()), "2.7.0-1");
        assert_eq!(compared("2.6.0-2228", "2.7.0-1"), "firmware 2.7.0-1 is available, 2.6.0-2228 is configured");
    }

    #[test]
    fn firmware_check_matches_baseline_returns_false_but_still_records() {
        assert_eq!(recorded("2.6.0-2228", &Secrets::default()), "2.6.0-2228");
        assert_eq!(compared("2.6.0-2228", "2.6.0-2228"), "firmware 2.6.0-2228 is current");
    }

    #[test]
    fn secrets_in_a_version_are_masked_for_every_uplink() {
        let secrets = Secrets::default();
        secrets.add(&Secret::new("the-token-of-this-session"));
        assert_eq!(recorded("2.7.0-the-token-of-this-session", &secrets), "2.7.0-***");
    }

    #[test]
    fn a_status_file_that_cannot_be_written_does_not_fail_the_check() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.firmware.status_file = Some(folder.path().into());
        assert!(probe_firmware(&config, &Offers("2.7.0-1"), &Secrets::default()).is_ok());
    }
}
